"""The linear model with perturbations embedded by another screen."""

from __future__ import annotations

import numpy as np

from jaxpert.evaluation.baselines.regression import RANKS, regression
from jaxpert.evaluation.baselines.training import Baseline, Inapplicable, Training


def linear_other_screen(training: Training) -> Baseline | Inapplicable:
    """Y ~ G W P' + b with P the principal component scores of the perturbations of another screen:
    genes that do the same there lie close together.

    G, rank and ridge are those of `linear_tuned`. The strongest linear model of Ahlmann-Eltze et
    al., Nature Methods 2025. Not made without a table of another screen.
    """
    if training.embeddings is None:
        return Inapplicable("no effects of another screen were given, by which to embed them")
    known = np.asarray(np.isfinite(training.embeddings).all(1))
    if not known.any():
        return Inapplicable("the other screen has none of the perturbed genes")
    theirs = training.embeddings[known]
    # Scores U S; not centred, so that a gene without effect there lies at 0 as one without any.
    u, s, _ = np.linalg.svd(theirs, full_matrices=False)
    scores = np.zeros((len(known), min(len(s), RANKS[-1])))
    scores[known] = (u * s)[:, : scores.shape[1]]
    what = "not in the other screen and have no embedding"
    lost = np.flatnonzero(~known)
    return regression(training, "linear_other_screen", lambda _: scores, lost, what)
