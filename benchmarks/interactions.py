"""Interaction scores of pairs of perturbations on 1,000 genes: ours, and scikit-learn's Theil-Sen,
of which only the slopes are taken."""

from __future__ import annotations

import warnings

import numpy as np

from benchmarks.sides import Work
from jaxpert.evaluation.interactions.theil_sen import MOST, SEED, STEPS

GENES, PAIRS = 1_000, 64
"""Ours scores so many pairs in a call, as a screen does."""


def effects(pairs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two singles and the pair, mostly the sum of both."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, pairs, GENES)) * rng.gamma(1.0, 0.2, GENES)
    both = 0.8 * first + 0.6 * second + 0.05 * rng.normal(size=(pairs, GENES))
    return first, second, both


def ours_work() -> Work:
    from jaxpert.evaluation.interactions.scores import score_pairs

    vectors = effects(PAIRS)

    def call() -> None:
        score_pairs(*vectors)

    call()
    return Work(call, PAIRS)


def plain_work() -> Work:
    from sklearn.linear_model import TheilSenRegressor

    first, second, both = effects(1)
    model = TheilSenRegressor(
        fit_intercept=False, max_subpopulation=MOST, max_iter=STEPS, random_state=SEED, n_jobs=1
    )

    def call() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(np.stack([first[0], second[0]], 1), both[0])

    return Work(call)
