"""Every perturbation by itself: how strong it is, how well it is predicted, and which baseline is
best there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.evaluation.compare import MODEL, json_safe
from jaxpert.evaluation.metrics import pearson_delta, squared_error
from jaxpert.evaluation.subset_names import UNSEEN_FIRST
from jaxpert.evaluation.sums import EffectMatrix, Screen, present_rows, rows_of

MATCH = "pearson_delta"
"""The score of a single perturbation: the correlation of predicted with measured effects."""


class Target(NamedTuple):
    """What each perturbation is held against."""

    effects: EffectMatrix
    """NaN rows where nothing was measured."""
    tested: Bool[np.ndarray, "C"]
    """Measured on test cells alone, since training has cells of the same perturbation."""
    variance: Float[np.ndarray, "C G"] | None
    """Squared standard error of every effect; None where that is not known."""


def target_of(observed: EffectMatrix, screen: Screen, held_out: EffectMatrix | None) -> Target:
    """Effects on test cells alone where there are such, else on all cells."""
    tested = np.zeros(len(observed), bool)
    variance = None if screen.noise is None else screen.noise.total()
    if held_out is None:
        return Target(observed, tested, variance)
    tested = np.isfinite(held_out).all(axis=1)
    assert isinstance(tested, np.ndarray)
    alone = screen.noise_held_out
    if variance is not None and alone is not None:
        variance = np.where(tested[:, None], alone.total(), variance)
    return Target(np.where(tested[:, None], held_out, observed), tested, variance)


def by_perturbation(
    target: Target,
    predictions: Mapping[str, EffectMatrix],
    screen: Screen,
    facts: Mapping[str, Sequence[Any] | np.ndarray],
) -> dict[str, Any]:
    """The part `each` of metrics.json: a column of values for every name, one for each perturbation
    that could be scored.

    Args:
        target: measured effects.
        predictions: by name, "model" among them.
        screen: the conditions and their subsets.
        facts: further columns with a value for each condition; `split` groups the ranks.
    """
    present, _ = present_rows(target.effects, screen)
    rows = present[np.isin(present, rows_of(screen))]
    measured = target.effects[rows]
    matches = {name: pearson_delta(measured, of[rows]) for name, of in predictions.items()}
    model = matches.pop(MODEL)
    split = np.asarray(facts["split"])[rows]
    columns = {"perturbation": np.asarray(screen.conditions)[rows]}
    columns |= {name: np.asarray(values)[rows] for name, values in facts.items()}
    columns["effect_size"] = np.sqrt((measured**2).mean(1))
    if target.variance is not None:
        columns["noise"] = np.sqrt(target.variance[rows].mean(1))
    columns |= {"match": model, "error": squared_error(measured, predictions[MODEL][rows])}
    columns["rank"], columns["of"] = _ranks(model, split)
    rival = _rival(matches, screen, rows)
    if matches:
        columns |= _best(matches)
    if rival is not None:
        columns["rival_match"] = matches[rival]
    columns["measured_on"] = np.where(target.tested[rows], "test cells", "all cells")
    return json_safe({"score": MATCH, "rival": rival, "columns": columns})


def _ranks(
    values: Float[np.ndarray, "n"], group: np.ndarray
) -> tuple[Float[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """Place of each value within its group, the highest first (NaN without a value), and how many
    there are."""
    ranks, sizes = np.full(len(values), np.nan), np.zeros(len(values), int)
    for name in np.unique(group):
        inside = np.flatnonzero((group == name) & np.isfinite(values))
        # Equal values share the best place of theirs.
        ordered = np.sort(-values[inside])
        ranks[inside] = 1 + np.searchsorted(ordered, -values[inside])
        sizes[group == name] = len(inside)
    return ranks, sizes


def _best(matches: Mapping[str, Float[np.ndarray, "n"]]) -> dict[str, Any]:
    """The baseline of the highest value for each perturbation, and that value."""
    names = np.array(list(matches))
    table = np.stack(list(matches.values()))
    # A constant prediction has no correlation, and so is the best of none.
    known = np.where(np.isfinite(table), table, -np.inf)
    best = known.argmax(0)
    value = known[best, np.arange(table.shape[1])]
    nothing = ~np.isfinite(value)
    named = [None if none else str(names[b]) for none, b in zip(nothing, best, strict=True)]
    return {"best_baseline": named, "best_baseline_match": np.where(nothing, np.nan, value)}


def _rival(
    matches: Mapping[str, Float[np.ndarray, "n"]], screen: Screen, rows: Int[np.ndarray, "n"]
) -> str | None:
    """The baseline of the highest mean over the perturbations that training saw least of."""
    subset = next((name for name in UNSEEN_FIRST if name in screen.subsets), None)
    # What is held out of cells alone are the same perturbations as those of test.
    inside = np.isin(rows, screen.subsets[subset] if subset else rows)
    means = {}
    for name, of in matches.items():
        here = of[inside]
        if len(here) and np.isfinite(here).all():
            means[name] = float(here.mean())
    return max(means, key=means.__getitem__) if means else None
