"""Calibrated metrics (Mejia, Miller et al., "Diversity by Design", Shift Bioscience): errors
weighted by what sets a perturbation apart, and the dynamic range of any metric."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from jaxpert.data.moments import Pseudobulk
from jaxpert.evaluation import metrics
from jaxpert.evaluation.schools.evidence import Evidence, PerPerturbation, SchoolMetric

SOURCE = "Mejia, Miller et al., Diversity by Design"


def gene_weights(
    moments: Pseudobulk, scored: Int[np.ndarray, "P"], perturbed: Int[np.ndarray, "Q"]
) -> Float[np.ndarray, "P G"]:
    """Weights of genes: the squared |t| of a perturbation against all other perturbed cells,
    scaled to [0, 1] within the perturbation.

    Args:
        moments: of real cells, with variances.
        scored: rows of `moments` to weigh genes for.
        perturbed: rows of all perturbations, control excluded.

    t is scanpy's "t-test_overestim_var": the variance of the rest is divided by the number of the
    perturbation's cells. NaN for a perturbation of fewer than two cells, or without other
    perturbed cells.
    """
    assert moments.variance is not None
    n, mean = moments.cells[perturbed], moments.mean[perturbed]
    # Sums over the rest are those over all minus those of the perturbation.
    square = np.nan_to_num(moments.variance[perturbed]) * (n - 1)[:, None] + n[:, None] * mean**2
    total, total_square = n @ mean, square.sum(0)
    rows = np.searchsorted(perturbed, scored)
    n, mean, square = n[rows], mean[rows], square[rows]
    rest = (moments.cells[perturbed].sum() - n)[:, None].astype(np.float64)
    enough = (n >= 2) & (rest[:, 0] >= 2)
    rest = np.where(enough[:, None], rest, np.nan)
    rest_mean = (total - n[:, None] * mean) / rest
    rest_variance = np.maximum(total_square - square - rest * rest_mean**2, 0) / (rest - 1)
    error = np.sqrt((moments.variance[scored] + rest_variance) / n[:, None])
    return _squared_scale(mean - rest_mean, error)


def _squared_scale(difference: np.ndarray, error: np.ndarray) -> Float[np.ndarray, "P G"]:
    """((|t| - min) / (max - min))^2 within each row; 0/0 counts as a t of 0."""
    t = np.abs(np.divide(difference, error, out=np.zeros_like(difference), where=error > 0))
    t = np.where(np.isnan(error), np.nan, t)
    # Without any spread a difference outweighs every other gene: the limit of the scale.
    endless = (error == 0) & (np.abs(difference) > metrics.CONSTANT)
    low, high = t.min(1, keepdims=True), t.max(1, keepdims=True)
    scaled = (t - low) / np.where(high > low, high - low, np.nan)
    return np.where(endless.any(1, keepdims=True), endless, scaled**2)


def weighted_error(evidence: Evidence) -> PerPerturbation:
    """WMSE: weighted mean of the squared error of means; NaN where all genes weigh the same."""
    assert evidence.weights is not None
    squared = (evidence.predicted - evidence.real) ** 2
    return (evidence.weights * squared).sum(1) / _total(evidence.weights)


def weighted_r2(evidence: Evidence) -> PerPerturbation:
    """Weighted R2 of means minus the unweighted mean of all real perturbations."""
    assert evidence.weights is not None
    w, base = evidence.weights, evidence.candidates.mean(0)
    real = evidence.real - base
    centre = (w * real).sum(1) / _total(w)
    spread = (w * (real - centre[:, None]) ** 2).sum(1)
    error = (w * (evidence.predicted - evidence.real) ** 2).sum(1)
    return 1 - error / np.where(spread > 0, spread, np.nan)


def _total(weights: np.ndarray) -> PerPerturbation:
    """Sum of the weights, NaN in place of 0."""
    total = weights.sum(1)
    return np.where(total > 0, total, np.nan)


def inverse_rank(evidence: Evidence) -> PerPerturbation:
    """NIR: share of the other SCORED perturbations that lie strictly farther from the predicted
    mean than the right one does (Euclidean)."""
    distance = metrics.distances(evidence.predicted, evidence.real)
    return metrics.centroid_accuracy(distance, np.arange(len(evidence.real)))


def dynamic_range_fraction(
    positive: np.ndarray, negative: np.ndarray, perfect: float
) -> np.ndarray:
    """DRF: how far a positive control gets from the negative control to a perfect score.

    (positive - negative) / (perfect - negative), cut to [-1, 1] as by its owner; `perfect` is 1
    for correlations and ranks and 0 for errors. Near 0 a metric cannot tell a repeated experiment
    from the mean of the data. NaN where the negative control is perfect.
    """
    positive, negative = np.asarray(positive, float), np.asarray(negative, float)
    room = perfect - negative
    fraction = (positive - negative) / np.where(room != 0, room, np.nan)
    return np.clip(fraction, -1, 1)


def interpolated_duplicate(
    duplicate: Float[np.ndarray, "P G"],
    mean: Float[np.ndarray, "G"],
    p_adjusted: Float[np.ndarray, "P G"],
) -> Float[np.ndarray, "P G"]:
    """Positive control: the technical duplicate where a gene differs from control, the mean of
    training perturbations where it does not, in the proportion 1 - p to p."""
    share = 1 - p_adjusted
    return share * duplicate + (1 - share) * mean


METRICS = {
    "wmse.calibrated": SchoolMetric(
        weighted_error, "Weighted MSE", False, ("means", "variance"), SOURCE
    ),
    "r2w.calibrated": SchoolMetric(weighted_r2, "Weighted R2", True, ("means", "variance"), SOURCE),
    "nir.calibrated": SchoolMetric(
        inverse_rank, "Normalised inverse rank", True, ("means",), SOURCE
    ),
}
