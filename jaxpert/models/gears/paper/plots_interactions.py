"""Genetic interactions: the map of all pairs, the space of scores, and the genes that do not add
up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.types import InputError
from jaxpert.evaluation.interactions.scores import non_additive_genes
from jaxpert.evaluation.interactions.subtypes import ADDITIVE_WITHIN, RULES, Table, members
from jaxpert.report.plots.effects import show_observed
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
    canvas,
    grid_shape,
    panels,
)

COLOURS = {
    "synergy": VERMILLION,
    "suppression": BLUE,
    "neomorphism": PURPLE,
    "redundancy": GREEN,
    "epistasis": ORANGE,
    "additive": INK,
    "none": PALE,
}
SPACE = ("mag", "corr_fit", "dcor", "eq_contr")
"""Scores of `interaction_space`."""
CENTRE = {"mag": 1.0}
"""Scores with a middle that means "nothing special"; the others run from their least to their
largest value."""
MOST_NAMES, MOST_LABELS = 120, 8
UNMEASURED = "#eeeeee"


def interaction_map(
    names: Sequence[str],
    pairs: Int[np.ndarray, "N 2"],
    values: Float[np.ndarray, "V"],
    path: str | Path,
    *,
    score: str = "mag",
) -> Path:
    """Genetic interaction map: one score of every pair as a symmetric heat map, alike genes side by
    side.

    Rows are clustered by average linkage of their profiles over all partners (Euclidean; an absent
    pair counts as the centre). Pairs without a value are light grey. `score` names the colour bar
    and decides its centre.
    """
    title = f"Genetic interaction map ({np.isfinite(values).sum():,} pairs)"
    _check(
        len(pairs) == len(values) and len(names) > 1,
        "interaction_map",
        "a value per pair, two names or more",
    )
    return _draw_maps(names, pairs, {title: values}, path, score)


def interaction_maps(
    names: Sequence[str],
    pairs: Int[np.ndarray, "N 2"],
    values: Mapping[str, Float[np.ndarray, "V"]],
    path: str | Path,
    *,
    score: str = "mag",
) -> Path:
    """Maps of the same pairs side by side, such as measured and predicted, by title.

    The first map decides the order of the genes; all share one colour scale. Else as
    `interaction_map`.
    """
    lengths = set(map(len, values.values()))
    fine = len(names) > 1 and lengths == {len(pairs)}
    _check(fine, "interaction_maps", "a value per pair for each title, two names or more")
    return _draw_maps(names, pairs, values, path, score)


def _draw_maps(
    names: Sequence[str],
    pairs: np.ndarray,
    values: Mapping[str, np.ndarray],
    path: str | Path,
    score: str,
) -> Path:
    grids = [_grid(len(names), pairs, of_title) for of_title in values.values()]
    # Gaps count as the centre, so that clustering needs no value for them.
    order = clustered(np.nan_to_num(grids[0], nan=CENTRE.get(score, _middle(grids[0]))))
    # One scale for all maps, so that their colours mean the same.
    look = _look(np.concatenate(grids), score)
    largest = 13 if len(grids) == 1 else 9
    side = float(np.clip(0.15 * len(names), 3.6, largest))
    with canvas(path, side * len(grids) + 1.7, side + 0.9) as figure:
        axes = figure.subplots(1, len(grids), squeeze=False)[0]
        for axis, title, grid in zip(axes, values, grids, strict=True):
            image = _heat(axis, grid[np.ix_(order, order)], look)
            named = [names[int(k)] for k in order]
            # Too many names cannot be read, so they are left out.
            if len(names) > MOST_NAMES:
                named = []
            for side_axis in (axis.xaxis, axis.yaxis):
                side_axis.set_ticks(np.arange(len(named)), named, fontsize=7)
                side_axis.set_tick_params(length=0, pad=2)
            axis.tick_params(axis="x", rotation=90)
            axis.set_title(title)
        beyond = "max" if np.nan_to_num(grids, nan=look.low).max() > look.high else "neither"
        bar = figure.colorbar(image, ax=list(axes), shrink=0.6, aspect=25, pad=0.02, extend=beyond)
        bar.outline.set_visible(False)
        bar.set_label(_label(score))
    return Path(path)


def _grid(count: int, pairs: np.ndarray, values: np.ndarray) -> np.ndarray:
    grid = np.full((count, count), np.nan)
    # An interaction has no direction, so the map is symmetric.
    grid[pairs[:, 0], pairs[:, 1]] = grid[pairs[:, 1], pairs[:, 0]] = values
    return grid


def interaction_space(scores: Table, names: Sequence[str], path: str | Path) -> Path:
    """Pairs in the space of their scores, magnitude against model fit and redundancy against
    equality of contribution, coloured by sub-type, with the published thresholds as lines; the most
    extreme pairs are named."""
    _check(len(names) == len(scores["mag"]), "interaction_space", "one name for each pair")
    found, shown = members(scores), []
    with canvas(path, 10.6, 5.4) as figure:
        axes = figure.subplots(1, 2)
        for axis, (x, y) in zip(axes, (("mag", "corr_fit"), ("dcor", "eq_contr")), strict=True):
            # A pair of several sub-types has the colour of one that this panel shows.
            local = [name for name, rule in RULES.items() if rule.score in (x, y)]
            if x == "mag":
                local.append("additive")
            shown += _space_panel(axis, scores, x, y, first_of(found, local, len(names)))
            _name_extremes(axis, scores[x], scores[y], names)
        handles = dict(shown)
        ordered = [name for name in COLOURS if name in handles]
        legend = [handles[name] for name in ordered]
        figure.legend(
            legend, ordered, loc="outside upper center", ncols=len(ordered), markerscale=1.4
        )
    return Path(path)


def non_additive(
    observed: Float[np.ndarray, "N n"],
    first: Float[np.ndarray, "N n"],
    second: Float[np.ndarray, "N n"],
    names: Sequence[str],
    genes: Sequence[str],
    path: str | Path,
    *,
    predicted: Float[np.ndarray, "N n"] | None = None,
    k: int = 20,
) -> Path:
    """The `k` genes of each pair that depart most from the sum of the singles: the sum, the
    observed pair, and the prediction where given. One panel for every row, so the caller chooses
    the rows."""
    _check(
        len(names) == len(observed) > 0,
        "non_additive",
        "one name for each pair and at least one pair",
    )
    # Genes are chosen by the measured departure, so predictions cannot choose.
    chosen = non_additive_genes(first, second, observed, k)
    rows, columns = grid_shape(len(names))
    with canvas(path, 3.3 * columns, rows * (0.185 * chosen.shape[1] + 0.75) + 0.9) as figure:
        axes = panels(figure, len(names))
        for row, axis in enumerate(axes):
            departure = (observed - first - second)[row, chosen[row]]
            # Ordered by signed departure, so that both directions lie at the ends.
            top = chosen[row][np.argsort(departure, kind="stable")]
            total, guess = (first + second)[row, top], None
            if predicted is not None:
                guess = predicted[row, top]
            shown = [genes[int(g)] for g in top]
            _gene_panel(axis, total, observed[row, top], guess, shown)
            axis.set_title(names[row])
        figure.supxlabel("effect (difference from control, ln(1 + 1e4 x / sum x))", fontsize=10)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return Path(path)


def clustered(profiles: Float[np.ndarray, "S P"]) -> np.ndarray:
    """An order of the rows that puts alike ones side by side."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import pdist

    # Two rows have no order to choose.
    if len(profiles) < 3:
        return np.arange(len(profiles))
    # Optimal ordering turns branches so that neighbours in the map are alike.
    return leaves_list(linkage(pdist(profiles), "average", optimal_ordering=True))


