"""Figures of the CycSeq paper: rows against their targets, triangular validation, changes, doses,
enrichment."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxpert.core.types import InputError
from jaxpert.report.plots.effects import density_scale
from jaxpert.report.plots.style import (
    BLUE,
    DENSITY,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    VERMILLION,
    canvas,
    grid_shape,
    number,
    panels,
    words,
)

METHODS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION)
"""Methods in their order; baselines are grey."""
MARKS = (VERMILLION, GREEN, ORANGE, PURPLE)
"""Of highlighted perturbations, four at most."""
GREYS = ("#6f6f6f", "#a8a8a8", "#cfcfcf")
DOSES = ("#fde0c5", "#f59d6c", "#d6544b", "#8a1c5c", "#3b0f44")
"""Low to high."""


def rows_against_targets(
    predicted: Mapping[str, Float[np.ndarray, "_ G"]],
    observed: Mapping[str, Float[np.ndarray, "_ G"]],
    path: str | Path,
    notes: Mapping[str, str] | None = None,
    scale: str = "expression",
) -> Path:
    """Predicted against measured expression of every row and gene, a panel for each line (Figure
    2).

    `notes[line]` is printed in the panel (scores, and those of no change beside them: nearly all of
    the agreement of whole profiles is that of genes with themselves). Entries that are not finite
    are left out.
    """
    if not predicted or set(predicted) != set(observed):
        raise InputError(
            f"the lines are {list(predicted)} and {list(observed)}, expected the same ones, at "
            "least one: give both of the same lines"
        )
    # One range for all panels, so that lines can be compared.
    limits = _limits([*predicted.values(), *observed.values()])
    rows, columns = grid_shape(len(predicted))
    with canvas(path, 3.1 * columns + 1.0, 3.1 * rows + 0.5) as figure:
        axes = panels(figure, len(predicted), sharex=True, sharey=True)
        bins = []
        for axis, (line, y) in zip(axes, predicted.items(), strict=True):
            bins.append(_bins(axis, observed[line].ravel(), y.ravel(), limits))
            unit = "row" if len(y) == 1 else "rows"
            axis.set_title(f"{line} ({len(y):,} {unit})")
            axis.text(
                0.03,
                0.97,
                (notes or {}).get(line, ""),
                transform=axis.transAxes,
                va="top",
                fontsize=9,
            )
        density_scale(figure, axes, bins)
        axes[0].figure.axes[-1].set_ylabel("genes and rows per bin")
        figure.supxlabel(f"measured {scale}", fontsize=10)
        figure.supylabel(f"predicted {scale}", fontsize=10)
    return Path(path)


def _limits(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """A little more than the range of the finite values and 0."""
    # Zero belongs to the range, since silent genes lie there.
    low = high = 0.0
    for of_line in values:
        finite = of_line[np.isfinite(of_line)]
        low = min(low, float(finite.min(initial=0)))
        high = max(high, float(finite.max(initial=0)))
    return 1.04 * low, 1.04 * high or 1.0


def _bins(axis: Any, x: np.ndarray, y: np.ndarray, limits: tuple[float, float]) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    good = np.isfinite(x) & np.isfinite(y)
    axis.axline((0, 0), slope=1, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    # Bins of many points are dark; empty ones stay white.
    shades = LinearSegmentedColormap.from_list("density", DENSITY)
    bins = axis.hexbin(
        x[good],
        y[good],
        gridsize=55,
        mincnt=1,
        extent=(*limits, *limits),
        linewidths=0.1,
        cmap=shades,
    )
    axis.set(xlim=limits, ylim=limits, aspect="equal")
    axis.locator_params(nbins=5)
    return bins


def triangular_validation(
    corners: Mapping[
        str, tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"], Float[np.ndarray, "n"]]
    ],
    names: Mapping[str, Sequence[str]],
    path: str | Path,
    highlighted: Sequence[str] = (),
) -> Path:
    """Is the output nearer to the target than to the input, and than the input is (Figure 3)?
    Points above the line.

    `corners[direction]` are the squared correlations of (output, target), (output, input) and
    (input, target), as `tasks.translation.metrics.Triangle` has them, and `names[direction]` the
    perturbation of every pair; those `highlighted` are named. Pairs without a defined value are
    left out.
    """
    if not corners:
        raise InputError(
            "no direction to draw, expected the squared correlations of at least one: score one "
            "first"
        )
    # Low corners are cut off alike in both panels, so that they can be compared.
    every = np.concatenate(list(map(np.concatenate, corners.values())))
    low = 0.0
    if np.isfinite(every).any():
        low = float(np.nanmin(every))
    # A little room below the lowest point, but no correlation below 0.
    low = max(0.0, low - 0.06 * (1 - low))
    with canvas(path, 7.4, 3.6 * len(corners) + 0.5) as figure:
        grid = figure.subplots(len(corners), 2, squeeze=False)
        for axes, (direction, (target, start, copy)) in zip(grid, corners.items(), strict=True):
            marked = {}
            for name in highlighted:
                marked[name] = np.asarray(names[direction]) == name
            _corner_panel(axes[0], start, target, low, marked)
            axes[0].set(xlabel="R² of output and input", ylabel="R² of output and target")
            axes[0].set_title(f"{direction}:\nnearer to the target")
            _corner_panel(axes[1], copy, target, low, marked)
            axes[1].set(xlabel="R² of input and target", ylabel="R² of output and target")
            axes[1].set_title("better than copying")
    return Path(path)


def _corner_panel(
    axis: Any, x: np.ndarray, y: np.ndarray, low: float, marked: Mapping[str, np.ndarray]
) -> None:
    good = np.isfinite(x) & np.isfinite(y)
    # Above the diagonal: the prediction is nearer to the target.
    passed = good & (y > x)
    axis.axline((0, 0), slope=1, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    for which, colour in ((good & ~passed, GREY), (passed, BLUE)):
        axis.plot(
            x[which], y[which], "o", color=colour, markersize=4.5, alpha=0.6, markeredgewidth=0
        )
    # Without strict: marks beyond the fourth are not drawn.
    for (name, where), colour, height in zip(
        marked.items(), MARKS, range(len(MARKS)), strict=False
    ):
        axis.plot(
            x[where & good],
            y[where & good],
            "D",
            color=colour,
            markersize=6,
            markeredgecolor="white",
        )
        axis.text(
            0.97,
            0.05 + 0.08 * height,
            name,
            transform=axis.transAxes,
            ha="right",
            color=colour,
            weight="bold",
        )
    axis.set(xlim=(low, 1), ylim=(low, 1))
    axis.set_box_aspect(1)
    axis.locator_params(nbins=5)
    axis.text(0.04, 0.93, f"{passed.sum():,} of {good.sum():,} pass", transform=axis.transAxes)


def change_panels(
    scores: Mapping[str, Mapping[str, Float[np.ndarray, "_"]]],
    path: str | Path,
    *,
    baselines: Sequence[str] = (),
    label: str = "Pearson r of predicted and measured change",
) -> Path:
    """Scores of every pair, by line and method, with their medians (Figure 4).

    `scores[line][method]` are values over pairs; methods named in `baselines` are grey. Undefined
    values are left out, and a method without any defined one says so.
    """
    # The first line's order of methods holds for all.
    methods = list(dict.fromkeys(itertools.chain.from_iterable(scores.values())))
    if not methods:
        raise InputError(
            "no score to draw, expected those of at least one line and method: give some"
        )
    models = [method for method in methods if method not in baselines]
    # Colours are dealt once, so that a method has the same one in every panel.
    colours = dict(zip(models, itertools.cycle(METHODS), strict=False))
    colours |= dict(zip(baselines, itertools.cycle(GREYS), strict=False))
    rows, columns = grid_shape(len(scores))
    width = max(0.75 * len(methods) + 1.0, 2.6)
    with canvas(path, width * columns + 0.4, 3.4 * rows + 0.3) as figure:
        axes = panels(figure, len(scores), sharey=True)
        for axis, (line, of) in zip(axes, scores.items(), strict=True):
            axis.axhline(0, color=PALE, linewidth=0.8, zorder=0)
            for place, method in enumerate(methods):
                _strip(axis, place, np.asarray(of.get(method, ())), colours[method])
            axis.set_title(line)
            axis.set_xticks(
                range(len(methods)),
                list(map(words, methods)),
                rotation=35,
                ha="right",
                rotation_mode="anchor",
            )
            axis.set_xlim(-0.6, len(methods) - 0.4)
            axis.tick_params(axis="x", length=0)
        figure.supylabel(label, fontsize=10)
    return Path(path)


def _strip(axis: Any, place: int, values: np.ndarray, colour: str) -> None:
    """Points side by side in the order of their values, and a bar at the median."""
    values = np.sort(values[np.isfinite(values)])
    if not len(values):
        axis.text(
            place, 0.02, "undefined", rotation=90, ha="center", va="bottom", color=GREY, fontsize=8
        )
        return
    # Steps of the golden ratio spread points evenly without a random stream.
    spread = ((np.arange(len(values)) * 0.618034) % 1 - 0.5) * 0.55
    axis.plot(
        place + spread, values, "o", color=colour, markersize=3.5, alpha=0.55, markeredgewidth=0
    )
    median = float(np.median(values))
    axis.hlines(median, place - 0.36, place + 0.36, color=INK, linewidth=1.6, zorder=3)
    axis.annotate(
        number(median, 2),
        (place + 0.36, median),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        zorder=4,
        bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.6},
    )


def dose_picture(
    points: Float[np.ndarray, "n 2"],
    dose: Float[np.ndarray, "n"],
    predicted: Bool[np.ndarray, "n"],
    path: str | Path,
    title: str = "",
    note: str = "",
) -> Path:
    """Measured and predicted rows in two dimensions, coloured by dose (Figure 5); rings are
    predicted rows.

    `dose` in nM, 0 for the vehicle. Distances in such a map prove nothing: `note` has room for the
    mixing scores.
    """
    # Doses are few and known, so that each has a colour of its own.
    levels = np.unique(dose)
    shades = shades_of(len(levels))
    with canvas(path, 6.4, 4.4) as figure:
        axis = figure.subplots()
        for level, shade in zip(levels, shades, strict=True):
            measured = points[(dose == level) & ~predicted]
            made = points[(dose == level) & predicted]
            axis.plot(*measured.T, "o", color=shade, markersize=6.5, alpha=0.85, markeredgewidth=0)
            axis.plot(
                *made.T,
                "o",
                markerfacecolor="none",
                markeredgecolor=shade,
                markersize=6.5,
                markeredgewidth=1.5,
            )
        axis.set(title=title, xlabel="PHATE 1", ylabel="PHATE 2", xticks=[], yticks=[])
        axis.margins(0.06)
        handles = []
        for level, shade in zip(levels, shades, strict=True):
            handles.append(_handle(shade, True, _nanomolar(level)))
        handles += [_handle(INK, True, "measured"), _handle(INK, False, "predicted")]
        figure.legend(handles=handles, loc="outside right upper")
        if note:
            axis.text(0, -0.09, note, transform=axis.transAxes, va="top", fontsize=9, color=INK)
    return Path(path)


def _handle(colour: str, filled: bool, label: str) -> Any:
    """A disc or a ring of the legend."""
    from matplotlib.lines import Line2D

    filling = colour if filled else "none"
    return Line2D(
        [],
        [],
        marker="o",
        linestyle="",
        markerfacecolor=filling,
        markeredgecolor=colour,
        label=label,
    )


def shades_of(count: int) -> list[str]:
    """As many colours as doses, from low to high."""
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    ramp = LinearSegmentedColormap.from_list("dose", DOSES)
    # One dose alone is drawn in the middle of the scale, to be seen on white.
    palest = 0.15 if count > 1 else 0.6
    return [to_hex(ramp(place)) for place in np.linspace(palest, 1, count)]


def _nanomolar(dose: float) -> str:
    if dose == 0:
        return "vehicle"
    # Four digits of a large dose would be written with an exponent.
    if dose >= 1e4:
        return f"{dose:,.0f} nM"
    return f"{dose:,.4g} nM"


def enrichment_curve(
    running: Float[np.ndarray, "G"],
    hits: Bool[np.ndarray, "G"],
    path: str | Path,
    title: str = "",
    note: str = "",
    signal: Float[np.ndarray, "G"] | None = None,
) -> Path:
    """Running enrichment score down a ranking of genes, with the places of the set's members
    (Figure 6).

    `running` and `hits` are those of `enrichment.running_score`; `signal`, in the same
    order (highest first), is what ranks the genes and is drawn below. `note` has room for NES and
    FDR.
    """
    heights = (4, 0.6)
    if signal is not None:
        heights = (4, 0.6, 1.6)
    with canvas(path, 6.2, 0.72 * sum(heights) + 0.8) as figure:
        axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        _running_panel(axes[0], running, note)
        axes[0].set_title(title)
        axes[1].vlines(np.flatnonzero(hits), 0, 1, color=INK, linewidth=0.7)
        axes[1].set(yticks=[], ylim=(0, 1), ylabel="")
        if signal is not None:
            axes[2].fill_between(np.arange(len(signal)), signal, color=PALE, linewidth=0)
            axes[2].axhline(0, color=GREY, linewidth=0.8)
            axes[2].set_ylabel("signal")
        axes[-1].set(
            xlabel=f"rank of the gene ({hits.sum():,} of {len(hits):,} in the set)",
            xlim=(0, len(running) - 1),
        )
    return Path(path)


def _running_panel(axis: Any, running: np.ndarray, note: str) -> None:
    """The curve with its extreme, which is the enrichment score."""
    place, peak = np.arange(len(running)), int(np.abs(running).argmax())
    axis.axhline(0, color=GREY, linewidth=0.8)
    axis.plot(place, running, color=BLUE)
    axis.plot(peak, running[peak], "o", color=VERMILLION, markersize=5)
    axis.vlines(peak, 0, running[peak], color=VERMILLION, linewidth=1, linestyle=(0, (3, 3)))
    axis.set_ylabel("running score")
    # In the corner that the curve leaves free.
    side, align, valign = 0.03, "left", "bottom"
    if running[peak] > 0:
        side, align, valign = 0.97, "right", "top"
    text = "\n".join(filter(None, (f"ES {number(running[peak], 2)}", note)))
    axis.text(side, side, text, linespacing=1.4, transform=axis.transAxes, ha=align, va=valign)
