"""Text files of users, whatever wrote them."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from pathlib import Path
from typing import Any

from jaxpert.core.errors import InputError
from jaxpert.core.paths import path_of
from jaxpert.core.spreadsheets import unquoted

GZIP = b"\x1f\x8b"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read_bytes(path: str | Path, expected: str) -> bytes:
    """The content of a file, unpacked where it is gzipped.

    Args:
        path: `~` is the user's folder.
        expected: what the file should be, in words, for the message.

    Raises:
        InputError: for a file that cannot be read.
    """
    try:
        content = path_of(path).read_bytes()
        # By content and not by name, since files are renamed.
        return gzip.decompress(content) if content.startswith(GZIP) else content
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} cannot be read ({error}), expected {expected}: give another file"
        ) from error


def read_text(path: str | Path, expected: str) -> str:
    """The text of a file as UTF-8, plain or gzipped, with a newline alone at the end of each line;
    see `read_bytes`."""
    content = read_bytes(path, expected)
    if content.startswith(UTF_16):
        raise InputError(
            f"{path} cannot be read as UTF-8 (it begins as UTF-16), expected {expected} in UTF-8: "
            "save it again so"
        )
    try:
        # Spreadsheets begin UTF-8 files with a byte order mark, which is no part of the text.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} cannot be read ({error}), expected {expected} in UTF-8: save it again so"
        ) from error
    # Windows ends lines by two characters, and old Macs by another one.
    return io.IncrementalNewlineDecoder(None, translate=True).decode(text, final=True)


def read_lines(path: str | Path, expected: str) -> list[str]:
    """The lines of a text file that are not empty, as they were before a spreadsheet quoted
    them."""
    lines = read_text(path, expected).split("\n")
    return [unquoted(line.strip()) for line in lines if line.strip()]


def read_json(path: str | Path, expected: str) -> Any:
    """What a JSON file holds; a key that comes twice is refused, since one of its values would be
    lost."""
    try:
        return json.loads(read_text(path, expected), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        # An InputError is a ValueError too, and has its sentence already.
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} cannot be read ({error}), expected {expected}: correct it"
        ) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} comes twice")
    return content
