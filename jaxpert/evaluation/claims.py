"""What may be claimed of a model on several scores and against several baselines at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from jaxpert.evaluation.intervals import Difference
from jaxpert.evaluation.metrics import METRICS

HEADLINE = (
    "ate_pearson",
    "ate_r2",
    "jaccard_top50",
    "pearson_delta_reference",
    "discrimination_score",
    "mse",
)
"""Scores that the verdict speaks of: the paper's three, two that a mean profile cannot win, and the
plain error."""
LEVEL = 0.05
"""Chance of any false claim, "better" and "worse" together, over all headline scores."""


class Claim(NamedTuple):
    """What is said of the model on one score."""

    outcome: str
    """better than every baseline, worse than some baseline, or undecided."""
    p: float
    """Of that outcome, corrected for all that was asked; of "better" where undecided."""
    rival: str
    """The baseline that is hardest to beat, and that the model is most surely worse than."""
    counted: bool
    """Whether the score counts; one that does not is undecided whatever its interval."""


class _Sides(NamedTuple):
    """Both one-sided questions on one score."""

    better: float
    worse: float
    rival: str
    """The baseline that is hardest to beat."""


def outcome(name: str, difference: Difference) -> str:
    """ "better", "worse" or "undecided" (the interval includes 0 or cannot be had) for the model
    against one baseline on one score, as if nothing else had been asked."""
    sign = 1 if METRICS[name].higher_is_better else -1
    # Turned so that more is better, which may swap the ends of the interval.
    low, high = sorted((sign * difference.low, sign * difference.high))
    # NaN compares false both times, so that without an interval nothing is claimed.
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    return "undecided"


def claims(
    compared: Mapping[str, Mapping[str, Difference]], uncounted: Iterable[str] = ()
) -> dict[str, Claim]:
    """One claim for each score of a subset.

    Args:
        compared: {score: {baseline: model minus baseline}}.
        uncounted: scores that may not count, as they tell a perfect model from the mean badly.

    "Better" needs the model to be better than every baseline, each at the whole level (an
    intersection-union test: nothing is won by choosing the rival afterwards). "Worse" than some
    baseline is corrected for their number. The headline scores that count share one level by Holm's
    procedure, one for each of the two questions; other scores are asked one by one.
    """
    left_out = set(uncounted)
    sides = {}
    for name, differences in compared.items():
        asked = _sides(name, differences)
        if asked is not None:
            sides[name] = asked
    together = [name for name in HEADLINE if name in sides and name not in left_out]
    better = holm({name: sides[name].better for name in together})
    worse = holm({name: sides[name].worse for name in together})
    made = {}
    for name, asked in sides.items():
        # Scores outside the family keep the p-values of their own question.
        p_better = better[name] if name in better else asked.better
        p_worse = worse[name] if name in worse else asked.worse
        made[name] = _claim(asked, p_better, p_worse, name not in left_out)
    return made


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values corrected for their number by Holm's step-down procedure; NaN stays NaN."""
    known = {name: p for name, p in p_values.items() if not math.isnan(p)}
    corrected = dict(p_values)
    largest = 0.0
    for place, name in enumerate(sorted(known, key=known.__getitem__)):
        # The smallest is held against all, the next against one fewer, and never below the last.
        largest = max(largest, min(1.0, (len(known) - place) * known[name]))
        corrected[name] = largest
    return corrected


def _sides(name: str, differences: Mapping[str, Difference]) -> _Sides | None:
    """One-sided p-values of "better than every" and "worse than some"; None where no baseline has
    the score."""
    sign = 1 if METRICS[name].higher_is_better else -1
    one_sided = {}
    for baseline, difference in differences.items():
        if math.isfinite(difference.difference):
            ahead = sign * difference.difference > 0
            half = difference.p / 2
            one_sided[baseline] = half if ahead else 1 - half
    if not one_sided:
        return None
    # Where one p-value is not known, nothing can be claimed against every baseline.
    for baseline, p in one_sided.items():
        if math.isnan(p):
            return _Sides(math.nan, math.nan, baseline)
    hardest = max(one_sided, key=one_sided.__getitem__)
    # 1 - p is the p-value of "worse"; Bonferroni over baselines.
    worse = min(1.0, len(one_sided) * (1 - one_sided[hardest]))
    return _Sides(one_sided[hardest], worse, hardest)


def _claim(asked: _Sides, better: float, worse: float, counted: bool) -> Claim:
    """The claim at half the level for either side."""
    # NaN compares false, so that without a p-value nothing is claimed.
    if counted and better <= LEVEL / 2:
        return Claim("better", better, asked.rival, counted)
    if counted and worse <= LEVEL / 2:
        return Claim("worse", worse, asked.rival, counted)
    return Claim("undecided", better, asked.rival, counted)
