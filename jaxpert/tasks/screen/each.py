"""What is said of every perturbation of a screen by itself, for the report."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxpert.core.types import LEVELS, SPLITS, Dataset
from jaxpert.evaluation import compare, pseudobulk
from jaxpert.evaluation.by_perturbation import Target, by_perturbation, target_of
from jaxpert.tasks.screen.measured import Measured
from jaxpert.tasks.screen.predict import Prediction

WIDTH = 0.9
"""Share of measurements that an interval, whose width is told, is to hold."""


def target(measured: Measured) -> Target:
    """What each perturbation is held against."""
    return target_of(measured.effects, measured.screen, measured.held_out)


def each(
    measured: Measured, effects: Float[np.ndarray, "C G"], prediction: Prediction | None = None
) -> dict[str, Any]:
    """The part `each` of metrics.json; predictions of another tool have no `prediction`, which
    tells what they rest on."""
    dataset, of = measured.dataset, target(measured)
    facts: dict[str, Any] = {"split": splits_of(dataset)}
    # A table of effects has one row for each perturbation, whatever its cells were.
    if dataset.scale != "effects":
        facts["cells"] = _cells(dataset, of)
    if prediction is not None:
        facts |= _said(prediction, dataset) | _sure(prediction, of, effects, dataset)
    predictions = {compare.MODEL: effects, **measured.baselines}
    return by_perturbation(of, predictions, measured.screen, facts)


def splits_of(dataset: Dataset) -> list[str]:
    """The splits that hold cells of each condition, joined by "+"."""
    if dataset.split is None:
        return ["unknown"] * len(dataset.conditions)
    table = np.zeros((len(dataset.conditions), len(SPLITS)), bool)
    table[dataset.condition, dataset.split] = True
    texts = []
    for row in table:
        names = [name for name, there in zip(SPLITS, row, strict=True) if there]
        # "dropped" is told only where no other part holds the condition.
        texts.append("+".join(name for name in names if name != "dropped") or "dropped")
    return texts


def _cells(dataset: Dataset, of: Target) -> np.ndarray:
    """Cells behind the measured effect of each condition."""
    count = len(dataset.conditions)
    passed = dataset.condition[pseudobulk.passed_rows(dataset)]
    cells = np.bincount(passed, minlength=count)
    if not of.tested.any():
        return cells
    tested = dataset.condition[pseudobulk.held_out_rows(dataset)]
    return np.where(of.tested, np.bincount(tested, minlength=count), cells)


def _said(prediction: Prediction, dataset: Dataset) -> dict[str, Any]:
    """What the model says of its own predictions, in the order of the conditions."""
    rows = prediction.rows_of(dataset)
    facts: dict[str, Any] = {}
    if prediction.support:
        facts["support"] = [prediction.support[row] for row in rows]
    if prediction.rests_on:
        facts["rests_on"] = [prediction.rests_on[row] for row in rows]
    half = half_widths(prediction, dataset)
    if half is not None:
        facts["interval_width"] = 2 * np.median(half, axis=1)
    return facts


def half_widths(prediction: Prediction, dataset: Dataset) -> Float[np.ndarray, "C G"] | None:
    """Half the length of the intervals that are to hold WIDTH of new measurements, in the order of
    the conditions; None where the model has none."""
    deviation = prediction.deviation_of(dataset)
    if deviation is None:
        return None
    # effect -+ factor x quantile x sd (core.types.Deviation).
    factor = np.asarray(deviation.widths)[:, list(LEVELS).index(WIDTH), None]
    quantile = NormalDist().inv_cdf((1 + WIDTH) / 2)
    half = factor * quantile * np.asarray(deviation.measured)
    return half if np.isfinite(half).all(axis=1).any() else None


def _sure(
    prediction: Prediction, of: Target, effects: Float[np.ndarray, "C G"], dataset: Dataset
) -> dict[str, Any]:
    """Genes whose interval excludes 0, and how many of them were measured in that direction."""
    half = half_widths(prediction, dataset)
    if half is None:
        return {}
    known = np.isfinite(half).all(axis=1)
    sure = np.abs(effects) > half
    right = sure & (effects * np.nan_to_num(of.effects) > 0)
    counts = {"sure_genes": sure.sum(1), "sure_right": right.sum(1)}
    # NaN, which no table shows as a number, for conditions without an interval.
    return {name: np.where(known, count, np.nan) for name, count in counts.items()}
