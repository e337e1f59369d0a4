"""The model against every baseline, score by score, as lines of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxpert.evaluation.claims import HEADLINE, outcome
from jaxpert.evaluation.intervals import Difference
from jaxpert.evaluation.metrics import METRICS
from jaxpert.report.numbers import digits_for, finite, fixed, label


class Comparison(NamedTuple):
    """The model beside one baseline on one score."""

    score: str
    baseline: str
    model: str
    value: str
    """Of the baseline."""
    difference: str
    interval: str
    outcome: str
    """better, worse or undecided, as if nothing else had been asked."""


def comparisons(metrics: Mapping[str, Any], subset: str) -> list[Comparison]:
    """Every comparison on a subset, main scores alone."""
    compared = (metrics.get("comparison") or {}).get(subset) or {}
    model: Mapping[str, Any] = (metrics.get("model") or {}).get(subset) or {}
    baselines = metrics.get("baselines") or {}
    lines = []
    for name in HEADLINE:
        values = {"": model.get(name)}
        for baseline, of in baselines.items():
            values[baseline] = (of.get(subset) or {}).get(name)
        # A score has the same decimals in every line, so that it can be compared down the column.
        digits = digits_for([value for value in values.values() if finite(value)])
        for baseline, gap in (compared.get(name) or {}).items():
            pair = values[""], values.get(baseline)
            if all(map(finite, (*pair, gap.get("difference")))):
                lines.append(_line(name, baseline, pair, gap, digits))
    return lines


def _line(
    name: str, baseline: str, values: tuple[Any, Any], gap: Mapping[str, Any], digits: int
) -> Comparison:
    ends = gap.get("low"), gap.get("high")
    interval, word = "none: too few", "undecided"
    if finite(ends[0]) and finite(ends[1]):
        interval = " to ".join(fixed(float(end or 0), digits, "+") for end in ends)
        word = outcome(name, Difference(gap["difference"], gap["low"], gap["high"]))
    return Comparison(
        score=METRICS[name].label,
        baseline=label(baseline),
        model=fixed(values[0], digits),
        value=fixed(values[1], digits),
        difference=fixed(gap["difference"], digits, "+"),
        interval=interval,
        outcome=word,
    )
