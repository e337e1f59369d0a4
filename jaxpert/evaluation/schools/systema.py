"""Metrics of Systema (Vinas Torne et al. 2025): what a prediction says beyond the effect that all
perturbations share."""

from __future__ import annotations

from functools import partial

import numpy as np

from jaxpert.evaluation import metrics
from jaxpert.evaluation.schools.evidence import Evidence, PerPerturbation, SchoolMetric

SOURCE = "Systema, Vinas Torne et al. 2025"


def pearson_delta_reference(evidence: Evidence, top20: bool = False) -> PerPerturbation:
    """Pearson correlation of both means minus the unweighted mean of training perturbations, over
    all genes or the 20 that differ most from control.

    NaN where a side is constant: the mean of training perturbations as a prediction has no score.
    """
    assert evidence.reference is not None
    if not top20:
        return metrics.pearson_delta(evidence.real, evidence.predicted, evidence.reference)
    assert evidence.top20 is not None
    rows = zip(evidence.real, evidence.predicted, evidence.top20, strict=True)
    return np.array([_over(genes, a, b, evidence.reference) for a, b, genes in rows])


def _over(genes: np.ndarray, a: np.ndarray, b: np.ndarray, reference: np.ndarray) -> float:
    """One perturbation over some genes; NaN where no gene could be ranked."""
    if not genes.any():
        return float("nan")
    return float(metrics.pearson_delta(a[None, genes], b[None, genes], reference[genes])[0])


def centroid_accuracy(evidence: Evidence) -> PerPerturbation:
    """Share of the other real perturbations, those that are not scored included, that lie strictly
    farther from the predicted mean than the right one does (Euclidean)."""
    distance = metrics.distances(evidence.predicted, evidence.candidates)
    return metrics.centroid_accuracy(distance, evidence.places)


METRICS = {
    "pearson_delta_reference.systema": SchoolMetric(
        pearson_delta_reference,
        "Pearson delta, perturbed reference",
        True,
        ("means", "reference"),
        SOURCE,
    ),
    "pearson_delta_reference_top20.systema": SchoolMetric(
        partial(pearson_delta_reference, top20=True),
        "Pearson delta, perturbed reference, top 20",
        True,
        ("means", "reference", "variance"),
        SOURCE,
    ),
    "centroid_accuracy.systema": SchoolMetric(
        centroid_accuracy, "Centroid accuracy", True, ("means",), SOURCE
    ),
}
