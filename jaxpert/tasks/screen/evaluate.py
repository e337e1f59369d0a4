"""Score a fitted model: beside the baselines, by the quality of its cells, by its likelihood."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxpert import data
from jaxpert.core.types import Batch, Dataset, InputError
from jaxpert.evaluation import baselines, pseudobulk, quality_pass
from jaxpert.evaluation import compare as benchmark
from jaxpert.tasks.screen.predict import (
    Fitted,
    Prediction,
    in_blocks,
    make_request,
    predict_effects,
)

EVALUATE = 2
"""Stream folded into the seed's key, apart from training's (0) and prediction's (1)."""


def evaluate(
    fitted: Fitted,
    dataset: Dataset,
    *,
    particles: int = 2500,
    library: float = 1e4,
    seed: int = 0,
    truth: Float[np.ndarray, "C G"] | None = None,
    prediction: Prediction | None = None,
) -> dict[str, Any]:
    """Score a fitted model beside the baselines on all, train, val and test perturbations
    (`evaluation.benchmark.compare`).

    Measured effects are those of QC-passed cells of all splits, as in the paper; `held_out` scores
    the test cells alone where the split is one of cells. Baselines see QC-passed training cells
    only. `truth` are planted effects to score against too, `prediction` one made before for all
    conditions.
    """
    if prediction is None:
        prediction = predict_effects(
            fitted, dataset, dataset.conditions, particles=particles, library=library, seed=seed
        )
    where = {name: i for i, name in enumerate(prediction.names)}
    model_effects = prediction.effects.effect[[where[name] for name in dataset.conditions]]
    means = pseudobulk.observed_means(dataset)
    training, predicted, notes = baseline_effects(dataset)
    held_out = None
    rows = (
        pseudobulk.held_out_rows(dataset)
        if len(dataset.rows("test"))
        else pseudobulk.passed_rows(dataset, "val")
    )
    if len(dataset.rows("test")) and set(benchmark.subsets(dataset)["test"]) & set(
        np.flatnonzero(training.cells)
    ):
        held_out = pseudobulk.held_out_effects(dataset)
    duplicate = None
    if (dataset.condition[rows] == dataset.control).sum() > 1:
        cells = dataset.counts[rows], dataset.condition[rows]
        rng = np.random.default_rng(seed)
        duplicate = pseudobulk.technical_duplicate(
            *cells, len(dataset.conditions), dataset.control, rng
        )
    result = benchmark.compare(
        pseudobulk.effects(means, dataset.control),
        {benchmark.MODEL: model_effects, **predicted},
        screen_of(dataset, training),
        held_out=held_out,
        duplicate=duplicate,
        truth=truth,
        seed=seed,
    )
    return result | {"notes": [*result["notes"], *notes]}


def baseline_effects(
    dataset: Dataset,
) -> tuple[baselines.Training, dict[str, Float[np.ndarray, "C G"]], tuple[str, ...]]:
    """What the baselines saw, what each predicts as effects, and their notes."""
    seen = pseudobulk.observed_means(dataset, "train")
    names = dataset.conditions, dataset.treatments, dataset.genes
    training = baselines.Training(
        seen.mean, seen.cells, dataset.condition_treatments, dataset.control, *names
    )
    made = {name: baseline(training) for name, baseline in baselines.BASELINES.items()}
    effects = {name: each.means - each.means[dataset.control] for name, each in made.items()}
    return training, effects, tuple(note for each in made.values() for note in each.notes)


def screen_of(dataset: Dataset, training: baselines.Training) -> benchmark.Screen:
    """What scores need to know of the data set beside effects."""
    trained = training.cells > 0
    perturbed = trained & (np.arange(len(trained)) != dataset.control)
    control = training.means[dataset.control]
    return benchmark.Screen(
        conditions=dataset.conditions,
        control=dataset.control,
        subsets=benchmark.subsets(dataset),
        trained=trained,
        control_mean=control,
        reference=training.means[perturbed].mean(0) - control,
        own_genes=benchmark.own_genes(
            dataset.condition_treatments, dataset.treatments, dataset.genes
        ),
    )


def quality_pass_rates(
    fitted: Fitted,
    dataset: Dataset,
    *,
    cells_per_condition: int = 100,
    library: float = 1e4,
    seed: int = 0,
    doublets: str = "scrublet",
) -> dict[str, Any]:
    """Share of generated artifact-free cells that pass the data's criteria, with a fixed library
    and with resampled ones.

    Thresholds are those of the modelled genes; resampled libraries are those of the QC-passed
    control cells.
    """
    if dataset.quality is None:
        raise InputError(
            f"data set {dataset.name!r} has no quality labels: call data.add_quality first"
        )
    control = pseudobulk.passed_rows(dataset)
    control = control[dataset.condition[control] == dataset.control]
    libraries = np.asarray(dataset.counts[control].sum(1), np.float32).ravel()
    bounds = data.modelled_thresholds(dataset)[dataset.quality.multiplier]

    def label(counts: Any) -> np.ndarray:
        return data.label_generated(counts, dataset.genes, bounds, doublets=doublets, chunks=1)

    def rate(name: str, pool: np.ndarray | None) -> dict[str, Any]:
        key = jax.random.fold_in(jax.random.key(seed), EVALUATE)
        found = quality_pass.pass_rate(
            fitted.model,
            fitted.params,
            fitted.state,
            key,
            make_request(dataset.condition_treatments, library=library),
            label,
            cells_per_condition=cells_per_condition,
            libraries=pool,
        )
        by_name = dict(zip(dataset.conditions, found.pop("per_condition", ()), strict=False))
        return found | ({"per_condition": by_name} if by_name else {})

    return {
        "fixed_library": rate("fixed", None),
        "resampled_library": rate("resampled", libraries[libraries > 0]),
    }


def log_likelihood(
    fitted: Fitted, dataset: Dataset, split: str = "val", *, batch_size: int = 128, seed: int = 0
) -> dict[str, float]:
    """Mean predictive IWELBO per cell of a split, in nats, with the particles of the model's own
    `score`."""
    if fitted.model.score is None:
        raise InputError("this model has no likelihood to score cells with")
    rows = dataset.rows(split)
    tables = {name: jnp.asarray(table) for name, table in data.split_tables(dataset, split).items()}
    root = jax.random.fold_in(jax.random.key(seed), EVALUATE)

    def block(number: int, batch: Batch) -> Array:
        key = jax.random.fold_in(root, number)
        return score(fitted.params, fitted.state, key, batch._replace(extras=batch.extras | tables))

    score = jax.jit(fitted.model.score)
    bounds = in_blocks(dataset, rows, batch_size, block)
    return {"iwelbo": float(bounds.mean(dtype=np.float64)), "cells": len(rows)}
