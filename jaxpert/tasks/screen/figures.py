"""The figures of a finished run: from a fitted model and its data to PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxpert import data
from jaxpert.core.types import Dataset, InputError
from jaxpert.evaluation import compare as benchmark
from jaxpert.evaluation import generate, pseudobulk
from jaxpert.report import plots
from jaxpert.tasks.screen import evaluate as assess
from jaxpert.tasks.screen import predict as workflow
from jaxpert.tasks.screen.predict import Fitted, Prediction

MOST_SHOWN = 6
PANELS = 3


def draw_scores(
    folder: Path,
    dataset: Dataset,
    prediction: Prediction,
    metrics: dict[str, Any],
    rows: list[dict[str, Any]],
    shown: Sequence[str] = (),
) -> list[int]:
    """Loss curves, the model beside its baselines, and predicted effects against measured ones;
    returns the conditions shown."""
    plots.loss_curves([_mean_over_seeds(row) for row in rows], folder / "loss_curves.png")
    plots.baseline_bars(metrics, folder / "baselines.png")
    observed = pseudobulk.effects(pseudobulk.observed_means(dataset), dataset.control)
    where = {name: i for i, name in enumerate(prediction.names)}
    predicted = prediction.effects.effect[[where[name] for name in dataset.conditions]]
    sd = prediction.effects.error[[where[name] for name in dataset.conditions]]
    subsets = {name: set(rows) for name, rows in benchmark.subsets(dataset).items()}
    measured = [c for c in subsets["all"] if np.isfinite(observed[c]).all()]
    members = [[name for name, own in subsets.items() if c in own] for c in measured]
    names = [dataset.conditions[c] for c in measured]
    path = folder / "ate_scatter.png"
    plots.ate_scatter(
        observed[measured], predicted[measured], names, members, path, metrics["model"]
    )
    chosen = shown_conditions(dataset, observed, shown)
    plots.effect_panels(
        observed[chosen],
        predicted[chosen],
        dataset.genes,
        [dataset.conditions[c] for c in chosen],
        folder / "effects.png",
        lower=predicted[chosen] - 2 * sd[chosen],
        upper=predicted[chosen] + 2 * sd[chosen],
    )
    return chosen


def _mean_over_seeds(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: float(np.mean(value)) if isinstance(value, list) else value
        for name, value in row.items()
    }


def shown_conditions(
    dataset: Dataset, observed: Float[np.ndarray, "C G"], names: Sequence[str] = ()
) -> list[int]:
    """The named conditions, or those with the largest measured effects, test conditions first."""
    if names:
        return named_conditions(dataset, names)
    groups = benchmark.subsets(dataset)
    strength = np.nan_to_num(np.abs(observed).mean(1), nan=-1.0)
    ranked = sorted(groups["all"], key=lambda c: (c not in groups.get("test", ()), -strength[c]))
    return [int(c) for c in ranked if strength[c] >= 0][:MOST_SHOWN]


def named_conditions(dataset: Dataset, names: Sequence[str]) -> list[int]:
    """Positions of the named conditions."""
    unknown = [name for name in names if name not in dataset.conditions]
    if unknown:
        raise InputError(
            f"evaluation.shown asks for {', '.join(map(repr, unknown))}, expected conditions of "
            f"{dataset.name!r} "
            f"such as {', '.join(dataset.conditions[:5])}"
        )
    return [dataset.conditions.index(name) for name in names]


def draw_quality(
    folder: Path, fitted: Fitted, dataset: Dataset, conditions: Sequence[int], *, seed: int = 0
) -> None:
    """Quality of real and generated cells of some conditions, with the thresholds of the modelled
    genes (Figure 3)."""
    quality = dataset.quality
    if quality is None:
        return
    chosen = [dataset.control, *conditions[:PANELS]]
    real = data.quality_metrics(dataset.counts, dataset.genes, np.zeros(len(dataset.cells), bool))
    groups = {
        dataset.conditions[c]: {
            "real_passed": _of(real, (dataset.condition == c) & ~quality.failed),
            "real_failed": _of(real, (dataset.condition == c) & quality.failed),
        }
        for c in chosen
    }
    for name, failed in (("generated_passed", 0.0), ("generated_failed", 1.0)):
        metrics, row = _generated_quality(fitted, dataset, chosen, failed, seed)
        for i, c in enumerate(chosen):
            groups[dataset.conditions[c]][name] = _of(metrics, row == i)
    bounds = data.modelled_thresholds(dataset)[quality.multiplier]
    plots.quality_violins(groups, bounds, folder / "quality_violins.png", quality.multiplier)


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
        jax.random.fold_in(jax.random.key(seed), assess.EVALUATE),
        workflow.make_request(dataset.condition_treatments[list(chosen)], failed=failed),
        cells_per_row=cells,
        libraries=np.maximum(np.asarray(dataset.counts[passed].sum(1), np.float32).ravel(), 1),
    )
    metrics = data.quality_metrics(counts, dataset.genes, np.zeros(counts.shape[0], bool))
    return metrics, np.tile(np.arange(len(chosen)), cells)


def _of(metrics: dict[str, np.ndarray], which: np.ndarray) -> dict[str, np.ndarray]:
    return {name: values[which] for name, values in metrics.items() if name != "doublet"}


def draw_latent(
    folder: Path, fitted: Fitted, dataset: Dataset, cells: int, *, seed: int = 0
) -> None:
    """UMAP of the latent (of several the basal one), by artifact and by perturbation (Figure 9), of
    evenly spaced training cells."""
    if fitted.model.embed is None or not cells:
        return
    rows = dataset.rows("train")
    rows = rows[np.linspace(0, len(rows) - 1, min(cells, len(rows))).astype(int)]
    found = workflow.embed_cells(fitted, dataset, rows, seed=seed)
    latent = found["z_basal"] if "z_basal" in found else next(iter(found.values()))
    failed = np.zeros(len(rows), bool) if dataset.quality is None else dataset.quality.failed[rows]
    labels = [dataset.conditions[c] for c in dataset.condition[rows]]
    plots.latent_umap(
        plots.umap_embedding(latent, seed), failed, labels, folder / "latent_umap.png"
    )


def artifact_effect(
    fitted: Fitted, dataset: Dataset, *, cells: int, seed: int = 0
) -> Float[np.ndarray, "G"]:
    """How far the model's artifact moves each gene of control cells: log2 fold of the mean over
    generated cells of one library size, with and without it."""
    request = workflow.make_request(np.zeros((2, len(dataset.treatments)), np.float32))
    counts = generate.generated_counts(
        fitted.model,
        fitted.params,
        fitted.state,
        jax.random.key(seed),
        request._replace(failed=jnp.array([0.0, 1.0])),
        cells_per_row=cells,
    )
    clean, failed = (np.asarray(counts[row::2].mean(0), float).ravel() for row in (0, 1))
    return log2_fold(failed, clean)


def log2_fold(
    after: Float[np.ndarray, "G"], before: Float[np.ndarray, "G"]
) -> Float[np.ndarray, "G"]:
    """Log2 fold of counts per 10,000 with 0.1 added, so that genes without reads do not move."""
    return np.log2(after + 0.1) - np.log2(before + 0.1)


def draw_recovery(
    folder: Path,
    fitted: Fitted,
    dataset: Dataset,
    prediction: Prediction,
    truth: Any,
    planted: Float[np.ndarray, "C G"],
    *,
    particles: int,
) -> dict[str, Any]:
    """Predicted against planted effects, and the artifact where the model has one; returns how well
    they are found."""
    where = {name: i for i, name in enumerate(prediction.names)}
    predicted = prediction.effects.effect[[where[name] for name in dataset.conditions]]
    perturbed = np.arange(len(planted)) != dataset.control
    found: dict[str, Any] = {
        "effect_pearson": _correlation(planted[perturbed], predicted[perturbed])
    }
    test = benchmark.subsets(dataset).get("test", ())
    if len(test):
        found["effect_pearson_test"] = _correlation(planted[test], predicted[test])
    artifact: tuple[Any, ...] = ()
    if dataset.quality is not None and fitted.model.scale == "counts" and fitted.model.stochastic:
        true_artifact, about = _planted_artifact(dataset, truth)
        estimated = artifact_effect(fitted, dataset, cells=particles)
        found |= {"artifact_pearson": _correlation(true_artifact, estimated), **about}
        artifact = true_artifact, estimated, dataset.genes
    plots.recovery(planted[perturbed], predicted[perturbed], folder / "recovery.png", *artifact)
    return found


def _planted_artifact(
    dataset: Dataset, truth: Any
) -> tuple[Float[np.ndarray, "G"], dict[str, int]]:
    """The mean profile of the artifact kinds among the cells that fail the quality criteria, clean
    ones included, since that is all a model is told; and how many cells are meant."""
    assert dataset.quality is not None
    failed = dataset.quality.failed
    kinds = np.bincount(truth.artifact[failed], minlength=len(truth.artifact_log_fold))
    clean = (
        1e4
        * truth.mean_proportion[list(truth.conditions).index(dataset.conditions[dataset.control])]
    )
    profile = log2_fold((kinds / kinds.sum()) @ (clean * np.exp(truth.artifact_log_fold)), clean)
    return profile, {
        "artifact_cells": int((truth.artifact > 0).sum()),
        "artifact_cells_that_fail_quality": int((failed & (truth.artifact > 0)).sum()),
        "clean_cells_that_fail_quality": int((failed & (truth.artifact == 0)).sum()),
    }


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
