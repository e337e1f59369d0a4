"""Folders that hold the checksums of their own files.

Files are checked before anything reads them: Orbax takes some damaged bytes for other numbers
without a word, and stumbles over others in threads of its own.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxpert.core import files

SUMS = "checksums.json"


def seal(folder: Path) -> None:
    """Write the CRC-32 of every file of a folder into it, with one of these numbers themselves."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = {path.relative_to(folder).as_posix(): crc(path) for path in paths}
    files.write_json(folder / SUMS, {"files": sums, "sum": _sum_of(sums)})


def check(folder: Path) -> bool:
    """Whether a folder has checksums of its own; ValueError where a file is not what they say."""
    path = folder / SUMS
    if not path.exists():
        return False
    content = json.loads(path.read_bytes())
    sums = content["files"]
    if content["sum"] != _sum_of(sums):
        raise ValueError(f"{SUMS} is damaged")
    _compare(folder, sums)
    return True


def check_older(folder: Path) -> bool:
    """The same of a checkpoint of form 1, whose checksums stand beside it, in one file for all
    steps; where a kill or damage to that file left none, there is nothing to check."""
    try:
        sums = json.loads((folder.parent / SUMS).read_bytes())[folder.name]
    # A file of other content fails in many ways, and all of them mean the same.
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return False
    if not isinstance(sums, dict) or not sums:
        return False
    _compare(folder, sums)
    return True


def _compare(folder: Path, sums: Mapping[str, Any]) -> None:
    for name, expected in sums.items():
        path = folder / name
        if not path.is_file() or crc(path) != expected:
            raise ValueError(f"{name} is damaged or missing")


def crc(path: Path) -> int:
    """CRC-32 of a file, read in pieces: a large model's arrays are no small thing beside it."""
    total = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 24):
            total = zlib.crc32(piece, total)
    return total


def _sum_of(sums: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(sums, sort_keys=True).encode())
