"""The GEARS paper's scores of a prediction, on every group of held-out conditions, with its
baselines beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from jaxpert.core.types import Dataset
from jaxpert.data.gene_graphs import COEXPRESSION, lognorm_blocks
from jaxpert.evaluation import compare as benchmark
from jaxpert.evaluation import gears_scores, pseudobulk
from jaxpert.models.gears import baselines as linear_propagation
from jaxpert.models.gears import metrics as gears_metrics
from jaxpert.nn.graphs import edges_of
from jaxpert.tasks.screen import evaluate as assess
from jaxpert.tasks.screen.predict import Prediction

LN2 = float(np.log(2))
HOPS = {"linear_propagation": ("paper", 3), "linear_propagation_script": ("script", 1)}
"""Both forms of the paper's linear baseline: as its text has it, and as its scripts ran last."""
FIT_CELLS = 5000
"""Training control cells behind the weights of linear propagation, at most: evenly spaced in file
order."""


def scores(dataset: Dataset, prediction: Prediction) -> dict[str, Any]:
    """{"model": {group: {score: value}}, "baselines": {name: the same}, "conditions": {group:
    number}, "notes": [...]}.

    Groups are "test" and "val" (all their conditions, the control left out) and the data set's
    subgroups of test. Scores are those of `evaluation.gears_metrics` on ln(1 + 1e4 x / sum x), and
    `normalised_<mse ...>`: each squared error divided by that of no change. Everything is scored on
    all cells of the condition (QC-passed where there are labels); baselines see training cells
    only.
    """
    truth = gears_scores.measure(dataset)
    baselines, notes = _baselines(dataset)
    predicted = {benchmark.MODEL: _model_means(dataset, prediction), **baselines}
    found: dict[str, dict[str, Any]] = {}
    sizes: dict[str, int] = {}
    for split in ("test", "val"):
        if len(pseudobulk.passed_rows(dataset, split)):
            for name, means in predicted.items():
                scored = gears_scores.score_dataset(dataset, means, truth, split=split)
                groups, counts = _groups(dataset, scored, split)
                found.setdefault(name, {}).update(groups)
                sizes |= counts
    found = {
        name: {
            group: _with_normalised(of, found["no_change"][group]) for group, of in groups.items()
        }
        for name, groups in found.items()
    }
    model = found.pop(benchmark.MODEL, {})
    return benchmark.json_safe(
        {"model": model, "baselines": found, "conditions": sizes, "notes": notes}
    )


def _groups(
    dataset: Dataset, scored: gears_scores.Scores, split: str
) -> tuple[dict[str, Any], dict[str, int]]:
    control = dataset.conditions[dataset.control]
    every = [name for name in scored.conditions if name != control]
    members = {split: every}
    if split == "test":
        members |= {
            name: [m for m in of if m in scored.conditions]
            for name, of in dataset.subgroups.items()
        }
    members = {name: of for name, of in members.items() if of}
    means = {name: gears_metrics.mean_scores(scored.conditions, of) for name, of in members.items()}
    return means, {name: len(of) for name, of in members.items()}


def _with_normalised(own: dict[str, float], no_change: dict[str, float]) -> dict[str, float]:
    return own | {
        f"normalised_{name}": value
        for name, value in gears_metrics.normalised(own, no_change).items()
    }


def _model_means(dataset: Dataset, prediction: Prediction) -> Float[np.ndarray, "C G"]:
    where = {name: i for i, name in enumerate(prediction.names)}
    return LN2 * prediction.effects.moments.mean[[where[name] for name in dataset.conditions]]


def _baselines(dataset: Dataset) -> tuple[dict[str, Float[np.ndarray, "C G"]], list[str]]:
    """Predicted means of every baseline on the natural log scale; notes on what stands in."""
    training, effects, notes = assess.baseline_effects(dataset)
    control = training.means[dataset.control]
    means = {name: LN2 * (control + effect) for name, effect in effects.items()}
    said = list(notes)
    if COEXPRESSION in dataset.graphs:
        weights = propagation_weights(dataset)
        names = dataset.treatments, dataset.genes
        for name, (form, hops) in HOPS.items():
            made = linear_propagation.linear_propagation(
                LN2 * control, weights, dataset.condition_treatments, *names, form=form, hops=hops
            )
            means[name] = made.means
        said += made.notes
    return means, said


def propagation_weights(dataset: Dataset) -> Float[np.ndarray, "G G"]:
    """Weights of the co-expression edges, from training control cells."""
    from scipy import sparse

    rows = dataset.rows("train")
    rows = rows[dataset.condition[rows] == dataset.control]
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, FIT_CELLS).astype(int))]
    counts = dataset.counts[rows]
    expression = sparse.vstack(list(lognorm_blocks(counts, np.ones(len(rows), bool))), format="csr")
    edges = edges_of(dataset.graphs[COEXPRESSION].graph)
    return linear_propagation.fit_weights(expression, edges.senders, edges.receivers)
