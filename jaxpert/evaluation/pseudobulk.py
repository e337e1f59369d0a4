"""Mean expression per condition from sparse counts, and average treatment effects."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.types import Dataset, InputError

SCALES = {"log2": np.log(2.0), "ln": 1.0, "given": None}
"""log2(1 + 1e4 x / sum x), the scale of average treatment effects, ln of the same, and values left
as they are."""
TARGET = 1e4
ROWS = 4096


class Pseudobulk(NamedTuple):
    """Sufficient statistics of normalised log expression, condition by condition."""

    mean: Float[np.ndarray, "C G"]
    """NaN where a condition has no cells."""
    cells: Int[np.ndarray, "C"]
    """Cells behind each mean."""
    empty: Int[np.ndarray, "C"]
    """Cells left out because they hold no counts at all."""
    variance: Float[np.ndarray, "C G"] | None = None
    """Sample variance over cells (ddof 1); NaN below two cells, None unless asked for."""


def condition_means(
    counts: Any,
    condition: Int[np.ndarray, "N"],
    n_conditions: int,
    scale: str = "log2",
    *,
    variance: bool = False,
    rows: int = ROWS,
) -> Pseudobulk:
    """Average log(1 + 1e4 x / sum x) over the cells of each condition, `rows` cells at a time and
    never dense.

    Args:
        counts: `scipy.sparse` CSR matrix `[N, G]` of counts (or anything it can be made from).
        condition: condition of each cell, in [0, n_conditions).
        n_conditions: C, the number of rows of the answer.
        scale: "log2" (average treatment effects), "ln", or "given" for values that are no counts
            but normalised before.
        variance: whether to compute the variance over cells too, which doubles the work.
        rows: cells normalised at a time; memory is that of their non-zeros and of the `[C, G]`
            answer in float64.

    Cells without counts cannot be normalised: they are excluded and counted in `empty`.
    """
    from scipy import sparse

    if scale not in SCALES:
        raise ValueError(f"scale is {scale!r}, expected one of {sorted(SCALES)}")
    counts = sparse.csr_matrix(counts)
    sums = np.zeros((n_conditions, counts.shape[1]))
    squares = np.zeros_like(sums) if variance else None
    cells, empty = np.zeros(n_conditions, np.int64), np.zeros(n_conditions, np.int64)
    for start in range(0, counts.shape[0], rows):
        y, full = normalise(counts[start : start + rows], SCALES[scale])
        group = condition[start : start + rows]
        cells += np.bincount(group[full], minlength=n_conditions)
        empty += np.bincount(group[~full], minlength=n_conditions)
        _add_by_condition(sums, y, group)
        if squares is not None:
            _add_by_condition(squares, y.multiply(y).tocsr(), group)
    mean = _divide(sums, cells)
    spread = (
        None
        if squares is None
        else _divide(squares - cells[:, None] * np.nan_to_num(mean) ** 2, cells - 1)
    )
    return Pseudobulk(mean, cells, empty, None if spread is None else np.maximum(spread, 0))


def effects(pseudobulk: Pseudobulk, control: int) -> Float[np.ndarray, "C G"]:
    """Average treatment effect of each condition: its mean minus the control's; NaN rows where it
    has no cells."""
    if pseudobulk.cells[control] == 0:
        raise InputError(
            "no control cell with counts is left to compare perturbations with, expected at least "
            "one: "
            "check `data.control`, or loosen the quality criteria"
        )
    return pseudobulk.mean - pseudobulk.mean[control]


def passed_rows(dataset: Dataset, split: str = "all") -> Int[np.ndarray, "n"]:
    """Rows of the cells of `split` that pass the quality criteria (all of them where there are no
    labels)."""
    rows = dataset.rows(split)
    return rows if dataset.quality is None else rows[~dataset.quality.failed[rows]]


def observed_means(
    dataset: Dataset, split: str = "all", scale: str = "log2", *, variance: bool = False
) -> Pseudobulk:
    """Pseudobulk of the QC-passed cells of `split`: "all" is the paper's data side, "train" what
    baselines may see."""
    rows = passed_rows(dataset, split)
    whole = len(rows) == dataset.counts.shape[0]
    counts = dataset.counts if whole else dataset.counts[rows]
    return condition_means(
        counts, dataset.condition[rows], len(dataset.conditions), scale, variance=variance
    )


def held_out_rows(dataset: Dataset) -> Int[np.ndarray, "n"]:
    """Rows of the QC-passed test cells, with every QC-passed control cell where the test split has
    no control."""
    rows = passed_rows(dataset, "test")
    if (dataset.condition[rows] == dataset.control).any():
        return rows
    passed = passed_rows(dataset)
    return np.sort(np.concatenate([rows, passed[dataset.condition[passed] == dataset.control]]))


def held_out_effects(dataset: Dataset, scale: str = "log2") -> Float[np.ndarray, "C G"]:
    """Effects measured on test cells only; NaN rows for conditions without any.

    The honest target for a split of cells, where the paper's own target (all splits together) holds
    the very cells that models and baselines were trained on. For a split of combinations the two
    nearly agree.
    """
    rows = held_out_rows(dataset)
    means = condition_means(
        dataset.counts[rows], dataset.condition[rows], len(dataset.conditions), scale
    )
    return effects(means, dataset.control)


def technical_duplicate(
    counts: Any,
    condition: Int[np.ndarray, "N"],
    n_conditions: int,
    control: int,
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "C G"], Float[np.ndarray, "C G"]]:
    """Effects from two random halves of every condition's cells: scored against each other they are
    the ceiling.

    Both halves carry the noise of half the cells, so this is what a repeated experiment of half the
    size would reach, not an upper bound: a model that averages noise away may pass it. Conditions
    of a single cell get a NaN row.
    """
    order = rng.permutation(len(condition))
    order = order[np.argsort(condition[order], kind="stable")]
    start = np.searchsorted(condition[order], np.arange(n_conditions))
    half = (np.arange(len(order)) - start[condition[order]]) % 2
    first, second = (np.sort(order[half == h]) for h in (0, 1))
    means = (
        condition_means(counts[rows], condition[rows], n_conditions) for rows in (first, second)
    )
    first_effects, second_effects = (effects(m, control) for m in means)
    return first_effects, second_effects


def normalise(counts: Any, unit: float | None) -> tuple[Any, np.ndarray]:
    """CSR counts on the log scale (float64; one of SCALES), and which of the cells hold counts."""
    if unit is None:
        return counts.astype(np.float64), np.ones(counts.shape[0], bool)
    totals = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    factor = TARGET / np.where(totals > 0, totals, 1)
    y = counts.astype(np.float64)
    y.data = np.log1p(y.data * np.repeat(factor, np.diff(y.indptr))) / unit
    return y, totals > 0


def _add_by_condition(sums: np.ndarray, y: Any, group: np.ndarray) -> None:
    """Add every cell of `y` to the row of its condition, in place."""
    from scipy import sparse

    member = sparse.csr_matrix(
        (np.ones(len(group)), (group, np.arange(len(group)))), (len(sums), len(group))
    )
    block = (
        member @ y
    ).tocoo()  # one entry per (condition, gene), so the fancy addition below loses nothing
    sums[block.row, block.col] += block.data


def _divide(sums: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Rows divided by their counts, NaN where the count is not positive."""
    return sums / np.where(cells > 0, cells, np.nan)[:, None]
