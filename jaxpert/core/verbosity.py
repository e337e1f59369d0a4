"""How much a command tells: `--quiet`, `--verbose`, or what is between."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar

from jaxpert.core.errors import InputError

QUIET, NORMAL, VERBOSE = 0, 1, 2
LEVEL: ContextVar[int] = ContextVar("LEVEL", default=NORMAL)
FLAGS = {"--quiet": QUIET, "--verbose": VERBOSE}


def quiet() -> bool:
    """Whether results alone are told."""
    return LEVEL.get() == QUIET


def verbose() -> bool:
    """Whether everything is told."""
    return LEVEL.get() == VERBOSE


def take_flags(arguments: Sequence[str]) -> list[str]:
    """Set the level that the flags among the arguments ask for, and return the others.

    Raises InputError where both are there.
    """
    asked = [name for name in FLAGS if name in arguments]
    if len(asked) > 1:
        raise InputError(
            "--quiet and --verbose are both given, expected one of them: leave one out"
        )
    # Set anew for every command, since tests and notebooks call several in one process.
    LEVEL.set(FLAGS[asked[0]] if asked else NORMAL)
    return [argument for argument in arguments if argument not in FLAGS]
