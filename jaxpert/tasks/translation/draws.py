"""Pseudo-bulk groups (the cells of one condition in one batch) and the cells drawn from them, as
tables of row numbers."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jaxpert.core.types import Dataset, InputError

PUBLISHED_SEED = 2992
"""Seed of the published code's first replicate; the r-th (from 0) takes this + r, whatever the
group."""
DRAWS = ("seeded", "published")
# Philox keys are two unsigned words of 64 bits; a negative seed wraps around.
_KEY_MASK = 2**64 - 1


class PseudobulkGroups(NamedTuple):
    """K pseudo-bulk groups, sorted by batch column and there by condition; a batch column belongs
    to one line."""

    condition: Int[np.ndarray, "K"]
    batch: Int[np.ndarray, "K"]
    line: Int[np.ndarray, "K"]
    lines: tuple[str, ...]
    start: Int[np.ndarray, "bounds"]
    """Group k holds `cells[start[k] : start[k + 1]]`; K + 1 numbers."""
    cells: Int[np.ndarray, "N"]
    """Row numbers of all cells, sorted by group and there in file order."""

    def of(self, group: int) -> Int[np.ndarray, "n"]:
        """Row numbers of the cells of one group."""
        return self.cells[self.start[group] : self.start[group + 1]]


class Draws(NamedTuple):
    """S pools of cells with R replicates of D cells each."""

    cells: Int[np.ndarray, "S R D"]
    """Row numbers in the data set."""
    group: Int[np.ndarray, "S"]
    """Pseudo-bulk group of each pool."""
    part: Int[np.ndarray, "S"]
    """The part of the split whose cells the pool holds, -1 for a pool of the whole group."""


def find_pseudobulk_groups(dataset: Dataset) -> PseudobulkGroups:
    """Group the cells of a data set of lines (see `lines.load_lines`) by batch column and
    condition."""
    if "line" not in dataset.obs:
        raise InputError(
            f"{dataset.name!r} has no column 'line', expected one: read it with lines.load_lines"
        )
    lines, line = np.unique(np.asarray(dataset.obs["line"], str), return_inverse=True)
    # One number for batch and condition: sorting by it sorts by both.
    key = dataset.stratum.astype(np.int64) * len(dataset.conditions) + dataset.condition
    present, first, sizes = np.unique(key, return_index=True, return_counts=True)
    batch, condition = np.divmod(present, len(dataset.conditions))
    start = np.concatenate([[0], np.cumsum(sizes)])
    # A stable sort keeps the order of the file within a group, on which seeded draws rest.
    cells = np.argsort(key, kind="stable").astype(np.int32)
    return PseudobulkGroups(condition, batch, line[first], tuple(map(str, lines)), start, cells)


def control_of(dataset: Dataset, pseudobulk: PseudobulkGroups) -> Int[np.ndarray, "K"]:
    """The control group of each perturbed group (-1 for controls): that of its own batch, else the
    largest of its line."""
    size = np.diff(pseudobulk.start)
    control = np.flatnonzero(pseudobulk.condition == dataset.control)
    of_batch = dict(zip(pseudobulk.batch[control].tolist(), control.tolist(), strict=True))
    largest: dict[int, int] = {}
    # Stable, so that of controls of equal size the first group is taken.
    for k in control[np.argsort(-size[control], kind="stable")]:
        largest.setdefault(int(pseudobulk.line[k]), int(k))
    chosen = np.full(len(size), -1)
    for k in np.flatnonzero(pseudobulk.condition != dataset.control):
        # Its own batch comes first, since it shares the batch effect.
        chosen[k] = of_batch.get(int(pseudobulk.batch[k]), largest[int(pseudobulk.line[k])])
    return chosen


def draw_cells(
    pools: Sequence[np.ndarray],
    names: Sequence[str],
    *,
    seed: int,
    replicates: int,
    cells_per_draw: int,
    draw: str = "seeded",
) -> Int[np.ndarray, "S R D"]:
    """Draw `cells_per_draw` of each pool's cells, `replicates` times: without replacement from
    pools of more cells.

    Replicate r of a pool takes the random stream of (seed, the pool's name, r): neither other pools
    nor the number of replicates change it. `draw="published"` repeats the published draws: NumPy's
    legacy generator seeded 2992 + r, so that pools of equal size get equal positions.
    """
    if draw not in DRAWS:
        raise InputError(
            f"the draw is {draw!r}, expected one of {', '.join(DRAWS)}: change data.draw"
        )
    cells = np.empty((len(pools), replicates, cells_per_draw), np.int32)
    if draw == "published":
        _draw_published(pools, cells)
    else:
        _draw_seeded(pools, names, seed, cells)
    return cells


def _draw_seeded(
    pools: Sequence[np.ndarray], names: Sequence[str], seed: int, out: Int[np.ndarray, "S R D"]
) -> None:
    _, replicates, count = out.shape
    philox = np.random.Philox(key=np.zeros(2, np.uint64))
    rng, state = np.random.Generator(philox), philox.state
    for pool, name, rows in zip(pools, names, out, strict=True):
        # A hash of the name, so that a pool's stream does not move when other pools come or go.
        number = zlib.crc32(name.encode())
        # Without replacement only where the pool has more cells than are drawn.
        few = len(pool) <= count
        for r in range(replicates):
            # Setting the key is what a new generator of (seed, pool, r) would be, twenty times
            # faster.
            state["state"]["key"][:] = seed & _KEY_MASK, number << 32 | r
            philox.state = state
            # The order of cells within a draw has no meaning, so NumPy is spared the shuffle.
            rows[r] = pool[rng.choice(len(pool), count, replace=few, shuffle=False)]


def _draw_published(pools: Sequence[np.ndarray], out: Int[np.ndarray, "S R D"]) -> None:
    # Positions depend on the size of the pool alone, so pools of one size share them.
    positions: dict[int, np.ndarray] = {}
    _, replicates, count = out.shape
    for pool, rows in zip(pools, out, strict=True):
        n = len(pool)
        if n not in positions:
            # The legacy generator is the published one; its stream differs from that of newer ones.
            positions[n] = np.empty((replicates, count), int)
            for r in range(replicates):
                rng = np.random.RandomState(PUBLISHED_SEED + r)
                positions[n][r] = rng.choice(n, count, replace=n <= count)
        rows[:] = pool[positions[n]]
