"""Differential expression: every condition against control by Welch's t, from sums and squared sums
alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.types import Dataset
from jaxpert.evaluation.pseudobulk import Pseudobulk, observed_means

CONSTANT = 1e-12
"""Spread or difference below this share of the values themselves is rounding."""
TOP = 20


class Ranking(NamedTuple):
    """Genes of each condition by how much they differ from control, and the sets that the GEARS
    paper scores."""

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
            cell line).

    t = (m1 - m0) / sqrt(v1/n1 + v0/n0) with sample variances, which is scanpy's "t-test" with
    `rankby_abs`; a t of 0/0 is 0, and a gene that is constant on both sides with different values
    comes first.
    """
    if moments.variance is None:
        raise ValueError(
            "the moments have no variance, expected those of condition_means(..., variance=True)"
        )
    rows = np.arange(len(moments.mean))
    reference = np.broadcast_to(np.asarray(reference), rows.shape)
    mean, other = np.nan_to_num(moments.mean), np.nan_to_num(moments.mean)[reference]
    share = _share(moments.variance, mean, moments.cells)
    score = _welch(mean, other, share, share[reference])
    enough = moments.cells >= 2
    ranked = enough & enough[reference] & (rows != reference)
    score = np.where(ranked[:, None], score, 0.0)
    order = np.argsort(-np.abs(score), axis=1, kind="stable")
    return Ranking(score, order, ranked, mean != 0, (mean != 0) | (other == 0))


def rank_genes(dataset: Dataset, split: str = "all") -> Ranking:
    """Rank the genes of a data set's conditions by its QC-passed cells, on the scale ln(1 + 1e4 x /
    sum x).

    Conditions are pooled over strata. Rankings of test conditions rest on test cells and are for
    scoring only.
    """
    return rank(observed_means(dataset, split, "ln", variance=True), dataset.control)


def top(
    order: Int[np.ndarray, "C G"], k: int = TOP, among: Bool[np.ndarray, "C G"] | None = None
) -> Int[np.ndarray, "C k"]:
    """The first k genes of every row of `order`, those in `among` only; -1 where there are
    fewer."""
    k_of = min(k, order.shape[1])
    found = np.full((len(order), k), -1, np.int64)
    if among is None:
        found[:, :k_of] = order[:, :k_of]
        return found
    kept = np.take_along_axis(among, order, axis=1)
    first = np.argsort(~kept, axis=1, kind="stable")[:, :k_of]
    chosen = np.take_along_axis(order, first, axis=1)
    found[:, :k_of] = np.where(np.take_along_axis(kept, first, axis=1), chosen, -1)
    return found


def _share(variance: np.ndarray, mean: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Squared standard error of the mean; the rounding that is left of a constant gene is 0."""
    variance = np.nan_to_num(variance)
    return np.where(variance <= CONSTANT * mean**2, 0.0, variance) / np.maximum(cells, 1)[:, None]


def _welch(
    mean: np.ndarray, other: np.ndarray, share: np.ndarray, other_share: np.ndarray
) -> np.ndarray:
    difference = mean - other
    difference[np.abs(difference) <= CONSTANT * np.maximum(np.abs(mean), np.abs(other))] = 0.0
    error = np.sqrt(share + other_share)
    t = np.divide(difference, error, out=np.zeros_like(difference), where=error > 0)
    return np.where((error == 0) & (difference != 0), np.copysign(np.inf, difference), t)
