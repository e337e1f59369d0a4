"""The two sides of a row of the table, each in a process of its own, timed in turn."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

from benchmarks import measure


class Work(NamedTuple):
    """What a side does in a call, compiled and warm."""

    call: Callable[[], Any]
    """Waits for its own result."""
    steps: int = 1
    """Steps, sets or pairs in a call."""
    flops: float | None = None
    """Of the products of one step; None where it has none worth counting."""


class Task(NamedTuple):
    """How a process makes its work: a function of a module and what it is called with."""

    make: Callable[..., Work]
    arguments: tuple = ()


class Timed(NamedTuple):
    """What was seen of one side."""

    seconds: list[float]
    """Of one step, in each round."""
    flops: float | None
    peak_mb: float


class Running(NamedTuple):
    """A process with its work."""

    pool: ProcessPoolExecutor
    steps: int
    flops: float | None


_here: dict[str, Work] = {}
"""The work of this process."""


def in_turn(tasks: Sequence[Task], rounds: int) -> list[Timed]:
    """Time the tasks call by call in turn, so that all see the same load; a first round is not
    counted. Peak memory is each one's own."""
    running = [_start(task) for task in tasks]
    try:
        seconds: list[list[float]] = [[] for _ in tasks]
        for number in range(rounds + 1):
            for side, taken in zip(running, seconds, strict=True):
                one = side.pool.submit(_call).result() / side.steps
                if number:
                    taken.append(one)
        return [
            Timed(taken, side.flops, side.pool.submit(measure.peak_mb).result())
            for side, taken in zip(running, seconds, strict=True)
        ]
    finally:
        for side in running:
            side.pool.shutdown()


def _start(task: Task) -> Running:
    # Spawned, so that nothing of this process is in its memory.
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    return Running(pool, *pool.submit(_begin, task).result())


def _begin(task: Task) -> tuple[int, float | None]:
    work = _here["work"] = task.make(*task.arguments)
    return work.steps, work.flops


def _call() -> float:
    return measure.clock(_here["work"].call)[0]
