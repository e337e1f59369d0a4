"""Metrics of PerturBench (Altos Labs): errors, cosines of log fold changes, and its rank."""

from __future__ import annotations

from functools import partial

import numpy as np
from jaxtyping import Float

from jaxpert.evaluation.schools.evidence import Evidence, PerPerturbation, SchoolMetric

SOURCE = "PerturBench"
PSEUDO = 0.1
"""Added to means before their logarithm."""


def log_fold_changes(evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """log2((m + 0.1) / (c + 0.1)) of means of log-normalised values, so a logarithm of logarithms,
    as PerturBench has it; each side relative to the control of its file. NaN for a mean below
    -0.1, which a prediction of effects can reach."""
    real = _log2(evidence.real) - _log2(evidence.control)
    return real, _log2(evidence.predicted) - _log2(evidence.predicted_control)


def _log2(means: np.ndarray) -> np.ndarray:
    raised = means + PSEUDO
    return np.log2(np.where(raised > 0, raised, np.nan))


def cosine_matrix(a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, "A B"]:
    """Cosine of every row of a with every row of b; NaN where one is zero."""
    size = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)[None, :]
    return (a @ b.T) / np.where(size > 0, size, np.nan)


def cosine_logfc(evidence: Evidence) -> PerPerturbation:
    """Cosine of the predicted and the real log fold changes."""
    real, predicted = log_fold_changes(evidence)
    size = np.linalg.norm(real, axis=1) * np.linalg.norm(predicted, axis=1)
    return (real * predicted).sum(1) / np.where(size > 0, size, np.nan)


def rmse(evidence: Evidence) -> PerPerturbation:
    """Root of the mean squared error of means over genes."""
    return np.sqrt(((evidence.predicted - evidence.real) ** 2).mean(1))


def rank(evidence: Evidence, by: str = "rmse") -> PerPerturbation:
    """Where the prediction of p stands among ALL PREDICTIONS by distance from the real p.

    0 at best, 1/2 by chance, over N - 1; transposed with respect to the discrimination score,
    which ranks real perturbations from one prediction. Ties get their expected rank, where
    PerturBench shuffles them without a seed. NaN for one perturbation, or where a distance is
    undefined.
    """
    if by == "rmse":
        from scipy.spatial.distance import cdist

        distance = cdist(evidence.real, evidence.predicted, "sqeuclidean")
    else:
        distance = -cosine_matrix(*log_fold_changes(evidence))
    n = len(distance)
    right = np.diagonal(distance)[:, None]
    below = (distance < right).sum(1) + ((distance == right).sum(1) - 1) / 2
    defined = np.isfinite(distance).all(1) & (n > 1)
    return np.where(defined, below / max(n - 1, 1), np.nan)


METRICS = {
    "cosine_logfc.perturbench": SchoolMetric(
        cosine_logfc, "Cosine of log fold changes", True, ("means", "control"), SOURCE
    ),
    "rmse.perturbench": SchoolMetric(rmse, "RMSE", False, ("means",), SOURCE),
    "rank.perturbench": SchoolMetric(rank, "Rank by RMSE", False, ("means",), SOURCE),
    "rank_cosine_logfc.perturbench": SchoolMetric(
        partial(rank, by="cosine_logfc"),
        "Rank by cosine of log fold changes",
        False,
        ("means", "control"),
        SOURCE,
    ),
}
