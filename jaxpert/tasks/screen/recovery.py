"""How well a model finds what was planted in simulated cells: effects, and the artifact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.fit import Fitted
from jaxpert.core.types import Dataset
from jaxpert.evaluation import generate
from jaxpert.simulate.screen import cell_names
from jaxpert.tasks.screen.measured import Measured
from jaxpert.tasks.screen.predict import Prediction, make_request


class Recovered(NamedTuple):
    """Planted and estimated numbers side by side."""

    scores: dict[str, Any]
    """The part `recovery` of metrics.json."""
    planted: Float[np.ndarray, "P G"]
    """Effects of the perturbed conditions."""
    predicted: Float[np.ndarray, "P G"]
    artifact: tuple[Float[np.ndarray, "G"], Float[np.ndarray, "G"]] | None
    """Planted and estimated, where the model has an artifact."""


def recover(
    fitted: Fitted, measured: Measured, prediction: Prediction, truth: Any, *, particles: int
) -> Recovered:
    """Compare what a model found with the truth of simulated cells."""
    dataset, planted = measured.dataset, measured.planted
    assert planted is not None
    predicted = prediction.effects_of(dataset)
    # The control's effect is 0 on both sides and would raise the correlation.
    perturbed = np.arange(len(planted)) != dataset.control
    scores: dict[str, Any] = {
        "effect_pearson": correlation(planted[perturbed], predicted[perturbed])
    }
    test = measured.screen.subsets.get("test", ())
    if len(test):
        scores["effect_pearson_test"] = correlation(planted[test], predicted[test])
    artifact = None
    model = fitted.model
    # Only models that generate counts with an artifact flag have an artifact to compare, and only
    # cells that fail show one.
    flagged = dataset.quality is not None and bool(dataset.quality.failed.any())
    if flagged and model.scale == "counts" and model.stochastic:
        profile, numbers = planted_artifact(dataset, truth)
        artifact = profile, artifact_effect(fitted, dataset, cells=particles)
        scores |= {"artifact_pearson": correlation(*artifact), **numbers}
    return Recovered(scores, planted[perturbed], predicted[perturbed], artifact)


def artifact_effect(
    fitted: Fitted, dataset: Dataset, *, cells: int, seed: int = 0
) -> Float[np.ndarray, "G"]:
    """How far the model's artifact moves each gene of control cells: log2 fold of the mean over
    generated cells of one library size, with and without it."""
    # Two control rows that differ in the artifact flag alone.
    request = make_request(np.zeros((2, len(dataset.treatments)), np.float32))
    counts = generate.generated_counts(
        fitted.model,
        fitted.params,
        fitted.state,
        jax.random.key(seed),
        request._replace(failed=jnp.array([0.0, 1.0])),
        cells_per_row=cells,
    )
    # Rows alternate: without the artifact, with it.
    clean, failed = (np.asarray(counts[row::2].mean(0), float).ravel() for row in (0, 1))
    return log2_fold(failed, clean)


def log2_fold(
    after: Float[np.ndarray, "G"], before: Float[np.ndarray, "G"]
) -> Float[np.ndarray, "G"]:
    """Log2 fold of counts per 10,000 with 0.1 added, so that genes without reads do not move."""
    # Without the 0.1 a gene that is hardly seen would rule every correlation.
    return np.log2(after + 0.1) - np.log2(before + 0.1)


def planted_artifact(dataset: Dataset, truth: Any) -> tuple[Float[np.ndarray, "G"], dict[str, int]]:
    """The mean profile of the artifact kinds among the cells that fail the quality criteria, clean
    ones included, since that is all a model is told; and how many cells are meant."""
    assert dataset.quality is not None
    failed, kind = dataset.quality.failed, truth.artifact[_places(dataset.cells, cell_names(truth))]
    planted = kind > 0
    # Kinds are weighted by their cells that fail, since the flag is all that a model sees.
    kinds = np.bincount(kind[failed], minlength=len(truth.artifact_log_fold))
    control = list(truth.conditions).index(dataset.conditions[dataset.control])
    # A library is one of the genes that were chosen, as it is for the model.
    genes = _places(dataset.genes, truth.genes)
    share = truth.mean_proportion[control][genes]
    clean = 1e4 * share / share.sum()
    # Log-folds are natural, so powers of e bring back the mean profile of each kind.
    with_artifact = (kinds / kinds.sum()) @ (clean * np.exp(truth.artifact_log_fold[:, genes]))
    return log2_fold(with_artifact, clean), {
        "artifact_cells": int(planted.sum()),
        "artifact_cells_that_fail_quality": int((failed & planted).sum()),
        "clean_cells_that_fail_quality": int((failed & ~planted).sum()),
    }


def _places(names: Sequence[str] | np.ndarray, among: np.ndarray) -> Int[np.ndarray, "n"]:
    """Where each name stands in the truth, of which reading may have left out some."""
    place = {str(name): i for i, name in enumerate(among)}
    return np.array([place[str(name)] for name in names])


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's, over all entries."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
