"""Predictions that need no learning: what every model has to beat.

All of them see pseudobulk means of the QC-passed TRAINING cells only
(`evaluation.pseudobulk.observed_means(dataset, "train")`), on whatever log scale those are, and
predict a mean for every condition, the control included.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxpert.evaluation.baselines.additive import additive
from jaxpert.evaluation.baselines.linear import linear
from jaxpert.evaluation.baselines.mean_perturbation import mean_perturbation
from jaxpert.evaluation.baselines.no_change import no_change
from jaxpert.evaluation.baselines.training import Baseline, Training

BASELINES: dict[str, Callable[[Training], Baseline]] = {
    "no_change": no_change,
    "mean_perturbation": mean_perturbation,
    "additive": additive,
    "linear": linear,
}
"""The ones that stand beside every model."""

__all__ = [
    "BASELINES",
    "Baseline",
    "Training",
    "additive",
    "linear",
    "mean_perturbation",
    "no_change",
]
