"""Cells: their quality, real and generated, and where they lie in the latent space."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from jaxpert.core import caches
from jaxpert.core.types import InputError
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
)

QUALITY_GROUPS = {
    "real_passed": ("real, passed", BLUE),
    "generated_passed": ("generated, artifact = 0", "#8fc7e8"),
    "real_failed": ("real, failed", VERMILLION),
    "generated_failed": ("generated, artifact = 1", "#f4b183"),
}
"""Cell groups of `quality_violins`: label and colour (hue tells the artifact, shade tells real from
generated)."""

ROUND = tuple(m * 10**e for e in range(7) for m in (1, 3))
"""Ticks of the panels that are logarithmic."""

QUALITY_METRICS = {
    "umi_count": "UMI count",
    "n_genes": "genes detected",
    "pct_mt": "% mitochondrial",
    "pct_ribo": "% ribosomal",
    "pct_hb": "% haemoglobin",
}


def quality_violins(
    cells: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]],
    thresholds: Mapping[str, float],
    path: str | Path,
    multiplier: int | None = None,
) -> Path:
    """Quality metrics of real and generated cells, one row for each chosen perturbation (the
    paper's Figure 3).

    `cells[perturbation][group][metric]` is an array over cells; groups are the keys of
    `QUALITY_GROUPS` and metrics those of `QUALITY_METRICS` (absent ones leave a gap). `thresholds`
    are the bounds of the MAD multiplier that was used; above each violin stands the share of its
    cells beyond the bound.
    """
    given: set[str] = set()
    for groups in cells.values():
        for values in groups.values():
            given |= set(values)
    metrics = [metric for metric in QUALITY_METRICS if metric in given]
    if not metrics:
        raise InputError(
            f"there is no quality metric to draw, expected some of {', '.join(QUALITY_METRICS)} "
            "for the cells: label them with data.add_quality"
        )
    # The figure grows with its panels, so that each keeps its size.
    with canvas(path, 2.15 * len(metrics) + 0.6, 2.0 * len(cells) + 0.9) as figure:
        # Columns share their scale, so that perturbations can be compared down a column.
        axes = figure.subplots(len(cells), len(metrics), squeeze=False, sharex=True, sharey="col")
        for row, (name, groups) in zip(axes, cells.items(), strict=True):
            for axis, metric in zip(row, metrics, strict=True):
                _violin_panel(axis, metric, groups, thresholds.get(metric))
            row[0].set_ylabel(name, fontweight="bold")
        for axis, metric in zip(axes[0], metrics, strict=True):
            axis.set_title(QUALITY_METRICS[metric], pad=14)
        bound = "" if multiplier is None else f"  ·  dashed line: threshold at {multiplier} MAD"
        _group_legend(figure, bound)
    return Path(path)


def _violin_panel(
    axis: Any, metric: str, groups: Mapping[str, Mapping[str, np.ndarray]], bound: float | None
) -> None:
    from matplotlib.ticker import FixedLocator

    # Counts are drawn as log10, and fail below their bound; shares fail above it.
    is_count = metric in ("umi_count", "n_genes")
    for place, (group, (_, colour)) in enumerate(QUALITY_GROUPS.items()):
        values = np.asarray(groups.get(group, {}).get(metric, ()), float)
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        drawn = values
        if is_count:
            # Counts below 1 have no logarithm to draw.
            drawn = np.log10(np.maximum(values, 1))
        _violin(axis, place, drawn, colour)
        # Bounds of counts are lower ones and those of shares upper ones.
        if bound is not None:
            beyond = values < bound if is_count else values > bound
            where, share = axis.get_xaxis_transform(), f"{np.mean(beyond):.0%}"
            axis.text(place, 1.01, share, transform=where, ha="center", fontsize=8)
    # A bound under one count lies below the panel: words take the place of the line.
    if bound is not None and is_count and bound < 1:
        text = f"threshold {bound:,.0f}: never fires".replace("-", "−")
        axis.set_xlabel(text, fontsize=8.5, color=GREY)
    elif bound is not None:
        line = np.log10(bound) if is_count else bound
        axis.axhline(line, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axis.set_xticks([])
    axis.set_xlim(-0.6, len(QUALITY_GROUPS) - 0.4)
    if is_count:
        # Ticks stand at round counts, although the axis holds their logarithms.
        axis.yaxis.set_major_locator(FixedLocator(list(np.log10(ROUND))))
        axis.yaxis.set_major_formatter(lambda value, _: f"{10**value:,.0f}")


def _violin(axis: Any, place: int, values: np.ndarray, colour: str) -> None:
    """A violin with median and quartiles, or the points themselves where cells are too few or all
    the same."""
    # A kernel density of few or equal values would show a shape that is not there.
    if len(values) < 5 or np.ptp(values) < 1e-9:
        axis.plot(np.full(len(values), place), values, "o", color=colour, markersize=4)
        return
    drawn = axis.violinplot(values, [place], widths=0.85, showextrema=False, points=200)
    for body in drawn["bodies"]:
        body.set(facecolor=colour, edgecolor="none", alpha=1)
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    axis.vlines(place, low, high, color=INK, linewidth=2.5)
    axis.plot(place, middle, "o", color="white", markersize=4, markeredgecolor=INK)


def _group_legend(figure: Any, note: str) -> None:
    from matplotlib.patches import Patch

    # The legend belongs to the figure, since all panels share it.
    patches = [Patch(color=colour, label=label) for label, colour in QUALITY_GROUPS.values()]
    figure.legend(handles=patches, loc="outside upper center", ncols=len(patches))
    figure.supxlabel(
        f"number above a violin: share of its cells beyond the threshold{note}",
        fontsize=9,
        color=GREY,
    )


def latent_umap(
    embedding: Float[np.ndarray, "n 2"],
    failed: Shaped[np.ndarray, "n"] | None,
    labels: Sequence[str] | Shaped[np.ndarray, "n"],
    path: str | Path,
    most: int = 7,
) -> Path:
    """Two dimensions of a latent, coloured by quality label and by perturbation (the paper's Figure
    9).

    Without `failed`, of screens whose cells have no quality label, perturbations alone are shown.
    The `most` perturbations with the most cells have their own colours; the others share grey.
    """
    # Drawn in random order, so that no group hides another.
    order = np.random.default_rng(0).permutation(len(embedding))
    points = embedding[order]
    names = np.asarray(labels, object)[order]
    shown, hues = most_common(names, most)
    panels = 1 if failed is None else 2
    with canvas(path, 4.7 * panels, 5.9) as figure:
        *others, right = figure.subplots(1, panels, squeeze=False)[0]
        for left in others:
            _quality_cloud(left, points, np.asarray(failed)[order] > 0)
        cloud(right, points, shown, hues, "Perturbation")
    return Path(path)


def _quality_cloud(axis: Any, points: np.ndarray, bad: Bool[np.ndarray, "n"]) -> None:
    passed, failed = f"passed ({np.sum(~bad):,})", f"failed ({np.sum(bad):,})"
    hues = {passed: BLUE, failed: VERMILLION}
    cloud(axis, points, np.where(bad, failed, passed), hues, "Quality label")


def most_common(names: np.ndarray, most: int) -> tuple[np.ndarray, Mapping[str, str]]:
    """Names with the rarer ones replaced by "<n> others", and a colour for each name that is
    left."""
    kinds, counts = np.unique(names.astype(str), return_counts=True)
    # Stable, so that of equally common names the first keeps its colour.
    common = kinds[np.argsort(-counts, kind="stable")[:most]].tolist()
    colours = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, YELLOW, INK)
    hues = dict(zip(common, colours, strict=False))
    # Without rarer names there is nothing to call "others".
    if len(kinds) == len(hues):
        return names, hues
    rest = f"{len(kinds) - len(hues)} others"
    shown = np.where(np.isin(names.astype(str), common), names, rest)
    return shown.astype(object), hues | {rest: PALE}


def cloud(
    axis: Any, points: np.ndarray, names: np.ndarray, hues: Mapping[str, str], title: str
) -> None:
    """Cells as dots, coloured by name, with a legend below."""
    axis.scatter(
        *points.T,
        c=[hues[name] for name in names],
        # Dots shrink as they become many, so that a crowd does not turn into a blot.
        s=np.clip(16000 / len(points), 1.5, 14),
        linewidths=0,
        alpha=0.75,
        # Dots are drawn as an image: thousands of vector marks would make the file huge.
        rasterized=True,
    )
    axis.set(title=title, xlabel="UMAP 1", ylabel="UMAP 2", xticks=[], yticks=[])
    axis.set_box_aspect(1)
    # Empty lines stand in the legend, since the dots themselves are small and pale.
    dots = []
    for name, hue in hues.items():
        dots += axis.plot([], [], "o", color=hue, label=name, markersize=6)
    axis.legend(
        handles=dots,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.07),
        ncols=min(max(len(dots), 2), 3),
        handletextpad=0.1,
        columnspacing=1.2,
    )


def umap_embedding(latent: Float[np.ndarray, "n Z"], seed: int) -> Float[np.ndarray, "n 2"]:
    """UMAP of a latent in two dimensions; the same seed gives the same picture on the same
    machine."""
    finite = np.isfinite(latent).all()
    if len(latent) < 5 or not finite:
        rest = "" if finite else ", some of them not finite"
        raise InputError(
            f"a UMAP was asked for {len(latent)} cells{rest}, expected at least 5 with finite "
            "latents: give more"
        )
    caches.ensure_writable()
    with warnings.catch_warnings():
        # UMAP warns of an optional package that this use does not need.
        warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
        # Loading it takes seconds, so it is imported only where a map is drawn.
        import umap

    # No more neighbours than there are other cells.
    near = min(15, len(latent) - 1)
    # One thread is what a fixed seed means to UMAP; the spectral start fails on very few cells.
    start = "spectral" if len(latent) > 50 else "random"
    reducer = umap.UMAP(n_neighbors=near, min_dist=0.3, random_state=seed, n_jobs=1, init=start)
    return np.asarray(reducer.fit_transform(latent), float)
