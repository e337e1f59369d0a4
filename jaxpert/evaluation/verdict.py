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
    """Sentences on the hardest subset there is; `trained` is the share of each subset that has
    training cells."""
    subset = next((name for name in PREFERENCE if result["perturbations"].get(name)), None)
    if subset is None:
        return "No perturbation has cells to be scored on, so nothing can be said about the model."
    if not result["baselines"]:
        return "There is no baseline to compare with, so the model's scores stand alone."
    where = f"On the {_plural(result['perturbations'][subset])} of {WORDS.get(subset, subset)}"
    where += _seen(trained.get(subset, math.nan))
    sentences = [
        f"{where}, {_against_best(result, subset)}.",
        f"{_baseline_by_baseline(result, subset)}.",
    ]
    sentences += [f"{s}." for s in (_ceiling(result, subset), _truth(result, subset)) if s]
    return " ".join(sentences)


def outcome(name: str, difference: Difference) -> str:
    """ "better", "worse" or "undecided" (the interval includes 0 or cannot be had) for the
    model."""
    sign = 1 if METRICS[name].higher_is_better else -1
    low, high = sorted((sign * difference.low, sign * difference.high))
    return "better" if low > 0 else "worse" if high < 0 else "undecided"


def best_baseline(result: Mapping[str, Any], subset: str, name: str) -> str | None:
    """The baseline with the best defined value of a score, None where no baseline has one."""
    sign = 1 if METRICS[name].higher_is_better else -1
    found = {
        b: sign * scores[subset].get(name, math.nan) for b, scores in result["baselines"].items()
    }
    found = {b: v for b, v in found.items() if math.isfinite(v)}
    return max(found, key=found.__getitem__) if found else None


def _against_best(result: Mapping[str, Any], subset: str) -> str:
    """The three lists of headline scores: better than every baseline, worse than the best,
    undecided."""
    groups: dict[str, list[str]] = {"better": [], "worse": [], "undecided": []}
    for name in HEADLINE:
        model, best = (
            result["model"][subset].get(name, math.nan),
            best_baseline(result, subset, name),
        )
        if best is None or not math.isfinite(model):
            continue
        difference = result["comparison"][subset][name][best]
        groups[outcome(name, difference)].append(
            _numbers(name, model, best, result, subset, difference)
        )
    said = [OPENINGS[kind] + ", ".join(scores) for kind, scores in groups.items() if scores]
    if result["perturbations"][subset] < FEWEST_FOR_INTERVAL:
        said = [
            f"fewer than {FEWEST_FOR_INTERVAL}, so that no interval can be given and nothing is "
            "claimed",
            *said,
        ]
    return (
        "; ".join(said)
        if said
        else "no headline score is defined for both the model and a baseline"
    )


def _numbers(
    name: str,
    model: float,
    best: str,
    result: Mapping[str, Any],
    subset: str,
    difference: Difference,
) -> str:
    other = result["baselines"][best][subset][name]
    numbers = f"{model:.3f} against {other:.3f} of {best}, {difference.difference:+.3f}"
    if math.isfinite(difference.low):
        numbers += f", 95 % interval {difference.low:+.3f} to {difference.high:+.3f}"
    return f"{METRICS[name].label} ({numbers})"


def _baseline_by_baseline(result: Mapping[str, Any], subset: str) -> str:
    said = []
    for baseline in result["baselines"]:
        found = [
            outcome(name, result["comparison"][subset][name][baseline])
            for name in HEADLINE
            if name in result["model"][subset]
            and math.isfinite(result["comparison"][subset][name][baseline].difference)
        ]
        better, worse, undecided = (found.count(kind) for kind in ("better", "worse", "undecided"))
        said.append(
            f"against {baseline} it is better on {better} of {len(found)} scores, worse on "
            f"{worse} and "
            f"undecided on {undecided}"
        )
    return "Baseline by baseline, " + "; ".join(said)


def _ceiling(result: Mapping[str, Any], subset: str) -> str:
    found = (result["ceiling"] or {}).get(subset, {})
    said = [
        f"{METRICS[n].label} {found[n]:.3f}"
        for n in HEADLINE[:3]
        if math.isfinite(found.get(n, math.nan))
    ]
    return (
        "One half of the held-out cells predicts the other half with " + ", ".join(said)
        if said
        else ""
    )


def _truth(result: Mapping[str, Any], subset: str) -> str:
    """How well the planted effects are recovered, by the model, the best baseline and the
    measurement itself."""
    if result["truth"] is None:
        return ""
    name = "ate_pearson"
    found = {who: scores[subset].get(name, math.nan) for who, scores in result["truth"].items()}
    said = [
        f"{v:.3f} by {who}"
        for who, v in sorted(found.items(), key=lambda kv: -kv[1])
        if math.isfinite(v)
    ]
    return f"The planted effects are recovered with {METRICS[name].label} " + ", ".join(said)


def _seen(share: float) -> str:
    if math.isnan(share):
        return ""
    if share == 0:
        return " (none of them seen in training)"
    return f" ({share:.0%} of them also have training cells)"


def _plural(n: int) -> str:
    return f"{n} perturbation" + ("" if n == 1 else "s")
