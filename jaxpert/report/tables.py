"""Scores of the model, its baselines and the ceiling as tables, the best of each score marked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from jaxpert.evaluation.metrics import METRICS
from jaxpert.evaluation.subset_names import HELD_OUT
from jaxpert.report.numbers import digits_for, finite, fixed, heading, label
from jaxpert.report.words import MEANINGS

SUBSETS = (HELD_OUT, "test", "val", "train", "all")
"""Order of the tables: what training did not see comes first."""
ARROWS = {1: "↑", -1: "↓", 0: ""}
"""Which direction is better."""


class Cell(NamedTuple):
    """One score in a table."""

    text: str
    kind: str
    """"best", "undefined", "ceiling" or "" for the page's style."""
    why: str = ""


class Row(NamedTuple):
    """One score of every method, how far the model is ahead of the best baseline, and how far on
    the way from there to the ceiling."""

    label: str
    arrow: str
    meaning: str
    cells: list[Cell]
    """Of the methods of the table, the model first."""
    rival: Cell | None
    """The best baseline, with its name; None where no direction is better."""
    limit: Cell | None = None
    """What the model is held against beside the baselines, and is no rival: the ceiling."""
    lead: Cell | None = None
    way: Cell | None = None
    counted: bool = True
    """Whether the score tells a perfect model from the mean baseline."""


class Table(NamedTuple):
    """Scores of one subset of perturbations."""

    subset: str
    """In words."""
    perturbations: int | None
    methods: list[str]
    """The model and its baselines."""
    rows: list[Row]
    reasons: list[str]
    """Why scores are undefined, each reason once."""
    limit: str = ""
    """What `Row.limit` is; empty where there is none."""


def tables(metrics: Mapping[str, Any]) -> list[Table]:
    """One table for each subset of `metrics.json`, the best of each score marked."""
    methods = {"model": metrics.get("model") or {}, **(metrics.get("baselines") or {})}
    shown = []
    for subset in ordered_subsets(methods.values()):
        scores = _scores_on(subset, methods)
        shown.append(_table(_beside_of(metrics, subset), subset_words(metrics, subset), scores))
    return shown


