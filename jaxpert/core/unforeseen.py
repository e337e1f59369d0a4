"""Where the traceback of an error that nobody foresaw is kept."""

from __future__ import annotations

import tempfile
import time
import traceback
from contextvars import ContextVar
from pathlib import Path

NAME = "error.log"
FOLDER: ContextVar[Path | None] = ContextVar("FOLDER", default=None)
"""The work directory of the run at hand; None before one was claimed."""


def keep(error: BaseException) -> str:
    """Write an error's traceback to the work directory, else to a temporary folder; its path, or
    what is known of the place where nothing can be written."""
    text = "".join(traceback.format_exception(error))
    stamped = f"{time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime())}\n{text}\n"
    folder = FOLDER.get()
    if folder is not None:
        try:
            # Added to, since an earlier error may be the cause of this one.
            with (folder / NAME).open("a", encoding="utf-8") as file:
                file.write(stamped)
            return str(folder / NAME)
        except OSError:
            pass  # a full disk may be the very error: another place is tried
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", prefix="jaxpert-", suffix=".log", delete=False
        ) as file:
            file.write(stamped)
        return file.name
    except OSError:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"no file, as none can be written (it came from {last.filename}:{last.lineno})"
