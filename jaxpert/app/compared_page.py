"""What the page of `jaxpert compare` has beside its tables: words at the top, and dots for the
scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jaxpert.evaluation.claims import HEADLINE
from jaxpert.evaluation.metrics import METRICS
from jaxpert.report import charts
from jaxpert.report.charts import Chart
from jaxpert.report.drawn import NARROW
from jaxpert.report.glance import Glance, beside
from jaxpert.report.numbers import finite, label
from jaxpert.tasks.screen.entries import Compared


def glances(rows: Sequence[Compared], entries: Sequence[str]) -> list[Glance]:
    """Every other entry beside the first, on the subset that counts most."""
    first, *others = entries
    here = [row for row in rows if row.subset == rows[0].subset]
    made = []
    for other in others:
        outcomes = [row.outcome for row in here if row.entry == other and row.score in HEADLINE]
        made.append(beside(other, first, outcomes, here[0].perturbations))
    return made


def score_charts(rows: Sequence[Compared], entries: Sequence[str]) -> list[Chart]:
    """Every main score of entries and baselines on the first subset; bars are distances from the
    first entry."""
    made = []
    for name in HEADLINE:
        here = [row for row in rows if row.score == name and row.subset == rows[0].subset]
        shown = _dots(here, entries, 1 if METRICS[name].higher_is_better else -1)
        if len(shown) > 1:
            better = "higher is better" if METRICS[name].higher_is_better else "lower is better"
            spec = charts.dots(shown, None, better)
            place, title = f"score{len(made)}", METRICS[name].label
            made.append(charts.chart(place, title, "", spec, width=NARROW))
    return made


def _dots(rows: Sequence[Compared], entries: Sequence[str], sign: int) -> list[dict[str, object]]:
    """Rows of a chart, the best first."""
    base = next((row.value for row in rows if row.entry == entries[0]), math.nan)
    shown = []
    # What has no value has no place in an order, and would spoil that of the others.
    known = [row for row in rows if finite(row.value)]
    for row in sorted(known, key=lambda row: -sign * row.value):
        of_entry = row.entry in entries
        name = row.entry if of_entry else label(row.entry)
        line = {"name": name, "value": row.value, "kind": "entry" if of_entry else "baseline"}
        if row.entry == entries[0]:
            line["kind"] = "model"
        elif finite(row.low) and finite(row.high) and finite(base):
            # Those are ends of the difference from the first entry.
            line |= {"low": base + row.low, "high": base + row.high}
        shown.append(line)
    return shown
