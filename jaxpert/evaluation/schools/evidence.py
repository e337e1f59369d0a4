"""What the metrics of all schools are computed from: means, spreads, tests and kernel means, never
cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

PerPerturbation = Float[np.ndarray, "P"]


class Differential(NamedTuple):
    """Differential expression of every perturbation against control, in one file."""

    fold_change: Float[np.ndarray, "P G"]
    """log2 of the ratio of geometric means (of 1 + x, minus 1), in single precision; infinite
    where one of them is 0."""
    fdr: Float[np.ndarray, "P G"]
    """Rank-sum p-values after Benjamini-Hochberg, in single precision."""


class Kernels(NamedTuple):
    """Means of a kernel or distance over all pairs of cells, a cell with itself included."""

    real: dict[str, PerPerturbation]
    """Among the real cells of each perturbation, by the name of the kernel."""
    predicted: dict[str, PerPerturbation]
    """Among the predicted cells."""
    between: dict[str, PerPerturbation]
    """Real cells against predicted ones."""
    real_to_control: PerPerturbation | None = None
    """Energy distance (Euclidean) of the real cells from real control."""
    predicted_to_control: PerPerturbation | None = None
    """Energy distance (Euclidean) of the predicted cells from predicted control."""


class Evidence(NamedTuple):
    """Everything that a metric may ask for; a part that no metric needs is None."""

    perturbations: tuple[str, ...]
    genes: tuple[str, ...]
    real: Float[np.ndarray, "P G"]
    """Mean of the real cells of each scored perturbation."""
    predicted: Float[np.ndarray, "P G"]
    control: Float[np.ndarray, "G"]
    """Mean of the real control cells; 0 where only effects are known."""
    predicted_control: Float[np.ndarray, "G"]
    """Mean of the control cells of the prediction."""
    candidates: Float[np.ndarray, "Q G"]
    """Means of all real perturbations, those that are not scored included."""
    places: Int[np.ndarray, "P"]
    """Row of each scored perturbation in `candidates`."""
    reference: Float[np.ndarray, "G"] | None = None
    """Unweighted mean of the training perturbations' real means."""
    top20: Bool[np.ndarray, "P G"] | None = None
    """The 20 genes of largest Welch statistic of real cells against real control."""
    weights: Float[np.ndarray, "P G"] | None = None
    """Weights of genes of the calibrated metrics."""
    gap: PerPerturbation | None = None
    """Squared Euclidean distance of the mean of predicted from that of real cells, in the space of
    distances."""
    spread: Float[np.ndarray, "2 P"] | None = None
    """Squared standard errors of those means, real and predicted, summed over the coordinates."""
    real_test: Differential | None = None
    predicted_test: Differential | None = None
    kernels: Kernels | None = None

    @property
    def effects(self) -> tuple[np.ndarray, np.ndarray]:
        """Real and predicted effects, each relative to the control of its file."""
        return self.real - self.control, self.predicted - self.predicted_control


PARTS = {
    "means": "means of cells by perturbation",
    "gap": "distances of those means",
    "control": "mean expression of control",
    "reference": "mean of training perturbations",
    "variance": "variances over cells",
    "differential": "rank-sum tests of cells",
    "to_control": "Euclidean distances of cells from control",
    "euclidean": "Euclidean distances of all pairs of cells",
    "rbf": "Gaussian kernel of all pairs of cells",
    "rbf_cellflow": "six Gaussian kernels of all pairs of cells",
    "poly": "squared products of all pairs of cells",
}
"""What metrics are computed from."""


class SchoolMetric(NamedTuple):
    """A metric as its owner defines it."""

    function: Callable[[Evidence], Any]
    """Gives a value for each perturbation, or a single one for all of them."""
    label: str
    higher_is_better: bool | None
    """None where neither is better (a count)."""
    needs: tuple[str, ...]
    """Of PARTS: what `score_effects` or `score_cells` has to bring."""
    source: str
