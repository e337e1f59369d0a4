"""The outcome of a comparison in plain sentences: where the model wins, where it loses, and by how
much."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from jaxpert.evaluation.claims import HEADLINE, Claim, outcome
from jaxpert.evaluation.intervals import FEWEST_FOR_INTERVAL, Difference
from jaxpert.evaluation.metrics import METRICS
from jaxpert.evaluation.subset_names import UNSEEN_FIRST

OPENINGS = {
    "better": "the model beats every baseline on ",
    "worse": "the model loses to a baseline on ",
    "undecided": "the model is not told from every baseline on ",
}


def verdict(result: Mapping[str, Any], trained: Mapping[str, float]) -> str:
    """Sentences on the hardest subset there is.

    `result` is that of `compare`; `trained` is the share of each subset that has training cells.
    """
    # What training saw least of (docs/evaluation.md, "Verdict").
    subset = next((name for name in UNSEEN_FIRST if result["perturbations"].get(name)), None)
    if subset is None:
        return "No perturbation has cells to be scored on, so nothing can be said about the model."
    if not result["baselines"]:
        return "There is no baseline to compare with, so the model's scores stand alone."
    count, words = result["perturbations"][subset], result["subsets"][subset]
    where = f"On {_plural(count)} ({words}{_seen(words, trained.get(subset, math.nan))})"
    sentences = [
        f"{where}, {_against_best(result, subset)}",
        _level(result, subset),
        _uncounted(result, subset),
        _baseline_by_baseline(result, subset),
        _ceiling(result, subset),
        _way(result, subset),
        _truth(result, subset),
    ]
    return " ".join(f"{sentence}." for sentence in sentences if sentence)


def best_baseline(result: Mapping[str, Any], subset: str, name: str) -> str | None:
    """The baseline with the best defined value of a score, None where no baseline has one."""
    sign = 1 if METRICS[name].higher_is_better else -1
    values = {}
    for baseline, scores in result["baselines"].items():
        value = sign * scores[subset].get(name, math.nan)
        if math.isfinite(value):
            values[baseline] = value
    return max(values, key=values.__getitem__) if values else None


def _shown(result: Mapping[str, Any], subset: str) -> dict[str, Claim]:
    """The claims on headline scores that count and that the model has."""
    of_subset, scores = result["claims"][subset], result["model"][subset]
    claims = {}
    for name in HEADLINE:
        claim = of_subset.get(name)
        if claim is not None and claim.counted and math.isfinite(scores.get(name, math.nan)):
            claims[name] = claim
    return claims


def _against_best(result: Mapping[str, Any], subset: str) -> str:
    """The three lists of headline scores: better than every baseline, worse than one, undecided."""
    lists: dict[str, list[str]] = {kind: [] for kind in OPENINGS}
    for name, claim in _shown(result, subset).items():
        # A win is measured by the best rival; a loss, or an open end, by the one that decides.
        rival = claim.rival
        if claim.outcome == "better":
            rival = best_baseline(result, subset, name)
        assert rival is not None, "a claim rests on a baseline that has the score"
        model, other = result["model"][subset][name], result["baselines"][rival][subset][name]
        difference = result["comparison"][subset][name][rival]
        text = f"{model:.3f} against {other:.3f} of {rival}, {_interval(difference)}"
        lists[claim.outcome].append(f"{METRICS[name].label} ({text})")
    parts = []
    # Too few (docs/evaluation.md, "Intervals"), so nothing may sound decided.
    if result["perturbations"][subset] < FEWEST_FOR_INTERVAL:
        parts.append(
            f"too few to say: with fewer than {FEWEST_FOR_INTERVAL} no interval can be given and "
            "nothing is claimed"
        )
    for kind, scores in lists.items():
        if scores:
            parts.append(OPENINGS[kind] + ", ".join(scores))
    if not parts:
        return "no headline score is defined for both the model and a baseline, and counts"
    return "; ".join(parts)


def _level(result: Mapping[str, Any], subset: str) -> str:
    """What stands behind the claims; empty where nothing could be claimed."""
    count = len(_shown(result, subset))
    if count == 0 or result["perturbations"][subset] < FEWEST_FOR_INTERVAL:
        return ""
    scores = "this score" if count == 1 else f"these {count} scores"
    return (
        f"The chance of any false claim over {scores} together is 5 %, while the intervals hold "
        "for one score and one baseline each"
    )


def _uncounted(result: Mapping[str, Any], subset: str) -> str:
    names = []
    for name in HEADLINE:
        claim = result["claims"][subset].get(name)
        if claim is not None and not claim.counted:
            names.append(METRICS[name].label)
    if not names:
        return ""
    return (
        f"Not counted is what cannot tell a perfect model from the mean baseline on these data: "
        f"{', '.join(names)}"
    )


def _interval(difference: Difference) -> str:
    text = f"{difference.difference:+.3f}"
    if math.isfinite(difference.low):
        text += f", 95 % interval {difference.low:+.3f} to {difference.high:+.3f}"
    return text


def _baseline_by_baseline(result: Mapping[str, Any], subset: str) -> str:
    # Baselines with the same outcomes share a part, else the sentence would have no end.
    alike: dict[str, list[str]] = {}
    for baseline in result["baselines"]:
        outcomes = []
        for name in _shown(result, subset):
            difference = result["comparison"][subset][name][baseline]
            if math.isfinite(difference.difference):
                outcomes.append(outcome(name, difference))
        text = (
            f"it is better on {outcomes.count('better')} of {len(outcomes)} scores, worse on "
            f"{outcomes.count('worse')} and undecided on {outcomes.count('undecided')}"
        )
        alike.setdefault(text, []).append(baseline)
    parts = [f"against {', '.join(baselines)} {text}" for text, baselines in alike.items()]
    return "Baseline by baseline, each score by itself, " + "; ".join(parts)


def _ceiling(result: Mapping[str, Any], subset: str) -> str:
    """What a perfect model would score, with the range of its scores; empty where that is
    unknown."""
    scores = (result["ceiling"] or {}).get(subset, {})
    intervals = (result["ceiling_interval"] or {}).get(subset, {})
    parts = []
    for name in HEADLINE:
        value = scores.get(name, math.nan)
        if math.isfinite(value):
            low, high = intervals[name]["low"], intervals[name]["high"]
            parts.append(f"{METRICS[name].label} {value:.3f} ({low:.3f} to {high:.3f})")
    if not parts:
        return ""
    return "A perfect model would score, against the noise of these cells, " + ", ".join(parts)


def _way(result: Mapping[str, Any], subset: str) -> str:
    """How far the model is on the way to the ceiling, on the scores that count."""
    shares = result["progress"].get(subset, {})
    parts = []
    for name in _shown(result, subset):
        if name in shares:
            # A share far below 0 says no more than that the model is behind.
            share = 100 * shares[name]["share"]
            way = f"{share:.0f} %" if share > -1000 else "far behind"
            parts.append(f"{METRICS[name].label} {way}")
    if not parts:
        return ""
    return "Of the way from the best baseline to there the model goes " + ", ".join(parts)


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


def _seen(words: str, share: float) -> str:
    """The share that training has cells of, where the words do not say it all."""
    if math.isnan(share) or "never trained" in words:
        return ""
    return f"; {share:.0%} of them also have training cells"


def _plural(n: int) -> str:
    return f"{n} perturbation" + ("" if n == 1 else "s")
