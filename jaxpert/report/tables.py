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
    return _known_first(methods, SUBSETS)


def _known_first(tables: Iterable[Mapping[str, Any]], known: Iterable[str]) -> list[str]:
    """The keys of any table, known ones in their order and then others by name."""
    present = set().union(*tables)
    first = [name for name in known if name in present]
    # What only one run has follows by name, so that its order is fixed.
    return first + sorted(present.difference(first))


def _scores_on(subset: str, methods: Mapping[str, Any]) -> dict[str, Any]:
    return {method: scores.get(subset) or {} for method, scores in methods.items()}


def _table(
    metrics: Mapping[str, Any], subset: str, methods: Mapping[str, Any], ceiling: Any
) -> Table:
    compared = (metrics.get("comparison") or {}).get(subset) or {}
    rows: list[Row] = []
    # A dict keeps each reason once, in the order of the rows.
    reasons: dict[str, None] = {}
    for name in _known_first((*methods.values(), ceiling or {}), METRICS):
        rows.append(_row(name, methods, ceiling, compared.get(name)))
        for cell in rows[-1].cells:
            if cell.why:
                reasons[cell.why] = None
    heads = list(methods)
    if ceiling:
        heads.append("ceiling")
    perturbations = (metrics.get("perturbations") or {}).get(subset)
    return Table(subset, perturbations, heads, rows, list(reasons))


def _row(name: str, methods: Mapping[str, Any], ceiling: Any, compared: Any) -> Row:
    """Scores of one metric; a metric that evaluation does not know is shown without a best."""
    sign = _sign(name)
    values = {method: scores.get(name) for method, scores in methods.items()}
    # Undefined scores take no part in the choice of the best.
    defined = list(filter(finite, values.values()))
    limit = (ceiling or {}).get(name)
    # The ceiling shares the digits of its row.
    digits = digits_for(list(filter(finite, [*values.values(), limit])))
    best = None
    if defined and sign and len(values) > 1:
        # Without a known direction, or alone, nothing is best.
        best = max(defined, key=lambda value: sign * value)
    why = _why(name)
    cells = []
    for value in values.values():
        # Equal scores are all marked.
        kind = "best" if value == best else ""
        cells.append(score_cell(value, digits, kind, why))
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
    if finite(value):
        return Cell(fixed(value, digits), kind)
    return Cell("undefined", "undefined", why)


def _lead(sign: int, values: Mapping[str, Any], compared: Any, digits: int) -> Cell | None:
    """Model minus the best baseline with its interval; "better" or "worse" only where the interval
    excludes 0."""
    rivals = {}
    for method, value in values.items():
        if method != "model" and finite(value):
            # The sign makes higher better for every score.
            rivals[method] = sign * value
    if not compared or not rivals or not sign:
        return None
    gap = compared.get(max(rivals, key=rivals.__getitem__)) or {}
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
