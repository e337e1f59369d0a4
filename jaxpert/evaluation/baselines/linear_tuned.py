"""The linear model with rank and ridge chosen inside training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jaxpert.evaluation.baselines.linear import rows_of_genes, unmeasured
from jaxpert.evaluation.baselines.regression import regression
from jaxpert.evaluation.baselines.training import Baseline, Inapplicable, Training


def linear_tuned(training: Training) -> Baseline | Inapplicable:
    """`linear`, Y ~ G W P' + b, where rank and ridge are those that predict left-out training
    perturbations best.

    P are the scores of the perturbed genes over the training means, as published, minus their mean
    over the trained genes; G are the scores of all genes over the departures Y - b, which are what
    it has to make up. The published rank and ridge (10 and 0.1) were fixed for large screens; small
    or noisy ones want others. Source: Ahlmann-Eltze et al., Nature Methods 2025, and
    cross-validation.
    """

    def embed(scores: Callable[[], np.ndarray]) -> np.ndarray:
        return rows_of_genes(training, scores())

    what = "no measured genes and have no embedding"
    return regression(training, "linear_tuned", embed, unmeasured(training), what)
