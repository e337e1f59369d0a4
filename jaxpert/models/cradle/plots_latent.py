"""The latent space: which factors perturbations move, which perturbations are alike, which genes
factors move."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxpert.core.types import InputError
from jaxpert.report.plots.style import BLUE, DENSITY, GREY, INK, VERMILLION, canvas, panels

DIVERGING = (BLUE, "#8fc7e8", "#ffffff", "#f4b183", VERMILLION)
"""Down, nothing, up."""
MOST_NAMES = 120
"""More rows than this cannot carry a readable name each."""


def effect_heatmap(
    embedding: Float[np.ndarray, "T F"],
    names: Sequence[str],
    factors: Sequence[str],
    path: str | Path,
    inclusion: Float[np.ndarray, "T F"] | None = None,
) -> Path:
    """Embeddings of perturbations as a heat map, and the inclusion probabilities of their masks in
    a second one.

    Rows and columns are ordered by average-linkage clustering of the embeddings (cosine distance);
    the trees stand beside the first map.
    """
    _check(embedding, names, "effect_heatmap", 1)
    row_tree, column_tree = tree_of(embedding), tree_of(embedding.T)
    rows, columns = leaves(row_tree, len(names)), leaves(column_tree, len(factors))
    # Title, values, and whether they have a sign; the second map keeps the order of the first.
    maps = [("Effect on each latent factor", embedding, True)]
    if inclusion is not None:
        maps.append(("Inclusion probability", inclusion, False))
    width, height = np.clip(0.135 * len(factors), 3.2, 8.5), np.clip(0.165 * len(names), 2.2, 12)
    with canvas(path, 1.9 + (width + 0.75) * len(maps), height + 1.8) as figure:
        grid = figure.add_gridspec(
            2,
            1 + len(maps),
            width_ratios=(0.65, *[width] * len(maps)),
            height_ratios=(0.55, height),
        )
        _draw_tree(figure.add_subplot(grid[1, 0]), row_tree, "left", len(names))
        _draw_tree(figure.add_subplot(grid[0, 1]), column_tree, "top", len(factors))
        for place, (title, values, signed) in enumerate(maps, 1):
            axis = figure.add_subplot(grid[1, place])
            # Probabilities share the scale 0 to 1; effects have one of their own.
            largest = None if signed else 1.0
            image = _image(axis, values[np.ix_(rows, columns)], signed, largest)
            _name_columns(axis, _taken(factors, columns))
            # Rows are named once, at the right of the last map.
            shown = _taken(names, rows) if place == len(maps) else []
            _name_rows(axis, shown)
            _scale(figure, image, axis, title)
    return Path(path)


def similarity_map(
    cosine: Float[np.ndarray, "T T"],
    names: Sequence[str],
    path: str | Path,
    overlap: Float[np.ndarray, "T T"] | None = None,
) -> Path:
    """Similarity of perturbations: the cosine between their embeddings, and the overlap of their
    masks beside it, both in the order in which the cosines cluster (average linkage of 1 -
    cosine)."""
    _check(cosine, names, "similarity_map", 2)
    # Made symmetric, since rounding may leave a trace that clustering refuses.
    distance = np.clip(1 - (cosine + cosine.T) / 2, 0, 2)
    order = leaves(_linkage(distance[np.triu_indices(len(names), 1)]), len(names))
    # Titles, values, and what the darkest colour stands for (of signed values: their quantile).
    maps: list[tuple[str, np.ndarray, float | None]] = [("Cosine of embeddings", cosine, None)]
    if overlap is not None:
        # The diagonal is 1 and would pale all the rest.
        between = overlap[~np.eye(len(names), dtype=bool)]
        maps.append(("Overlap of masks", overlap, max(float(between.max()), 1e-3)))
    side = float(np.clip(0.165 * len(names), 3.4, 9))
    with canvas(path, (side + 0.9) * len(maps) + 0.6, side + 1.5) as figure:
        axes = figure.subplots(1, len(maps), squeeze=False)[0]
        for axis, (title, values, largest) in zip(axes, maps, strict=True):
            signed, limit = largest is None, largest or 1.0
            image = _image(axis, values[np.ix_(order, order)], signed, limit, aspect="equal")
            _name_columns(axis, _taken(names, order))
            shown = _taken(names, order) if axis is axes[-1] else []
            _name_rows(axis, shown)
            _scale(figure, image, axis, title)
    return Path(path)


def _taken(names: Sequence[str], order: np.ndarray) -> list[str]:
    """The names in another order."""
    return np.asarray(names, object)[order].tolist()


def factor_genes(
    change: Float[np.ndarray, "F G"],
    titles: Sequence[str],
    genes: Sequence[str],
    path: str | Path,
    k: int = 8,
) -> Path:
    """The `k` genes that each factor raises and the `k` that it lowers most, one panel for every
    row: the caller chooses the rows."""
    _check(change, titles, "factor_genes", 1)
    shown = [most_moved(row, k) for row in change]
    most = max(map(len, shown))
    # Three panels abreast, and as many rows as that takes.
    rows, columns = -(-len(change) // 3), min(len(change), 3)
    with canvas(path, 3.1 * columns + 0.4, rows * (0.175 * most + 0.75) + 0.5) as figure:
        axes = panels(figure, len(change))
        for axis, row, order, title in zip(axes, change, shown, titles, strict=True):
            place = np.arange(len(order))
            colours = np.where(row[order] > 0, VERMILLION, BLUE).tolist()
            axis.barh(place, row[order], color=colours, height=0.75)
            axis.axvline(0, color=GREY, linewidth=0.8)
            axis.set_yticks(place, _taken(genes, order), fontsize=8)
            # The same height for all panels, so that bars are as thick in a panel of few genes.
            axis.set_ylim(-0.7, most - 0.3)
            axis.tick_params(axis="y", length=0)
            axis.spines["left"].set_visible(False)
            axis.locator_params(axis="x", nbins=5)
            axis.set_title(title)
        figure.supxlabel(
            "log2 change of mean expression by a typical move along the factor", fontsize=10
        )
    return Path(path)


def most_moved(row: np.ndarray, k: int) -> np.ndarray:
    """The `k` largest falls and rises, from the largest fall to the largest rise; genes that do not
    move are none."""
    # The ends of one sorted row; a row of fewer than 2 k genes gives some to both.
    order = np.argsort(row, kind="stable")
    down, up = order[:k], order[max(len(order) - k, 0) :]
    return np.concatenate([down[row[down] < 0], up[row[up] > 0]])


def _check(values: np.ndarray, names: Sequence[str], what: str, fewest: int) -> None:
    finite = np.isfinite(values).all()
    if len(names) < fewest or 0 in values.shape or not finite:
        flaw = "" if finite else " with values that are not finite"
        raise InputError(
            f"{what} was given an array of shape {values.shape}{flaw}, expected finite values in "
            f"at least {fewest} rows and a column: leave out what is undefined"
        )


def tree_of(rows: np.ndarray) -> np.ndarray:
    """Average-linkage tree by cosine distance; a row of zeros is at distance 1 from every other."""
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, norm, out=np.zeros_like(rows, dtype=float), where=norm > 0)
    distance = np.clip(1 - unit @ unit.T, 0, 2)
    return _linkage(distance[np.triu_indices(len(rows), 1)])


def _linkage(condensed: np.ndarray) -> np.ndarray:
    """Average-linkage tree of condensed distances; a tree of one leaf has no row."""
    from scipy.cluster.hierarchy import linkage

    if not len(condensed):
        return np.zeros((0, 4))
    return linkage(condensed, "average", optimal_ordering=True)


def leaves(tree: np.ndarray, count: int) -> np.ndarray:
    """The rows in the order of the tree's leaves."""
    from scipy.cluster.hierarchy import leaves_list

    # A tree of one leaf has no branch for SciPy to read.
    if count < 2:
        return np.arange(count)
    return leaves_list(tree)


