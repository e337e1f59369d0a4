"""What all commands do alike: read flags, and end with one sentence for what a user can mend and an
exit status."""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import sys
import typing
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from jaxpert.core import settings
from jaxpert.core.errors import InputError

RESUMES = "the same command goes on from the last checkpoint"
UNDONE = "nothing was written"
"""What is true of a command that was interrupted."""


class Parser(argparse.ArgumentParser):
    """Argparse, but for its way to say what is wrong."""

    def error(self, message: str) -> NoReturn:
        # Argparse would print its usage and end the process; one sentence is enough.
        raise InputError(f"{message}: see {self.prog} --help")


def guarded(work: Callable[[], int], interrupted: str = RESUMES) -> int:
    """The exit status of `work`: 2 after bad input, 1 after a diverged loss, 130 after Ctrl-C, each
    in one sentence."""

    def terminated(*_: object) -> None:
        """Training has its own handler; before and after it there is nothing to save."""
        print(f"terminated; {interrupted}", file=sys.stderr, flush=True)
        # A training that was ended by its scheduler is no failure: it can go on.
        sys.exit(0 if interrupted == RESUMES else 143)

    signal.signal(signal.SIGTERM, terminated)
    try:
        return work()
    except SystemExit as end:  # argparse ends the process once it has shown its help
        return int(end.code or 0)
    except KeyboardInterrupt:
        print(f"interrupted; {interrupted}", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError) as error:
        # Compared by name: the module of NonFiniteLoss imports JAX, and a mistyped flag must not
        # wait for that.
        status = {"InputError": 2, "NonFiniteLoss": 1}.get(type(error).__name__)
        if status is None:
            # An error that nobody foresaw keeps its traceback.
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return status


def add_options(parser: argparse.ArgumentParser, options: type) -> None:
    """One flag for each field of a settings dataclass."""
    for field, _ in settings.fields_of(options):
        default = settings.plain(options())[field.name]
        shown = "" if default in ("", None) else f" (default: {default})"
        # No default is given to the parser, so that a flag left out can be told from one given.
        parser.add_argument(
            f"--{field.name}",
            metavar=field.name.upper(),
            # Argparse takes a percent sign for a place to fill in.
            help=(field.metadata["meaning"] + shown).replace("%", "%%"),
        )


def read_options(options: type, parsed: argparse.Namespace) -> Any:
    """The settings dataclass that the flags of `add_options` stand for, checked.

    Raises InputError for a value of another type or out of its range.
    """
    given: dict[str, Any] = {}
    for field, kind in settings.fields_of(options):
        text = getattr(parsed, field.name)
        if text is not None:
            given[field.name] = _value(field, kind, text)
    return settings.read(options, given, "-")


def _value(field: dataclasses.Field, kind: Any, text: str) -> Any:
    """A flag's text as a config would hold it."""
    # Texts and joined lists are parsed with the config's own rules.
    if field.metadata["joined"] or kind is str:
        return text
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise InputError(f"--{field.name} is {text!r}, expected True or False: correct it")
        return text.lower() == "true"
    # A setting may be a number or None, so the number is looked for among its types.
    number = int if int in (kind, *typing.get_args(kind)) else float
    try:
        return number(text)
    except ValueError as error:
        what = "a whole number" if number is int else "a number"
        raise InputError(f"--{field.name} is {text!r}, expected {what}: correct it") from error


def wants_help(arguments: Sequence[str]) -> bool:
    """Whether help was asked for."""
    return bool({"--help", "-h", "--helpfull"} & set(arguments))


def leave(status: int) -> NoReturn:
    """End the process."""
    # Ending at once would lose what is still in the buffers.
    sys.stderr.flush()
    sys.stdout.flush()
    # After a save that failed, threads of the checkpoint library would print tracebacks while the
    # interpreter closes.
    os._exit(status) if status == 2 else sys.exit(status)
