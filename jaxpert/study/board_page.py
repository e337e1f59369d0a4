"""What the page of a leaderboard has beside its tables: words at the top, and dots for the
scores."""

from __future__ import annotations

from collections.abc import Sequence

from jaxpert.evaluation.claims import HEADLINE
from jaxpert.evaluation.intervals import FEWEST_FOR_INTERVAL
from jaxpert.evaluation.metrics import METRICS
from jaxpert.report import charts
from jaxpert.report.charts import Chart
from jaxpert.report.drawn import NARROW
from jaxpert.report.glance import TOO_FEW, Glance
from jaxpert.report.headline import in_number
from jaxpert.report.numbers import finite, fixed, label
from jaxpert.study.standing import ORDER, Place, Standing

MOST_NAMED = 3


def glance(of: Standing) -> Glance:
    """Whether any model is better than every baseline by a main score, and worse by none."""
    where = f"On {in_number(of.perturbations, of.words)}"
    if of.perturbations < FEWEST_FOR_INTERVAL:
        told = f"{where} nothing can be said: {FEWEST_FOR_INTERVAL} are needed. {_first(of)}"
        return Glance("unknown", TOO_FEW, told)
    models = [place for place in of.places if place.seeds]
    winners = [p.name for p in models if _outcomes(p) & {"better", "worse"} == {"better"}]
    both = [p.name for p in models if {"better", "worse"} <= _outcomes(p)]
    losers = [p.name for p in models if "worse" in _outcomes(p)]
    share = f"{len(winners)} of {len(models)} models are better than every baseline by a main score"
    told = f"{where} {share} and worse by none. {_first(of)}"
    if winners:
        return Glance("better", f"better than every baseline: {_named(winners)}", told)
    if both:
        word = f"better than every baseline by some scores, worse by others: {_named(both)}"
        return Glance("mixed", word, told)
    light = "worse" if len(losers) == len(models) else "even"
    return Glance(light, "no model is better than every baseline", told)


def _named(names: Sequence[str]) -> str:
    """Some of them by name."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _outcomes(place: Place) -> set[str]:
    """Of the scores that count."""
    return {of.claim.outcome for of in place.against.values() if of.claim.counted}


def _first(of: Standing) -> str:
    """Who leads by the score that orders the table."""
    heads = []
    for what, wanted in (("model", True), ("baseline", False)):
        for place in of.places:
            value = place.scores[ORDER].mean
            if bool(place.seeds) is wanted and finite(value):
                heads.append(f"the best {what} is {_called(place)} ({fixed(value, 3)})")
                break
    if finite(of.ceiling[ORDER]):
        heads.append(f"a perfect model would have {fixed(of.ceiling[ORDER], 3)}")
    return f"By {METRICS[ORDER].label} {', '.join(heads)}." if heads else ""


def score_charts(of: Standing, split: int) -> list[Chart]:
    """Dots for every main score; `split` keeps the names of several splits apart."""
    made = []
    for number, name in enumerate(HEADLINE):
        rows = _rows(of.places, name)
        if len(rows) < 2:
            continue
        limit = None
        if finite(of.ceiling[name]):
            limit = {"name": "a perfect model", "value": of.ceiling[name]}
        better = "higher is better" if METRICS[name].higher_is_better else "lower is better"
        title = METRICS[name].label + (" (not counted)" if name in of.uncounted else "")
        spec = charts.dots(rows, limit, better)
        made.append(charts.chart(f"split{split}score{number}", title, "", spec, width=NARROW))
    return made


def _called(place: Place) -> str:
    """Models go by the names that flags know, baselines by words."""
    return place.name if place.seeds else label(place.name)


def _rows(places: Sequence[Place], name: str) -> list[dict[str, object]]:
    """The best first, with a standard deviation over seeds on either side."""
    sign = 1 if METRICS[name].higher_is_better else -1
    known = [place for place in places if finite(place.scores[name].mean)]
    rows = []
    for place in sorted(known, key=lambda place: -sign * place.scores[name].mean):
        value = place.scores[name]
        kind = "entry" if place.seeds else "baseline"
        row = {"name": _called(place), "value": value.mean, "kind": kind}
        if place.seeds and finite(value.sd):
            row |= {"low": value.mean - value.sd, "high": value.mean + value.sd}
        rows.append(row)
    return rows
