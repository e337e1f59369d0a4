"""The model beside its baselines."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxpert.core.types import InputError
from jaxpert.report.plots.style import BLUE, GREY, INK, PALE, canvas, number, words
from jaxpert.report.tables import ceiling_of, ordered_subsets, subset_words

MAIN_METRICS = {
    "ate_pearson": "ATE-ρ",
    "ate_r2": "ATE-R²",
    "jaccard_top50": "Jaccard, top 50 genes",
}
"""Metrics of `baseline_bars` unless others are asked for."""


def baseline_bars(
    metrics: Mapping[str, Any], path: str | Path, shown: Mapping[str, str] | None = None
) -> Path:
    """Scores of the model, of every baseline and of a perfect model (the ceiling), a row of panels
    for each subset.

    `metrics` is the content of `metrics.json`; `shown` maps the metrics wanted (higher is better)
    to their labels, `MAIN_METRICS` unless given. An undefined score is written out; one far below
    the others is put at the panel's edge with an arrow, so that it does not squeeze them.
    """
    methods = {"this model": metrics.get("model") or {}, **(metrics.get("baselines") or {})}
    ceiling = ceiling_of(metrics)
    subsets = ordered_subsets(methods.values())
    wanted = _scored(methods, shown or MAIN_METRICS)
    if not wanted:
        raise InputError(
            f"metrics.json scores none of {', '.join(shown or MAIN_METRICS)}, expected one at "
            "least, so that something can be compared: score the run again"
        )
    height = (0.27 * len(methods) + 0.55) * len(subsets) + 0.7
    with canvas(path, 2.6 * len(wanted) + 1.6, height) as figure:
        # Panels of one score share their scale, so that subsets can be compared.
        axes = figure.subplots(len(subsets), len(wanted), squeeze=False, sharex="col", sharey=True)
        for j, (metric, label) in enumerate(wanted.items()):
            low, high = _range(metric, methods, ceiling)
            for i, subset in enumerate(subsets):
                column = {name: _score(scores, subset, metric) for name, scores in methods.items()}
                _score_panel(axes[i, j], column, _score(ceiling, subset, metric), low, high)
            axes[0, j].set_title(label, pad=16)
        for row, subset in zip(axes, subsets, strict=True):
            # In words, which take several lines beside a panel.
            text = textwrap.fill(subset_words(metrics, subset), 20)
            row[0].set_ylabel(text, fontweight="bold", fontsize=9, labelpad=10)
        figure.supxlabel("further right is better", fontsize=9, color=GREY)
    return Path(path)


def _scored(methods: Mapping[str, Any], metrics: Mapping[str, str]) -> dict[str, str]:
    """Those of the metrics that any method has on any subset."""
    known = set()
    for subsets in methods.values():
        for scores in subsets.values():
            known |= set(scores or ())
    return {metric: label for metric, label in metrics.items() if metric in known}


def _score(scores: Mapping[str, Any], subset: str, metric: str) -> float:
    """A score, NaN where it is absent or undefined."""
    value = (scores.get(subset) or {}).get(metric)
    if value is None:
        return float("nan")
    return float(value)


def _range(
    metric: str, methods: Mapping[str, Any], ceiling: Mapping[str, Any]
) -> tuple[float, float]:
    """A scale for all subsets of one metric: from 0 (or the worst score down to -0.5) to 1 (or the
    best)."""
    low = high = 0.0
    for scores in (*methods.values(), ceiling):
        for subset in scores:
            value = _score(scores, subset, metric)
            if np.isfinite(value):
                low, high = min(low, value), max(high, value)
    # Scores have no lower bound, so one bad baseline could squeeze all others; and a panel whose
    # scores are all 0 or less still needs some width.
    return max(low, -0.5), high or 1.0


def _score_panel(
    axis: Any, column: Mapping[str, float], ceiling: float, low: float, high: float
) -> None:
    # The first method is the model and stands on top.
    place = np.arange(len(column))[::-1]
    span = high - low
    axis.hlines(place, low, high, color=PALE, linewidth=0.7, zorder=0)
    for y, value in zip(place, column.values(), strict=True):
        colour, weight = GREY, "normal"
        if y == place[0]:
            colour, weight = BLUE, "bold"
        if np.isfinite(value):
            # A score far below the others stands at the edge, as an arrow.
            marker = "<" if value < low else "o"
            axis.plot(max(value, low), y, marker, color=colour, markersize=8, clip_on=False)
        # The number stands beside the panel, since dots may lie close together.
        axis.text(
            1.03,
            y,
            number(value),
            transform=axis.get_yaxis_transform(),
            va="center",
            fontsize=9,
            color=colour,
            fontweight=weight,
        )
    if np.isfinite(ceiling):
        at = max(ceiling, low)
        # The text is written towards the side with more room.
        side = "right" if at > (low + high) / 2 else "left"
        axis.axvline(at, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        axis.text(
            at,
            len(column) - 0.4,
            f"ceiling {number(ceiling)}",
            fontsize=8.5,
            va="bottom",
            ha=side,
        )
    axis.set(xlim=(low - 0.04 * span, high + 0.04 * span), ylim=(-0.6, len(column) - 0.4))
    axis.set_yticks(place, list(map(words, column)))
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.locator_params(axis="x", nbins=4)
