"""How wide the intervals of a true effect must be, when only noisy measurements of it are there
(docs/evaluation.md, "Intervals of the effect itself").

An error against a measurement is that of the prediction plus that of the measurement. Of the second
the variance is known. The first is taken as normal with standard deviations that are `size` times
those that are claimed, and sizes vary from effect to effect: a few effects are missed by much and
most by little.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import optimize, special, stats

from jaxpert.core.types import LEVELS

SIZES = 2.0 ** np.arange(-7, 4.75, 0.25)
CENTRES = np.arange(-4, 2.25, 0.25)
"""Of log2(size), that are tried: errors far below the noise cannot be told from each other."""
SPREADS = (0.0, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
"""Standard deviations of log2(size), that are tried."""
NARROWEST = 0.13
"""Half a step of SIZES, in log2: all are of one size."""
MOST = 8_000
"""Values that are looked at."""
TINY = 1e-300
NORMAL = stats.norm.ppf((1 + np.array(LEVELS)) / 2)


def widths(
    error: Float[np.ndarray, "n G"],
    variance: Float[np.ndarray, "n G"],
    noise: Float[np.ndarray, "n G"],
    shared: Float[np.ndarray, "G"] | None = None,
) -> Float[np.ndarray, "Q"]:
    """Factors of the standard deviation for each of LEVELS, so that the interval holds that share
    of true effects; 1 where no measurement has noise.

    Args:
        error: predicted minus measured effects.
        variance: that is claimed of the predicted effects.
        noise: squared standard errors of the measured ones.
        shared: variance of an error that predicted and measured effects have in common, such as
            that of the control, so that `error` does not show it; None for none.

    The factors are those of sqrt(variance + shared).
    """
    # A gene without noise is one without a count: it says nothing, whatever the prediction.
    there = np.flatnonzero((noise > 0) & (variance > 0) & np.isfinite(error))
    if not len(there):
        return np.ones(len(LEVELS))
    some = there
    if len(there) > MOST:
        some = there[np.random.default_rng(0).integers(len(there), size=MOST)]
    away, claimed, known = (np.asarray(part).ravel()[some] for part in (error, variance, noise))
    hidden = np.zeros(len(some)) if shared is None else np.asarray(shared)[some % error.shape[1]]
    return _quantiles(_likely(away, claimed, known), claimed, hidden) / NORMAL


def _likely(
    error: Float[np.ndarray, "n"], claimed: Float[np.ndarray, "n"], noise: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "S"]:
    """The share of each of SIZES, of log-normals weighted by how likely they make the errors."""
    deviation = np.sqrt(claimed[:, None] * SIZES**2 + noise[:, None])
    density = stats.norm.pdf(error[:, None], 0, deviation)
    shares = []
    for spread in SPREADS:
        bells = stats.norm.pdf(np.log2(SIZES), CENTRES[:, None], max(spread, NARROWEST))
        shares.append(bells / bells.sum(1, keepdims=True))
    tried = np.concatenate(shares)
    # p(error) = sum over sizes of share N(error | 0, size^2 claimed + noise).
    likelihood = np.log(density @ tried.T + TINY).sum(0)
    # Small errors are likely under many of them, of which the first is no better than the others.
    return special.softmax(likelihood) @ tried


def _quantiles(
    shares: Float[np.ndarray, "S"], claimed: Float[np.ndarray, "n"], hidden: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "Q"]:
    """|error| / sqrt(claimed + hidden) at LEVELS, of errors whose sizes are so shared out and to
    which a hidden one is added."""
    deviation = np.sqrt(claimed[:, None] * SIZES**2 + hidden[:, None])
    ratio = np.sqrt(claimed + hidden)[:, None] / deviation

    def covered(t: float) -> float:
        return float((2 * stats.norm.cdf(t * ratio) - 1).mean(0) @ shares)

    found: list[Any] = []
    for level in LEVELS:
        found.append(optimize.brentq(lambda t, at=level: covered(t) - at, 0, 10 * SIZES[-1]))
    return np.array(found)
