"""Differential expression: every condition against control by Welch's t, from sums and squared sums
alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.errors import InputError
from jaxpert.evaluation.pseudobulk import Pseudobulk

CONSTANT = 1e-12
"""Spread or difference below this share of the values themselves is rounding."""
TOP = 20


class Ranking(NamedTuple):
    """Genes of each condition by how much they differ from control, and the sets that scores are
    taken over."""

    score: Float[np.ndarray, "C G"]
    """Welch's t; 0 where it is undefined (constant genes, conditions or controls of a single
    cell)."""
    order: Int[np.ndarray, "C G"]
    """Genes by descending |score|, ties in the order of the genes."""
    ranked: Bool[np.ndarray, "C"]
    """False where there is no score at all: the reference itself, and fewer than two cells on
    either side."""
    nonzero: Bool[np.ndarray, "C G"]
    """Genes with a mean other than 0 in the condition."""
    non_dropout: Bool[np.ndarray, "C G"]
    """Those, and genes whose mean is 0 in the reference too: a zero in both counts as a true
    zero."""


def rank(moments: Pseudobulk, reference: int | Int[np.ndarray, "C"]) -> Ranking:
    """Rank the genes of every condition.

    Args:
        moments: means, variances and cells (`condition_means(..., variance=True)`), on a log scale
            as a rule.
        reference: row of the control condition, or a row for each condition (the control of its own
            cell line). Of moments taken within strata the control beside each condition counts.

    t = (m1 - m0) / sqrt(v1/n1 + v0/n0) with sample variances, which is scanpy's "t-test" with
    `rankby_abs`; a t of 0/0 is 0, and a gene that is constant on both sides with different values
    comes first.
    """
    if moments.variance is None:
        raise InputError(
            "the moments have no variance, expected some: make them by "
            "condition_means(..., variance=True)"
        )
    rows = np.arange(len(moments.mean))
    reference = np.broadcast_to(np.asarray(reference), rows.shape)
    # NaN differs from 0, so a condition without cells would count all genes as expressed.
    mean = np.nan_to_num(moments.mean)
    other, cells = mean[reference], moments.cells[reference]
    if moments.matched is not None:
        # Cells as they are, so that a gene that none of them expresses has a mean of 0.
        mean = np.nan_to_num(moments.matched.mean)
        other, cells = np.nan_to_num(moments.matched.control), moments.matched.cells
    share = _share(moments.variance, mean, moments.cells)
    other_share = _share(moments.variance[reference], other, cells)
    # t = (m1 - m0) / sqrt(v1/n1 + v0/n0) (docs/evaluation.md, "Ranking of genes").
    score = _welch(mean, other, share, other_share)
    # Two cells of different strata give no variance within strata.
    enough = (moments.cells >= 2) & np.isfinite(moments.variance).all(1)
    ranked = enough & enough[reference] & (rows != reference)
    # A single cell has no variance, so its t would be made up.
    score = np.where(ranked[:, None], score, 0.0)
    order = np.argsort(-np.abs(score), axis=1, kind="stable")
    return Ranking(score, order, ranked, mean != 0, (mean != 0) | (other == 0))


def top(
    order: Int[np.ndarray, "C G"], k: int = TOP, among: Bool[np.ndarray, "C G"] | None = None
) -> Int[np.ndarray, "C k"]:
    """The first k genes of every row of `order`, those in `among` only; -1 where there are
    fewer."""
    there = min(k, order.shape[1])
    genes = np.full((len(order), k), -1, np.int64)
    if among is None:
        genes[:, :there] = order[:, :there]
        return genes
    kept = np.take_along_axis(among, order, axis=1)
    # A stable sort brings the kept genes to the front without changing their order.
    first = np.argsort(~kept, axis=1, kind="stable")[:, :there]
    chosen = np.take_along_axis(order, first, axis=1)
    genes[:, :there] = np.where(np.take_along_axis(kept, first, axis=1), chosen, -1)
    return genes


def _share(variance: np.ndarray, mean: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Squared standard error of the mean; the rounding that is left of a constant gene is 0."""
    variance = np.nan_to_num(variance)
    # E[y^2] - E[y]^2 of a constant gene leaves a rounding of the size of its mean.
    return np.where(variance <= CONSTANT * mean**2, 0.0, variance) / np.maximum(cells, 1)[:, None]


def _welch(
    mean: np.ndarray, other: np.ndarray, share: np.ndarray, other_share: np.ndarray
) -> np.ndarray:
    """Welch's t; infinite where there is a difference without any spread, 0 where neither is."""
    difference = mean - other
    # Equal means may differ in the last digits and, without spread, would rank first.
    difference[np.abs(difference) <= CONSTANT * np.maximum(np.abs(mean), np.abs(other))] = 0.0
    error = np.sqrt(share + other_share)
    # Divided only where there is an error, so that 0 / 0 is 0 and nothing warns.
    t = np.divide(difference, error, out=np.zeros_like(difference), where=error > 0)
    return np.where((error == 0) & (difference != 0), np.copysign(np.inf, difference), t)
