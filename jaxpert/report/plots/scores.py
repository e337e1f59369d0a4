"""The model beside its baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxpert.core.types import InputError
from jaxpert.report.plots.style import BLUE, GREY, INK, PALE, SUBSETS, canvas, number, words

MAIN_METRICS = {
    "ate_pearson": "ATE-ρ",
    "ate_r2": "ATE-R²",
    "jaccard_top50": "Jaccard, top 50 genes",
}
"""Metrics of `baseline_bars` unless others are asked for."""


def baseline_bars(
    metrics: Mapping[str, Any], path: str | Path, shown: Mapping[str, str] | None = None
) -> Path:
    """Scores of the model, of every baseline and of the ceiling, a row of panels for each subset.

    `metrics` is the content of `metrics.json`; `shown` maps the metrics wanted (higher is better)
    to their labels, `MAIN_METRICS` unless given. An undefined score is written out; one far below
    the others is put at the panel's edge with an arrow, so that it does not squeeze them.
    """
    methods = {"this model": metrics.get("model") or {}, **(metrics.get("baselines") or {})}
    ceiling = metrics.get("ceiling") or {}
    subsets = _ordered({s for scores in methods.values() for s in scores})
    found = {m for scores in methods.values() for of in scores.values() for m in of or ()}
    wanted = {m: label for m, label in (shown or MAIN_METRICS).items() if m in found}
    if not wanted:
        raise InputError(
            f"metrics.json scores none of {', '.join(shown or MAIN_METRICS)}, so nothing can be "
            "compared"
        )
    height = (0.27 * len(methods) + 0.55) * len(subsets) + 0.7
    with canvas(path, 2.6 * len(wanted) + 1.6, height) as figure:
        axes = figure.subplots(len(subsets), len(wanted), squeeze=False, sharex="col", sharey=True)
        for j, (metric, label) in enumerate(wanted.items()):
            low, high = _range(metric, methods, ceiling)
            for i, subset in enumerate(subsets):
                column = {name: _score(scores, subset, metric) for name, scores in methods.items()}
                _score_panel(axes[i, j], column, _score(ceiling, subset, metric), low, high)
            axes[0, j].set_title(label, pad=16)
        for row, subset in zip(axes, subsets, strict=True):
            row[0].set_ylabel(subset, fontweight="bold", fontsize=11, labelpad=10)
        figure.supxlabel("further right is better", fontsize=9, color=GREY)
    return Path(path)


def _ordered(subsets: set[str]) -> Sequence[str]:
    return [s for s in dict.fromkeys((*SUBSETS, *sorted(subsets))) if s in subsets]


def _score(scores: Mapping[str, Any], subset: str, metric: str) -> float:
    """A score, NaN where it is absent or undefined."""
    value = (scores.get(subset) or {}).get(metric)
    return float("nan") if value is None else float(value)


def _range(
    metric: str, methods: Mapping[str, Any], ceiling: Mapping[str, Any]
) -> tuple[float, float]:
    """A scale for all subsets of one metric: from 0 (or the worst score down to -0.5) to 1 (or the
    best)."""
    scores = [
        _score(each, subset, metric) for each in (*methods.values(), ceiling) for subset in each
    ]
    values = [v for v in scores if np.isfinite(v)]
    return min([0.0, *(max(v, -0.5) for v in values)]), max([*values, 0.0]) or 1.0


def _score_panel(
    axis: Any, column: Mapping[str, float], ceiling: float, low: float, high: float
) -> None:
    place = np.arange(len(column))[::-1]
    span = high - low
    axis.hlines(place, low, high, color=PALE, linewidth=0.7, zorder=0)
    for y, value in zip(place, column.values(), strict=True):
        colour = BLUE if y == place[0] else GREY
        if np.isfinite(value):
            outside = value < low
            axis.plot(
                max(value, low),
                y,
                "<" if outside else "o",
                color=colour,
                markersize=8,
                clip_on=False,
            )
        text = number(value)
        axis.text(
            1.03,
            y,
            text,
            transform=axis.get_yaxis_transform(),
            va="center",
            fontsize=9,
            color=colour,
            fontweight="bold" if y == place[0] else "normal",
        )
    if np.isfinite(ceiling):
        at = max(ceiling, low)
        axis.axvline(at, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        axis.text(
            at,
            len(column) - 0.4,
            f"ceiling {number(ceiling)}",
            fontsize=8.5,
            va="bottom",
            ha="right" if at > (low + high) / 2 else "left",
        )
    axis.set(xlim=(low - 0.04 * span, high + 0.04 * span), ylim=(-0.6, len(column) - 0.4))
    axis.set_yticks(place, [words(name) for name in column])
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.locator_params(axis="x", nbins=4)
