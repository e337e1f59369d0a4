"""The leading directions of a large matrix."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

LARGE = 1000
"""Rows and columns beyond which only the directions that are wanted are computed."""
OVER = 20
"""Directions that are carried along beside those that are wanted, so that these are found well."""
ROUNDS = 4


def leading_right(x: Float[np.ndarray, "N G"], count: int) -> Float[np.ndarray, "G K"]:
    """The right singular vectors of the largest singular values, the largest first.

    By block power iteration (Halko et al. 2011): all singular vectors of thousands of rows take
    minutes. Directions of nearly equal length may be mixed with each other. The start is always the
    same, and so is the result.
    """
    width = min(count + OVER, *x.shape)
    # Half the digits find the same directions in half the time; the last round has all of them.
    coarse = x.astype(np.float32)
    basis = np.random.default_rng(0).normal(size=(x.shape[1], width)).astype(np.float32)
    for _ in range(ROUNDS):
        basis = np.linalg.qr(coarse.T @ (coarse @ basis))[0]
    basis = np.linalg.qr(x.T @ (x @ basis.astype(np.float64)))[0]
    # x Q = U S W' has the lengths along the basis, which tell which direction leads.
    turned = np.linalg.svd(x @ basis, full_matrices=False)[2]
    return (basis @ turned.T)[:, :count]
