"""The figures of a finished run on a screen, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxpert import data
from jaxpert.core.family import Results
from jaxpert.core.fit import Fitted
from jaxpert.core.stages import track
from jaxpert.core.streams import Stream
from jaxpert.core.types import Dataset, InputError
from jaxpert.data.labels_asked import conditions_asked, known_names, listed
from jaxpert.data.mapped import totals
from jaxpert.evaluation import generate, pseudobulk
from jaxpert.evaluation.coverage import NOMINAL
from jaxpert.evaluation.subset_names import HELD_OUT
from jaxpert.report import plots
from jaxpert.report.attempts import Missing, attempt
from jaxpert.tasks.screen.each import WIDTH, half_widths
from jaxpert.tasks.screen.keys import ScreenConfig
from jaxpert.tasks.screen.measured import Measured
from jaxpert.tasks.screen.predict import Prediction, embed_cells, make_request
from jaxpert.tasks.screen.recovery import Recovered

MOST_SHOWN = 6
PANELS = 3


def draw(
    config: ScreenConfig, results: Results, folder: Path, log_rows: Sequence[Mapping[str, Any]]
) -> Missing:
    """All figures of a run (`Task.draw`)."""
    shown, keys = results.shown, config.evaluation
    dataset, fitted = shown.problem.dataset, shown.fitted
    chosen = shown_conditions(shown.measured, keys.shown)
    jobs: list[tuple[Any, ...]] = []
    # What is computed in one step has no course of training.
    if len({row.get("step") for row in log_rows}) > 1:
        jobs.append(("loss_curves.png", _draw_losses, log_rows))
    jobs.append(("baselines.png", _draw_bars, shown.metrics))
    effects = shown.measured, shown.prediction
    jobs.append(("ate_scatter.png", draw_effects, *effects, shown.metrics))
    jobs.append(("effects.png", draw_panels, *effects, chosen))
    # Quality metrics are made of counts, and a model of means has no cells to show.
    if fitted.model.scale == "counts" and fitted.model.stochastic:
        jobs.append(("quality_violins.png", draw_quality, fitted, dataset, chosen, config.seed))
    cells = keys.umap_cells, config.seed
    jobs.append(("latent_umap.png", draw_latent, fitted, dataset, *cells))
    if "coverage" in shown.metrics:
        jobs.append(("reliability.png", _draw_reliability, shown.metrics["coverage"]))
    if shown.recovered is not None:
        jobs.append(("recovery.png", _draw_recovery, shown.recovered, dataset))
    missing: Missing = {}
    for figure, work, *arguments in track(jobs, "drawing figures"):
        attempt(missing, figure, work, folder / figure, *arguments)
    return missing


def _draw_losses(path: Path, log_rows: Sequence[Mapping[str, Any]]) -> None:
    plots.loss_curves([_mean_over_seeds(row) for row in log_rows], path)


def _draw_bars(path: Path, metrics: Mapping[str, Any]) -> None:
    plots.baseline_bars(metrics, path)


def _draw_reliability(path: Path, found: Mapping[str, Any]) -> None:
    # What training has seen says nothing of intervals for what it has not.
    seen = ("all", "train")
    # Test cells stand apart where all perturbations are trained on; other parts are the same then.
    if HELD_OUT in found["curves"]:
        seen = tuple(name for name in found["curves"] if name != HELD_OUT)
    tested = {name: curve for name, curve in found["curves"].items() if name not in seen}
    plots.reliability(NOMINAL, tested or found["curves"], found["conditions"], path)


def _draw_recovery(path: Path, recovered: Recovered, dataset: Dataset) -> None:
    planted, estimated = recovered.artifact or (None, None)
    effects = recovered.planted, recovered.predicted
    plots.recovery(*effects, path, planted, estimated, dataset.genes)


def draw_effects(
    path: Path, measured: Measured, prediction: Prediction, metrics: Mapping[str, Any]
) -> None:
    """Predicted against measured effects of all measured perturbations."""
    dataset = measured.dataset
    predicted = prediction.effects_of(dataset)
    subsets = {name: set(rows) for name, rows in measured.screen.subsets.items()}
    # Conditions without passed cells have no measured effect and cannot be drawn.
    rows = [int(c) for c in subsets["all"] if np.isfinite(measured.effects[c]).all()]
    members = [_holding(subsets, c) for c in rows]
    plots.ate_scatter(
        measured.effects[rows],
        predicted[rows],
        [dataset.conditions[c] for c in rows],
        members,
        path,
        metrics["model"],
    )


def draw_panels(
    path: Path, measured: Measured, prediction: Prediction, chosen: Sequence[int]
) -> None:
    """The strongest genes of some conditions, predicted with their error and measured."""
    dataset = measured.dataset
    rows = np.array(prediction.rows_of(dataset))[list(chosen)]
    predicted = prediction.effects.effect[rows]
    half, bars = _bars(prediction, dataset, list(chosen))
    plots.effect_panels(
        measured.effects[list(chosen)],
        predicted,
        dataset.genes,
        [dataset.conditions[c] for c in chosen],
        path,
        lower=None if half is None else predicted - half,
        upper=None if half is None else predicted + half,
        bars=bars,
    )


def _bars(
    prediction: Prediction, dataset: Dataset, chosen: list[int]
) -> tuple[Float[np.ndarray, "P G"] | None, str]:
    """Half the length of the bars about the predictions of some conditions, and what they are: the
    interval for a measurement, else the chance of the drawn cells, of which means have none."""
    half = half_widths(prediction, dataset)
    if half is not None and np.isfinite(half[chosen]).all():
        return half[chosen], f"{100 * WIDTH:.0f} % interval for a measurement"
    error = prediction.effects.error[np.array(prediction.rows_of(dataset))[chosen]]
    if not (error > 0).any():
        return None, ""
    return 2 * error, "two standard errors of the drawn cells"


def shown_conditions(measured: Measured, names: Sequence[str] = ()) -> list[int]:
    """The named conditions, or those with the largest measured effects, test conditions first."""
    if names:
        return named_conditions(measured.dataset, names)
    subsets = measured.screen.subsets
    # Conditions that were not measured get -1 and drop out below.
    strength = np.nan_to_num(np.abs(measured.effects).mean(1), nan=-1.0)
    test = set(subsets.get("test", ()))
    # Held-out conditions come first, however weak: they show what the model has learned.
    ranked = sorted(subsets["all"], key=lambda c: (c not in test, -strength[c]))
    return [int(c) for c in ranked if strength[c] >= 0][:MOST_SHOWN]


def named_conditions(dataset: Dataset, names: Sequence[str]) -> list[int]:
    """Positions of the named conditions."""
    known = known_names(dataset)
    names = listed(names, known)
    conditions = conditions_asked(names, known)
    unknown = [name for name, of in zip(names, conditions, strict=True) if of is None]
    if unknown:
        raise InputError(
            f"evaluation.shown asks for {', '.join(map(repr, unknown))}, expected conditions of "
            f"{dataset.name!r}: choose some such as {', '.join(dataset.conditions[:5])}"
        )
    return [dataset.conditions.index(str(name)) for name in conditions]


def draw_quality(
    path: Path, fitted: Fitted, dataset: Dataset, conditions: Sequence[int], seed: int = 0
) -> None:
    """Quality of real and generated cells of some conditions, with the thresholds of the modelled
    genes (Figure 3 of the CRADLE-VAE paper)."""
    quality = dataset.quality
    if quality is None:
        return
    # The control is always shown, beside a few others for which there is room.
    chosen = [dataset.control, *conditions[:PANELS]]
    classes = data.gene_classes(dataset)
    real = data.quality_metrics(dataset.counts, classes, np.zeros(len(dataset.cells), bool))
    # The same model with the artifact off and on, beside real cells of either label.
    passed, row_passed = _generated_quality(fitted, dataset, chosen, 0.0, seed)
    failed, row_failed = _generated_quality(fitted, dataset, chosen, 1.0, seed)
    groups: dict[str, dict[str, Any]] = {}
    for i, c in enumerate(chosen):
        cells = dataset.condition == c
        groups[dataset.conditions[c]] = {
            "real_passed": _of(real, cells & ~quality.failed),
            "real_failed": _of(real, cells & quality.failed),
            "generated_passed": _of(passed, row_passed == i),
            "generated_failed": _of(failed, row_failed == i),
        }
    bounds = data.modelled_thresholds(dataset)[quality.multiplier]
    plots.quality_violins(groups, bounds, path, quality.multiplier)


def draw_latent(path: Path, fitted: Fitted, dataset: Dataset, cells: int, seed: int = 0) -> None:
    """UMAP of the latent (of several the basal one), by artifact and by perturbation (Figure 9 of
    the CRADLE-VAE paper), of evenly spaced training cells."""
    if fitted.model.embed is None or not cells:
        return
    rows = dataset.rows("train")
    # Evenly spaced, not drawn: files are often sorted, and the figure stays the same.
    rows = rows[np.linspace(0, len(rows) - 1, min(cells, len(rows))).astype(int)]
    latents = embed_cells(fitted, dataset, rows, seed=seed)
    # The basal latent should hold no perturbation, which is what this figure is to show.
    latent = latents.get("z_basal", next(iter(latents.values())))
    failed = None if dataset.quality is None else dataset.quality.failed[rows]
    labels = [dataset.conditions[c] for c in dataset.condition[rows]]
    embedding = plots.umap_embedding(latent, seed)
    plots.latent_umap(embedding, failed, labels, path)


def _mean_over_seeds(row: Mapping[str, Any]) -> dict[str, Any]:
    means: dict[str, Any] = {}
    for name, value in row.items():
        means[name] = float(np.mean(value)) if isinstance(value, list) else value
    return means


def _holding(subsets: Mapping[str, set], condition: int) -> list[str]:
    """Names of the subsets that hold a condition."""
    return [name for name, members in subsets.items() if condition in members]


def _generated_quality(
    fitted: Fitted,
    dataset: Dataset,
    chosen: Sequence[int],
    failed: float,
    seed: int,
    cells: int = 200,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Quality metrics of generated cells and the position of each one's condition in `chosen`;
    libraries are resampled from passed control cells."""
    passed = pseudobulk.passed_rows(dataset)
    passed = passed[dataset.condition[passed] == dataset.control]
    counts = generate.generated_counts(
        fitted.model,
        fitted.params,
        fitted.state,
        jax.random.fold_in(jax.random.key(seed), Stream.EVALUATE),
        make_request(dataset.condition_treatments[list(chosen)], failed=failed),
        cells_per_row=cells,
        # A library of 0 has no logarithm, so it is at least 1.
        libraries=np.maximum(totals(dataset.counts, passed).astype(np.float32), 1),
    )
    metrics = data.quality_metrics(
        counts, data.gene_classes(dataset), np.zeros(counts.shape[0], bool)
    )
    # Generated cells go round the conditions, so that row i belongs to i modulo their number.
    return metrics, np.tile(np.arange(len(chosen)), cells)


def _of(metrics: Mapping[str, np.ndarray], which: np.ndarray) -> dict[str, Float[np.ndarray, "n"]]:
    return {name: values[which] for name, values in metrics.items() if name != "doublet"}
