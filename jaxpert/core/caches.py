"""Folders that libraries cache in: a temporary one where their own cannot be written, as in a
container whose environment and home are read-only."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

from jaxpert.core.errors import InputError
from jaxpert.core.paths import path_of

NUMBA, MATPLOTLIB = "NUMBA_CACHE_DIR", "MPLCONFIGDIR"
"""What tells each library where its cache is."""


# Once per process, since libraries read these variables on their import alone.
@functools.cache
def ensure_writable() -> None:
    """Let Numba (behind UMAP and scanpy) and matplotlib cache in a temporary folder where their own
    folders cannot be written; to be called before either is imported.

    Without a folder Numba refuses to import what it is to cache, and matplotlib makes a new one
    with a warning. A variable that the user has set stays as it is where its folder can be written.

    Raises InputError where no temporary folder can be made either.
    """
    home = path_of("~")
    caches = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    # Numba writes beside the source first, and only then to the user's own folder.
    beside = importlib.util.find_spec("numba")
    sources = Path(beside.origin).parents[1] if beside and beside.origin else caches
    if not _any_writable(NUMBA, sources, caches / "numba"):
        os.environ[NUMBA] = _temporary()
        # A notebook may have imported it already, when it no longer reads the variable.
        if "numba" in sys.modules:
            sys.modules["numba"].config.CACHE_DIR = os.environ[NUMBA]
    if not _any_writable(MATPLOTLIB, settings / "matplotlib"):
        os.environ[MATPLOTLIB] = _temporary()


def remove_temporary() -> None:
    """Remove the temporary folder, if there is one; for a process that ends without its exit
    functions."""
    if _temporary.cache_info().currsize:
        shutil.rmtree(_temporary(), ignore_errors=True)


def _any_writable(variable: str, *usual: Path) -> bool:
    """Whether a library can write to the folder that its variable names, or else to a usual one."""
    given = os.environ.get(variable)
    return any(map(writable, (path_of(given),) if given else usual))


def writable(folder: Path) -> bool:
    """Whether files can be made in a folder, or the folder itself in the nearest one there is."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    # Asked by making a file: flags say nothing of read-only and of special file systems.
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@functools.cache
def _temporary() -> str:
    """A folder of this process alone: cached programs are read back and run, so nobody else may
    write there."""
    try:
        folder = tempfile.mkdtemp(prefix="jaxpert-cache-")
    except OSError as error:
        raise InputError(
            f"no folder for temporary files can be written ({error}), expected one in which Numba "
            f"and matplotlib keep theirs: set TMPDIR to one, or {NUMBA} and {MATPLOTLIB}"
        ) from error
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
