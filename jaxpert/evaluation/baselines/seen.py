"""What baselines may know of a data set: its training cells, and facts about genes from
elsewhere."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from jaxpert.core.types import Dataset
from jaxpert.data.annotation_similarity import similarity_of
from jaxpert.evaluation import pseudobulk
from jaxpert.evaluation.baselines.training import Training
from jaxpert.evaluation.noise import noise_in


def training_of(dataset: Dataset) -> Training:
    """Means and standard errors of the QC-passed training cells of a split data set."""
    bulk = pseudobulk.observed_means(dataset, "train", variance=True)
    return Training(
        means=bulk.mean,
        cells=bulk.cells,
        condition_treatments=dataset.condition_treatments,
        control=dataset.control,
        conditions=dataset.conditions,
        treatments=dataset.treatments,
        genes=dataset.genes,
        noise=noise_in(dataset, bulk),
        similarity=similarity_of(dataset),
        embeddings=_embeddings(dataset),
    )


def _embeddings(dataset: Dataset) -> Float[np.ndarray, "T K"] | None:
    """Rows of the table of another screen for the treatments; NaN where it has none."""
    if not dataset.other_screen:
        return None
    width = len(next(iter(dataset.other_screen.values())))
    rows = np.full((len(dataset.treatments), width), np.nan)
    for t, name in enumerate(dataset.treatments):
        if name in dataset.other_screen:
            rows[t] = dataset.other_screen[name]
    return rows