def ceiling_of(metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ceiling by subset and score; empty for runs of before, whose "ceiling" is the score of
    one half of the cells against the other and so none."""
    return (metrics.get("ceiling") or {}) if metrics.get("ceiling_interval") else {}


def subset_words(metrics: Mapping[str, Any], subset: str) -> str:
    """A subset as the run describes it; its name in runs of before."""
    return (metrics.get("subsets") or {}).get(subset, subset)


def truth_tables(metrics: Mapping[str, Any]) -> list[Table]:
    """The same against the planted effects of a simulated screen; the measurement itself is scored
    beside."""
    truth = metrics.get("truth") or {}
    methods = {"model": truth.get("model") or {}} | _without(truth, "observed")
    # One subset is enough: the truth has no split of its own.
    subsets = ordered_subsets(truth.values())[:1]
    shown = []
    for subset in subsets:
        observed = (truth.get("observed") or {}).get(subset) or {}
        beside = _beside_of({}, "")._replace(limit="observed", limits=observed)
        shown.append(_table(beside, subset, _scores_on(subset, methods)))
    return shown


def ordered_subsets(methods: Iterable[Mapping[str, Any]]) -> list[str]:
    """Subsets that any method is scored on, in the order of pages and figures."""
    return _known_first(methods, SUBSETS)


def _known_first(tables: Iterable[Mapping[str, Any]], known: Iterable[str]) -> list[str]:
    """The keys of any table, known ones in their order and then others by name."""
    present = set().union(*tables)
    first = [name for name in known if name in present]
    # What only one run has follows by name, so that its order is fixed.
    return first + sorted(present.difference(first))


def _without(methods: Mapping[str, Any], left_out: str) -> dict[str, Any]:
    return {method: scores for method, scores in methods.items() if method != left_out}


def _scores_on(subset: str, methods: Mapping[str, Any]) -> dict[str, Any]:
    return {method: scores.get(subset) or {} for method, scores in methods.items()}


class _Beside(NamedTuple):
    """What stands beside the scores of a subset, by score."""

    perturbations: int | None
    limit: str
    limits: Mapping[str, Any]
    ends: Mapping[str, Any]
    """Of the intervals of `limits`."""
    compared: Mapping[str, Any]
    claims: Mapping[str, Any]
    progress: Mapping[str, Any]


def _beside_of(metrics: Mapping[str, Any], subset: str) -> _Beside:
    """That part of metrics.json; runs of before lack some of it."""
    names = ("ceiling_interval", "comparison", "claims", "progress")
    parts = [(metrics.get(name) or {}).get(subset) or {} for name in names]
    ceiling = ceiling_of(metrics).get(subset) or {}
    perturbations = (metrics.get("perturbations") or {}).get(subset)
    return _Beside(perturbations, "ceiling", ceiling, *parts)


def _table(beside: _Beside, words: str, methods: Mapping[str, Any]) -> Table:
    rows: list[Row] = []
    # A dict keeps each reason once, in the order of the rows.
    reasons: dict[str, None] = {}
    for name in _known_first((*methods.values(), beside.limits), METRICS):
        rows.append(_row(name, methods, beside))
        for cell in (*rows[-1].cells, rows[-1].limit):
            if cell is not None and cell.kind == "undefined":
                reasons[cell.why] = None
    limit = beside.limit if beside.limits else ""
    return Table(words, beside.perturbations, list(methods), rows, list(reasons), limit)


def _row(name: str, methods: Mapping[str, Any], beside: _Beside) -> Row:
    """Scores of one metric; a metric that evaluation does not know is shown without a best."""
    sign = _sign(name)
    values = {method: scores.get(name) for method, scores in methods.items()}
    limit = beside.limits.get(name)
    # The limit shares the digits of its row.
    digits = digits_for(list(filter(finite, [*values.values(), limit])))
    cells = score_cells(values, sign, digits, _why(name))
    rival = best_baseline(values, sign)
    claim, row_limit = beside.claims.get(name) or {}, None
    if beside.limits:
        row_limit = _limit(beside.limit, limit, beside.ends.get(name) or {}, digits)
    return Row(
        label(name),
        ARROWS[sign],
        MEANINGS.get(name, ""),
        list(cells.values()),
        rival=named(rival, cells),
        limit=row_limit,
        lead=_lead(sign, rival, beside.compared.get(name), claim, digits),
        way=_way(beside.progress.get(name)),
        counted=bool(claim.get("counted", True)),
    )


def score_cells(values: Mapping[str, Any], sign: int, digits: int, why: str) -> dict[str, Cell]:
    """The same score of every method, the best of them marked."""
    # Undefined scores take no part in the choice of the best.
    defined = list(filter(finite, values.values()))
    best = None
    # Without a known direction, or alone, nothing is best.
    if defined and sign and len(values) > 1:
        best = max(defined, key=lambda value: sign * value)
    cells = {}
    for method, value in values.items():
        # Equal scores are all marked.
        kind = "best" if value == best else ""
        cells[method] = score_cell(value, digits, kind, why)
    return cells


def best_baseline(values: Mapping[str, Any], sign: int) -> str | None:
    """The method other than the model with the best value; None where none can be told."""
    rivals = {}
    for method, value in values.items():
        if method != "model" and finite(value):
            # The sign makes higher better for every score.
            rivals[method] = sign * value
    if not rivals or not sign:
        return None
    return max(rivals, key=rivals.__getitem__)


def named(method: str | None, cells: Mapping[str, Cell]) -> Cell | None:
    """The cell of a method, with its name."""
    return None if method is None else cells[method]._replace(why=label(method))


def _limit(what: str, value: Any, ends: Mapping[str, Any], digits: int) -> Cell:
    """The ceiling, or what is in its place, with its interval."""
    why = f"{heading(what)} has no value for this score: too few cells, no signal, or no way to it."
    cell = score_cell(value, digits, "ceiling", why)
    if not finite(value) or not (finite(ends.get("low")) and finite(ends.get("high"))):
        return cell
    return cell._replace(why=f"{fixed(ends['low'], digits)} to {fixed(ends['high'], digits)}")


def _way(progress: Mapping[str, Any] | None) -> Cell | None:
    """The share of the way from the best baseline to the ceiling that the model goes."""
    share: Any = (progress or {}).get("share")
    if not finite(share):
        return None
    # Far behind the best baseline the share says no more than that.
    text = "far behind" if share < -9.99 else f"{fixed(100 * share, 0)} %"
    return Cell(text, "", f"from {label((progress or {}).get('baseline'))}")


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


def _lead(
    sign: int, rival: str | None, compared: Any, claim: Mapping[str, Any], digits: int
) -> Cell | None:
    """Model minus the best baseline with its interval; "better" or "worse" as the run claims it,
    which looks at all baselines and all headline scores."""
    if not compared or rival is None:
        return None
    gap = compared.get(rival) or {}
    if not finite(gap.get("difference")):
        return None
    text = fixed(gap["difference"], digits, "+")
    # A difference without interval is shown, but decides nothing.
    if not (finite(gap.get("low")) and finite(gap.get("high"))):
        return Cell(text, "", "too few perturbations for an interval")
    ends = f"{fixed(gap['low'], digits, '+')} to {fixed(gap['high'], digits, '+')}"
    return Cell(text, claim.get("outcome") or _outcome(sign, compared.values()), ends)


def _outcome(sign: int, compared: Iterable[Mapping[str, Any] | None]) -> str:
    """Of runs of before, which made no claims: better where every interval excludes 0 on the right
    side, worse where any does on the other."""
    lows, highs = [], []
    for gap in compared:
        ends = (gap or {}).get("low"), (gap or {}).get("high")
        if all(map(finite, ends)):
            # Turning the sign swaps the ends, so they are sorted again.
            low, high = sorted(sign * end for end in ends if end is not None)
            lows.append(low)
            highs.append(high)
    if lows and min(lows) > 0:
        return "better"
    if highs and min(highs) < 0:
        return "worse"
    return "undecided"


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
