"""What a command does now, and how far it is."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from jaxpert.core import log, verbosity

T = TypeVar("T")
PATIENCE = 2.0
"""Seconds after which a terminal gets a bar."""
EVERY = 10.0
"""Seconds between plain lines where there is no terminal."""


@contextlib.contextmanager
def stage(what: str) -> Iterator[None]:
    """Say what is done now; with `--verbose` also how long it took."""
    log.say(what)
    began = time.monotonic()
    yield
    if verbosity.verbose():
        log.say(f"{what}: done in {time.monotonic() - began:.1f} s")


def track(items: Sequence[T], what: str) -> Iterator[T]:
    """The items one by one, with a bar on a terminal and in notebooks, a line now and then
    elsewhere; nothing where they take no time."""
    if verbosity.quiet():
        yield from items
    elif sys.stderr.isatty() or log.in_notebook():
        from tqdm.auto import tqdm

        yield from tqdm(items, desc=what, delay=PATIENCE, leave=False, file=sys.stderr)
    else:
        yield from _lines(items, what)


def _lines(items: Sequence[T], what: str) -> Iterator[T]:
    began = printed = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - printed >= EVERY:
            left = (now - began) * (len(items) - done) / done
            log.say(f"{what}: {done} of {len(items)}, {log.duration(left)} left")
            printed = now
        yield item
