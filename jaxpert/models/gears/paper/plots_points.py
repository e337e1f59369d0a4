"""Figures of the GEARS paper with a point for each perturbation: phenotypes, and uncertainty
against error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from jaxpert.core.types import InputError
from jaxpert.models.gears.paper.labels import GROUPS
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
    number,
    words,
)

KINDS = {
    "predicted pair": (SKY, "o"),
    "predicted single": (BLUE, "o"),
    "measured pair": (ORANGE, "D"),
    "measured single": (VERMILLION, "D"),
}
"""Points of `phenotype_umap`: colour and marker; what is drawn later lies above."""
CLUSTERS = (
    BLUE,
    ORANGE,
    GREEN,
    VERMILLION,
    PURPLE,
    SKY,
    YELLOW,
    INK,
    "#8c6d31",
    "#637939",
    "#843c39",
    "#7b4173",
)


def phenotype_umap(
    embedding: Float[np.ndarray, "n 2"],
    kinds: Sequence[str] | Shaped[np.ndarray, "n"],
    clusters: Sequence[str] | Shaped[np.ndarray, "n"],
    path: str | Path,
) -> Path:
    """Perturbation phenotypes in two dimensions: what was measured and what is predicted, and
    clusters (Figure 3).

    `kinds` are keys of `KINDS`, one for each point; `clusters` names the cluster of each, largest
    clusters first in the legend. Made for thousands of points.
    """
    kinds, clusters = np.asarray(kinds, object), np.asarray(clusters, object)
    unknown = sorted(set(kinds.tolist()) - set(KINDS))
    if unknown or not len(embedding) == len(kinds) == len(clusters):
        raise InputError(
            f"phenotype_umap got kinds {unknown}, expected a kind of {set(KINDS)} and a cluster "
            "for each point: correct them"
        )
    hues = _hues(clusters)
    # Points shrink as they become many, so that the map stays readable.
    small = float(np.clip(12000 / len(embedding), 3, 20))
    # The figure grows with the legend below it.
    with canvas(path, 10.4, 5.9 + 0.2 * ((len(hues) + 1) // 2)) as figure:
        left, right = figure.subplots(1, 2)
        _kinds_panel(left, embedding, kinds, small)
        _clusters_panel(right, embedding, clusters, hues, small)
        for axis, title in ((left, "Measured and predicted"), (right, "Clusters")):
            axis.set(title=title, xlabel="UMAP 1", ylabel="UMAP 2", xticks=[], yticks=[])
            axis.set_box_aspect(1)
            axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2, handletextpad=0.2)
    return Path(path)


def _hues(clusters: Shaped[np.ndarray, "n"]) -> dict[str, str]:
    """Colours of the largest clusters, and one for all others together."""
    names, sizes = np.unique(clusters.astype(str), return_counts=True)
    # Stable, so that clusters of equal size keep their colours.
    ordered = names[np.argsort(-sizes, kind="stable")].tolist()
    hues: dict[str, str] = dict(zip(ordered, CLUSTERS, strict=False))
    if len(ordered) > len(hues):
        hues[f"{len(ordered) - len(hues)} others"] = PALE
    return hues


def _kinds_panel(
    axis: Any, embedding: Float[np.ndarray, "n 2"], kinds: Shaped[np.ndarray, "n"], small: float
) -> None:
    # Kinds are drawn in their order: measured points are few and lie above.
    for kind, (colour, marker) in KINDS.items():
        here = kinds == kind
        if not here.any():
            continue
        # Predicted pairs are by far the most, so they alone shrink.
        size = small if kind == "predicted pair" else max(small, 14)
        axis.scatter(
            *embedding[here].T,
            s=size,
            color=colour,
            marker=marker,
            linewidths=0,
            alpha=0.8,
            rasterized=True,
        )
        # The legend's markers are of one size, whatever that of the points.
        label = f"{kind} ({here.sum():,})"
        axis.plot([], [], marker, color=colour, markersize=6, label=label)


def _clusters_panel(
    axis: Any,
    embedding: Float[np.ndarray, "n 2"],
    clusters: Shaped[np.ndarray, "n"],
    hues: Mapping[str, str],
    small: float,
) -> None:
    # In random order, so that no cluster lies above another.
    shuffled = np.random.default_rng(0).permutation(len(embedding))
    axis.scatter(
        *embedding[shuffled].T,
        s=small,
        linewidths=0,
        alpha=0.85,
        rasterized=True,
        c=[hues.get(str(clusters[k]), PALE) for k in shuffled],
    )
    for name, hue in hues.items():
        axis.plot([], [], "o", color=hue, markersize=6, label=name)


def uncertainty_against_error(
    uncertainty: Float[np.ndarray, "n"],
    error: Float[np.ndarray, "n"],
    groups: Sequence[str] | Shaped[np.ndarray, "n"],
    path: str | Path,
    *,
    label: str = "MSE of the 20 most changed genes",
) -> Path:
    """Does a larger predicted variance mean a larger error? Every held-out perturbation, and what
    is left when the uncertain ones are set aside (extended figure).

    Right: mean error of the most certain share, against that of random shares (the overall mean)
    and of the share with the least error, the best that any uncertainty could do.
    """
    if not len(uncertainty) == len(error) == len(groups) > 2:
        raise InputError(
            f"{len(uncertainty)} uncertainties and {len(error)} errors were given, expected as "
            "many of both, at least 3: give more"
        )
    with canvas(path, 9.6, 4.5) as figure:
        left, right = figure.subplots(1, 2)
        _scatter_panel(left, uncertainty, error, groups)
        left.set(xlabel="uncertainty (mean predicted log variance)", ylabel=label)
        _kept_panel(right, uncertainty, error)
        left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, handletextpad=0.1)
        right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    return Path(path)


def _scatter_panel(
    axis: Any,
    uncertainty: Float[np.ndarray, "n"],
    error: Float[np.ndarray, "n"],
    groups: Sequence[str] | Shaped[np.ndarray, "n"],
) -> None:
    """Each perturbation by its group, with the rank correlation above."""
    from scipy.stats import rankdata

    # Colours repeat where there are more groups than colours.
    for name, hue in zip(dict.fromkeys(groups), CLUSTERS * 9, strict=False):
        here = np.asarray(groups, object) == name
        axis.plot(
            uncertainty[here],
            error[here],
            "o",
            color=hue,
            alpha=0.75,
            markeredgewidth=0,
            label=f"{GROUPS.get(name, words(name))} ({here.sum()})",
        )
    rho = np.nan
    # Constant ranks have no correlation.
    if np.ptp(uncertainty) > 0 and np.ptp(error) > 0:
        # Pearson correlation of ranks is Spearman's.
        rho = float(np.corrcoef(rankdata(uncertainty), rankdata(error))[0, 1])
    axis.set_title(f"Spearman ρ = {number(rho, 2)}")


def _kept_panel(
    axis: Any, uncertainty: Float[np.ndarray, "n"], error: Float[np.ndarray, "n"]
) -> None:
    """Mean error of the perturbations kept, as fewer are set aside."""
    count = np.arange(1, len(error) + 1)
    kept = {"most certain first": (uncertainty, BLUE), "least error first": (error, GREEN)}
    for name, (by, hue) in kept.items():
        # Running means answer for every share at once.
        mean = np.cumsum(error[np.argsort(by, kind="stable")]) / count
        axis.plot(count / len(error), mean, color=hue, label=name)
    dashes = (0, (4, 3))
    axis.axhline(error.mean(), color=GREY, linewidth=1, linestyle=dashes, label="in random order")
    axis.set(
        xlabel="share of the perturbations kept", ylabel="mean error of those kept", xlim=(0, 1)
    )
    axis.set_title("Setting the uncertain ones aside")
    # Errors begin at 0, so that relative gains are seen in their size.
    axis.set_ylim(bottom=0)
