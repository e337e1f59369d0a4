"""The table of `make bench`: each family's work here beside the same work written plainly."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks import cradle, cycseq, floor, gears, interactions, measure
from benchmarks.sides import Task, Timed, in_turn

HEADER = (
    "work",
    "ours ms",
    "spread",
    "per second",
    "of the floor",
    "peak MB",
    "plain ms",
    "spread",
    "peak MB",
    "plain / ours",
)


class Row(NamedTuple):
    """One line of the table."""

    name: str
    unit: int
    """Cells of a step, sets of a prediction or pairs of a score, for the rate."""
    tasks: Callable[[], tuple[Task, Task]]
    """Ours and the plain one."""
    rounds: int


def _cradle(particles: int, steps: int) -> tuple[Task, Task]:
    given = (*measure.in_child(cradle.ingredients), particles)
    return Task(cradle.ours_work, (*given, steps)), Task(cradle.plain_work, given)


def _cycseq(rows: int, steps: int) -> tuple[Task, Task]:
    return Task(cycseq.ours_work, (rows, steps)), Task(cycseq.plain_work, (rows,))


ROWS = {
    "cradle1": Row(
        "CRADLE-VAE step, 1 particle, 512 cells, 5,000 genes", 512, lambda: _cradle(1, 5), 7
    ),
    "cradle5": Row(
        "CRADLE-VAE step, 5 particles, 512 cells, 5,000 genes", 512, lambda: _cradle(5, 3), 5
    ),
    "gears": Row(
        "GEARS step, 32 cells, 5,000 genes",
        32,
        lambda: (Task(gears.ours_work, (5,)), Task(gears.plain_work)),
        7,
    ),
    "gears_set": Row(
        "GEARS prediction of a set, 300 control cells",
        1,
        lambda: (Task(gears.ours_prediction), Task(gears.plain_prediction)),
        5,
    ),
    "cycseq64": Row("CycSeq step, 64 rows, 6,742 genes", 64, lambda: _cycseq(64, 4), 7),
    "cycseq512": Row("CycSeq step, 512 rows, 6,742 genes", 512, lambda: _cycseq(512, 2), 5),
    "interactions": Row(
        "interaction scores of a pair, 1,000 genes",
        1,
        lambda: (Task(interactions.ours_work), Task(interactions.plain_work)),
        5,
    ),
}
"""By the names that `python -m benchmarks table NAME ...` takes."""


def lines(names: Sequence[str] = ()) -> list[str]:
    """The table in Markdown, made line by line."""
    made = ["| " + " | ".join(HEADER) + " |", "|---" + "|---:" * (len(HEADER) - 1) + "|"]
    speeds, began = [], time.monotonic()
    for name in names or ROWS:
        row = ROWS[name]
        ours, plain, products = in_turn([*row.tasks(), Task(floor.work)], row.rounds)
        assert products.flops is not None
        speeds.append(products.flops / float(np.median(products.seconds)))
        made.append("| " + " | ".join(_cells(row, ours, plain, speeds[-1])) + " |")
    minutes = (time.monotonic() - began) / 60
    low, high = (1e-9 * speed for speed in (min(speeds), max(speeds)))
    made += [
        "",
        f"Float32 products of {floor.SIZE:,} x {floor.SIZE:,} matrices ran at {low:.0f} to "
        f"{high:.0f} GFLOP/s beside the rows, which is the floor. The table took {minutes:.0f} "
        "minutes.",
    ]
    return made


def _cells(row: Row, ours: Timed, plain: Timed, speed: float) -> list[str]:
    median, other = float(np.median(ours.seconds)), float(np.median(plain.seconds))
    share = "-" if ours.flops is None else f"{ours.flops / speed / median:.0%}"
    # Round by round, so that a load that comes and goes meets both.
    ratio = float(np.median(np.divide(plain.seconds, ours.seconds)))
    return [
        row.name,
        _milliseconds(median),
        _spread(ours.seconds),
        f"{row.unit / median:,.0f}",
        share,
        f"{ours.peak_mb:,.0f}",
        _milliseconds(other),
        _spread(plain.seconds),
        f"{plain.peak_mb:,.0f}",
        f"{ratio:.2f}",
    ]


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:,.1f}" if seconds < 0.1 else f"{1e3 * seconds:,.0f}"


def _spread(seconds: Sequence[float]) -> str:
    return f"{_milliseconds(min(seconds))} to {_milliseconds(max(seconds))}"
