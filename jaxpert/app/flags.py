"""What all commands do alike: read flags, and end with one sentence for what a user can mend and an
exit status."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import os
import re
import signal
import sys
import threading
import typing
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, NoReturn

from jaxpert.core import interrupts, settings, unforeseen
from jaxpert.core.errors import InputError
from jaxpert.core.ranges import LARGEST_WHOLE, brief, expected, number

RESUMES = "the same command goes on from the last checkpoint"
UNDONE = "nothing was written"
ANEW = "the same command writes all of its results anew"
"""Of commands that write one file of a folder after the other."""
"""What is true of a command that was interrupted."""
SIGNALS: dict[int, tuple[str, int]] = {
    signal.SIGINT: ("interrupted", 130),
    signal.SIGTERM: ("terminated", 143),
}
"""{signal: (word, exit status)}."""
UNFORESEEN = 70
"""Exit status after an error that nobody foresaw."""
LONGEST = 300
"""Signs of an unforeseen error's text that are shown."""


CONFIG = re.compile(r"-config(=|$)")
"""The flag with one dash, which the flags library takes as well."""


class Parser(argparse.ArgumentParser):
    """Argparse, but for its way to say what is wrong."""

    def error(self, message: str) -> NoReturn:
        # Argparse would print its usage and end the process; one sentence is enough.
        hint = ""
        if message.startswith("unrecognized arguments: -") or "expected one argument" in message:
            hint = "write a value that begins with - as --flag=-value, such names behind --, or "
        raise InputError(
            f"the flags are wrong ({message}), expected its own: {hint}see {self.prog} --help"
        )


def guarded(work: Callable[[], int], interrupted: str = RESUMES) -> int:
    """The exit status of `work`: 2 after bad input, 1 after a diverged loss, 130 after Ctrl-C, 143
    after SIGTERM (0 where the work goes on another time), 70 after an error that nobody foresaw;
    each in one sentence.

    A second signal ends the process at once.
    """
    caught = interrupts.CAUGHT

    def end() -> int:
        word, status = SIGNALS[caught[0]]
        # Not by print, which cannot be entered again where a signal interrupted it.
        os.write(2, f"{word}; {interrupted}\n".encode())
        # A training that was ended by its scheduler is no failure: it can go on.
        return 0 if caught[0] == signal.SIGTERM and interrupted == RESUMES else status

    def stop(number: int, frame: FrameType | None) -> None:
        """Training has its own handler; before and after it there is nothing to save."""
        if caught:
            os._exit(end())
        caught.append(number)
        raise KeyboardInterrupt

    def ended() -> None:
        if caught:
            os._exit(end())

    # The folder of an earlier command of this process is not this one's.
    unforeseen.FOLDER.set(None)
    with _handlers(stop, ended):
        try:
            status = work()
            # What swallowed the interrupt may have left something out.
            return end() if caught else status
        except SystemExit as exit_:  # argparse ends the process once it has shown its help
            return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
        except BrokenPipeError:  # the reader of the output has had enough, which is no error
            raise
        except KeyboardInterrupt:
            caught.append(signal.SIGINT)
            return end()
        except Exception as error:
            # Libraries turn an interrupt into errors of theirs, such as a failed import.
            return end() if caught else explained(error)
        finally:
            # Signals of this command are not those of the next one of this process.
            caught.clear()


def explained(error: Exception) -> int:
    """Say an error in one sentence; its exit status."""
    sentence = " ".join(str(error).split())
    # Compared by name: the module of NonFiniteLoss imports JAX, and a mistyped flag must not wait
    # for that.
    status = {"InputError": 2, "NonFiniteLoss": 1}.get(type(error).__name__)
    if status is not None:
        print(f"error: {sentence}", file=sys.stderr)
        return status
    kind, place = type(error).__name__, unforeseen.keep(error)
    hint = ""
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in sentence:
        hint = "; memory ran out, so a lower train.batch_size or fewer genes may help"
    print(
        f"error: {kind} ({sentence[:LONGEST] or 'no more is known'}), which nobody foresaw: its "
        f"traceback is in {place}, please report it with that file{hint}",
        file=sys.stderr,
    )
    return UNFORESEEN


