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
from scipy import optimize, stats

from jaxpert.core.types import LEVELS

SIZES = 2.0 ** np.arange(-6, 4.25, 0.25)
SPREADS = np.linspace(0.0, 1.0, 9)
"""Of log2(size), that are tried. Beyond 1 the shape of measured errors hardly changes any more, so
that they cannot tell."""
LEAST = 0.05
"""Share of the claimed variance that is kept where errors are no larger than the noise."""
MOST = 4_000
"""Values that shapes are averaged over."""
TINY = 1e-300


def widths(
    error: Float[np.ndarray, "n G"],
    variance: Float[np.ndarray, "n G"],
    noise: Float[np.ndarray, "n G"],
) -> Float[np.ndarray, "Q"]:
    """Factors of the claimed standard deviation for each of LEVELS, so that the interval holds that
    share of true effects; 1 where no measurement has noise.

    Args:
        error: predicted minus measured effects.
        variance: that is claimed of the predicted effects.
        noise: squared standard errors of the measured ones.
    """
    flat = np.stack([error.ravel(), variance.ravel(), noise.ravel()]).astype(np.float64)
    # A gene without noise is one without a count: it says nothing, whatever the prediction.
    away, claimed, known = flat[:, np.isfinite(flat).all(0) & (flat[2] > 0) & (flat[1] > 0)]
    if not len(away):
        return np.ones(len(LEVELS))
    # E error^2 = size^2 variance + noise, whatever the shape.
    square = max((away**2 - known).sum() / claimed.sum(), LEAST)
    shown = np.quantile(np.abs(away) / np.sqrt(claimed + known), LEVELS)
    some = np.random.default_rng(0).permutation(len(away))[:MOST]
    claimed, known = claimed[some], known[some]
    made = [_sizes(square, spread) for spread in SPREADS]
    # The two quantiles of errors tell the shape: the ratio falls as sizes differ more.
    ratios = [_ratio(_quantiles(shares, claimed, known)) for shares in made]
    nearest = int(np.argmin(np.abs(np.array(ratios) - _ratio(shown))))
    return _quantiles(made[nearest], claimed, 0 * claimed) / NORMAL


NORMAL = stats.norm.ppf((1 + np.array(LEVELS)) / 2)


def _ratio(quantiles: Float[np.ndarray, "Q"]) -> float:
    return float(quantiles[0] / quantiles[-1])


def _sizes(square: float, spread: float) -> Float[np.ndarray, "S"]:
    """The share of each of SIZES, log-normal with this mean square."""

    def shares(centre: float) -> np.ndarray:
        density = stats.norm.pdf(np.log2(SIZES), centre, max(spread, 0.1))
        return density / density.sum()

    low, high = np.log2(SIZES[0]), np.log2(SIZES[-1])
    ends = [float(shares(end) @ SIZES**2) for end in (low, high)]
    square = float(np.clip(square, ends[0] * 1.01, ends[1] / 1.01))
    found: Any = optimize.brentq(lambda centre: shares(centre) @ SIZES**2 - square, low, high)
    return shares(float(found))


def _quantiles(
    shares: Float[np.ndarray, "S"], claimed: Float[np.ndarray, "n"], noise: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "Q"]:
    """|error| / sqrt(claimed + noise) at LEVELS, of errors whose sizes are so shared out."""
    deviation = np.sqrt(claimed[:, None] * SIZES**2 + noise[:, None])
    ratio = np.sqrt(claimed + noise)[:, None] / np.maximum(deviation, TINY)

    def covered(t: float) -> float:
        return float((2 * stats.norm.cdf(t * ratio) - 1).mean(0) @ shares)

    found = []
    for level in LEVELS:
        found.append(optimize.brentq(lambda t, at=level: covered(t) - at, 0, 10 * SIZES[-1]))
    return np.array(found)
