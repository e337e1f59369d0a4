"""Means of conditions, compared with the control cells of their own stratum.

A line or batch differs from another one in every gene. Where a condition's cells lie in other
strata than those of the control, or in other proportions, that difference would be scored as an
effect (docs/evaluation.md, "Strata").
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.types import Dataset
from jaxpert.data.moments import Matched, Pseudobulk, condition_means

POOLED = "pooled"


class _Sums(NamedTuple):
    """Sums over strata, to which each stratum adds in place."""

    mean: Float[np.ndarray, "C G"]
    control: Float[np.ndarray, "C G"]
    squares: Float[np.ndarray, "C G"] | None
    """Squared deviations from the mean of the condition in its stratum."""
    freedom: Int[np.ndarray, "C"]
    cells: Int[np.ndarray, "C"]
    empty: Int[np.ndarray, "C"]
    shares: Float[np.ndarray, "C"]
    """Squared cells of the condition over control cells of the stratum."""


def strata_of(dataset: Dataset) -> Int[np.ndarray, "N"] | None:
    """The stratum of each cell, within which effects are measured; None where all cells are
    compared with all controls."""
    if dataset.controls == POOLED or len(dataset.strata) < 2:
        return None
    return dataset.stratum


def shares_of(
    dataset: Dataset, rows: Int[np.ndarray, "n"], count: int | None = None
) -> Float[np.ndarray, "C S"]:
    """Share of the cells `rows` of each condition that lies in each stratum, of the strata with
    control cells alone; rows of 0 where there are none."""
    shape = len(dataset.conditions), count or len(dataset.strata)
    cells = np.zeros(shape)
    np.add.at(cells, (dataset.condition[rows], dataset.stratum[rows]), 1)
    # A stratum without control has nothing to be compared with.
    cells[:, cells[dataset.control] == 0] = 0
    return cells / np.maximum(cells.sum(1, keepdims=True), 1)


def unmatched(dataset: Dataset) -> Bool[np.ndarray, "C"]:
    """Conditions none of whose cells share a stratum with a control cell."""
    return np.asarray(~shares_of(dataset, np.arange(len(dataset.cells))).any(1), bool)


def means_within(
    counts: Any,
    condition: Int[np.ndarray, "N"],
    stratum: Int[np.ndarray, "N"] | None,
    conditions: int,
    control: int,
    scale: str = "log2",
    *,
    variance: bool = False,
    chosen: Int[np.ndarray, "N"] | None = None,
) -> Pseudobulk:
    """Means of conditions as if all of them had the control's proportions of strata.

    Args:
        counts: CSR counts of the cells.
        condition: of each cell.
        stratum: of each cell; None, or one stratum, for `condition_means` as it is.
        conditions: number of conditions.
        control: number of the control condition.
        scale, variance, chosen: as for `condition_means`.

    The effect of a condition is the mean over its strata, weighted by its cells, of its mean minus
    that of the control there; its `mean` is that of the control plus the effect. `variance` is that
    within strata. Cells of strata without control count nowhere.
    """
    # With one stratum nothing is added or taken away, not even a rounding.
    if stratum is None or len(np.unique(stratum)) < 2:
        return condition_means(
            counts, condition, conditions, scale, variance=variance, chosen=chosen
        )
    sums = _zeros(conditions, counts.shape[1], variance)
    # Stratum by stratum: a table of conditions, strata and genes may be larger than memory.
    for number in np.unique(stratum):
        here = np.flatnonzero(stratum == number)
        rows = here if chosen is None else chosen[here]
        means = condition_means(
            counts, condition[here], conditions, scale, variance=variance, chosen=rows
        )
        if means.cells[control]:
            _add(sums, means, control)
    return _pseudobulk(sums, control)


def _zeros(conditions: int, genes: int, variance: bool) -> _Sums:
    table = conditions, genes
    return _Sums(
        mean=np.zeros(table),
        control=np.zeros(table),
        squares=np.zeros(table) if variance else None,
        freedom=np.zeros(conditions, np.int64),
        cells=np.zeros(conditions, np.int64),
        empty=np.zeros(conditions, np.int64),
        shares=np.zeros(conditions),
    )


def _add(sums: _Sums, means: Pseudobulk, control: int) -> None:
    """Add the cells of one stratum in place."""
    present = np.flatnonzero(means.cells)
    cells = means.cells[present]
    sums.mean[present] += cells[:, None] * means.mean[present]
    sums.control[present] += cells[:, None] * means.mean[control]
    sums.cells[present] += cells
    sums.empty[:] += means.empty
    sums.shares[present] += cells**2 / means.cells[control]
    if sums.squares is None or means.variance is None:
        return
    # A single cell has no variance and adds no degree of freedom.
    several = np.flatnonzero(means.cells > 1)
    freedom = means.cells[several] - 1
    sums.squares[several] += freedom[:, None] * means.variance[several]
    sums.freedom[several] += freedom


def _pseudobulk(sums: _Sums, control: int) -> Pseudobulk:
    cells = np.where(sums.cells > 0, sums.cells, np.nan)
    raw, matched = sums.mean / cells[:, None], sums.control / cells[:, None]
    # c + sum_s (n_ps / n_p) (m_ps - c_s) (docs/evaluation.md, "Strata").
    mean = raw[control] + (raw - matched)
    # The control is its own reference, exactly.
    mean[control] = matched[control] = raw[control]
    variance = None
    if sums.squares is not None:
        variance = sums.squares / np.where(sums.freedom > 0, sums.freedom, np.nan)[:, None]
    # var(sum_s w_s c_s) = v sum_s w_s^2 / n_s, as for that many cells of one stratum.
    effective = cells**2 / np.where(sums.shares > 0, sums.shares, np.nan)
    beside = Matched(raw, matched, np.nan_to_num(effective))
    return Pseudobulk(mean, sums.cells, sums.empty, variance, beside)
