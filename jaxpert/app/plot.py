"""Pictures of what `jaxpert.predict` and `jaxpert.evaluate` return, for notebooks: `jaxpert.plot`.

Example:
    predicted = jaxpert.predict(fitted, cells, ["KLF1+FAR2"])
    jaxpert.plot.effect(predicted, "KLF1+FAR2", cells)
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.errors import InputError
from jaxpert.core.types import Dataset
from jaxpert.data.files import shown
from jaxpert.data.labels_asked import conditions_asked, known_names
from jaxpert.evaluation import pseudobulk
from jaxpert.evaluation.subset_names import UNSEEN_FIRST
from jaxpert.report import plots
from jaxpert.report.plots.effects import strongest_genes
from jaxpert.report.plots.style import BLUE, GREY, INK, canvas
from jaxpert.tasks.translation.prepare import Prepared

if TYPE_CHECKING:
    from anndata import AnnData

MEASURED = "measured_effect"
"""The layer of predictions that hold what was measured, those of rows of several lines."""


class Picture(NamedTuple):
    """A picture as notebooks show it."""

    png: bytes

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        return f"a picture of {len(self.png) / 1000:.0f} kB, which .save(path) writes"

    def save(self, path: str | Path) -> Path:
        """Write the picture as a PNG file."""
        Path(path).write_bytes(self.png)
        return Path(path)


def effect(predicted: AnnData, perturbation: str, data: Any = None, *, genes: int = 20) -> Picture:
    """The genes that a perturbation is predicted to move most, with their 90 % intervals.

    Args:
        predicted: from `jaxpert.predict`.
        perturbation: one of its rows, such as "KLF1+FAR2".
        data: what the model was fitted to; measured effects are drawn beside, where there are any.
        genes: how many.

    An interval is to hold nine of ten new measurements, and is drawn where the model, or the
    perturbations that validate it, tell one (docs/evaluation.md, Intervals of a model).

    Example:
        jaxpert.plot.effect(predicted, "KLF1+FAR2", cells, genes=10)
    """
    row = int(_rows(predicted, [perturbation])[0])
    effects = np.asarray(predicted.layers["effect"], float)[row]
    top = strongest_genes(effects, genes)
    half = _half_width(predicted, row)
    measured = _measured(predicted, data)

    def draw(path: Path) -> None:
        with canvas(path, 5.2, 0.2 * len(top) + 1.3) as figure:
            axis, place = figure.add_subplot(), np.arange(len(top))
            axis.axvline(0, color=GREY, linewidth=0.8)
            if half is not None:
                low, high = effects[top] - half[top], effects[top] + half[top]
                label = "90 % of new measurements"
                axis.hlines(place, low, high, color=BLUE, alpha=0.3, linewidth=5, label=label)
            axis.plot(effects[top], place, "o", color=BLUE, markersize=5, label="predicted")
            if measured is not None and np.isfinite(measured[row]).any():
                look = {"color": INK, "markerfacecolor": "white", "markersize": 4.5}
                axis.plot(measured[row, top], place, "D", label="measured", **look)
            axis.set_yticks(place, np.asarray(predicted.var_names)[top])
            axis.set_title(str(predicted.obs_names[row]))
            axis.set_xlabel(f"effect ({predicted.uns.get('scale', 'log2')})")
            figure.legend(loc="outside lower center", ncols=3)

    return _picture(draw)


def top_genes(
    predicted: AnnData, perturbations: Sequence[str] | None = None, *, genes: int = 30
) -> Picture:
    """The genes that some perturbations are predicted to move most, as a table of colours.

    Args:
        predicted: from `jaxpert.predict`.
        perturbations: some of its rows; None for all that move anything.
        genes: how many, by their largest effect under any of these perturbations.

    Example:
        jaxpert.plot.top_genes(predicted, ["KLF1", "KLF1+FAR2"], genes=10)
    """
    effects = np.asarray(predicted.layers["effect"], float)
    if perturbations is None:
        # The control is a row too, and moves nothing.
        rows = np.flatnonzero(np.abs(effects).max(1) > 0)
    else:
        rows = _rows(predicted, perturbations)
    largest = np.abs(effects[rows]).max(0)
    top = np.argsort(-largest, kind="stable")[:genes]
    # Genes that are moved alike stand side by side.
    top = top[np.argsort(effects[rows][:, top].mean(0), kind="stable")]
    limit = float(largest.max()) or 1.0

    def draw(path: Path) -> None:
        with canvas(path, 0.2 * len(top) + 2.2, 0.24 * len(rows) + 1.7) as figure:
            axis = figure.add_subplot()
            shades = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit, "aspect": "auto"}
            image = axis.imshow(effects[np.ix_(rows, top)], **shades)
            axis.set_yticks(np.arange(len(rows)), np.asarray(predicted.obs_names)[rows])
            axis.set_xticks(np.arange(len(top)), np.asarray(predicted.var_names)[top], rotation=90)
            axis.tick_params(length=0)
            figure.colorbar(image, label="effect", shrink=0.8)

    return _picture(draw)


def measured(predicted: AnnData, data: Any = None) -> Picture:
    """Predicted against measured effects, a panel for each part of the split.

    Args:
        predicted: from `jaxpert.predict`.
        data: what the model was fitted to; not needed for rows of several lines, whose predictions
            hold what was measured.

    Example:
        jaxpert.plot.measured(predicted, cells)
    """
    observed = _measured(predicted, data)
    if observed is None:
        raise InputError(
            "no data are given and the predictions hold no measured effects, expected cells to "
            "compare them with: give what the model was fitted to, as in measured(predicted, cells)"
        )
    effects = np.asarray(predicted.layers["effect"], float)
    # The control has no effect, predicted or measured, and would say that both agree.
    rows = np.flatnonzero(np.isfinite(observed).all(1) & (np.abs(observed).max(1) > 0))
    if not len(rows):
        raise InputError(
            f"none of {shown(predicted.obs_names)} was measured, expected a perturbation with "
            "cells: predict one that the data hold"
        )
    splits = [str(predicted.obs["split"].iloc[row]).split("+") for row in rows]
    names = [str(predicted.obs_names[row]) for row in rows]
    return _picture(
        lambda path: plots.ate_scatter(observed[rows], effects[rows], names, splits, path)
    )


def scores(metrics: Mapping[str, Any], subset: str | None = None) -> Picture:
    """The scores of a model beside every baseline and the ceiling.

    Args:
        metrics: from `jaxpert.evaluate`, `jaxpert.score` or the file metrics.json of a run.
        subset: "test", "held_out", "train" ...; None for what training saw least of, of which the
            verdict speaks.

    Example:
        jaxpert.plot.scores(jaxpert.evaluate(fitted, cells))
    """
    counts = metrics["perturbations"]
    if subset is None:
        subset = next((name for name in UNSEEN_FIRST if counts.get(name)), "all")
    if not counts.get(subset):
        raise InputError(
            f"subset is {subset!r}, expected one with perturbations: take one of "
            f"{', '.join(name for name in counts if counts[name])}"
        )
    kept = {"subsets": metrics["subsets"], "ceiling_interval": metrics.get("ceiling_interval")}
    kept["model"] = {subset: metrics["model"][subset]}
    kept["baselines"] = {name: {subset: of[subset]} for name, of in metrics["baselines"].items()}
    kept["ceiling"] = {subset: (metrics.get("ceiling") or {}).get(subset)}
    return _picture(lambda path: plots.baseline_bars(kept, path))


def _picture(draw: Callable[[Path], Any]) -> Picture:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        draw(path)
        return Picture(path.read_bytes())


def _rows(predicted: AnnData, names: Sequence[str]) -> Int[np.ndarray, "n"]:
    """Rows of named perturbations, the parts of a name in any order."""
    by_parts = {_parts(name): row for row, name in enumerate(predicted.obs_names)}
    missing = [name for name in names if _parts(name) not in by_parts]
    if missing:
        raise InputError(
            f"the predictions hold no {shown(missing)}, expected some of "
            f"{shown(predicted.obs_names)}: predict it first"
        )
    return np.array([by_parts[_parts(name)] for name in names])


def _parts(name: str) -> tuple[str, ...]:
    return tuple(sorted(part.strip() for part in str(name).split("+")))


def _half_width(predicted: AnnData, row: int) -> Float[np.ndarray, "G"] | None:
    """Half of the 90 % intervals of new measurements; None where nothing tells them."""
    if "width_90" not in predicted.obs or not np.isfinite(predicted.obs["width_90"].iloc[row]):
        return None
    deviation = np.asarray(predicted.layers["measured_sd"], float)[row]
    return predicted.obs["width_90"].iloc[row] * NormalDist().inv_cdf(0.95) * deviation


def _measured(predicted: AnnData, data: Any) -> Float[np.ndarray, "R G"] | None:
    """Measured effects of the predicted perturbations, NaN for those that were not measured."""
    if MEASURED in predicted.layers:
        return np.asarray(predicted.layers[MEASURED], float)
    if data is None:
        return None
    if isinstance(data, Prepared) or not isinstance(data, Dataset):
        raise InputError(
            f"the data are a {type(data).__name__}, expected the cells that the model was fitted "
            "to: give what jaxpert.read and jaxpert.add_split returned"
        )
    effects = pseudobulk.effects(pseudobulk.observed_means(data), data.control)
    observed = np.full(predicted.shape, np.nan)
    conditions = conditions_asked(list(predicted.obs_names), known_names(data))
    for row, condition in enumerate(conditions):
        if condition is not None:
            observed[row] = effects[data.conditions.index(condition)]
    return observed