def _draw_tree(axis: Any, tree: np.ndarray, side: str, count: int) -> None:
    """The branches of a tree, in the places of a heat map's rows ("left", from above) or columns
    ("top")."""
    from scipy.cluster.hierarchy import dendrogram

    axis.set_axis_off()
    if count < 2:
        return
    branches = dendrogram(tree, no_plot=True)
    style = {"color": GREY, "linewidth": 0.8, "solid_joinstyle": "miter"}
    tall = max(float(tree[:, 2].max()) * 1.03, 1e-9)
    for place, height in zip(branches["icoord"], branches["dcoord"], strict=True):
        place = (np.asarray(place) - 5) / 10  # SciPy puts leaves at 5, 15, 25 ...
        if side == "left":
            axis.plot(height, place, **style)
        else:
            axis.plot(place, height, **style)
    # A heat map's rows run downwards, and the root stands away from the map.
    if side == "left":
        axis.set(ylim=(count - 0.5, -0.5), xlim=(tall, 0))
    else:
        axis.set(xlim=(-0.5, count - 0.5), ylim=(0, tall))


def _image(
    axis: Any, values: np.ndarray, signed: bool, largest: float | None, aspect: str = "auto"
) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    colours, lowest = ("#ffffff", *DENSITY), 0.0
    # One outlier must not pale all the rest.
    limit = largest or max(float(np.quantile(np.abs(values), 0.99)), 1e-9)
    # White is 0 in both: in the middle of a signed scale, at the lower end of the other.
    if signed:
        colours, lowest = DIVERGING, -limit
    axis.spines[:].set_visible(False)
    return axis.imshow(
        values,
        cmap=LinearSegmentedColormap.from_list("map", colours),
        vmin=lowest,
        vmax=limit,
        aspect=aspect,
        interpolation="nearest",
    )


def _name_rows(axis: Any, names: Sequence[str]) -> None:
    axis.yaxis.tick_right()
    _ticks(axis.yaxis, names)


def _name_columns(axis: Any, names: Sequence[str]) -> None:
    _ticks(axis.xaxis, names)
    axis.tick_params(axis="x", rotation=90)


def _ticks(axis: Any, names: Sequence[str]) -> None:
    # Without names there are no ticks either.
    if len(names) > MOST_NAMES:
        names = []
    axis.set_ticks(np.arange(len(names)), names, fontsize=7)
    axis.set_tick_params(length=0, pad=2, labelcolor=INK)


def _scale(figure: Any, image: Any, axis: Any, title: str) -> None:
    bar = figure.colorbar(
        image, ax=axis, location="bottom", shrink=0.6, aspect=25, pad=0.02, extend="neither"
    )
    bar.outline.set_visible(False)
    bar.set_label(title, fontweight="bold")
    bar.locator = _few_ticks()
    bar.update_ticks()


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(5)
