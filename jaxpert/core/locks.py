"""Locks between processes, which end with the process that holds them, however it dies."""

from __future__ import annotations

import contextlib
import errno
import warnings
from collections.abc import Iterator
from pathlib import Path

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""What a file system without locks says."""


@contextlib.contextmanager
def hold(path: Path, *, wait: bool = False) -> Iterator[bool | None]:
    """Hold the lock file `path` for the length of the block.

    Yields True where the lock was had, False where another process has it (never with `wait`), and
    None where the file system knows no locks, as some network file systems do.
    """
    # Imported where it is used, which keeps the start of a command short.
    import filelock

    lock = filelock.FileLock(path, timeout=-1 if wait else 0)
    held: bool | None = True
    try:
        with warnings.catch_warnings():
            # Where locks are missing it falls back to another kind and warns of it.
            warnings.simplefilter("ignore")
            lock.acquire()
    except filelock.Timeout:
        held = False
    except NotImplementedError:
        held = None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        held = None
    try:
        yield held
    finally:
        if held:
            lock.release()
