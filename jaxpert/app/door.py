"""The door of every command: from its first moment on, Ctrl-C ends it in one sentence.

Only commands import it, since importing it is what puts the handler in place: a Ctrl-C while
modules are being imported would end in a traceback. `flags.guarded` takes over once they are. What
happens while Python itself starts is out of reach.
"""

from __future__ import annotations

import os
import signal
import sys


def _stop(*_: object) -> None:
    """Before and after a command has handlers of its own there is nothing to save."""
    # Not by print, which cannot be entered again where it was interrupted itself.
    os.write(2, b"interrupted\n")
    os._exit(130)


signal.signal(signal.SIGINT, _stop)

# Only now, since importing typing alone takes longer than all that is above.
from collections.abc import Callable  # noqa: E402
from typing import NoReturn  # noqa: E402


def script(*command: str) -> NoReturn:
    """The installed command, and the scripts that stand for one of its commands."""

    def work() -> int:
        from jaxpert.app.cli import main

        return main([*command, *sys.argv[1:]])

    enter(work)


def enter(work: Callable[[], int]) -> NoReturn:
    """Do the work of a command, whatever it imports, and end the process with its exit status."""
    signal.signal(signal.SIGINT, _stop)
    from jaxpert.core import kept_programs

    kept_programs.keep()
    try:
        status = work()
        # What is left in the buffers may find its reader gone, which is seen here.
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:  # the reader of the output, such as `head`, has had enough
        status = 0
        # The output is closed, and flushing it at the end would raise once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Where nothing was cached in a temporary folder there is no such module.
    if status and (caches := sys.modules.get("jaxpert.core.caches")):
        caches.remove_temporary()
    # After a failure, threads of libraries would print tracebacks while the interpreter closes.
    os._exit(status) if status else sys.exit(0)


if __name__ == "__main__":
    script()
