"""Log-normalised cells and their means and variances, from sparse counts and never through a dense
matrix.

This is the one place that takes ln(1 + 1e4 x / sum x), for specs, gene graphs, variable genes, the
choice of strong perturbations and pseudo-bulk alike. Sums are in float64 over stored entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.types import InputError
from jaxpert.data.counts import row_blocks
from jaxpert.data.mapped import rows_of

LIBRARY = 1e4
"""Common total of the log-normalised scale."""
SCALES = {"log2": np.log(2.0), "ln": 1.0, "given": None}
"""log2(1 + 1e4 x / sum x), the scale of average treatment effects, ln of the same, and values left
as they are."""
ROWS = 4096


def log_normalise(counts: Any, unit: float | None = 1.0) -> tuple[Any, Bool[np.ndarray, "N"]]:
    """CSR counts on the log scale in float64, and which of the cells hold counts.

    `unit` is one of the values of SCALES: what the natural logarithm is divided by, or None for
    values that are left as they are.
    """
    values = counts.astype(np.float64)
    if unit is None:
        return values, np.ones(counts.shape[0], bool)
    total = np.asarray(values.sum(axis=1)).ravel()
    # An empty cell has no scale: it stays empty, and the returned mask tells of it.
    factor = LIBRARY / np.where(total > 0, total, 1)
    # ln(1 + 0) = 0, so only stored entries change and the matrix stays sparse.
    values.data = np.log1p(values.data * np.repeat(factor, np.diff(values.indptr))) / unit
    return values, total > 0


def log_normalised_blocks(counts: Any, keep: Bool[np.ndarray, "N"]) -> Iterator[Any]:
    """CSR blocks of ln(1 + 1e4 x / sum x) of the kept rows that have counts."""
    for block in kept_blocks(counts, keep):
        values, filled = log_normalise(block)
        # A cell without counts has no place on this scale.
        yield values[filled]


def log_normalised_mean(counts: Any, keep: Bool[np.ndarray, "N"]) -> Float[np.ndarray, "G"]:
    """Gene-wise mean of ln(1 + 1e4 x / sum x) over the kept rows of a CSR matrix that have
    counts."""
    total, cells = np.zeros(counts.shape[1]), 0
    for block in log_normalised_blocks(counts, keep):
        total += gene_sums(block, block.data)
        cells += block.shape[0]
    return total / max(cells, 1)


def log_moments(
    counts: Any, keep: Bool[np.ndarray, "N"] | None = None
) -> tuple[Float[np.ndarray, "G"], Float[np.ndarray, "G"]]:
    """Gene-wise mean and sample standard deviation (ddof 1) of ln(1 + x) over the kept rows of a
    CSR matrix.

    Two passes: the spread is summed around the mean, so that a constant gene gets 0 but for
    rounding.
    """
    cells, genes = counts.shape[0] if keep is None else int(keep.sum()), counts.shape[1]
    if cells < 2:
        raise InputError(
            f"the training cells are {cells}, expected at least 2 to standardise by: change "
            "split.kind"
        )
    total, seen, spread = np.zeros(genes), np.zeros(genes), np.zeros(genes)
    for block in kept_blocks(counts, keep):
        total += gene_sums(block, np.log1p(block.data.astype(np.float64)))
        # The second pass meets stored entries only, so the others are counted here.
        seen += np.bincount(block.indices, minlength=genes)
    mean = total / cells
    for block in kept_blocks(counts, keep):
        deviation = np.log1p(block.data.astype(np.float64)) - mean[block.indices]
        spread += gene_sums(block, deviation * deviation)
    # The cells without an entry of the gene lie its mean away from it.
    spread += (cells - seen) * mean * mean
    # Divisor one less than the number (docs/models/cradle.md, "Encoder input").
    return mean, np.sqrt(spread / (cells - 1))


class Matched(NamedTuple):
    """What each condition is compared with where cells are compared within their strata."""

    mean: Float[np.ndarray, "C G"]
    """Mean of the cells themselves, the difference between strata included."""
    control: Float[np.ndarray, "C G"]
    """Mean of the control cells of the same strata, in the proportions of the condition's cells."""
    cells: Float[np.ndarray, "C"]
    """Control cells of one stratum that would make `control` as sure as it is."""


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
    matched: Matched | None = None
    """Where cells were compared within several strata (`evaluation.strata`)."""


