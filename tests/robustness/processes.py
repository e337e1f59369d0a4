"""Commands as processes that are begun in no time and killed at any.

A command is forked from a process in which everything is imported but no JAX backend is started, so
that a kill costs no imports; a `real` one is started anew, to be killed while it imports. Compiled
programs come from a cache, which only runs that ask for it may fill.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from support.compiler import quick_flags
from support.paths import ROOT

IMPORTED = (
    "anndata",
    "flax.linen",
    "jaxpert.app.cli",
    "jaxpert.app.run",
    "jaxpert.study.command",
    "matplotlib.pyplot",
    "numpyro",
    "orbax.checkpoint",
    "scipy.stats",
    "sklearn.model_selection",
    "tqdm",
)
PROGRESS = (
    "note:",
    "reading",
    "simulating",
    "step ",
    "fitting",
    "predicting",
    "scoring",
    "going on",
    "verdict:",
    "How ",
    "drawing",
    "making",
    "labelling",
    "calling",
    "asking",
)
"""Beginnings of lines that tell how far a run is, its verdict included."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
CACHE_FILLING, CACHE_READING = 0.0, 1e9
"""Seconds that compiling must have taken for a program to be kept."""


class Command(NamedTuple):
    """A command line and how it is run."""

    arguments: Sequence[str]
    log: Path
    """Where all that it says is added."""
    cache: Path
    """Of compiled programs."""
    fill: bool = False
    """Whether it may add to the cache."""
    real: bool = False
    """Whether it is started anew and not forked."""
    before: Callable[[], object] | None = None
    """What a forked process does first, such as becoming another user."""


def environment() -> dict[str, str]:
    """For processes that import this checkout, wherever they are started."""
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def prepare() -> None:
    """Import what commands need."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    # Most of a reference is compiling; bits are compared between programs compiled alike alone.
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
    os.environ.setdefault("XLA_FLAGS", " ".join(quick_flags()))
    for name in IMPORTED:
        importlib.import_module(name)
    families = importlib.import_module("jaxpert.app.families")
    families.all_families()


def start(command: Command) -> int:
    """Begin a command; its process number."""
    if command.real:
        settings = {name.upper(): str(value) for name, value in _cache_settings(command).items()}
        with command.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "jaxpert.app.door", *command.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=environment() | settings,
            ).pid
    # Until the child has handlers of its own, signals wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    number = os.fork()
    if not number:
        _child(command)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    return number


def _child(command: Command) -> NoReturn:
    from jaxpert.app import cli, door

    log = os.open(command.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)

    def work() -> int:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        import jax

        # The variables were read when JAX was imported, before the fork.
        for name, value in _cache_settings(command).items():
            jax.config.update(name, value)
        if command.before is not None:
            command.before()
        return cli.main(list(command.arguments))

    try:
        door.enter(work)
    except SystemExit as end:
        status = end.code
        sys.stdout.flush()
        os._exit(status if isinstance(status, int) else 0)
    except BaseException:
        traceback.print_exc()
    os._exit(99)


def _cache_settings(command: Command) -> dict[str, Any]:
    """Settings of JAX, which are also variables of the environment in capital letters."""
    return {
        "jax_compilation_cache_dir": str(command.cache),
        "jax_persistent_cache_min_compile_time_secs": CACHE_FILLING
        if command.fill
        else CACHE_READING,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }


def ended(number: int, until: float | None = None) -> int | None:
    """The exit status of a process, negative for a signal; None where it runs on after `until`."""
    while True:
        got, status = os.waitpid(number, os.WNOHANG)
        if got:
            return os.waitstatus_to_exitcode(status)
        if until is not None and time.monotonic() >= until:
            return None
        time.sleep(0.002)


def run(command: Command, seconds: float = 600) -> int | None:
    """The exit status of a command that nobody kills; None where it hangs, and is then killed."""
    number = start(command)
    status = ended(number, time.monotonic() + seconds)
    if status is None:
        os.kill(number, signal.SIGKILL)
        ended(number)
    return status


def apart(work: Callable[[], str]) -> str:
    """What a function returns in a forked process, which may start JAX; of an error, its end."""
    reader, writer = os.pipe()
    number = os.fork()
    if not number:
        try:
            text = work()
        except BaseException:
            text = traceback.format_exc()[-800:]
        with os.fdopen(writer, "w") as pipe:
            pipe.write(text)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    status = ended(number)
    return text if status == 0 else f"the process ended with {status}"


def said(log: Path, after: int = 0) -> str:
    """What a log holds behind a place in it."""
    return log.read_bytes()[after:].decode(errors="replace") if log.exists() else ""


def size(log: Path) -> int:
    """How much a log holds."""
    return log.stat().st_size if log.exists() else 0


@contextlib.contextmanager
def killed_at_end(numbers: list[int]) -> Iterator[None]:
    """No process of a campaign outlives it."""
    try:
        yield
    finally:
        for number in numbers:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(number, signal.SIGKILL)
                os.waitpid(number, 0)
