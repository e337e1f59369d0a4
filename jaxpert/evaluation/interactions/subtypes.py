"""Sub-types of genetic interactions by published thresholds, and how well predicted scores find
them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.types import InputError

TOP = 10
RANDOM_SETS = 1000
ADDITIVE_WITHIN = 0.25
"""|mag - 1| below this is additive."""


class Rule(NamedTuple):
    """A sub-type is one score beyond a threshold."""

    score: str
    above: bool
    threshold: float


RULES = {
    "synergy": Rule("mag", True, 1.15),
    "suppression": Rule("mag", False, 1.0),
    "neomorphism": Rule("corr_fit", False, 0.88),
    "redundancy": Rule("dcor", True, 0.85),
    # The paper prints > 0.28; its scripts, and the meaning, say <.
    "epistasis": Rule("eq_contr", False, 0.28),
}
"""The five sub-types of Table 2 of Roohani et al. (2024); a pair may be of several.

The thresholds were set on measured effects, whose noise pulls the slopes towards 0: an exactly
additive pair without noise has mag = sqrt(2) and counts as synergy. Compare predictions with one
another, or with noise of the data's size.
"""

Table = Mapping[str, Float[np.ndarray, "N"]]
"""Scores by name, such as `Scores._asdict()`."""


class Agreement(NamedTuple):
    """How predicted scores find the pairs of one sub-type in the true scores."""

    precision_at_10: float
    """Share of the 10 pairs of most extreme predicted score that are of the sub-type."""
    top_10_accuracy: float
    """Share of the 10 pairs of most extreme true score that are among the 10 of most extreme
    predicted score."""
    precision: float
    """Share of the pairs predicted to be of the sub-type that are; 0, as published, where none is
    predicted."""
    recall: float
    """Share of the pairs of the sub-type that are predicted; NaN where there is none."""
    true: int
    predicted: int


class Chance(NamedTuple):
    """What random sets of 10 pairs reach: mean and the 2.5 % and 97.5 % quantiles over the sets."""

    precision_at_10: tuple[float, float, float]
    top_10_accuracy: tuple[float, float, float]


def members(scores: Table) -> dict[str, Bool[np.ndarray, "N"]]:
    """Which pairs are of each sub-type, and which are additive; an undefined score is of none."""
    # NaN compares false, so that an undefined score is of no sub-type.
    masks = {name: _within(scores[rule.score], rule) for name, rule in RULES.items()}
    return masks | {"additive": np.abs(scores["mag"] - 1) < ADDITIVE_WITHIN}


def labels(scores: Table) -> list[str]:
    """The sub-types of each pair in words: "synergy, neomorphism", or "additive" or "none" where it
    is of no other."""
    masks = members(scores)
    words = []
    for row in range(len(scores["mag"])):
        names = [name for name in RULES if masks[name][row]]
        # Additive is what is left, and no sub-type beside the others.
        if not names and masks["additive"][row]:
            names.append("additive")
        words.append(", ".join(names) or "none")
    return words


def most_extreme(scores: Table, subtype: str, k: int | None = None) -> Int[np.ndarray, "k"]:
    """Pairs in the order of a sub-type's score, most typical first; undefined scores come last."""
    rule = rule_of(subtype)
    values = scores[rule.score]
    # Turned so that the most typical pair has the smallest value.
    if rule.above:
        values = -values
    order = np.argsort(np.where(np.isnan(values), np.inf, values), kind="stable")
    return order[:k]


def agreement(true: Table, predicted: Table, subtype: str, k: int = TOP) -> Agreement:
    """Precision among the k best, overlap of the k best, precision and recall for one sub-type."""
    rule = rule_of(subtype)
    is_true, is_predicted = _within(true[rule.score], rule), _within(predicted[rule.score], rule)
    true_count, predicted_count = int(is_true.sum()), int(is_predicted.sum())
    hits = int((is_true & is_predicted).sum())
    best = most_extreme(predicted, subtype, k)
    shared = np.intersect1d(best, most_extreme(true, subtype, k))
    # Without a pair of the sub-type there is none to be missed.
    recall = hits / true_count if true_count else float("nan")
    return Agreement(
        precision_at_10=float(is_true[best].sum() / k),
        top_10_accuracy=len(shared) / k,
        # Published convention: 0, not undefined, where nothing is predicted.
        precision=hits / max(predicted_count, 1),
        recall=recall,
        true=true_count,
        predicted=predicted_count,
    )


def by_chance(
    true: Table, subtype: str, *, k: int = TOP, sets: int = RANDOM_SETS, seed: int = 0
) -> Chance:
    """The two scores of the k best for `sets` random sets of k pairs, drawn without replacement."""
    rule = rule_of(subtype)
    count = len(true[rule.score])
    if count < k:
        raise InputError(
            f"random sets of {k} were asked of {count} pairs, expected at least {k}: pass a "
            "smaller k"
        )
    rng = np.random.default_rng(seed)
    # Without replacement, since a list of ten best holds ten different pairs.
    drawn = np.empty((sets, k), int)
    for row in drawn:
        row[:] = rng.choice(count, k, replace=False)
    hit = _within(true[rule.score], rule)[drawn].mean(1)
    overlap = np.isin(drawn, most_extreme(true, subtype, k)).mean(1)
    return Chance(_summary(hit), _summary(overlap))


def rule_of(subtype: str) -> Rule:
    if subtype not in RULES:
        raise InputError(
            f"there is no interaction sub-type {subtype!r}, expected one of {', '.join(RULES)}: "
            "choose one of these"
        )
    return RULES[subtype]


def _within(values: Float[np.ndarray, "N"], rule: Rule) -> Bool[np.ndarray, "N"]:
    return values > rule.threshold if rule.above else values < rule.threshold


def _summary(values: Float[np.ndarray, "S"]) -> tuple[float, float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(values.mean()), float(low), float(high)
