"""Statistics per perturbation of many predictors on many subsets, from which scores, comparisons
and ceilings are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.data.files import shown
from jaxpert.evaluation import scoring
from jaxpert.evaluation.noise import Noise
from jaxpert.evaluation.scoring import Context, Scored
from jaxpert.evaluation.subset_names import HELD_OUT

Sums = dict[str, dict[str, dict[str, np.ndarray]]]
"""{predictor: {subset: {score: statistics per perturbation}}}."""
EffectMatrix = Float[np.ndarray, "C G"]
Subsets = Mapping[str, Int[np.ndarray, "_"]]


class Screen(NamedTuple):
    """What a comparison needs to know of the conditions and genes behind the rows and columns of
    effects."""

    conditions: Sequence[str]
    control: int
    """Row of the control condition."""
    subsets: Subsets
    """Conditions to score, by name; see `subsets`."""
    trained: Bool[np.ndarray, "C"] | None = None
    """Conditions with training cells; only the wording needs it."""
    control_mean: Float[np.ndarray, "G"] | None = None
    """Mean expression of control cells, for the L2 over the most expressed genes."""
    reference: Float[np.ndarray, "G"] | None = None
    """Mean effect of the training perturbations, for the Pearson delta with perturbed reference."""
    own_genes: Bool[np.ndarray, "C G"] | None = None
    """See `compare.own_genes`."""
    noise: Noise | None = None
    """How unsure the measured effects are, for the ceiling; None where that is not known."""
    noise_held_out: Noise | None = None
    """The same of effects on test cells only."""


def rows_of(screen: Screen) -> np.ndarray:
    """Conditions that are in any subset."""
    members = list(screen.subsets.values())
    return np.unique(np.concatenate(members)) if members else np.zeros(0, np.int64)


def present_rows(observed: EffectMatrix, screen: Screen) -> tuple[np.ndarray, list[str]]:
    """Rows that can be scored, and a note on those that cannot."""
    finite = np.isfinite(observed).all(1) & perturbed(observed, screen)
    wanted, notes = rows_of(screen), []
    gone = wanted[~finite[wanted]]
    if len(gone):
        notes.append(
            f"{len(gone)} perturbations have no cells to measure an effect on and are not scored: "
            f"{names_of(gone, screen)}"
        )
    return np.flatnonzero(finite), notes


def all_sums(
    observed: EffectMatrix, predictions: Mapping[str, EffectMatrix], screen: Screen
) -> tuple[Sums, list[str]]:
    """Statistics of every predictor on every subset, and notes on what could not be scored."""
    present, notes = present_rows(observed, screen)
    sums = {}
    for name, values in predictions.items():
        scored = scored_rows(observed, values, present, screen)
        sums[name] = by_subset(scored, present, screen.subsets)
    return sums, notes


def only_test(screen: Screen) -> Screen:
    """The screen as test cells alone measure it."""
    return screen._replace(subsets={HELD_OUT: screen.subsets["test"]}, noise=screen.noise_held_out)


def perturbed(effects: EffectMatrix, screen: Screen) -> np.ndarray:
    """All rows but the control's."""
    return np.arange(len(effects)) != screen.control


def scored_rows(
    observed: EffectMatrix, predicted: EffectMatrix, present: np.ndarray, screen: Screen
) -> Scored:
    """Statistics of predicted effects on the present rows."""
    left_out = None if screen.own_genes is None else screen.own_genes[present]
    context = Context(screen.control_mean, screen.reference, left_out)
    return scoring.statistics(observed[present], predicted[present], context)


def by_subset(
    scored: Scored, present: np.ndarray, subsets: Subsets
) -> dict[str, dict[str, np.ndarray]]:
    """The statistics of the present rows of each subset."""
    selected = {}
    for name, rows in subsets.items():
        # Statistics are there for the present rows only, so places among those are asked for.
        selected[name] = scoring.select(scored, np.flatnonzero(np.isin(present, rows)))
    return selected


def values_of(sums: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, float]]:
    """Every score of each subset."""
    return {subset: scoring.values(scores) for subset, scores in sums.items()}


def joined(sums: Sums, more: Sums) -> Sums:
    """The subsets of both, for every predictor."""
    return {predictor: subsets | more[predictor] for predictor, subsets in sums.items()}


def names_of(rows: np.ndarray, screen: Screen) -> str:
    """Some conditions by name."""
    return shown(np.asarray(screen.conditions)[rows])
