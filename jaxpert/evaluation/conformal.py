"""Widths of intervals from cells that training did not see, so that the intervals cover what they
promise (docs/evaluation.md, "Intervals of a model").

The genes of a perturbation are right or wrong together, so that perturbations are what is counted,
and not genes: a screen of 20 perturbations and 5,000 genes has 20 observations of how far off a
model is.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import stats

from jaxpert.core.types import LEVELS

FEWEST = 9
"""Perturbations below which no width is told: the fewest n whose 90 % quantile with the (n + 1)
correction is one of the n values."""


def widths(away: Float[np.ndarray, "n G"]) -> Float[np.ndarray, "Q"]:
    """Factors of the standard deviation for each of LEVELS (`core.types.Deviation.widths`).

    Args:
        away: |error| / standard deviation of every gene under n perturbations of which training saw
            nothing.

    NaN with fewer than `FEWEST` perturbations, and where too many errors are infinitely far.
    """
    if len(away) < FEWEST:
        return np.full(len(LEVELS), np.nan)
    factors = []
    for level in LEVELS:
        normal = stats.norm.ppf((1 + level) / 2)
        factors.append(threshold(away, level) / normal)
    return np.where(np.isfinite(factors), factors, np.nan)


def threshold(away: Float[np.ndarray, "n G"], level: float) -> float:
    """The least t for which a new perturbation is to have the share `level` of its genes at t or
    nearer.

    With the share C_i(t) of perturbation i it is the least t of sum C_i(t) + min C_i(t) >= level
    (n + 1): the new perturbation is counted as one more, covered as little as the worst of those
    that were seen. Conformal risk control (Angelopoulos et al. 2024) counts it as covered nowhere,
    which promises the level whatever the data, and gives up to 2 / (n + 1) too much.
    """
    ordered = np.sort(away, axis=1)
    values = np.unique(ordered)
    enough = level * (len(away) + 1)
    low, high = 0, len(values) - 1
    # The sum grows with t, so that halving finds the first value that is enough.
    while low < high:
        middle = (low + high) // 2
        if _counted(ordered, values[middle]) >= enough:
            high = middle
        else:
            low = middle + 1
    return float(values[low])


def _counted(ordered: Float[np.ndarray, "n G"], t: float) -> float:
    shares = np.array([np.searchsorted(row, t, side="right") for row in ordered])
    shares = shares / ordered.shape[1]
    return float(shares.sum() + shares.min())
