"""Memory of the process that nothing uses any more, given back to the system."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Return what was freed to the system; does nothing where the C library cannot.

    Compiling takes hundreds of megabytes in small pieces, which glibc keeps for later although
    training never needs them again.
    """
    if not sys.platform.startswith("linux"):
        return
    # Only glibc has it; musl has none, and returns memory by itself.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
