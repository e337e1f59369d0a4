"""Figures one by one: what cannot be drawn is a note beside the others and loses no run."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxpert.core import files, interrupts, log
from jaxpert.core.errors import InputError

NOT_DRAWN = "not_drawn.json"
"""File beside the figures: why each of those that are absent could not be drawn."""
FULL = (errno.ENOSPC, errno.EDQUOT)

Missing = dict[str, str]
"""{figure: why it could not be drawn}."""


def attempt(missing: Missing, figure: str, work: Callable[..., Any], *arguments: Any) -> Any:
    """What `work(*arguments)` returns, or None after an error, which is noted in `missing` under
    the figure's name and said.

    Any error counts, of a library too: the numbers of a run must not depend on its pictures. Only a
    full disk is raised, after which nothing else could be written either.
    """
    try:
        return work(*arguments)
    except OSError as error:
        interrupts.raise_again(error)
        if error.errno in FULL:
            raise
        _note(missing, figure, error)
    # Whatever a plotting library raises: it must not cost a run.
    except Exception as error:
        interrupts.raise_again(error)
        _note(missing, figure, error)
    return None


def require_some(folder: Path, missing: Mapping[str, str]) -> None:
    """Raise InputError where not one of several figures could be drawn."""
    if missing and not any(folder.iterdir()):
        reasons = "; ".join(f"{figure}: {reason}" for figure, reason in missing.items())
        raise InputError(
            f"nothing could be drawn ({reasons}), expected one figure at least: give runs that "
            "carry one"
        )


def write_missing(folder: Path, missing: Mapping[str, str]) -> None:
    """Leave the reasons beside the figures; no file where all were drawn."""
    if missing:
        files.write_json(folder / NOT_DRAWN, dict(missing))


def _note(missing: Missing, figure: str, error: Exception) -> None:
    reason = " ".join(str(error).split())
    # The user can mend the first kind; of others the place is what helps.
    if not isinstance(error, InputError):
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
        reason = f"{type(error).__name__}: {reason} ({where})"
    missing[figure] = reason
    log.say(f"note: {figure} could not be drawn: {reason}")
