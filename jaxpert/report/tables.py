"""Scores of the model, its baselines and the ceiling as tables, the best of each row marked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxpert.evaluation.metrics import METRICS
from jaxpert.report.numbers import digits_for, finite, fixed, label
from jaxpert.report.words import MEANINGS

SUBSETS = ("test", "val", "train", "all")
"""Order of the tables: what was held out comes first."""


class Cell(NamedTuple):
    """One score in a table."""

    text: str
    kind: str
    """"best", "undefined", "ceiling" or "" for the page's style."""
    why: str = ""


class Row(NamedTuple):
    """One score of every method, and how far the model is ahead of the best baseline."""

    label: str
    arrow: str
    meaning: str
    cells: list[Cell]
    lead: Cell | None


class Table(NamedTuple):
    """Scores of one subset of perturbations."""

    subset: str
    perturbations: int | None
    methods: list[str]
    rows: list[Row]
    reasons: list[str]
    """Why scores are undefined, each reason once."""


def tables(metrics: Mapping[str, Any]) -> list[Table]:
    """One table for each subset of `metrics.json`: scores down, methods across, the best of each
    row marked."""
    methods = {"model": metrics.get("model") or {}, **(metrics.get("baselines") or {})}
    ceiling = metrics.get("ceiling") or {}
    return [
        _table(
            metrics,
            subset,
            {m: s.get(subset) or {} for m, s in methods.items()},
            ceiling.get(subset),
        )
        for subset in _ordered({subset for scores in methods.values() for subset in scores})
    ]


def truth_tables(metrics: Mapping[str, Any]) -> list[Table]:
    """The same against the planted effects of a simulated screen; the measurement itself is scored
    beside."""
    truth = metrics.get("truth") or {}
    subsets = _ordered({subset for scores in truth.values() for subset in scores})[:1]
    return [
        _table({}, s, {m: scores.get(s) or {} for m, scores in truth.items()}, None)
        for s in subsets
    ]


def _ordered(subsets: set[str]) -> list[str]:
    return [s for s in dict.fromkeys((*SUBSETS, *sorted(subsets))) if s in subsets]


def _table(
    metrics: Mapping[str, Any], subset: str, methods: Mapping[str, Any], ceiling: Any
) -> Table:
    found = {name for scores in (*methods.values(), ceiling or {}) for name in scores}
    names = [n for n in dict.fromkeys((*METRICS, *sorted(found))) if n in found]
    compared = (metrics.get("comparison") or {}).get(subset) or {}
    rows = [_row(name, methods, ceiling, compared.get(name)) for name in names]
    return Table(
        subset,
        (metrics.get("perturbations") or {}).get(subset),
        [*methods, *(["ceiling"] if ceiling else [])],
        rows,
        list(dict.fromkeys(cell.why for row in rows for cell in row.cells if cell.why)),
    )


def _row(name: str, methods: Mapping[str, Any], ceiling: Any, compared: Any) -> Row:
    """Scores of one metric; a metric that evaluation does not know is shown without a best."""
    known = METRICS.get(name)
    sign = 0 if known is None else 1 if known.higher_is_better else -1
    values = [scores.get(name) for scores in methods.values()]
    defined = [v for v in values if finite(v)]
    limit = (ceiling or {}).get(name)
    digits = digits_for([*defined, limit] if finite(limit) else defined)
    best = max(defined, key=lambda v: sign * v) if defined and sign and len(values) > 1 else None
    cells = [_cell(v, digits, _why(name), "best" if v == best else "") for v in values]
    cells += [_cell(limit, digits, _why(name), "ceiling")] if ceiling else []
    lead = _lead(sign, {m: s.get(name) for m, s in methods.items()}, compared, digits)
    return Row(label(name), {1: "↑", -1: "↓", 0: ""}[sign], MEANINGS.get(name, ""), cells, lead)


def _cell(value: Any, digits: int, why: str, kind: str) -> Cell:
    return (
        Cell(fixed(value, digits), kind) if finite(value) else Cell("undefined", "undefined", why)
    )


def _lead(sign: int, values: Mapping[str, Any], compared: Any, digits: int) -> Cell | None:
    """Model minus the best baseline with its interval; "better" or "worse" only where the interval
    excludes 0."""
    rivals = {m: sign * v for m, v in values.items() if m != "model" and finite(v)}
    if not compared or not rivals or not sign:
        return None
    gap = compared.get(max(rivals, key=lambda m: rivals[m])) or {}
    if not finite(gap.get("difference")):
        return None
    text = fixed(gap["difference"], digits, "+")
    if not (finite(gap.get("low")) and finite(gap.get("high"))):
        return Cell(text, "", "too few perturbations for an interval")
    low, high = sorted((sign * gap["low"], sign * gap["high"]))
    ends = f"{fixed(gap['low'], digits, '+')} to {fixed(gap['high'], digits, '+')}"
    return Cell(text, "better" if low > 0 else "worse" if high < 0 else "undecided", ends)


def _why(name: str) -> str:
    """Why this score may have no value."""
    if "pearson" in name:
        return (
            "A correlation is undefined where the prediction or the data is constant (no "
            "change, for one)."
        )
    if "jaccard" in name:
        return (
            "A constant prediction ranks no genes, and an overlap needs more genes than it counts."
        )
    return "The score was not computed for this method, or has no value here."
