"""Figures of the GEARS paper: errors by group, changes of single genes, phenotypes, interactions
found, uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

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
    grid_shape,
    number,
    panels,
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
    groups = list(dict.fromkeys(group for of in scores.values() for group in of))
    if not groups:
        raise InputError("no group has an error to draw, expected scores of at least one group")
    marks = {name: of for name, of in (published or {}).items() if set(of) & set(groups)}
    rows, columns = grid_shape(len(groups)) if len(groups) > BARS_ABREAST else (1, len(groups))
    width = max(1.4 + 0.32 * len(scores), 2.6)
    with canvas(path, width * columns + 0.6, 3.5 * rows + 0.9) as figure:
        axes = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
        for axis in axes[len(groups) :]:
            axis.remove()
        handles = {}
        for axis, group in zip(axes, groups, strict=False):
            handles |= _bars(
                axis, {name: of.get(group, np.nan) for name, of in scores.items()}, baselines
            )
            handles |= _marks(
                axis, {name: of[group] for name, of in marks.items() if group in of}, len(scores)
            )
            axis.axhline(1, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
            axis.set_title(GROUPS.get(group, words(group)))
        figure.supylabel(label, fontsize=10)
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="outside upper center",
            ncols=min(len(handles), 4),
        )
    return Path(path)


GROUPS = {
    "combo_seen0": "pairs, 0 of 2 seen",
    "combo_seen1": "pairs, 1 of 2 seen",
    "combo_seen2": "pairs, 2 of 2 seen",
    "unseen_single": "unseen singles",
    "test": "all held out",
    "val": "validation",
}


def _bars(axis: Any, values: Mapping[str, float], baselines: Sequence[str]) -> dict[str, Any]:
    """One bar per method, its value above; an absent score is written out."""
    handles, runs, others = {}, iter(METHODS * 9), iter(BASELINES * 9)
    for place, (name, value) in enumerate(values.items()):
        colour = next(others if name in baselines else runs)
        finite = np.isfinite(value)
        handles[words(name)] = axis.bar(
            place, value if finite else 0, width=0.78, color=colour, zorder=2
        )
        text = number(value, 2) if finite else "not scored"
        axis.annotate(
            text,
            (place, value if finite else 0),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
            rotation=0 if finite else 90,
        )
    axis.set(xticks=[], xlim=(-0.6, len(values) - 0.4))
    axis.margins(y=0.12)
    return handles


def _marks(axis: Any, values: Mapping[str, float], count: int) -> dict[str, Any]:
    """Published numbers to the right of the bars."""
    handles = {}
    for step, (name, value) in enumerate(values.items()):
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
        axis.set_xlim(-0.6, count + 0.75 * (len(values) - 1) + 0.5)
    return handles


def top_genes(shown: Sequence[TopGenes], path: str | Path) -> Path:
    """Measured and predicted change of each perturbation's most changed genes, a panel each (Figure
    2g).

    Boxes hold the middle half of the measured cells, whiskers the middle 90 %; genes come in the
    order of their measured mean change.
    """
    if not shown or any(
        len(one.genes) != len(one.predicted) or not len(one.cells) for one in shown
    ):
        raise InputError(
            "top_genes was given no perturbation, or one without cells or a prediction for each "
            "gene"
        )
    rows, columns = grid_shape(len(shown))
    most = max(len(one.genes) for one in shown)
    with canvas(path, 3.5 * columns, rows * (0.2 * most + 0.8) + 0.9) as figure:
        axes = panels(figure, len(shown))
        for axis, one in zip(axes, shown, strict=True):
            handles = _change_panel(axis, one)
            axis.set_title(one.name + (f"\n{one.note}" if one.note else ""), fontsize=10)
        figure.supxlabel("change from the control mean, ln(1 + 1e4 x / sum x)", fontsize=10)
        figure.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=3)
    return Path(path)


def _change_panel(axis: Any, one: TopGenes) -> dict[str, Any]:
    mean = one.cells.mean(0)
    order = np.argsort(mean, kind="stable")
    place = np.arange(len(order))
    axis.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    box = axis.boxplot(
        one.cells[:, order],
        positions=place,
        orientation="horizontal",
        widths=0.66,
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
    guess = axis.plot(one.predicted[order], place, "o", color=BLUE, markersize=5, zorder=4)[0]
    axis.set_yticks(place, [one.genes[int(g)] for g in order], fontsize=8.5)
    axis.set_ylim(-0.7, len(order) - 0.3)
    axis.locator_params(axis="x", nbins=5)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    return {"measured cells": box["boxes"][0], "their mean": measured, "predicted": guess}


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
            f"phenotype_umap got kinds {unknown}, expected a kind and cluster of each point: "
            f"{set(KINDS)}"
        )
    names, sizes = np.unique(clusters.astype(str), return_counts=True)
    ordered = names[np.argsort(-sizes, kind="stable")].tolist()
    hues = dict(zip(ordered, CLUSTERS, strict=False))
    legend = hues | (
        {f"{len(ordered) - len(hues)} others": PALE} if len(ordered) > len(hues) else {}
    )
    with canvas(path, 10.4, 5.9 + 0.2 * -(-len(legend) // 2)) as figure:
        left, right = figure.subplots(1, 2)
        small = float(np.clip(12000 / len(embedding), 3, 20))
        for kind, (colour, marker) in KINDS.items():
            here = kinds == kind
            size = small if kind == "predicted pair" else max(small, 14)
            if here.any():
                left.scatter(
                    *embedding[here].T,
                    s=size,
                    color=colour,
                    marker=marker,
                    linewidths=0,
                    alpha=0.8,
                    rasterized=True,
                )
                left.plot(
                    [], [], marker, color=colour, markersize=6, label=f"{kind} ({here.sum():,})"
                )
        shuffled = np.random.default_rng(0).permutation(len(embedding))
        right.scatter(
            *embedding[shuffled].T,
            s=small,
            linewidths=0,
            alpha=0.85,
            rasterized=True,
            c=[hues.get(str(clusters[k]), PALE) for k in shuffled],
        )
        for name, hue in legend.items():
            right.plot([], [], "o", color=hue, markersize=6, label=name)
        for axis, title in ((left, "Measured and predicted"), (right, "Clusters")):
            axis.set(title=title, xlabel="UMAP 1", ylabel="UMAP 2", xticks=[], yticks=[])
            axis.set_box_aspect(1)
            axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2, handletextpad=0.2)
    return Path(path)


def interactions_found(rows: Mapping[str, Sequence[Mapping[str, Any]]], path: str | Path) -> Path:
    """Precision@10 and top-10 accuracy for each sub-type of interaction (Figure 4), a bar per
    method.

    `rows[method]` are rows of `study.leave_pairs_out.compare`. The grey bar is what random sets of
    as many pairs reach on average, its line their middle 95 %; hollow bars stand where no pair is
    truly of the sub-type.
    """
    subtypes = list(dict.fromkeys(row["subtype"] for of in rows.values() for row in of))
    if not subtypes:
        raise InputError("no sub-type has scores to draw, expected rows of leave_pairs_out.compare")
    k = max(row["k"] for of in rows.values() for row in of)
    wanted = {"precision_at_10": f"precision@{k}", "top_10_accuracy": f"top-{k} accuracy"}
    width = 0.8 / (len(rows) + 1)
    with canvas(
        path, max((0.5 + 0.28 * (len(rows) + 1)) * len(subtypes) * 2 + 0.9, 7.0), 4.2
    ) as figure:
        axes = figure.subplots(1, 2, sharey=True)
        for axis, (metric, title) in zip(axes, wanted.items(), strict=True):
            for m, (_name, of) in enumerate(rows.items()):
                values = {row["subtype"]: row for row in of}
                for s, subtype in enumerate(subtypes):
                    row = values.get(subtype)
                    if row is not None:
                        _found_bar(
                            axis,
                            s + (m - len(rows) / 2) * width,
                            width,
                            row,
                            metric,
                            METHODS[m % len(METHODS)],
                        )
            first = {row["subtype"]: row["chance"][metric] for row in next(iter(rows.values()))}
            for s, subtype in enumerate(subtypes):
                mean, low, high = first.get(subtype, (np.nan,) * 3)
                place = s + len(rows) / 2 * width
                axis.bar(place, mean, width=0.92 * width, color=PALE, zorder=2)
                axis.vlines(place, low, high, color=GREY, linewidth=1.2, zorder=3)
            axis.set(title=title, ylim=(0, 1.08))
            axis.set_xticks(range(len(subtypes)), subtypes, rotation=20, ha="right")
            axis.tick_params(axis="x", length=0)
        from matplotlib.patches import Patch

        handles = [
            Patch(color=METHODS[m % len(METHODS)], label=name) for m, name in enumerate(rows)
        ]
        handles += [Patch(color=PALE, label="random pairs (line: 95 % of sets)")]
        figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 4))
    return Path(path)


def _found_bar(
    axis: Any, place: float, width: float, row: Mapping[str, Any], metric: str, colour: str
) -> None:
    real = row["true"] > 0 or metric != "precision_at_10"
    axis.bar(
        place,
        row[metric],
        width=0.92 * width,
        color=colour if real else "none",
        edgecolor=colour,
        zorder=2,
    )
    text = number(row[metric], 2) if real else "none\ntrue"
    axis.annotate(
        text,
        (place, row[metric]),
        xytext=(0, 2),
        textcoords="offset points",
        ha="center",
        fontsize=7.5,
    )


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
        and of the share with
    the least error, the best that any uncertainty could do.
    """
    if not len(uncertainty) == len(error) == len(groups) > 2:
        raise InputError(
            f"{len(uncertainty)} uncertainties and {len(error)} errors were given, expected as "
            "many, over 2"
        )
    from scipy.stats import rankdata

    varies = np.ptp(uncertainty) > 0 and np.ptp(error) > 0
    rho = float(np.corrcoef(rankdata(uncertainty), rankdata(error))[0, 1]) if varies else np.nan
    with canvas(path, 9.6, 4.5) as figure:
        left, right = figure.subplots(1, 2)
        for name, hue in zip(dict.fromkeys(groups), CLUSTERS * 9, strict=False):
            here = np.array([group == name for group in groups])
            left.plot(
                uncertainty[here],
                error[here],
                "o",
                color=hue,
                alpha=0.75,
                markeredgewidth=0,
                label=f"{GROUPS.get(name, words(name))} ({here.sum()})",
            )
        left.set(xlabel="uncertainty (mean predicted log variance)", ylabel=label)
        left.set_title(f"Spearman ρ = {number(rho, 2)}")
        left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, handletextpad=0.1)
        share = np.arange(1, len(error) + 1) / len(error)
        kept = {"most certain first": (np.argsort(uncertainty, kind="stable"), BLUE)}
        kept["least error first"] = np.argsort(error, kind="stable"), GREEN
        for name, (order, hue) in kept.items():
            right.plot(
                share, np.cumsum(error[order]) / np.arange(1, len(error) + 1), color=hue, label=name
            )
        right.axhline(
            error.mean(), color=GREY, linewidth=1, linestyle=(0, (4, 3)), label="in random order"
        )
        right.set(
            xlabel="share of the perturbations kept", ylabel="mean error of those kept", xlim=(0, 1)
        )
        right.set_title("Setting the uncertain ones aside")
        right.set_ylim(bottom=0)
        right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    return Path(path)
