"""Scores of the model, its baselines and the ceiling as tables, the best of each row marked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from jaxpert.evaluation.metrics import METRICS
from jaxpert.report.numbers import digits_for, finite, fixed, label
from jaxpert.report.words import MEANINGS

SUBSETS = ("test", "val", "train", "all")
"""Order of the tables: what was held out comes first."""
ARROWS = {1: "↑", -1: "↓", 0: ""}
"""Which direction is better."""


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
    shown = []
    for subset in ordered_subsets(methods.values()):
        scores = _scores_on(subset, methods)
        shown.append(_table(metrics, subset, scores, ceiling.get(subset)))
    return shown


def truth_tables(metrics: Mapping[str, Any]) -> list[Table]:
    """The same against the planted effects of a simulated screen; the measurement itself is scored
    beside."""
    methods = metrics.get("truth") or {}
    # One subset is enough: the truth has no split of its own.
    subsets = ordered_subsets(methods.values())[:1]
    return [_table({}, subset, _scores_on(subset, methods), None) for subset in subsets]


def ordered_subsets(methods: Iterable[Mapping[str, Any]]) -> list[str]:
    """Subsets that any method is scored on, in the order of pages and figures."""
    present = {subset for scores in methods for subset in scores}
    first = [subset for subset in SUBSETS if subset in present]
    # Subsets that only one run has follow by name, so that their order is fixed.
    return first + sorted(present - set(SUBSETS))


def _scores_on(subset: str, methods: Mapping[str, Any]) -> dict[str, Any]:
    return {method: scores.get(subset) or {} for method, scores in methods.items()}


def _table(
    metrics: Mapping[str, Any], subset: str, methods: Mapping[str, Any], ceiling: Any
) -> Table:
    present = {name for scores in (*methods.values(), ceiling or {}) for name in scores}
    # Scores that evaluation does not know come last, by name.
    names = [name for name in METRICS if name in present] + sorted(present - set(METRICS))
    compared = (metrics.get("comparison") or {}).get(subset) or {}
    rows = [_row(name, methods, ceiling, compared.get(name)) for name in names]
    heads = [*methods, "ceiling"] if ceiling else list(methods)
    # A dict keeps each reason once, in the order of the rows.
    reasons = {cell.why: None for row in rows for cell in row.cells if cell.why}
    perturbations = (metrics.get("perturbations") or {}).get(subset)
    return Table(subset, perturbations, heads, rows, list(reasons))


def _row(name: str, methods: Mapping[str, Any], ceiling: Any, compared: Any) -> Row:
    """Scores of one metric; a metric that evaluation does not know is shown without a best."""
    sign = _sign(name)
    values = {method: scores.get(name) for method, scores in methods.items()}
    # Undefined scores take no part in the choice of the best.
    defined = [value for value in values.values() if finite(value)]
    limit = (ceiling or {}).get(name)
    # The ceiling shares the digits of its row.
    digits = digits_for([*defined, limit] if finite(limit) else defined)
    best = None
    if defined and sign and len(values) > 1:
        # Without a known direction, or alone, nothing is best.
        best = max(defined, key=lambda value: sign * value)
    why = _why(name)
    cells = []
    for value in values.values():
        # Equal scores are all marked.
        cells.append(score_cell(value, digits, "best" if value == best else "", why))
    if ceiling:
        cells.append(score_cell(limit, digits, "ceiling", why))
    lead = _lead(sign, values, compared, digits)
    return Row(label(name), ARROWS[sign], MEANINGS.get(name, ""), cells, lead)


def _sign(name: str) -> int:
    """1 where higher is better, -1 where lower is, 0 where nobody knows."""
    if name not in METRICS:
        return 0
    return 1 if METRICS[name].higher_is_better else -1


def score_cell(value: Any, digits: int, kind: str, why: str) -> Cell:
    """A score of `kind`, or "undefined" and `why`."""
    return (
        Cell(fixed(value, digits), kind) if finite(value) else Cell("undefined", "undefined", why)
    )


def _lead(sign: int, values: Mapping[str, Any], compared: Any, digits: int) -> Cell | None:
    """Model minus the best baseline with its interval; "better" or "worse" only where the interval
    excludes 0."""
    # Signs make higher better for every score.
    rivals = {m: sign * v for m, v in values.items() if m != "model" and finite(v)}
    if not compared or not rivals or not sign:
        return None
    gap = compared.get(max(rivals, key=lambda m: rivals[m])) or {}
    if not finite(gap.get("difference")):
        return None
    text = fixed(gap["difference"], digits, "+")
    # A difference without interval is shown, but decides nothing.
    if not (finite(gap.get("low")) and finite(gap.get("high"))):
        return Cell(text, "", "too few perturbations for an interval")
    # Turning the sign swaps the ends, so they are sorted again.
    low, high = sorted((sign * gap["low"], sign * gap["high"]))
    kind = "undecided"
    if low > 0:
        kind = "better"
    elif high < 0:
        kind = "worse"
    ends = f"{fixed(gap['low'], digits, '+')} to {fixed(gap['high'], digits, '+')}"
    return Cell(text, kind, ends)


def _why(name: str) -> str:
    """Why this score may have no value."""
    if "pearson" in name:
        return (
            "A correlation is undefined where the prediction or the data is constant (no change, "
            "for one)."
        )
    if "jaccard" in name:
        return (
            "A constant prediction ranks no genes, and an overlap needs more genes than it counts."
        )
    return "The score was not computed for this method, or has no value here."
