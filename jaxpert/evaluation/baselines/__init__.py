"""Predictions that need no learning: what every model has to beat.

All of them see pseudobulk means of the QC-passed TRAINING cells only (`seen.training_of`), on
whatever log scale those are, and predict a mean for every condition, the control included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from jaxpert.evaluation.baseline_names import NOT_MADE
from jaxpert.evaluation.baselines.additive import additive
from jaxpert.evaluation.baselines.annotation_weighted import annotation_weighted
from jaxpert.evaluation.baselines.linear import linear
from jaxpert.evaluation.baselines.linear_annotations import linear_annotations
from jaxpert.evaluation.baselines.linear_other_screen import linear_other_screen
from jaxpert.evaluation.baselines.linear_tuned import linear_tuned
from jaxpert.evaluation.baselines.matching_mean import matching_mean
from jaxpert.evaluation.baselines.mean_cell import mean_cell
from jaxpert.evaluation.baselines.mean_perturbation import mean_perturbation
from jaxpert.evaluation.baselines.mean_same_size import mean_same_size
from jaxpert.evaluation.baselines.nearest_perturbation import nearest_perturbation
from jaxpert.evaluation.baselines.no_change import no_change
from jaxpert.evaluation.baselines.scaled_additive import scaled_additive
from jaxpert.evaluation.baselines.shrunken_additive import shrunken_additive
from jaxpert.evaluation.baselines.training import Baseline, Inapplicable, Training

BASELINES: dict[str, Callable[[Training], Baseline | Inapplicable]] = {
    "no_change": no_change,
    "mean_perturbation": mean_perturbation,
    "mean_cell": mean_cell,
    "mean_same_size": mean_same_size,
    "additive": additive,
    "scaled_additive": scaled_additive,
    "shrunken_additive": shrunken_additive,
    "matching_mean": matching_mean,
    "nearest_perturbation": nearest_perturbation,
    "annotation_weighted": annotation_weighted,
    "linear": linear,
    "linear_tuned": linear_tuned,
    "linear_annotations": linear_annotations,
    "linear_other_screen": linear_other_screen,
}
"""Those that stand beside every model where the data allow them, in the order of tables."""


class Made(NamedTuple):
    """The baselines that the data allow."""

    baselines: dict[str, Baseline]
    notes: tuple[str, ...]
    """Of these, and a sentence on each that is not made."""


def make(training: Training) -> Made:
    """Every baseline that the training cells allow."""
    made: dict[str, Baseline] = {}
    notes: list[str] = []
    for name, predict in BASELINES.items():
        of = predict(training)
        if isinstance(of, Inapplicable):
            notes.append(f"baseline {name}{NOT_MADE}{of.why}")
            continue
        made[name] = of
        notes += of.notes
    return Made(made, tuple(notes))


__all__ = [
    "BASELINES",
    "Baseline",
    "Inapplicable",
    "Made",
    "Training",
    "additive",
    "annotation_weighted",
    "linear",
    "linear_annotations",
    "linear_other_screen",
    "linear_tuned",
    "make",
    "matching_mean",
    "mean_cell",
    "mean_perturbation",
    "mean_same_size",
    "nearest_perturbation",
    "no_change",
    "scaled_additive",
    "shrunken_additive",
]
