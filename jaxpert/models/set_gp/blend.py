"""Stacking with the baselines, and intervals that hold, from left-out training conditions
(docs/models/set_gp.md, "Blend")."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize, stats

from jaxpert.core.types import LEVELS
from jaxpert.evaluation import deconvolution
from jaxpert.models.set_gp.evidence import Evidence
from jaxpert.models.set_gp.sets import GROUPS

PULL, PULL_OF_FEW = 0.02, 10.0
"""The pull towards the process alone: 0.02 + 10 / n^1.5 of n left-out conditions."""
SMALLEST = 0.01
"""Weights below are noise: the predictor is left out."""
BORROWED = 3.0
"""Conditions that the process' own widths count for, beside those left out."""


def stacked(
    evidence: Evidence | None, effects: Float[np.ndarray, "C G"], predictors: int
) -> Float[np.ndarray, "K B"]:
    """Weights of the predictors in every group, the process first; that alone without evidence.

    Non-negative least squares over left-out conditions, pulled towards the process: the thinner the
    evidence, the more. Nothing is chosen by test scores.
    """
    alone = np.zeros(predictors)
    alone[0] = 1
    weights = np.tile(alone, (len(GROUPS) + 1, 1))
    if evidence is None:
        return weights
    for group in range(len(GROUPS)):
        rows = evidence.group == group
        if rows.any():
            seen = evidence.predicted[:, rows]
            weights[group] = _solve(seen, effects[evidence.condition[rows]], alone)
    return weights


def _solve(
    predicted: Float[np.ndarray, "B L G"], measured: Float[np.ndarray, "L G"], alone: np.ndarray
) -> Float[np.ndarray, "B"]:
    flat = predicted.reshape(len(predicted), -1)
    # |y - P'w|^2 + pull |w - alone|^2 needs P P' and P y alone.
    products = flat @ flat.T
    pull = (PULL + PULL_OF_FEW / measured.shape[0] ** 1.5) * np.trace(products) / len(products)
    if pull == 0:
        return alone
    raised = products + pull * np.eye(len(products))
    target = flat @ measured.ravel() + pull * alone
    # With A = L L' the problem is |L'w - L^-1 b|^2, which the solver takes.
    factor = np.linalg.cholesky(raised)
    weights = optimize.nnls(factor.T, np.linalg.solve(factor, target))[0]
    kept = weights >= SMALLEST
    kept[0] = True
    return np.where(kept, weights, 0)


def widths(
    evidence: Evidence | None, effects: Float[np.ndarray, "C G"], weights: Float[np.ndarray, "K B"]
) -> Float[np.ndarray, "K Q"]:
    """By how much standard deviations are multiplied for each level in every group, so that the
    normal interval covers that share of left-out values; 1 without evidence."""
    factors = np.ones((len(GROUPS) + 1, len(LEVELS)))
    for group, rows, error in _errors(evidence, effects, weights):
        assert evidence is not None
        ratio = np.abs(error) / np.maximum(evidence.deviation[rows], np.finfo(float).tiny)
        for level, share in enumerate(LEVELS):
            normal = stats.norm.ppf((1 + share) / 2)
            factors[group, level] = (np.quantile(ratio, share) / normal) ** _trust(rows)
    return factors


def effect_widths(
    evidence: Evidence | None,
    effects: Float[np.ndarray, "C G"],
    errors: Float[np.ndarray, "C G"],
    weights: Float[np.ndarray, "K B"],
    control: Float[np.ndarray, "G"],
) -> Float[np.ndarray, "K Q"]:
    """The same for true effects, from left-out measurements and the squared standard errors of
    these. The error of the control is in predicted and measured effects alike: `control` is its
    variance."""
    factors = np.ones((len(GROUPS) + 1, len(LEVELS)))
    if evidence is None:
        return factors
    groups = list(_errors(evidence, effects, weights))

    def of(rows: np.ndarray, error: np.ndarray) -> np.ndarray:
        noise = errors[evidence.condition[rows]]
        return deconvolution.widths(error, evidence.variance[rows], noise, control)

    # True errors are far below what the process claims, so that a group of few conditions leans
    # towards what others show: combinations towards all combinations.
    factors[: len(GROUPS)] = of(*_joined(groups))
    combinations = groups[groups[0][0] == 0 :]
    if combinations:
        factors[1 : len(GROUPS)] = of(*_joined(combinations))
    for group, rows, error in groups:
        factors[group] = of(rows, error) ** _trust(rows) * factors[group] ** (1 - _trust(rows))
    return factors


def _joined(groups: list[tuple[int, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and errors of several groups."""
    return np.concatenate([g[1] for g in groups]), np.concatenate([g[2] for g in groups])


def _errors(
    evidence: Evidence | None, effects: Float[np.ndarray, "C G"], weights: Float[np.ndarray, "K B"]
) -> Iterator[tuple[int, Int[np.ndarray, "n"], Float[np.ndarray, "n G"]]]:
    """Blended minus measured effects of the left-out conditions of each group."""
    if evidence is None:
        return
    for group in range(len(GROUPS)):
        rows = np.flatnonzero(evidence.group == group)
        if len(rows):
            blended = np.tensordot(weights[group], evidence.predicted[:, rows], 1)
            yield group, rows, blended - effects[evidence.condition[rows]]


def _trust(rows: Int[np.ndarray, "n"]) -> float:
    """Few conditions say little: their factor leans towards that of the process."""
    return len(rows) / (len(rows) + BORROWED)
