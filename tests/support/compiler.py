"""Flags of the compiler that make tests fast."""

from __future__ import annotations

from importlib.metadata import version

QUICK = (
    # The older of XLA's two emitters of fused loops takes half the time of the other.
    "--xla_cpu_use_fusion_emitters=false",
    # Programs of tests are small: cut into pieces for many cores they take a sixth longer.
    "--xla_cpu_parallel_codegen_split_count=1",
)
GONE = 0, 12
"""First version of jaxlib that lacks the first, and ends the process on unknown flags."""


def quick_flags() -> tuple[str, ...]:
    """Flags where jaxlib knows them, else none."""
    major, minor, *_ = version("jaxlib").split(".")
    return QUICK if (int(major), int(minor)) < GONE else ()
