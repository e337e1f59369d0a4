"""Effects of perturbations, data against model and planted truth against model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxpert.core.types import SPLITS
from jaxpert.report.numbers import label
from jaxpert.report.plots.style import (
    BLUE,
    DENSITY,
    GREY,
    INK,
    PALE,
    VERMILLION,
    canvas,
    grid_shape,
    number,
    panels,
    thousands,
)
from jaxpert.report.tables import SUBSETS


def ate_scatter(
    observed: Float[np.ndarray, "P G"],
    predicted: Float[np.ndarray, "P G"],
    names: Sequence[str],
    split_of_each: Sequence[str | Sequence[str]],
    path: str | Path,
    metrics: Mapping[str, Mapping[str, float | None]] | None = None,
) -> Path:
    """Effects in the data against the model's, by subset, as a density of gene-perturbation pairs.

    Effects are mean differences from control in log2. `split_of_each` names the subset of every
    perturbation, or all subsets that it has cells in. `metrics` (`{subset: {"ate_pearson": ...,
    "ate_r2": ...}}`) is printed as given, so that panel and table agree. Pairs that are not finite
    are left out and counted in the panel.
    """
    # The rows of each subset; a perturbation may have cells in several.
    rows_of: dict[str, list[int]] = {}
    for row, splits in enumerate(split_of_each):
        if isinstance(splits, str):
            splits = [splits]
        # A dict names each subset once.
        for subset in dict.fromkeys(splits):
            rows_of.setdefault(subset, []).append(row)
    # Known subsets come in the order of tables, those of a file's own names after them.
    order = dict.fromkeys((*SUBSETS, *SPLITS, *sorted(rows_of)))
    subsets = [subset for subset in order if subset in rows_of]
    # One limit for both axes and all panels, so that the line of equality is the diagonal.
    limit = 1.05 * max(_largest(observed), _largest(predicted))
    rows, columns = grid_shape(len(subsets))
    with canvas(path, max(3.3 * columns, 4.6) + 0.8, 3.1 * rows + 0.55) as figure:
        axes = panels(figure, len(subsets), sharex=True, sharey=True)
        bins = []
        for axis, subset in zip(axes, subsets, strict=True):
            here = rows_of[subset]
            bins.append(_density(axis, observed[here], predicted[here], limit))
            labels = [names[row] for row in here]
            _worst_misses(axis, observed[here], predicted[here], labels, limit)
            axis.set_title(f"{label(subset)} (n = {len(here)})")
            # Scores are printed as they stand in the tables and never computed again.
            text = _scores((metrics or {}).get(subset) or {})
            axis.text(0.03, 0.97, text, transform=axis.transAxes, va="top")
        density_scale(figure, axes, bins)
        figure.supxlabel("effect in the data (log2 difference from control)", fontsize=10)
        figure.supylabel("effect in the model (log2)", fontsize=10)
    return Path(path)


def _largest(values: np.ndarray) -> float:
    finite = np.abs(values[np.isfinite(values)])
    # An empty or constant side still needs an axis of some width.
    return float(finite.max()) if finite.size and finite.max() > 0 else 1.0


def _scores(scores: Mapping[str, float | None]) -> str:
    """The two scores of a panel, a line each; those that are not given are left out."""
    lines = []
    for key, sign in (("ate_pearson", "ρ"), ("ate_r2", "R²")):
        if key in scores:
            lines.append(f"{sign} = {number(scores[key])}")
    return "\n".join(lines)


def _density(axis: Any, x: np.ndarray, y: np.ndarray, limit: float) -> Any:
    """Hexagonal bins of the finite (x, y) with the line of equality."""
    from matplotlib.colors import LinearSegmentedColormap

    good = np.isfinite(x) & np.isfinite(y)
    axis.axline((0, 0), slope=1, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    axis.axhline(0, color=PALE, linewidth=0.8, zorder=0)
    axis.axvline(0, color=PALE, linewidth=0.8, zorder=0)
    bins = axis.hexbin(
        x[good],
        y[good],
        gridsize=55,
        # Bins without a point stay white.
        mincnt=1,
        extent=(-limit, limit, -limit, limit),
        linewidths=0.1,
        cmap=LinearSegmentedColormap.from_list("density", DENSITY),
    )
    axis.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    axis.locator_params(nbins=5)
    return bins


def density_scale(figure: Any, axes: Sequence[Any], bins: Sequence[Any]) -> None:
    """One logarithmic colour scale for all panels."""
    # The scale is logarithmic: a few bins near 0 hold nearly all genes.
    _share_norm(bins)
    scale = figure.colorbar(
        bins[0], ax=list(axes), shrink=0.7, aspect=25, pad=0.02, format=thousands
    )
    scale.set_label("genes x perturbations in a bin")
    scale.ax.minorticks_off()
    scale.outline.set_visible(False)


def _share_norm(bins: Sequence[Any]) -> None:
    from matplotlib.colors import LogNorm

    # At least a decade, since a logarithmic scale of one value has no extent.
    most = 10.0
    for hexagons in bins:
        counts = hexagons.get_array()
        if len(counts):
            most = max(most, float(np.max(counts)))
    for hexagons in bins:
        hexagons.set_norm(LogNorm(1, most))


def _worst_misses(
    axis: Any, x: np.ndarray, y: np.ndarray, names: Sequence[str], limit: float
) -> None:
    """Ring the farthest point on either side of the line of equality and name its perturbation in
    the corner."""
    notes = []
    for side, word in ((1, "above"), (-1, "below")):
        # The point that lies farthest on this side; undefined ones never win.
        miss = np.where(np.isfinite(y - x), side * (y - x), 0)
        row, gene = divmod(int(np.argmax(miss)), miss.shape[1])
        # A near miss needs no ring: it would say that something is wrong.
        if miss[row, gene] > 0.15 * limit:
            _ring(axis, x[row, gene], y[row, gene])
            notes.append(f"farthest {word}: {names[row]}")
    undefined = np.sum(~np.isfinite(x - y))
    if undefined:
        notes.append(f"undefined pairs left out: {undefined:,}")
    axis.text(
        0.98, 0.02, "\n".join(notes), transform=axis.transAxes, ha="right", fontsize=8, color=GREY
    )


def _ring(axis: Any, x: float, y: float) -> None:
    axis.plot(
        x,
        y,
        "o",
        markersize=8,
        markerfacecolor="none",
        markeredgecolor=VERMILLION,
        markeredgewidth=1.3,
    )


def effect_panels(
    observed: Float[np.ndarray, "P G"],
    predicted: Float[np.ndarray, "P G"],
    genes: Sequence[str],
    names: Sequence[str],
    path: str | Path,
    k: int = 20,
    lower: Float[np.ndarray, "P G"] | None = None,
    upper: Float[np.ndarray, "P G"] | None = None,
    bars: str = "predictive interval",
) -> Path:
    """The `k` genes that each perturbation moves most in the data: observed effect beside the
    predicted one.

    `lower` and `upper` bound the model's predictive interval and are drawn as bars where given,
    which the legend calls `bars`. One panel for every row, so the caller chooses the rows.
    """
    rows, columns = grid_shape(len(names))
    shown = min(k, len(genes))
    with canvas(path, 3.1 * columns, rows * (0.185 * shown + 0.7) + 0.8) as figure:
        axes = panels(figure, len(names))
        for i, axis in enumerate(axes):
            top = strongest_genes(observed[i], shown)
            interval = None
            if lower is not None and upper is not None:
                interval = lower[i, top], upper[i, top]
            labels = [genes[int(g)] for g in top]
            _effect_panel(axis, observed[i, top], predicted[i, top], labels, (interval, bars))
            axis.set_title(names[i])
        figure.supxlabel("effect (log2 difference from control)", fontsize=10)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return Path(path)


def strongest_genes(effect: np.ndarray, k: int) -> np.ndarray:
    """The k largest absolute effects, ordered by signed effect; undefined effects come last in the
    choice."""
    # The undefined get -1, below every absolute effect, so they are taken last.
    chosen = np.argsort(-np.where(np.isfinite(effect), np.abs(effect), -1), kind="stable")[:k]
    return chosen[np.argsort(effect[chosen])]


def _effect_panel(
    axis: Any,
    observed: np.ndarray,
    predicted: np.ndarray,
    genes: Sequence[str],
    bars: tuple[Any, str],
) -> None:
    place = np.arange(len(genes))
    interval, called = bars
    axis.hlines(place, observed, predicted, color=PALE, linewidth=1.2, zorder=1)
    if interval is not None:
        axis.hlines(
            place,
            *interval,
            color=BLUE,
            alpha=0.35,
            linewidth=4,
            zorder=2,
            label=called,
        )
    axis.plot(predicted, place, "o", color=BLUE, markersize=5, zorder=3, label="predicted")
    show_observed(axis, observed, genes)


def show_observed(axis: Any, observed: np.ndarray, genes: Sequence[str]) -> None:
    """Observed effects of named genes, one below the other, and the axis of a panel of genes."""
    place = np.arange(len(genes))
    axis.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    axis.plot(
        observed,
        place,
        "D",
        color=INK,
        markersize=4.5,
        zorder=4,
        label="observed",
        markerfacecolor="white",
    )
    axis.set_yticks(place, genes, fontsize=8.5)
    axis.set_ylim(-0.7, len(genes) - 0.3)
    axis.locator_params(axis="x", nbins=5)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)


def recovery(
    true_effect: Float[np.ndarray, "P G"],
    predicted_effect: Float[np.ndarray, "P G"],
    path: str | Path,
    true_artifact: Float[np.ndarray, "G"] | None = None,
    estimated_artifact: Float[np.ndarray, "G"] | None = None,
    genes: Sequence[str] | None = None,
) -> Path:
    """A simulated screen's planted effects against the model's, and its planted artifact against
    the model's.

    The artifact's two vectors hold, for every gene, how far the artifact moves it (log2); with
    `genes` the two that the planted artifact raises and lowers most are named.
    """
    # Both vectors or none: one alone has nothing to be compared with.
    both = true_artifact is not None and estimated_artifact is not None
    columns, width = 1, 4.8
    if both:
        columns, width = 2, 9.0
    with canvas(path, width, 4.6) as figure:
        axes = figure.subplots(1, columns, squeeze=False)[0]
        limit = 1.05 * max(_largest(true_effect), _largest(predicted_effect))
        _share_norm([_density(axes[0], true_effect, predicted_effect, limit)])
        axes[0].set(
            title="Effects of perturbations", xlabel="planted (log2)", ylabel="model (log2)"
        )
        axes[0].text(
            0.03,
            0.97,
            _agreement(true_effect, predicted_effect),
            transform=axes[0].transAxes,
            va="top",
        )
        if both:
            _artifact_panel(
                axes[1], np.asarray(true_artifact), np.asarray(estimated_artifact), genes
            )
    return Path(path)


def _agreement(x: np.ndarray, y: np.ndarray) -> str:
    good = np.isfinite(x) & np.isfinite(y)
    # A constant side has no correlation, and NumPy would warn and give NaN.
    if good.sum() < 2 or np.ptp(x[good]) == 0 or np.ptp(y[good]) == 0:
        return "Pearson r undefined"
    text = f"Pearson r = {number(float(np.corrcoef(x[good], y[good])[0, 1]))}"
    if not good.all():
        text += f"\nundefined pairs left out: {np.sum(~good):,}"
    return text


def _artifact_panel(
    axis: Any, truth: np.ndarray, estimate: np.ndarray, genes: Sequence[str] | None
) -> None:
    axis.axline((0, 0), slope=1, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    axis.plot(
        truth,
        estimate,
        "o",
        color=VERMILLION,
        markersize=4,
        alpha=0.5,
        markeredgewidth=0,
        rasterized=True,
    )
    axis.set(title="The artifact's direction", xlabel="planted (log2)", ylabel="model (log2)")
    axis.text(0.03, 0.97, _agreement(truth, estimate), transform=axis.transAxes, va="top")
    axis.margins(0.15)
    axis.set_box_aspect(1)
    if genes is not None and np.isfinite(truth).any():
        # A set, since one gene may be both where all values are equal.
        for g in {int(np.nanargmax(truth)), int(np.nanargmin(truth))}:
            _ring(axis, truth[g], estimate[g])
            # Written towards the middle, where there is room.
            offset, side = 8, "left"
            if truth[g] > 0:
                offset, side = -8, "right"
            axis.annotate(
                genes[g],
                (truth[g], estimate[g]),
                xytext=(offset, 0),
                fontsize=8.5,
                textcoords="offset points",
                va="center",
                ha=side,
            )
