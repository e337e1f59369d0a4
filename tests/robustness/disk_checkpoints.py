"""Checkpoints on a disk that fills up while they are written: each that was said to be saved is
there with its numbers, every other one was refused in a sentence, and the next one is saved once
there is room.

    python -m robustness.disk_checkpoints SECONDS SEED

Apart from `disk`, whose processes are forked from one that has started no JAX.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from jaxpert.core import checkpoint
from jaxpert.core.errors import InputError
from robustness import disk
from robustness.faults import Faults
from support import toy
from support.training_state import state

STEPS = 10, 20
ROOM = 64 << 20
SHARES = 0.01, 0.2, 0.45, 0.6, 0.8, 0.95, 1.1, 2.5
"""Of the room that both checkpoints take; a save needs more for a moment than it leaves."""


def save(work: Path, step: int) -> None:
    with checkpoint.open(work) as manager:
        checkpoint.save(manager, state(step), {"at": step})


def restored(work: Path) -> int | None:
    """The step of the newest checkpoint, whose numbers are checked; None for none."""
    with checkpoint.open(work) as manager:
        if not manager.all_steps():
            return None
        now, meta, _ = checkpoint.restore(manager, state())
    step = meta["at"]
    return step if toy.numbers(now) == toy.numbers(state(step)) else -step


def fill_up(share: float, base: Path, faults: Faults) -> None:
    """One disk of a share of what two checkpoints need."""
    small, name = base / "disk", f"checkpoints on {share:.0%} of their room"
    saved: list[int] = []
    with disk.disk_of(int(share * disk.used(base / "whole")), small):
        for step in STEPS:
            try:
                save(small / "run", step)
                saved.append(step)
            except InputError as error:
                if "is full" not in str(error):
                    faults.add(name, "silent", f"step {step}: {error}")
        disk.resize(ROOM, small)
        there = restored(small / "run")
        save(small / "run", STEPS[-1] + 10)
        after = restored(small / "run")
    good = there == max(saved, default=None) and after == STEPS[-1] + 10
    outcome = "refused" if len(saved) < len(STEPS) else "equal"
    faults.count(name, outcome if good else "differs", f"saved {saved}, then {there} and {after}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Orbax's threads log and raise what the caller is told in a sentence, which is judged here."""
    logger, hooks = logging.getLogger("absl"), (threading.excepthook, sys.unraisablehook)
    logger.disabled = True
    threading.excepthook, sys.unraisablehook = (lambda _: None), (lambda _: None)
    try:
        yield
        # What is unfinished there is told when it is collected, which must not be later.
        gc.collect()
    finally:
        logger.disabled = False
        threading.excepthook, sys.unraisablehook = hooks


def campaign(shares: Iterable[float]) -> Counter:
    """Fill disks of these shares up, one after the other."""
    faults = Faults()
    reason = disk.why_not()
    if reason:
        print(f"disk_checkpoints: nothing was tried, {reason}", flush=True)
        return faults.tally
    with quiet(), tempfile.TemporaryDirectory(prefix="disk") as scratch:
        base = Path(scratch)
        for step in STEPS:
            save(base / "whole", step)
        for share in shares:
            try:
                fill_up(share, base, faults)
            except Exception as error:  # whatever it is, a user would see it
                faults.count(f"checkpoints on {share:.0%}", "traceback", repr(error))
    return faults.tally


def main(seconds: float, seed: int) -> Counter:
    """The fixed shares, and then random ones until the time is over."""
    rng, end = random.Random(seed), time.monotonic() + seconds

    def shares() -> Iterator[float]:
        yield from SHARES
        while time.monotonic() < end:
            yield rng.uniform(0.005, 2)

    return campaign(shares())


if __name__ == "__main__":
    print(dict(main(float(sys.argv[1]), int(sys.argv[2]))))
