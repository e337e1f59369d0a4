"""What all commands do alike: read flags, and end with one sentence for what a user can mend and an
exit status."""

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from absl import flags

RESUMES = "the same command goes on from the last checkpoint"
UNDONE = "nothing was written"
"""What is true of a command that was interrupted."""


def guarded(work: Callable[[], int], interrupted: str = RESUMES) -> int:
    """The exit status of `work`: 2 after bad input, 1 after a diverged loss, 130 after Ctrl-C, each
    in one sentence."""

    def terminated(*_: object) -> None:
        """Training has its own handler; before and after it there is nothing to save."""
        print(f"terminated; {interrupted}", file=sys.stderr, flush=True)
        sys.exit(0 if interrupted == RESUMES else 143)

    signal.signal(signal.SIGTERM, terminated)
    try:
        return work()
    except KeyboardInterrupt:
        print(f"interrupted; {interrupted}", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError) as error:
        # Compared by name: their modules import JAX, and a mistyped flag must not wait for that.
        status = {"InputError": 2, "NonFiniteLoss": 1}.get(type(error).__name__)
        if status is None:
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return status


def read_flags(values: flags.FlagValues, argv: list[str]) -> flags.FlagValues:
    """The flags with the values given; InputError says what is wrong."""
    from jaxpert.core.types import InputError

    try:
        rest = values(argv)
    except flags.Error as error:
        raise InputError(f"{' '.join(str(error).split())}: see --help for the flags") from error
    if len(rest) > 1:
        raise InputError(f"{rest[1]!r} is not understood, expected --flag=value: see --help")
    return values


def leave(status: int) -> NoReturn:
    """End the process."""
    sys.stderr.flush()
    sys.stdout.flush()
    # After a save that failed, threads of the checkpoint library would print tracebacks while the
    # interpreter closes.
    os._exit(status) if status == 2 else sys.exit(status)
