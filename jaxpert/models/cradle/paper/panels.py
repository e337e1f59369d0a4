"""Real cells behind Figures 3 and 9 of the CRADLE-VAE paper: their effects, and where they lie in
latent spaces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxpert.core import files
from jaxpert.core.family import Run
from jaxpert.core.types import Dataset, InputError
from jaxpert.evaluation import compare, mixing, pseudobulk
from jaxpert.models.cradle.paper import plots
from jaxpert.models.cradle.paper.plots import View, score_note
from jaxpert.report.numbers import heading
from jaxpert.report.plots import ate_scatter, umap_embedding
from jaxpert.tasks.screen import predict


def draw_effects(folder: Path, name: str, runs: Sequence[Run]) -> None:
    """Measured against predicted effects on the hardest perturbations there are, a panel for each
    model (Figure 3 of one data set)."""
    observed, predicted, names, panels, scores = [], [], [], [], {}
    for run in runs:
        dataset = run.finished.problem.dataset
        subset, rows, measured = hardest_effects(dataset)
        label = f"{run.label}\n{heading(subset)}"
        observed.append(measured[rows])
        predicted.append(predicted_effects(run)[rows])
        # Every point is one condition and gene; the label says which panel it is of.
        names += [dataset.conditions[c] for c in rows]
        panels += [label] * len(rows)
        scores[label] = run.finished.metrics["model"][subset]
    path = folder / f"figure3_{name}_effects.png"
    ate_scatter(np.concatenate(observed), np.concatenate(predicted), names, panels, path, scores)


def hardest_effects(dataset: Dataset) -> tuple[str, list[int], Float[np.ndarray, "C G"]]:
    """The subset farthest from training that has measured effects, its conditions, and the effects
    of all."""
    measured = pseudobulk.effects(pseudobulk.observed_means(dataset), dataset.control)
    subsets = compare.subsets(dataset)
    # Held-out conditions say most; a screen without a split shows all.
    for subset in ("test", "val", "all"):
        rows = [int(c) for c in subsets.get(subset, ()) if np.isfinite(measured[c]).all()]
        if rows:
            return subset, rows, measured
    raise InputError(
        f"no perturbation of {dataset.name!r} has measured effects, expected some for figure 3 to "
        "compare with: leave the run out"
    )


def predicted_effects(run: Run) -> Float[np.ndarray, "C G"]:
    """Effects that the run predicted, in the data set's order of conditions."""
    path, conditions = run.workdir / "effects.npz", run.finished.problem.dataset.conditions
    stored = files.read_arrays(path, ("conditions", "effect"), "that of a finished run")
    row = {str(name): i for i, name in enumerate(stored["conditions"])}
    missing = [name for name in conditions if name not in row]
    if missing:
        raise InputError(f"{path} has no {missing[0]}, expected every condition: run it again")
    order = [row[name] for name in conditions]
    # The first seed's, where a run has several.
    return stored["effect"][0, order].astype(np.float64)


def draw_latents(folder: Path, name: str, runs: Sequence[Run], cells: int, seed: int) -> None:
    """Figure 9 of one data set: the same real cells in the basal latent of each model, and how well
    they are mixed."""
    dataset = runs[0].finished.problem.dataset
    assert dataset.quality is not None
    # The same cells for every model, so that their spaces can be compared.
    order = np.random.default_rng(seed).permutation(len(dataset.cells))
    rows = np.sort(order[:cells])
    failed = dataset.quality.failed[rows]
    labels = np.array(dataset.conditions)[dataset.condition[rows]]
    views, models = {}, {}
    for run in runs:
        finished = run.finished
        latents = predict.embed_cells(finished.fitted, finished.problem.dataset, rows, seed=seed)
        basal = np.asarray(latents["z_basal"], np.float64)
        # Well mixed is what is wanted: the basal state should know of neither.
        scores = {
            "artifact": mixing.separation(basal, failed, seed=seed),
            "perturbation": mixing.separation(basal, labels, seed=seed),
        }
        notes = (
            score_note("same flag among neighbours", scores["artifact"]),
            score_note("same perturbation among neighbours", scores["perturbation"]),
        )
        views[run.label] = View(umap_embedding(basal, seed), *notes)
        models[run.label] = {"run": str(run.workdir), **scores}
    plots.latent_comparison(views, failed, labels, folder / f"figure9_{name}.png")
    numbers = {
        "data": dataset.name,
        "cells": len(rows),
        "seed": seed,
        "space": "z_b, posterior means",
        "models": models,
    }
    files.write_json(folder / f"figure9_{name}.json", numbers)
