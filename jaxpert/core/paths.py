"""The paths that users give."""

from __future__ import annotations

import os
from pathlib import Path

from jaxpert.core.errors import InputError

LONGEST_NAME, LONGEST_PATH = 255, 4095
"""Bytes that the usual file systems take."""


def path_of(text: str | os.PathLike[str]) -> Path:
    """The path that a user means, `~` being the home folder.

    Every path of a flag, of a config or of a Python call goes through here: a shell expands `~` at
    the start of a word alone, and not in `--workdir=~/runs`.

    Raises:
        InputError: for a text that no file system takes as a path: names beyond 255 bytes, 4,095 in
            all, a zero byte.
    """
    # Before anything else, since a look for the home folder raises for it.
    if "\0" in os.fspath(text):
        raise InputError(
            f"the path {os.fspath(text)[:60]!r} holds a zero byte, expected one that a file system "
            "takes: correct it"
        )
    # Not Path.expanduser, which raises for the home of somebody who is not known.
    path = Path(os.path.expanduser(text))
    # Even asking whether such a file exists is an OSError, in whichever place asks first.
    longest = max(map(_bytes, path.parts), default=0)
    if longest > LONGEST_NAME or _bytes(str(path)) > LONGEST_PATH:
        raise InputError(
            f"the path {str(path)[:60]!r}... is too long ({_bytes(str(path)):,} bytes, its longest "
            f"name {longest:,}), expected at most {LONGEST_PATH:,} bytes and {LONGEST_NAME} in a "
            "name: choose a shorter one"
        )
    return path


def data_folder(folder: str | Path | None = None) -> Path:
    """The folder of public files: `folder`, else $JAXPERT_DATA, else the user's cache folder."""
    if folder or os.environ.get("JAXPERT_DATA"):
        return path_of(folder or os.environ["JAXPERT_DATA"])
    import pooch

    return Path(pooch.os_cache("jaxpert"))


def is_there(text: str) -> bool:
    """Whether there is a file or folder of that name; a text that can be no path names none."""
    try:
        return path_of(text).exists()
    except (InputError, OSError):
        return False


def _bytes(name: str) -> int:
    try:
        return len(os.fsencode(name))
    # Half of a surrogate pair, which whatever opens the file refuses.
    except UnicodeEncodeError:
        return len(name)
