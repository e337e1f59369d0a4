"""Pure transforms between counts and model inputs, and back."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxpert.core.errors import InputError

AnyArray = Array | np.ndarray

SMALLEST_STD = 1e-6


def log_standardize(
    x: Float[AnyArray, "*b G"],
    mean: Float[AnyArray, "G"],
    std: Float[AnyArray, "G"],
    *,
    guard: str = "unit",
) -> Float[Array, "*b G"]:
    """Return (ln(1 + x) - mean) / std, gene by gene.

    `guard="unit"` takes std 1 for a gene that is constant in training (std < 1e-6).
    `guard="reference"` divides by the 0 as the published code does and replaces NaN and -inf by
    1e-6 and +inf by 1e6.
    """
    z = jnp.log1p(x) - mean
    if guard == "unit":
        return z / jnp.where(std < SMALLEST_STD, 1, std)
    if guard == "reference":
        # +inf and -inf are not treated alike there; we copy that.
        return jnp.nan_to_num(z / std, nan=1e-6, posinf=1e6, neginf=1e-6)
    raise InputError(f"guard is {guard!r}, expected 'unit' or 'reference': correct it")


def normalize_library(x: Float[Array, "*b G"], target: float = 1e4) -> Float[Array, "*b G"]:
    """Scale each cell to `target` counts in total; a cell without counts becomes NaN."""
    return x * (target / x.sum(-1, keepdims=True))


def log1p_normalize(x: Float[Array, "*b G"], target: float = 1e4) -> Float[Array, "*b G"]:
    """ln(1 + target * x / sum x): the "lognorm" scale."""
    return jnp.log1p(normalize_library(x, target))


def log2p_normalize(x: Float[Array, "*b G"], target: float = 1e4) -> Float[Array, "*b G"]:
    """log2(1 + target * x / sum x): the scale of average treatment effects."""
    return jnp.log1p(normalize_library(x, target)) / jnp.log(2.0).astype(x.dtype)


def lognorm_to_log2(y: Float[Array, "*b G"]) -> Float[Array, "*b G"]:
    """From the "lognorm" scale to the scale of average treatment effects."""
    # ln(1 + a) / ln 2 = log2(1 + a)
    return y / jnp.log(2.0).astype(y.dtype)
