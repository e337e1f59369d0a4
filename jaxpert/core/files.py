"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np


@contextlib.contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """A path beside `path` to write to, which takes its place when the block ends without an error.

    A process that is killed before leaves only a hidden file, whose name holds the process's number
    (others may write the same file), ".part" and the file's own ending, which some libraries go by.
    """
    path = Path(path)
    # In the same folder, since a rename is atomic only within one file system.
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    finally:
        # After the rename it is gone; after an error nothing half-written may stay.
        part.unlink(missing_ok=True)


def file_name(text: str) -> str:
    """A text without what file names should not have."""
    return re.sub(r"[^\w.-]+", "_", text)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file; NaN and infinities are refused, which readers of JSON do not know."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz file."""
    with whole(path) as part, part.open("wb") as file:
        # No pickles: reading one could run a program. An open file keeps its name as it is.
        np.savez(file, allow_pickle=False, **arrays)