@contextlib.contextmanager
def _handlers(stop: Callable, ended: Callable[[], None]) -> Iterator[None]:
    """Handlers of signals for the time of a command, and `ended` before Python prints a traceback.

    Python prints one itself where an interrupt comes in a place that cannot raise (`__del__`, C
    code that imports NumPy, other threads); after an interrupt the process ends instead.
    """
    # Elsewhere Python allows no handlers, and the main thread has its own.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    places = ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook"))
    hooks = [getattr(*place) for place in places]
    before = {number: signal.signal(number, stop) for number in SIGNALS}
    for place, hook in zip(places, hooks, strict=True):
        setattr(*place, functools.partial(_unless_ended, ended, hook))
    try:
        yield
    finally:
        for place, hook in zip(places, hooks, strict=True):
            setattr(*place, hook)
        for number, handler in before.items():
            signal.signal(number, handler)


def _unless_ended(ended: Callable[[], None], hook: Callable, *error: Any) -> None:
    ended()
    hook(*error)


def add_options(
    parser: argparse.ArgumentParser, options: type, leave_out: Sequence[str] = ()
) -> None:
    """One flag for each field of a settings dataclass, but for some."""
    for field, _ in settings.fields_of(options):
        if field.name in leave_out:
            continue
        default = settings.plain(options())[field.name]
        shown = "" if default in ("", None) else f" (default: {default})"
        # No default is given to the parser, so that a flag left out can be told from one given.
        parser.add_argument(
            f"--{field.name}",
            metavar=field.name.upper(),
            # Argparse takes a percent sign for a place to fill in.
            help=(field.metadata["meaning"] + shown).replace("%", "%%"),
        )


def as_flags(text: str, options: type, section: str) -> str:
    """A text about keys of a config's section as someone reads it who typed flags of their names:
    data.control is --control."""
    for field, _ in settings.fields_of(options):
        text = re.sub(rf"\b{section}\.{field.name}\b", f"--{field.name}", text)
    return text


def read_options(options: type, parsed: argparse.Namespace) -> Any:
    """The settings dataclass that the flags of `add_options` stand for, checked.

    Raises InputError for a value of another type or out of its range.
    """
    given: dict[str, Any] = {}
    for field, kind in settings.fields_of(options):
        # A field may have no flag.
        text = getattr(parsed, field.name, None)
        # Argparse takes a value of two dashes for the end of the flags.
        text = "--" if text == [] else text
        if text is not None:
            given[field.name] = _value(field, kind, text)
    return settings.read(options, given, settings.FLAGS)


def _value(field: dataclasses.Field, kind: Any, text: str) -> Any:
    """A flag's text as a config would hold it."""
    # Texts and joined lists are parsed with the config's own rules.
    if field.metadata["joined"] or kind is str:
        return text
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise InputError(f"--{field.name} is {brief(text)}, expected True or False: correct it")
        return text.lower() == "true"
    # A setting may be a number or None, so the number is looked for among its types.
    scalar = int if int in (kind, *typing.get_args(kind)) else float
    try:
        return number(scalar, text)
    except ValueError as error:
        what = expected(scalar, field.metadata["range"])
        raise InputError(f"--{field.name} is {brief(text)}, expected {what}: correct it") from error


def with_config(arguments: Sequence[str]) -> list[str]:
    """The arguments with `--config NAME` and `-config=NAME` as `--config=NAME`."""
    written: list[str] = []
    for argument in arguments:
        if written and written[-1] == "--config":
            written[-1] = f"--config={argument}"
        else:
            written.append(f"-{argument}" if CONFIG.match(argument) else argument)
    return written


def wants_help(arguments: Sequence[str]) -> bool:
    """Whether help was asked for."""
    return bool({"--help", "-h", "--helpfull"} & set(arguments))


def whole(flag: str, text: str, least: int) -> int:
    """A whole number of at least so much."""
    try:
        value = number(int, text)
    except ValueError:
        value = None
    if value is None or not least <= value <= LARGEST_WHOLE:
        raise InputError(
            f"{flag} is {brief(text)}, expected a whole number, at least {least} and at most "
            f"{LARGEST_WHOLE:,}: correct it"
        )
    return value
