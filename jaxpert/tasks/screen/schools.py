"""Scores of the other schools for predictions that come with cells, beside those of the baselines
where means suffice (docs/evaluation.md)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.types import SPLITS
from jaxpert.data.moments import LIBRARY
from jaxpert.evaluation import pseudobulk
from jaxpert.evaluation.compare import MODEL
from jaxpert.evaluation.schools.score import SchoolScores, score_cells, score_effects
from jaxpert.tasks.screen import scales
from jaxpert.tasks.screen.measured import Measured

LABEL = "condition"


class Predicted(NamedTuple):
    """Predictions in the order of a data set's conditions and genes."""

    effects: Float[np.ndarray, "C G"]
    cells: Any
    """CSR `[N, G]` on the log2 scale; None where effects or one mean each were given."""
    condition: Int[np.ndarray, "N"]
    """Of every row that was predicted."""


def school_scores(measured: Measured, predicted: Predicted, subset: str) -> dict[str, Any]:
    """The part `schools` of metrics.json: {score: {method: value}}, the number of perturbations,
    and notes.

    Args:
        measured: real cells, on the scale that the predictions are on.
        predicted: the predictions.
        subset: of the perturbations; those without a predicted row are left out.
    """
    wanted = np.zeros(len(predicted.effects), bool)
    wanted[measured.screen.subsets[subset]] = True
    wanted &= np.isfinite(measured.effects).all(1)
    wanted &= np.bincount(predicted.condition, minlength=len(wanted)) > 0
    trained = _trained(measured)
    if predicted.cells is None:
        model = _of_effects(measured, predicted.effects, wanted, trained)
    else:
        model = _of_cells(measured, predicted, wanted, trained)
    methods = {MODEL: model}
    for name, effects in measured.baselines.items():
        methods[name] = _of_effects(measured, effects, wanted, trained)
    scores = {}
    for score in model.aggregate:
        of = {name: one.aggregate[score] for name, one in methods.items() if score in one.aggregate}
        scores[score] = of
    return {
        "scores": scores,
        "subset": subset,
        "perturbations": int(wanted.sum()),
        # Which perturbations lack a prediction was said before, training ones among them.
        "notes": [note for note in model.notes if "no prediction" not in note],
    }


def _trained(measured: Measured) -> list[str] | None:
    """Perturbations that were trained on; None where that is not known."""
    trained = measured.screen.trained
    if trained is None:
        return None
    names, control = measured.dataset.conditions, measured.dataset.control
    return [names[c] for c in np.flatnonzero(trained) if c != control]


def _of_effects(
    measured: Measured,
    effects: Float[np.ndarray, "C G"],
    wanted: Bool[np.ndarray, "C"],
    trained: list[str] | None,
) -> SchoolScores:
    import pandas

    dataset = measured.dataset
    perturbed = np.arange(len(effects)) != dataset.control
    known = perturbed & np.isfinite(measured.effects).all(1)
    names, genes = np.asarray(dataset.conditions, object), pandas.Index(dataset.genes)
    # The other schools take the natural logarithm.
    real = pandas.DataFrame(measured.effects[known] * scales.LN2, names[known], genes)
    predicted = pandas.DataFrame(effects[wanted] * scales.LN2, names[wanted], genes)
    mean = measured.screen.control_mean
    control = None if mean is None else pandas.Series(mean * scales.LN2, genes)
    training = _there(trained, real.index)
    # A sum of effects may take a mean below 0, whose logarithm is undefined.
    with np.errstate(invalid="ignore"):
        return score_effects(real, predicted, control=control, training=training)


def _of_cells(
    measured: Measured,
    predicted: Predicted,
    wanted: Bool[np.ndarray, "C"],
    trained: list[str] | None,
) -> SchoolScores:
    dataset = measured.dataset
    values = dataset.counts
    if dataset.scale == "counts":
        values = scales.to_log2(values, "counts", LIBRARY)
    # Training cells of what is tested are no part of the target, nor are cells that fail quality.
    rows = pseudobulk.passed_rows(dataset)
    if dataset.split is not None:
        trained_on = dataset.split[rows] != SPLITS.index("test")
        rows = rows[~(wanted[dataset.condition[rows]] & trained_on)]
    kept = wanted.copy()
    kept[dataset.control] = True
    mine = kept[predicted.condition]
    names = np.asarray(dataset.conditions, object)
    real = _cells(values[rows], names[dataset.condition[rows]], dataset.genes)
    made = _cells(predicted.cells[mine], names[predicted.condition[mine]], dataset.genes)
    return score_cells(
        real,
        made,
        control=dataset.conditions[dataset.control],
        condition_key=LABEL,
        scale="log1p",
        training=_there(trained, set(real.obs[LABEL])),
    )


def _there(trained: list[str] | None, names: Any) -> list[str] | None:
    """Trained perturbations that have real cells."""
    return None if trained is None else [name for name in trained if name in names]


def _cells(values: Any, labels: np.ndarray, genes: tuple[str, ...]) -> Any:
    import anndata
    import pandas

    names = pandas.Index([str(n) for n in range(len(labels))])
    obs = pandas.DataFrame({LABEL: labels.astype(str)}, index=names)
    matrix = values.astype(np.float64) * scales.LN2
    return anndata.AnnData(matrix.tocsr(), obs, pandas.DataFrame(index=pandas.Index(genes)))
