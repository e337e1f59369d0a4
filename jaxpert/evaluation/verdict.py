"""The outcome of a comparison in plain sentences: where the model wins, where it loses, and by how
much."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from jaxpert.evaluation.metrics import METRICS
from jaxpert.evaluation.scoring import FEWEST_FOR_INTERVAL, Difference

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
PREFERENCE = ("held_out", "test", "val", "all", "train")
"""The subset spoken of is the first of these that has perturbations."""
WORDS = {"held_out": "test, measured on held-out cells only"}

OPENINGS = {
    "better": "the model beats every baseline on ",
    "worse": "the model loses to the best baseline on ",
    "undecided": "the model cannot be told from the best baseline on ",
}


def verdict(result: Mapping[str, Any], trained: Mapping[str, float]) -> str:
    """Sentences on the hardest subset there is.

    `result` is that of `compare`; `trained` is the share of each subset that has training cells.
    """
    # The hardest subset that can be scored (docs/evaluation.md, "Verdict").
    subset = next((name for name in PREFERENCE if result["perturbations"].get(name)), None)
    if subset is None:
        return "No perturbation has cells to be scored on, so nothing can be said about the model."
    if not result["baselines"]:
        return "There is no baseline to compare with, so the model's scores stand alone."
    where = f"On the {_plural(result['perturbations'][subset])} of {WORDS.get(subset, subset)}"
    where += _seen(trained.get(subset, math.nan))
    sentences = [
        f"{where}, {_against_best(result, subset)}",
        _baseline_by_baseline(result, subset),
        _ceiling(result, subset),
        _truth(result, subset),
    ]
    return " ".join(f"{sentence}." for sentence in sentences if sentence)


def outcome(name: str, difference: Difference) -> str:
    """ "better", "worse" or "undecided" (the interval includes 0 or cannot be had) for the
    model."""
    sign = 1 if METRICS[name].higher_is_better else -1
    # Turned so that more is better, which may swap the ends of the interval.
    low, high = sorted((sign * difference.low, sign * difference.high))
    # NaN compares false both times, so that without an interval nothing is claimed.
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    return "undecided"


def best_baseline(result: Mapping[str, Any], subset: str, name: str) -> str | None:
    """The baseline with the best defined value of a score, None where no baseline has one."""
    sign = 1 if METRICS[name].higher_is_better else -1
    values = {}
    for baseline, scores in result["baselines"].items():
        value = sign * scores[subset].get(name, math.nan)
        if math.isfinite(value):
            values[baseline] = value
    return max(values, key=values.__getitem__) if values else None


def _against_best(result: Mapping[str, Any], subset: str) -> str:
    """The three lists of headline scores: better than every baseline, worse than the best,
    undecided."""
    lists: dict[str, list[str]] = {kind: [] for kind in OPENINGS}
    for name in HEADLINE:
        model = result["model"][subset].get(name, math.nan)
        # Against the best one, since beating a weak baseline says little.
        best = best_baseline(result, subset, name)
        if best is not None and math.isfinite(model):
            other = result["baselines"][best][subset][name]
            difference = result["comparison"][subset][name][best]
            text = f"{model:.3f} against {other:.3f} of {best}, {_interval(difference)}"
            lists[outcome(name, difference)].append(f"{METRICS[name].label} ({text})")
    parts = []
    # Too few to resample (docs/evaluation.md, "Intervals"), so nothing may sound decided.
    if result["perturbations"][subset] < FEWEST_FOR_INTERVAL:
        parts.append(
            f"fewer than {FEWEST_FOR_INTERVAL}, so that no interval can be given and nothing is "
            "claimed"
        )
    for kind, scores in lists.items():
        if scores:
            parts.append(OPENINGS[kind] + ", ".join(scores))
    if not parts:
        return "no headline score is defined for both the model and a baseline"
    return "; ".join(parts)


def _interval(difference: Difference) -> str:
    text = f"{difference.difference:+.3f}"
    if math.isfinite(difference.low):
        text += f", 95 % interval {difference.low:+.3f} to {difference.high:+.3f}"
    return text


def _baseline_by_baseline(result: Mapping[str, Any], subset: str) -> str:
    parts = []
    for baseline in result["baselines"]:
        outcomes = []
        for name in HEADLINE:
            if name in result["model"][subset]:
                difference = result["comparison"][subset][name][baseline]
                if math.isfinite(difference.difference):
                    outcomes.append(outcome(name, difference))
        parts.append(
            f"against {baseline} it is better on {outcomes.count('better')} of {len(outcomes)} "
            f"scores, worse on {outcomes.count('worse')} and undecided on "
            f"{outcomes.count('undecided')}"
        )
    return "Baseline by baseline, " + "; ".join(parts)


def _ceiling(result: Mapping[str, Any], subset: str) -> str:
    """What half of the held-out cells makes of the other half; empty where that is unknown."""
    scores = (result["ceiling"] or {}).get(subset, {})
    parts = []
    for name in HEADLINE[:3]:
        if math.isfinite(scores.get(name, math.nan)):
            parts.append(f"{METRICS[name].label} {scores[name]:.3f}")
    if not parts:
        return ""
    return "One half of the held-out cells predicts the other half with " + ", ".join(parts)


def _truth(result: Mapping[str, Any], subset: str) -> str:
    """How well the planted effects are recovered, by the model, the best baseline and the
    measurement itself."""
    if result["truth"] is None:
        return ""
    name = "ate_pearson"
    values = {}
    for who, scores in result["truth"].items():
        value = scores[subset].get(name, math.nan)
        # An undefined score has no place in an order.
        if math.isfinite(value):
            values[who] = value
    # The best first; a stable sort, so that equal ones keep the order of the table.
    ordered = sorted(values.items(), key=lambda item: -item[1])
    parts = [f"{value:.3f} by {who}" for who, value in ordered]
    return f"The planted effects are recovered with {METRICS[name].label} " + ", ".join(parts)


def _seen(share: float) -> str:
    if math.isnan(share):
        return ""
    if share == 0:
        return " (none of them seen in training)"
    return f" ({share:.0%} of them also have training cells)"


def _plural(n: int) -> str:
    return f"{n} perturbation" + ("" if n == 1 else "s")
