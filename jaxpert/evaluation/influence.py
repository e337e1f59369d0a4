"""Gradients of scores with respect to their sums: what each perturbation adds to a score's error.

Every score is a function f of the sum S of its statistics s_i over perturbations that does not
change when all sums are multiplied by one number. Then the gradient of f at S is at right angles to
S, and l_i = grad f(S) . s_i is the influence of perturbation i, with sum 0. The sum of the l_i^2 is
the delta-method variance of the score (docs/evaluation.md, "Intervals").
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from jaxpert.evaluation.metrics import CONSTANT

Sums = Float[np.ndarray, "*b K"]


def pooled_pearson_gradient(sums: Sums) -> Sums:
    """Gradient of `metrics.pooled_pearson` in the seven sums; NaN where that is undefined."""
    n = np.where(sums[..., 0] > 0, sums[..., 0], np.nan)
    a, b, aa, bb, ab = (sums[..., i] / n for i in range(1, 6))
    va, vb = aa - a**2, bb - b**2
    defined = (va > CONSTANT * aa) & (vb > CONSTANT * bb)
    va, vb = np.where(defined, va, np.nan), np.where(defined, vb, np.nan)
    root = np.sqrt(va * vb)
    r = (ab - a * b) / root
    # dr = dC / sqrt(Va Vb) - r/2 (dVa / Va + dVb / Vb), sorted by the sums.
    columns = [
        a * b / root - r / 2 * (a**2 / va + b**2 / vb),
        r * a / va - b / root,
        r * b / vb - a / root,
        -r / (2 * va),
        -r / (2 * vb),
        1 / root,
        np.zeros_like(r),
    ]
    return np.stack(columns, axis=-1) / n[..., None]


def pooled_r2_gradient(sums: Sums) -> Sums:
    """Gradient of `metrics.pooled_r2` in the seven sums; NaN where that is undefined."""
    n = np.where(sums[..., 0] > 0, sums[..., 0], np.nan)
    a, aa, error = (sums[..., i] / n for i in (1, 3, 6))
    va = aa - a**2
    va = np.where(va > CONSTANT * aa, va, np.nan)
    zero = np.zeros_like(va)
    # d(1 - E / Va) = -dE / Va + E dVa / Va^2, sorted by the sums.
    slope = error / va**2
    columns = [slope * a**2, -2 * a * slope, zero, slope, zero, zero, -1 / va]
    return np.stack(columns, axis=-1) / n[..., None]


def mean_gradient(sums: Sums) -> Sums:
    """Gradient of a mean over perturbations in (sum, number defined, number of all)."""
    defined = np.where(sums[..., 1] > 0, sums[..., 1], np.nan)
    columns = [1 / defined, -sums[..., 0] / defined**2, np.zeros_like(defined)]
    return np.stack(columns, axis=-1)


POOLED = {
    "ate_pearson": pooled_pearson_gradient,
    "ate_r2": pooled_r2_gradient,
    "ate_pearson_top20": pooled_pearson_gradient,
    "ate_r2_top20": pooled_r2_gradient,
}


def gradient(name: str, total: Sums) -> Sums:
    """Gradient of a score in its summed statistics, for totals with any leading axes."""
    return POOLED.get(name, mean_gradient)(total)
