"""Energy distances and MMD between the real and the predicted cells of a perturbation, as packages
define them; all pairs of cells count, a cell with itself included, unless a name says otherwise."""

from __future__ import annotations

from functools import partial

from jaxpert.evaluation.schools.evidence import Evidence, PerPerturbation, SchoolMetric

CELLFLOW, PERTPY, SCPERTURB = "CellFlow", "pertpy", "scPerturb"


def statistic(evidence: Evidence, kernel: str, factor: float) -> PerPerturbation:
    """factor * (2 E k(x, y) - E k(x, x') - E k(y, y')); factor is -1 for a kernel (MMD), 1 for a
    distance."""
    kernels = evidence.kernels
    assert kernels is not None
    within = kernels.real[kernel] + kernels.predicted[kernel]
    return factor * (2 * kernels.between[kernel] - within)


def squared_gap(evidence: Evidence, factor: float) -> PerPerturbation:
    """factor times the squared Euclidean distance of the means of cells.

    With a cell's distance from itself included, 2 E|x-y|^2 - E|x-x'|^2 - E|y-y'|^2 is exactly
    twice that, and the MMD of a linear kernel that itself.
    """
    assert evidence.gap is not None
    return factor * evidence.gap


def unbiased_gap(evidence: Evidence) -> PerPerturbation:
    """The same without a cell's distance from itself: minus twice the squared standard errors."""
    assert evidence.gap is not None and evidence.spread is not None
    return 2 * evidence.gap - 2 * evidence.spread.sum(0)


def _pairs(kernel: str, factor: float, label: str, source: str) -> SchoolMetric:
    function = partial(statistic, kernel=kernel, factor=factor)
    return SchoolMetric(function, label, False, (kernel,), source)


METRICS = {
    "edistance.sqeuclid": SchoolMetric(
        partial(squared_gap, factor=2.0), "E-distance, squared Euclidean", False, ("gap",), CELLFLOW
    ),
    "edistance_unbiased.sqeuclid": SchoolMetric(
        unbiased_gap,
        "E-distance, squared Euclidean, unbiased",
        False,
        ("gap", "variance"),
        SCPERTURB,
    ),
    "edistance.pertpy": _pairs("euclidean", 1.0, "E-distance, Euclidean", PERTPY),
    "mmd_energy.perturbench": _pairs("euclidean", 0.5, "Half E-distance", "PerturBench"),
    "mmd_rbf.cellflow": _pairs("rbf_cellflow", -1.0, "MMD, six Gaussian kernels", CELLFLOW),
    "mmd_linear.pertpy": SchoolMetric(
        partial(squared_gap, factor=1.0), "MMD, linear kernel", False, ("gap",), PERTPY
    ),
    "mmd_rbf.pertpy": _pairs("rbf", -1.0, "MMD, Gaussian kernel", PERTPY),
    "mmd_poly.pertpy": _pairs("poly", -1.0, "MMD, squared products", PERTPY),
}
