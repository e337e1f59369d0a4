"""Spectra (the cells of one condition in one batch) and the cells drawn from them, as tables of row
numbers."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jaxpert.core.types import Dataset, InputError

PUBLISHED_SEED = 2992
"""Seed of the published code's first replicate; the r-th (from 0) takes this + r, whatever the
spectrum."""
DRAWS = ("seeded", "published")
_KEY_MASK = 2**64 - 1


class Spectra(NamedTuple):
    """K spectra, sorted by batch column and there by condition; a batch column belongs to one
    line."""

    condition: Int[np.ndarray, "K"]
    batch: Int[np.ndarray, "K"]
    line: Int[np.ndarray, "K"]
    lines: tuple[str, ...]
    start: Int[np.ndarray, "bounds"]
    """Spectrum k holds `cells[start[k] : start[k + 1]]`; K + 1 numbers."""
    cells: Int[np.ndarray, "N"]
    """Row numbers of all cells, sorted by spectrum and there in file order."""

    def of(self, spectrum: int) -> Int[np.ndarray, "n"]:
        """Row numbers of the cells of one spectrum."""
        return self.cells[self.start[spectrum] : self.start[spectrum + 1]]


class Draws(NamedTuple):
    """S pools of cells with R replicates of D cells each."""

    cells: Int[np.ndarray, "S R D"]
    """Row numbers in the data set."""
    spectrum: Int[np.ndarray, "S"]
    part: Int[np.ndarray, "S"]
    """The part of the split whose cells the pool holds, -1 for a pool of the whole spectrum."""


def find_spectra(dataset: Dataset) -> Spectra:
    """Group the cells of an integrated data set (see `load_lines`)."""
    if "line" not in dataset.obs:
        raise InputError(
            f"{dataset.name!r} has no column 'line', expected one: read it with spectra.load_lines"
        )
    lines, line = np.unique(np.asarray(dataset.obs["line"], str), return_inverse=True)
    key = dataset.stratum.astype(np.int64) * len(dataset.conditions) + dataset.condition
    present, first, cells = np.unique(key, return_index=True, return_counts=True)
    batch, condition = np.divmod(present, len(dataset.conditions))
    start = np.concatenate([[0], np.cumsum(cells)])
    order = np.argsort(key, kind="stable").astype(np.int32)
    return Spectra(condition, batch, line[first], tuple(map(str, lines)), start, order)


def control_of(dataset: Dataset, spectra: Spectra) -> Int[np.ndarray, "K"]:
    """The control spectrum of each perturbed one (-1 for controls): its own batch's, else the
    largest of its line."""
    size = np.diff(spectra.start)
    control = np.flatnonzero(spectra.condition == dataset.control)
    here = {int(spectra.batch[k]): int(k) for k in control}
    largest: dict[int, int] = {}
    for k in control[np.argsort(-size[control], kind="stable")]:
        largest.setdefault(int(spectra.line[k]), int(k))
    found = np.full(len(size), -1)
    for k in np.flatnonzero(spectra.condition != dataset.control):
        found[k] = here.get(int(spectra.batch[k]), largest[int(spectra.line[k])])
    return found


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
    out = np.empty((len(pools), replicates, cells_per_draw), np.int32)
    if draw == "published":
        _draw_published(pools, out)
        return out
    philox = np.random.Philox(key=np.zeros(2, np.uint64))
    rng, fresh = np.random.Generator(philox), philox.state
    for pool, name, rows in zip(pools, names, out, strict=True):
        number = zlib.crc32(name.encode())
        for r in range(replicates):
            # Setting the key is what a new generator of (seed, pool, r) would be, twenty times
            # faster.
            fresh["state"]["key"][:] = seed & _KEY_MASK, number << 32 | r
            philox.state = fresh
            rows[r] = pool[
                rng.choice(
                    len(pool), cells_per_draw, replace=len(pool) <= cells_per_draw, shuffle=False
                )
            ]
    return out


def _draw_published(pools: Sequence[np.ndarray], out: Int[np.ndarray, "S R D"]) -> None:
    positions: dict[int, np.ndarray] = {}
    _, replicates, cells = out.shape
    for pool, rows in zip(pools, out, strict=True):
        n = len(pool)
        if n not in positions:
            legacy = [np.random.RandomState(PUBLISHED_SEED + r) for r in range(replicates)]
            positions[n] = np.stack([rng.choice(n, cells, replace=n <= cells) for rng in legacy])
        rows[:] = pool[positions[n]]
