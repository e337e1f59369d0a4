"""Metrics of cell-eval (Arc Institute, Virtual Cell Challenge) on means of cells, as version 0.8.2
computes them."""

from __future__ import annotations

from functools import partial

import numpy as np

from jaxpert.evaluation import metrics
from jaxpert.evaluation.schools.evidence import Evidence, PerPerturbation, SchoolMetric

SOURCE = "cell-eval 0.8.2"


def perturbation_discrimination(evidence: Evidence, kind: str) -> PerPerturbation:
    """1 - rank / N of the right perturbation by distance ("l1", "l2" or "cosine") of effects.

    The gene that bears the name of the perturbation is left out, which leaves all genes in for
    combinations and for labels that are no genes. Ties are taken in the order of the names.
    """
    real, predicted = evidence.effects
    distance = effect_distances(predicted, real, kind, named_genes(evidence))
    # Position in an argsort, as cell-eval has it; stable, so that it is the same everywhere.
    order = np.argsort(distance, axis=1, kind="stable")
    rank = np.argmax(order == np.arange(len(order))[:, None], axis=1)
    return 1 - rank / len(order)


def named_genes(evidence: Evidence) -> np.ndarray:
    """Column of the gene that bears the name of each perturbation, -1 where there is none."""
    column = {gene: place for place, gene in enumerate(evidence.genes)}
    return np.array([column.get(name, -1) for name in evidence.perturbations], int)


def effect_distances(
    predicted: np.ndarray, real: np.ndarray, kind: str, left_out: np.ndarray
) -> np.ndarray:
    """Distance of every prediction (rows) to every real effect (columns), each row without one
    gene."""
    from scipy.spatial.distance import cdist

    # The gene is taken off every sum over genes, since each row leaves out another one.
    off_p = np.where(left_out < 0, 0.0, predicted[np.arange(len(predicted)), left_out])[:, None]
    off_r = np.where(left_out < 0, 0.0, real[:, left_out]).T
    if kind == "l1":
        return cdist(predicted, real, "cityblock") - np.abs(off_p - off_r)
    if kind == "l2":
        squared = cdist(predicted, real, "sqeuclidean") - (off_p - off_r) ** 2
        return np.sqrt(np.maximum(squared, 0))
    product = predicted @ real.T - off_p * off_r
    sizes = (predicted**2).sum(1)[:, None] - off_p**2, (real**2).sum(1)[None, :] - off_r**2
    norm = np.sqrt(np.maximum(sizes[0], 0)) * np.sqrt(np.maximum(sizes[1], 0))
    # A vector of zeros has cosine 0 with everything, as in scikit-learn.
    return 1 - np.divide(product, norm, out=np.zeros_like(product), where=norm > 0)


def mean_error(evidence: Evidence, power: int, delta: bool) -> PerPerturbation:
    """Mean absolute (power 1) or squared (2) error over genes, of means or of effects."""
    real, predicted = evidence.effects if delta else (evidence.real, evidence.predicted)
    return (np.abs(predicted - real) ** power).mean(1)


def pearson_delta(evidence: Evidence) -> PerPerturbation:
    """Pearson correlation of both effects over genes, with its sign; NaN where one is constant."""
    return metrics.pearson_delta(*evidence.effects)


def pearson_edistance(evidence: Evidence) -> float:
    """Pearson correlation over perturbations of how far real and predicted cells lie from the
    control of their file; no distance between both."""
    kernels = evidence.kernels
    assert kernels is not None
    assert kernels.real_to_control is not None and kernels.predicted_to_control is not None
    both = kernels.real_to_control[None], kernels.predicted_to_control[None]
    return float(metrics.pearson_delta(*both)[0])


def _to_control(evidence: Evidence, side: str) -> PerPerturbation:
    """Energy distance from control, the two numbers behind `pearson_edistance`."""
    assert evidence.kernels is not None
    return getattr(evidence.kernels, f"{side}_to_control")


def _discrimination(kind: str, label: str) -> SchoolMetric:
    function = partial(perturbation_discrimination, kind=kind)
    return SchoolMetric(function, f"PDS, {label}", True, ("means",), SOURCE)


def _error(label: str, power: int, delta: bool) -> SchoolMetric:
    function = partial(mean_error, power=power, delta=delta)
    return SchoolMetric(function, label, False, ("means",), SOURCE)


def _distance(side: str) -> SchoolMetric:
    function = partial(_to_control, side=side)
    label = f"E-distance from control, {side} cells"
    return SchoolMetric(function, label, None, ("to_control",), SOURCE)


METRICS = {
    "pds_l1.celleval": _discrimination("l1", "L1"),
    "pds_l2.celleval": _discrimination("l2", "L2"),
    "pds_cosine.celleval": _discrimination("cosine", "cosine"),
    "mae.celleval": _error("MAE", 1, False),
    "mse.celleval": _error("MSE", 2, False),
    "mae_delta.celleval": _error("MAE of effects", 1, True),
    "mse_delta.celleval": _error("MSE of effects", 2, True),
    "pearson_delta.celleval": SchoolMetric(
        pearson_delta, "Pearson delta", True, ("means",), SOURCE
    ),
    "pearson_edistance.celleval": SchoolMetric(
        pearson_edistance, "Pearson of E-distances from control", True, ("to_control",), SOURCE
    ),
    "edistance_real.celleval": _distance("real"),
    "edistance_predicted.celleval": _distance("predicted"),
}
