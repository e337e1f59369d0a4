"""Flags of the compiler that make tests fast."""

from __future__ import annotations

from importlib.metadata import version

OLDER_EMITTER = "--xla_cpu_use_fusion_emitters=false"
"""The older of XLA's two emitters of fused loops takes half the time of the other."""
GONE = 0, 12
"""First version of jaxlib that has it no more, and ends the process on the flag."""


def emitter() -> str:
    """The flag where jaxlib knows it, else nothing."""
    major, minor, *_ = version("jaxlib").split(".")
    return OLDER_EMITTER if (int(major), int(minor)) < GONE else ""
