"""Compiled programs that one command keeps for the next, which then starts in a fraction of the
time."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
from pathlib import Path

from jaxpert.core.caches import writable
from jaxpert.core.paths import path_of

FOLDER, BYTES, SECONDS = (
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_COMPILATION_CACHE_MAX_SIZE",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
)
"""What tells JAX where programs are kept, how many bytes of them, and from which time on."""
MOST_BYTES = 2_000_000_000
LEAST_SECONDS = 0.1
SWITCH = "JAXPERT_PROGRAMS"
"""Set to `off` to keep none."""


def keep() -> Path | None:
    """Keep compiled programs in the user's cache folder; to be called before JAX is imported.

    Returns the folder; None where a folder of the user's own is set, where that is switched off and
    where the place cannot be written. The oldest programs make way beyond MOST_BYTES.
    """
    if os.environ.get(FOLDER) or os.environ.get(SWITCH) == "off":
        return None
    home = Path(os.environ.get("XDG_CACHE_HOME") or path_of("~") / ".cache")
    folder = home / "jaxpert" / "programs" / _machine()
    if not writable(folder):
        return None
    os.environ[FOLDER] = str(folder)
    os.environ.setdefault(BYTES, str(MOST_BYTES))
    os.environ.setdefault(SECONDS, str(LEAST_SECONDS))
    return folder


@functools.cache
def _machine() -> str:
    """Of which machines the programs are: a home that several kinds share must not hand one kind's
    instructions to another."""
    kind = platform.machine() + platform.processor()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text().splitlines()
        kind += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    version = importlib.metadata.version("jaxlib")
    return f"jaxlib-{version}-{hashlib.sha256(kind.encode()).hexdigest()[:12]}"