def _middle(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0
    return float(np.median(finite))


class _Look(NamedTuple):
    low: float
    high: float
    colours: tuple[str, ...]


def _look(grid: np.ndarray, score: str) -> _Look:
    """Blue below the centre, vermillion above; the farthest 1 % do not stretch the scale."""
    # Undefined pairs have no colour.
    finite = grid[np.isfinite(grid)]
    if score in CENTRE:
        reach = 1.0
        if finite.size:
            reach = max(float(np.quantile(np.abs(finite - CENTRE[score]), 0.99)), 1e-9)
        reach = min(reach, CENTRE[score])  # a magnitude is never below 0
        return _Look(
            CENTRE[score] - reach, CENTRE[score] + reach, (BLUE, SKY, "#ffffff", ORANGE, VERMILLION)
        )
    low, high = 0.0, 1.0
    if finite.size:
        low, high = np.quantile(finite, (0.01, 0.99))
    return _Look(float(low), float(high), ("#ffffff", "#9ecae1", "#3a8fc4", "#0b4f8a", "#06182e"))


def _heat(axis: Any, grid: np.ndarray, look: _Look) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    colour_map = LinearSegmentedColormap.from_list("map", look.colours).with_extremes(
        bad=UNMEASURED
    )
    axis.spines[:].set_visible(False)
    shown = np.ma.masked_invalid(grid)
    return axis.imshow(
        shown, cmap=colour_map, vmin=look.low, vmax=look.high, interpolation="nearest"
    )


def first_of(found: dict[str, np.ndarray], wanted: Sequence[str], count: int) -> np.ndarray:
    """The first of the wanted sub-types that each pair is of, or "none"."""
    colour = np.full(count, "none", dtype=object)
    # Backwards, so that the first one wanted has the last word.
    for name in reversed(wanted):
        colour[found[name]] = name
    return colour


def _space_panel(
    axis: Any, scores: Table, x: str, y: str, colour: np.ndarray
) -> list[tuple[str, Any]]:
    """Draw the points of one panel and give the legend's entries."""
    size = 22 if len(colour) < 1000 else 6
    handles = []
    # What stands first among the colours is drawn last and lies on top.
    for name in reversed(COLOURS):
        here = colour == name
        if here.any():
            dots = axis.scatter(
                scores[x][here],
                scores[y][here],
                s=size,
                color=COLOURS[name],
                linewidths=0,
                alpha=0.85,
            )
            handles.append((name, dots))
    for name, rule in RULES.items():
        if rule.score in (x, y):
            # A rule's line stands across the axis of its score.
            line = axis.axvline if rule.score == x else axis.axhline
            line(rule.threshold, color=COLOURS[name], linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    if x == "mag":
        axis.axvspan(
            1 - ADDITIVE_WITHIN, 1 + ADDITIVE_WITHIN, color=GREY, alpha=0.08, linewidth=0, zorder=0
        )
    axis.set(xlabel=_label(x), ylabel=_label(y))
    axis.margins(0.08)
    return handles


def _name_extremes(axis: Any, x: np.ndarray, y: np.ndarray, names: Sequence[str]) -> None:
    """Names of the points farthest from the middle of the cloud, where they do not cover one
    another."""
    if not np.isfinite(x + y).any():
        return
    place = np.stack([_in_spreads(x), _in_spreads(y)], axis=1)
    far = np.where(np.isfinite(place).all(1), np.hypot(*place.T), -1)
    named: list[np.ndarray] = []
    # Only the farthest are tried: most points lie in a crowd.
    for row in np.argsort(-far, kind="stable")[:60]:
        if far[row] < 0 or len(named) == MOST_LABELS or _is_covered(place[row], named):
            continue
        # Names run towards the middle, so that none leaves the panel.
        aside, alignment = (-5, "right") if place[row, 0] > 0 else (5, "left")
        axis.annotate(
            names[int(row)],
            (x[row], y[row]),
            xytext=(aside, 0),
            fontsize=7,
            color=INK,
            textcoords="offset points",
            va="center",
            ha=alignment,
        )
        named.append(place[row])


def _in_spreads(values: np.ndarray) -> np.ndarray:
    """Distance from the median in units of spread, since two scores have different ranges."""
    return (values - np.nanmedian(values)) / (np.nanstd(values) or 1)


def _is_covered(place: np.ndarray, named: Sequence[np.ndarray]) -> bool:
    """Whether a name at `place` would cover one that is written already: names are wide and
    low."""
    for other in named:
        apart, above = np.abs(place - other)
        if apart <= 3.0 and above <= 0.4:
            return True
    return False


def _gene_panel(
    axis: Any, total: np.ndarray, observed: np.ndarray, guess: Any, genes: Sequence[str]
) -> None:
    place = np.arange(len(genes))
    axis.hlines(place, total, observed, color=PALE, linewidth=1.4, zorder=1)
    axis.plot(total, place, "s", color=ORANGE, markersize=4.5, zorder=2, label="sum of the singles")
    if guess is not None:
        axis.plot(guess, place, "o", color=BLUE, markersize=5, zorder=3, label="predicted")
    show_observed(axis, observed, genes)


def _label(score: str) -> str:
    words = {
        "mag": "magnitude of the fit (c1, c2)",
        "corr_fit": "fit of c1 a + c2 b (correlation)",
        "dcor": "similarity of singles and pair (distance correlation)",
        "eq_contr": "equality of contribution",
    }
    return words.get(score, score.replace("_", " "))


def _check(fine: bool, what: str, expected: str) -> None:
    if not fine:
        raise InputError(
            f"{what} was given arrays that do not belong together, expected {expected}: give such "
            "arrays"
        )
