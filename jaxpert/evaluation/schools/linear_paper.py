"""Metrics of the linear-baseline paper (Ahlmann-Eltze, Huber and Anders, Nature Methods 2025): over
the 1,000 genes that control expresses most."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from jaxpert.evaluation import metrics
from jaxpert.evaluation.schools.evidence import Evidence, PerPerturbation, SchoolMetric

SOURCE = "Ahlmann-Eltze et al. 2025"
TOP = 1000


def expressed(evidence: Evidence, k: int = TOP) -> Int[np.ndarray, "k"]:
    """The k genes of highest mean in real control, ties in the order of genes."""
    return np.argsort(-evidence.control, kind="stable")[:k]


def l2(evidence: Evidence) -> PerPerturbation:
    """Euclidean distance of both means."""
    return metrics.l2_expressed(evidence.real, evidence.predicted, evidence.control, TOP)


def pearson_delta(evidence: Evidence) -> PerPerturbation:
    """Pearson correlation of both means minus the mean of REAL control."""
    genes = expressed(evidence)
    base = evidence.control[genes]
    return metrics.pearson_delta(evidence.real[:, genes], evidence.predicted[:, genes], base)


METRICS = {
    "l2_top1000.linear": SchoolMetric(
        l2, "L2, 1,000 most expressed genes", False, ("means", "control"), SOURCE
    ),
    "pearson_delta_top1000.linear": SchoolMetric(
        pearson_delta,
        "Pearson delta, 1,000 most expressed genes",
        True,
        ("means", "control"),
        SOURCE,
    ),
}
