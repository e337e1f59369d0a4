"""The linear model with perturbations embedded by their annotations."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from jaxpert.evaluation.baselines.regression import RANKS, regression
from jaxpert.evaluation.baselines.training import Baseline, Inapplicable, Training


def linear_annotations(training: Training) -> Baseline | Inapplicable:
    """Y ~ G W P' + b with P the principal coordinates of the annotations of the perturbed genes:
    genes with like terms lie close together (classical scaling of their Jaccard indices).

    G, rank and ridge are those of `linear_tuned`. Source: Ahlmann-Eltze et al., Nature Methods
    2025, where P may come from anything that is known of genes. Not made without annotations.
    """
    if training.similarity is None:
        return Inapplicable("the genes have no annotations here, by which to embed them")
    coordinates = principal_coordinates(training.similarity)
    lost = np.flatnonzero(~training.similarity.any(1))
    what = "without annotation and have no embedding"
    return regression(training, "linear_annotations", lambda _: coordinates, lost, what)


def principal_coordinates(
    similarity: Float[np.ndarray, "T T"], most: int = RANKS[-1]
) -> Float[np.ndarray, "T K"]:
    """Vectors whose products come closest to the similarities, the largest dimension first."""
    values, vectors = np.linalg.eigh(similarity)
    values, vectors = values[::-1][:most], vectors[:, ::-1][:, :most]
    # S ~ V L V', of which the part with L > 0 is made of real vectors.
    return vectors * np.sqrt(np.maximum(values, 0))
