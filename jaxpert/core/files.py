"""Files that are written whole or not at all, and files that come back as they were written."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxpert.core.errors import InputError

PART = re.compile(r"\..+\.[0-9]+\.part(\.[^.]+)?")
"""Names of files and folders that `whole` and `whole_folder` have not finished."""


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


def remove_parts(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder that nobody else writes to."""
    for path in folder.iterdir():
        if not PART.fullmatch(path.name) or path.is_symlink():
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.is_file():
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """An empty folder beside `path`, which takes its place when the block ends without an error;
    what stood there goes."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    # A killed process of the same number may have left one.
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        # A folder cannot be replaced by another one in a single step.
        if path.exists():
            shutil.rmtree(path)
        os.replace(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


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


def read_arrays(path: str | Path, names: Sequence[str], expected: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, `names` among them.

    Raises InputError where it cannot be read; `expected` says what file is asked for.
    """
    try:
        # Opened here, since NumPy leaves a damaged file open.
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = dict(stored)
        missing = [name for name in names if name not in arrays]
        if missing:
            raise KeyError(f"it has no {missing[0]}")
        return arrays
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path} cannot be read ({error}), expected {expected}: give another, or have it "
            "written again"
        ) from error