def condition_means(
    counts: Any,
    condition: Int[np.ndarray, "N"],
    n_conditions: int,
    scale: str = "log2",
    *,
    variance: bool = False,
    rows: int = ROWS,
    chosen: Int[np.ndarray, "N"] | None = None,
) -> Pseudobulk:
    """Average log(1 + 1e4 x / sum x) over the cells of each condition, `rows` cells at a time.

    Args:
        counts: `scipy.sparse` CSR matrix `[N, G]` of counts (or anything it can be made from).
        condition: condition of each cell, in [0, n_conditions); of the chosen ones alone.
        n_conditions: C, the number of rows of the answer.
        scale: "log2" (average treatment effects), "ln", or "given" for values that are no counts
            but normalised before.
        variance: whether to compute the variance over cells too, which doubles the work.
        rows: cells normalised at a time; memory is that of their non-zeros and of the `[C, G]`
            answer in float64.
        chosen: numbers of the cells to average, in this order; None for all.

    Cells without counts cannot be normalised: they are excluded and counted in `empty`.
    """
    from scipy import sparse

    if scale not in SCALES:
        raise InputError(f"scale is {scale!r}, expected one of {sorted(SCALES)}: correct it")
    counts = sparse.csr_matrix(counts)
    sums = np.zeros((n_conditions, counts.shape[1]))
    squares = np.zeros_like(sums) if variance else None
    cells, empty = np.zeros(n_conditions, np.int64), np.zeros(n_conditions, np.int64)
    # All normalised at once would take eight times the memory of one-byte counts.
    for start in range(0, len(condition), rows):
        some = slice(start, start + rows)
        block = rows_of(counts, some if chosen is None else chosen[some])
        values, filled = log_normalise(block, SCALES[scale])
        group = condition[some]
        cells += np.bincount(group[filled], minlength=n_conditions)
        empty += np.bincount(group[~filled], minlength=n_conditions)
        # Empty cells hold no entry, so they add nothing and need no mask.
        add_by_group(sums, values, group)
        if squares is not None:
            add_by_group(squares, values.multiply(values).tocsr(), group)
    mean = _divide(sums, cells)
    if squares is None:
        return Pseudobulk(mean, cells, empty)
    # (sum y^2 - n mean^2) / (n - 1): in float64, log values lose few digits to it.
    spread = _divide(squares - cells[:, None] * np.nan_to_num(mean) ** 2, cells - 1)
    # Rounding can leave a constant gene below 0; NaN passes through.
    return Pseudobulk(mean, cells, empty, np.maximum(spread, 0))


def add_by_group(sums: Float[np.ndarray, "K G"], values: Any, group: Int[np.ndarray, "n"]) -> None:
    """Add every cell of the CSR matrix `values` to the row of its group, in place."""
    from scipy import sparse

    cells = len(group)
    # One-hot rows turn the sums by group into one sparse product.
    member = sparse.csr_matrix((np.ones(cells), (group, np.arange(cells))), (len(sums), cells))
    # One entry per (group, gene), so the addition at an index array loses nothing.
    block = (member @ values).tocoo()
    sums[block.row, block.col] += block.data


def gene_sums(block: Any, values: Float[np.ndarray, "nnz"]) -> Float[np.ndarray, "G"]:
    """Sum by gene of values that stand in place of the stored entries of a CSR matrix."""
    # Without entries bincount would return whole numbers.
    return np.bincount(block.indices, values, block.shape[1]).astype(np.float64, copy=False)


def kept_blocks(counts: Any, keep: Bool[np.ndarray, "N"] | None) -> Iterator[Any]:
    """Blocks of rows, cut before rows are chosen, so that the kept rows are never copied all at
    once."""
    for rows, block in row_blocks(counts):
        yield block if keep is None else block[keep[rows]]


def _divide(sums: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Rows divided by their counts, NaN where the count is not positive."""
    return sums / np.where(cells > 0, cells, np.nan)[:, None]
