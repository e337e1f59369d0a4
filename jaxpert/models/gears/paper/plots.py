"""Figures of the GEARS paper with bars and boxes: errors by group, changes of single genes,
interactions found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxpert.core.types import InputError
from jaxpert.models.gears.paper.labels import GROUPS
from jaxpert.models.gears.paper.plots_points import CLUSTERS
from jaxpert.report.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    VERMILLION,
    YELLOW,
    canvas,
    grid_shape,
    number,
    panels,
    words,
)

METHODS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, YELLOW)
"""Runs in their order; baselines are grey."""
BASELINES = ("#4f4f4f", "#707070", "#8f8f8f", "#a9a9a9", "#c2c2c2", "#dadada")
BARS_ABREAST = 4


class TopGenes(NamedTuple):
    """One perturbation: how its most changed genes change."""

    name: str
    genes: Sequence[str]
    cells: Float[np.ndarray, "n k"]
    """Change of every measured cell from the control mean."""
    predicted: Float[np.ndarray, "k"]
    note: str = ""
    """Such as the split that it is of."""


def normalised_errors(
    scores: Mapping[str, Mapping[str, float]],
    path: str | Path,
    *,
    baselines: Sequence[str] = (),
    published: Mapping[str, Mapping[str, float]] | None = None,
    label: str = "MSE of the 20 most changed genes,\nrelative to no change",
) -> Path:
    """Bars of an error for each group of held-out perturbations, one bar per method (Figure 2b to
    d).

    `scores[method][group]`; methods named in `baselines` are grey. `published[name][group]` are
    marked with a diamond. The dashed line at 1 is the prediction of no change.
    """
    # A dict keeps the order in which groups are first named.
    groups = list(dict.fromkeys(chain.from_iterable(scores.values())))
    if not groups:
        raise InputError(
            "no group has an error to draw, expected scores of at least one group: score one first"
        )
    marks = _of_groups(published or {}, groups)
    rows, columns = 1, len(groups)
    if len(groups) > BARS_ABREAST:
        rows, columns = grid_shape(len(groups))
    width = max(1.4 + 0.32 * len(scores), 2.6)
    with canvas(path, width * columns + 0.6, 4.6 * rows + 0.9) as figure:
        axes = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
        for axis in axes[len(groups) :]:
            axis.remove()
        handles = {}
        for axis, group in zip(axes, groups, strict=False):
            values = {name: of.get(group, np.nan) for name, of in scores.items()}
            printed = {name: of[group] for name, of in marks.items() if group in of}
            _bars(axis, values, baselines)
            handles |= _marks(axis, printed, len(scores))
            axis.axhline(1, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
            axis.set_title(GROUPS.get(group, words(group)))
        figure.supylabel(label, fontsize=10)
        if handles:
            columns = min(len(handles), 4)
            marked = list(handles.values()), list(handles)
            figure.legend(*marked, loc="outside upper center", ncols=columns)
    return Path(path)


def _of_groups(
    published: Mapping[str, Mapping[str, float]], groups: Sequence[str]
) -> dict[str, Mapping[str, float]]:
    """Printed methods with a group that is shown; the others need no mark."""
    marks = {}
    for name, of in published.items():
        if set(of) & set(groups):
            marks[name] = of
    return marks


def _bars(axis: Any, values: Mapping[str, float], baselines: Sequence[str]) -> None:
    """One bar per method, its name below and its value above; an absent score is written out."""
    runs, others = cycle(METHODS), cycle(BASELINES)
    for place, (name, value) in enumerate(values.items()):
        # Runs and baselines have colours of their own, dealt in order.
        colours = others if name in baselines else runs
        height, text, rotation = value, number(value, 2), 0
        # An absent bar has height 0 and says so in words.
        if not np.isfinite(value):
            height, text, rotation = 0, "not scored", 90
        axis.bar(place, height, width=0.78, color=next(colours), zorder=2)
        axis.annotate(
            text,
            (place, height),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
            rotation=rotation,
        )
    # Names stand below the bars: greys of a legend cannot be told apart.
    axis.set_xticks(range(len(values)), list(map(words, values)), rotation=90, fontsize=8)
    axis.tick_params(axis="x", length=0)
    axis.set_xlim(-0.6, len(values) - 0.4)
    axis.margins(y=0.12)


def _marks(axis: Any, values: Mapping[str, float], count: int) -> dict[str, Any]:
    """Published numbers to the right of the bars."""
    handles = {}
    for step, (name, value) in enumerate(values.items()):
        # Beside the bars, since printed numbers are of other runs.
        colour, place = CLUSTERS[(step + 3) % len(CLUSTERS)], count + 0.75 * step
        handles[name] = axis.plot(place, value, "D", color=colour, markersize=7, zorder=3)[0]
        axis.annotate(
            number(value, 2),
            (place, value),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=colour,
        )
    if values:
        # Room for the marks is made only where there are some.
        axis.set_xlim(-0.6, count + 0.75 * (len(values) - 1) + 0.5)
    return handles


def top_genes(shown: Sequence[TopGenes], path: str | Path) -> Path:
    """Measured and predicted change of each perturbation's most changed genes, a panel each (Figure
    2g).

    Boxes hold the middle half of the measured cells, whiskers the middle 90 %; genes come in the
    order of their measured mean change.
    """
    if not shown or not all(map(_is_whole, shown)):
        raise InputError(
            "top_genes was given no perturbation, or one without cells or values, expected cells "
            "and a prediction for each gene: leave it out"
        )
    rows, columns = grid_shape(len(shown))
    most = max(len(perturbation.genes) for perturbation in shown)
    with canvas(path, 3.5 * columns, rows * (0.2 * most + 0.8) + 0.9) as figure:
        axes = panels(figure, len(shown))
        for axis, perturbation in zip(axes, shown, strict=True):
            handles = _change_panel(axis, perturbation)
            title = "\n".join(filter(None, (perturbation.name, perturbation.note)))
            axis.set_title(title, fontsize=10)
        figure.supxlabel("change from the control mean, ln(1 + 1e4 x / sum x)", fontsize=10)
        figure.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=3)
    return Path(path)


def _is_whole(perturbation: TopGenes) -> bool:
    name, genes, cells, predicted, note = perturbation
    return len(genes) == len(predicted) and len(cells) > 0


def _change_panel(axis: Any, perturbation: TopGenes) -> dict[str, Any]:
    name, genes, cells, predicted, note = perturbation
    mean = cells.mean(0)
    # Genes in the order of their measured change, so that misses stand out.
    order = np.argsort(mean, kind="stable")
    place = np.arange(len(order))
    axis.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    box = axis.boxplot(
        cells[:, order],
        positions=place,
        orientation="horizontal",
        widths=0.66,
        # Whiskers at 5 and 95 %: single cells are too noisy for the whole range.
        whis=(5, 95),
        showfliers=False,
        patch_artist=True,
        manage_ticks=False,
        medianprops={"color": GREY},
        boxprops={"facecolor": PALE, "edgecolor": GREY, "linewidth": 0.8},
        whiskerprops={"color": GREY, "linewidth": 0.8},
        capprops={"color": GREY},
    )
    measured = axis.plot(
        mean[order], place, "D", color=INK, markersize=4, markerfacecolor="white", zorder=3
    )[0]
    guess = axis.plot(predicted[order], place, "o", color=BLUE, markersize=5, zorder=4)[0]
    axis.set_yticks(place, [genes[int(g)] for g in order], fontsize=8.5)
    axis.set_ylim(-0.7, len(order) - 0.3)
    axis.locator_params(axis="x", nbins=5)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    return {"measured cells": box["boxes"][0], "their mean": measured, "predicted": guess}


def interactions_found(rows: Mapping[str, Sequence[Mapping[str, Any]]], path: str | Path) -> Path:
    """Precision@10 and top-10 accuracy for each sub-type of interaction (Figure 4), a bar per
    method.

    `rows[method]` are rows of `pairs.compare`. The grey bar is what random sets of
    as many pairs reach on average, its line their middle 95 %; hollow bars stand where no pair is
    truly of the sub-type.
    """
    every = list(chain.from_iterable(rows.values()))
    subtypes = list(dict.fromkeys(row["subtype"] for row in every))
    if not subtypes:
        raise InputError(
            "no sub-type has scores to draw, expected rows of pairs.compare: score more pairs"
        )
    k = max(row["k"] for row in every)
    wanted = {"precision_at_10": f"precision@{k}", "top_10_accuracy": f"top-{k} accuracy"}
    width = (0.5 + 0.28 * (len(rows) + 1)) * len(subtypes) * 2 + 0.9
    with canvas(path, max(width, 7.0), 4.2) as figure:
        axes = figure.subplots(1, 2, sharey=True)
        for axis, (metric, title) in zip(axes, wanted.items(), strict=True):
            _found_panel(axis, rows, subtypes, metric)
            axis.set(title=title, ylim=(0, 1.08))
            axis.set_xticks(range(len(subtypes)), subtypes, rotation=20, ha="right")
            axis.tick_params(axis="x", length=0)
        from matplotlib.patches import Patch

        handles = []
        for name, colour in zip(rows, cycle(METHODS), strict=False):
            handles.append(Patch(color=colour, label=name))
        handles.append(Patch(color=PALE, label="random pairs (line: 95 % of sets)"))
        figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 4))
    return Path(path)


def _found_panel(
    axis: Any,
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    subtypes: Sequence[str],
    metric: str,
) -> None:
    """For each sub-type a bar per method, and that of random sets, which is the first method's."""
    width = 0.8 / (len(rows) + 1)
    place = {subtype: s - len(rows) / 2 * width for s, subtype in enumerate(subtypes)}
    for m, of in enumerate(rows.values()):
        for row in of:
            at = place[row["subtype"]] + m * width
            _found_bar(axis, at, width, row, metric, METHODS[m % len(METHODS)])
    # Chance depends on the measured pairs alone, so any method's row tells it.
    for row in next(iter(rows.values())):
        mean, low, high = row["chance"][metric]
        at = place[row["subtype"]] + len(rows) * width
        axis.bar(at, mean, width=0.92 * width, color=PALE, zorder=2)
        axis.vlines(at, low, high, color=GREY, linewidth=1.2, zorder=3)


def _found_bar(
    axis: Any, place: float, width: float, row: Mapping[str, Any], metric: str, colour: str
) -> None:
    filling, text = colour, number(row[metric], 2)
    # Precision means nothing where no pair is truly of the kind.
    if row["true"] == 0 and metric == "precision_at_10":
        filling, text = "none", "none\ntrue"
    axis.bar(place, row[metric], width=0.92 * width, color=filling, edgecolor=colour, zorder=2)
    axis.annotate(
        text,
        (place, row[metric]),
        xytext=(0, 2),
        textcoords="offset points",
        ha="center",
        fontsize=7.5,
    )
