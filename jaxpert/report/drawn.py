"""The charts of a run: perturbations beside the best baseline, methods score by score, training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxpert.evaluation.claims import HEADLINE
from jaxpert.evaluation.metrics import METRICS
from jaxpert.report import charts
from jaxpert.report.charts import Chart
from jaxpert.report.numbers import finite, label
from jaxpert.report.perturbations import Each, is_held_out
from jaxpert.report.tables import ceiling_of

NARROW = 330
"""Width of the still pictures that stand side by side."""


def each_chart(each: Each) -> Chart | None:
    """Every perturbation: the match of the model against that of the best baseline; against the
    size of the effect where no baseline has a match."""
    rival = each.rival
    beside = "effect_size" if rival is None else "rival_match"
    points = []
    for i in each.order[: len(each.lines)]:
        x, y = each.values[beside][i], each.values["match"][i]
        if not (finite(x) and finite(y)):
            continue
        split = str(each.values["split"][i])
        point = {"x": x, "y": y, "name": str(each.values["perturbation"][i]), "split": split}
        point |= {"held": is_held_out(split), "size": each.values["effect_size"][i]}
        cells = each.values.get("cells")
        points.append(point | {"cells": cells[i]} if cells else point)
    if not points:
        return None
    told = {"name": "perturbation", "split": "split", "y": "this model", "x": "beside"}
    told |= {"size": "effect size", "cells": "cells"}
    held = ""
    if any(point["split"] != "unknown" for point in points):
        held = "Filled dots were kept away from training, hollow ones trained on."
    if rival is None:
        title = "Match of every perturbation, by the size of its effect"
        told["x"] = "effect size"
        spec = charts.pairs(points, "effect size (log2)", "match", told, equal=False)
        return charts.chart("each", title, held, spec)
    title = "Every perturbation, this model beside the best baseline"
    caption = (
        f"A dot above the dashed line is a perturbation that the model predicts better than "
        f"“{label(rival)}”, the simple baseline that is best on average. {held}"
    )
    told["x"] = label(rival)
    words = f"match of {label(rival)}", "match of this model"
    return charts.chart("each", title, caption, charts.pairs(points, *words, told))


def score_charts(metrics: Mapping[str, Any], subset: str) -> list[Chart]:
    """Every headline score of model and baselines on a subset, with intervals and the ceiling."""
    made = []
    for name in HEADLINE:
        rows = _methods(metrics, subset, name)
        if len(rows) < 2:
            continue
        better = "higher is better" if METRICS[name].higher_is_better else "lower is better"
        spec = charts.dots(rows, _limit(metrics, subset, name), better)
        title = METRICS[name].label
        if not _counted(metrics, subset, name):
            title += " (not counted)"
        made.append(charts.chart(f"score{len(made)}", title, "", spec, width=NARROW))
    return made


def _counted(metrics: Mapping[str, Any], subset: str, name: str) -> bool:
    claims = (metrics.get("claims") or {}).get(subset) or {}
    return bool((claims.get(name) or {}).get("counted", True))


def _methods(metrics: Mapping[str, Any], subset: str, name: str) -> list[dict[str, Any]]:
    """Rows of a chart, the best first. The interval of a baseline is that of its distance from the
    model, drawn about the model's own score."""
    model = ((metrics.get("model") or {}).get(subset) or {}).get(name)
    if not finite(model):
        return []
    gaps = ((metrics.get("comparison") or {}).get(subset) or {}).get(name) or {}
    rows = [{"name": label("model"), "value": model, "kind": "model"}]
    for method, scores in (metrics.get("baselines") or {}).items():
        value = (scores.get(subset) or {}).get(name)
        if not finite(value):
            continue
        gap = gaps.get(method) or {}
        row = {"name": label(method), "value": value, "kind": "baseline"}
        if finite(gap.get("low")) and finite(gap.get("high")):
            # gap = model - baseline, so that its ends change places.
            row |= {"low": model - gap["high"], "high": model - gap["low"]}
        rows.append(row)
    sign = 1 if METRICS[name].higher_is_better else -1
    return sorted(rows, key=lambda row: -sign * row["value"])


def _limit(metrics: Mapping[str, Any], subset: str, name: str) -> dict[str, Any] | None:
    value = (ceiling_of(metrics).get(subset) or {}).get(name)
    if not finite(value):
        return None
    ends = ((metrics.get("ceiling_interval") or {}).get(subset) or {}).get(name) or {}
    limit = {"name": "a perfect model", "value": value}
    if finite(ends.get("low")) and finite(ends.get("high")):
        limit |= {"low": ends["low"], "high": ends["high"]}
    return limit


def training_chart(rows: Sequence[Mapping[str, Any]], best: Any) -> Chart | None:
    """Losses over epochs, or over steps where rows name no epoch."""
    across = "epoch" if any(finite(row.get("epoch")) for row in rows) else "step"
    points = []
    for key, name in (("train/loss", "training"), ("val/loss", "validation")):
        at: dict[Any, list[float]] = {}
        for row in rows:
            if finite(row.get(key)) and finite(row.get(across)):
                at.setdefault(row[across], []).append(row[key])
        # Several rows of an epoch would stand above each other.
        points += [{"x": x, "y": sum(y) / len(y), "name": name} for x, y in at.items()]
    # One point is no course: what is computed in a single step has nothing to watch.
    if len({point["x"] for point in points}) < 2:
        return None
    caption = _how_to_read({point["name"] for point in points})
    line = best if across == "epoch" and finite(best) else None
    spec = charts.curves(points, line, across, "loss")
    return charts.chart("training", "Loss over the course of training", caption, spec)


def _how_to_read(curves: set[str]) -> str:
    line = "The dashed line is the epoch that is used."
    if "validation" not in curves:
        return f"Training should fall and flatten. {line}"
    return (
        "Validation should fall and flatten; where it turns up while training still falls, the "
        f"model overfits. {line}"
    )
