"""The paths that users give."""

from __future__ import annotations

import os
from pathlib import Path


def path_of(text: str | os.PathLike[str]) -> Path:
    """The path that a user means, `~` being the home folder.

    Every path of a flag, of a config or of a Python call goes through here: a shell expands `~` at
    the start of a word alone, and not in `--workdir=~/runs`.
    """
    # Not Path.expanduser, which raises for the home of somebody who is not known.
    return Path(os.path.expanduser(text))
