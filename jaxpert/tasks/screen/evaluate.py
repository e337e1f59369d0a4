"""Score a fitted model: beside the baselines, by the quality of its cells, by its likelihood."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxpert import data
from jaxpert.core.ensemble import Ensemble
from jaxpert.core.fit import Fitted
from jaxpert.core.streams import Stream
from jaxpert.core.types import Batch, Dataset, InputError
from jaxpert.data.doublets import parts_of, too_few
from jaxpert.data.mapped import totals
from jaxpert.evaluation import compare, pseudobulk, quality_pass
from jaxpert.tasks.screen.measured import Measured, beside_itself, duplicates, measure
from jaxpert.tasks.screen.predict import Prediction, make_request, predict_effects


def evaluate(
    fitted: Fitted | Ensemble,
    dataset: Dataset,
    *,
    seed: int = 0,
    controls: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Score a fitted model beside the baselines on all, train, val and test perturbations.

    Args:
        fitted: from `jaxpert.fit`.
        dataset: split, as in training.
        seed: of predicted cells, halves and intervals.
        controls: "within" or "pooled": which control cells effects are measured against, where the
            data have several strata; None for what the data set says (within).
        **options: `particles` and `library`, as in `jaxpert.predict`.

    Returns:
        The parts of metrics.json (docs/guide/files.md): "model", "baselines", "ceiling",
        "comparison", "verdict" and so on.

    Example:
        jaxpert.evaluate(fitted, cells)["verdict"]
    """
    if controls is not None:
        dataset = replace(dataset, controls=controls)
    prediction = predict_effects(fitted, dataset, dataset.conditions, seed=seed, **options)
    effects = prediction.effects_of(dataset)
    return score(beside_itself(measure(dataset), fitted.model.name, effects), prediction, seed)


def score(measured: Measured, prediction: Prediction, seed: int) -> dict[str, Any]:
    """Score predicted effects of all conditions beside the baselines (`evaluation.compare`)."""
    dataset = measured.dataset
    result = compare.compare(
        measured.effects,
        {compare.MODEL: prediction.effects_of(dataset), **measured.baselines},
        measured.screen,
        # Where test conditions were trained on, test cells alone are scored as well.
        held_out=measured.held_out,
        duplicate=duplicates(dataset, seed),
        truth=measured.planted,
        seed=seed,
    )
    return result | {"notes": [*result["notes"], *measured.notes]}


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
    control cells. Doublets are a criterion only where enough cells are generated to call them;
    else `notes` of each rate says that they are left out (docs/evaluation.md, Quality pass rate).
    """
    if dataset.quality is None:
        raise InputError(
            f"data set {dataset.name!r} has no quality labels, expected some: call "
            "data.add_quality first"
        )
    # Libraries of passed control cells only, since a spoilt cell's depth is an artifact.
    control = pseudobulk.passed_rows(dataset)
    control = control[dataset.condition[control] == dataset.control]
    libraries = totals(dataset.counts, control).astype(np.float32)
    # Criteria are those that hold over the modelled genes, which may be few of the measured ones.
    bounds = data.modelled_thresholds(dataset)[dataset.quality.multiplier]
    classes = data.gene_classes(dataset)

    doublets, parts, notes = _doublet_calls(dataset, cells_per_condition, doublets)

    def label(counts: Any) -> np.ndarray:
        # Doublets of generated cells are called anew, since the data's calls say nothing of them.
        return data.label_generated(counts, classes, bounds, doublets=doublets, chunks=1)

    def rate(pool: np.ndarray | None) -> dict[str, Any]:
        rates = quality_pass.pass_rate(
            fitted.model,
            fitted.params,
            fitted.state,
            # A stream of its own keeps generated cells apart from those behind predictions.
            jax.random.fold_in(jax.random.key(seed), Stream.EVALUATE),
            make_request(dataset.condition_treatments, library=library),
            label,
            parts=quality_pass.divided(cells_per_condition, parts),
            libraries=pool,
        )
        rates["notes"] = list(notes)
        by_condition = rates.pop("per_condition", ())
        if len(by_condition):
            rates["per_condition"] = dict(zip(dataset.conditions, by_condition, strict=False))
        return rates

    # A library of 0 would generate empty cells.
    return {"fixed_library": rate(None), "resampled_library": rate(libraries[libraries > 0])}


def _doublet_calls(
    dataset: Dataset, cells_per_condition: int, method: str
) -> tuple[str, int, tuple[str, ...]]:
    """How doublets of generated cells are called, in how many parts, and what is to be said."""
    if method == "none":
        return method, quality_pass.PARTS, ()
    rows = len(dataset.conditions)
    parts = parts_of(rows, cells_per_condition)
    if parts:
        return method, parts, ()
    # A rate with calls among too few cells would be that of the caller, not of the model.
    note = too_few(rows * cells_per_condition, method)
    return "none", quality_pass.PARTS, (note,)


def log_likelihood(
    fitted: Fitted, dataset: Dataset, split: str = "val", *, batch_size: int = 128, seed: int = 0
) -> dict[str, float]:
    """Mean predictive IWELBO per cell of a split, in nats, with the particles of the model's own
    `score`."""
    if fitted.model.score is None:
        raise InputError(
            "this model has no likelihood to score cells with, expected one that has: set "
            "evaluation.likelihood= (empty)"
        )
    rows = dataset.rows(split)
    # Tables go to the device once, not with every block.
    tables = {name: jnp.asarray(table) for name, table in data.split_tables(dataset, split).items()}
    root = jax.random.fold_in(jax.random.key(seed), Stream.EVALUATE)
    score_cells = jax.jit(fitted.model.score)

    def block(number: int, batch: Batch) -> Array:
        # Every block folds in its number, so that no two blocks share noise.
        key = jax.random.fold_in(root, number)
        batch = batch._replace(extras=batch.extras | tables)
        return score_cells(fitted.params, fitted.state, key, batch)

    bounds = data.in_blocks(dataset, rows, batch_size, block)
    # Summed in float64: many float32 bounds in one sum would lose digits.
    return {"iwelbo": float(bounds.mean(dtype=np.float64)), "cells": len(rows)}
