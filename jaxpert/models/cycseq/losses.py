"""Loss terms of CycSeq, as means over the rows of the whole batch (spec section 6)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxpert.core.parallel import psum
from jaxpert.models.cycseq.layers import Picked

SMALLEST_VARIANCE = 1e-8

Rows = Float[Array, "B *_"]
Mask = Bool[Array, "B"]


def row_mean(values: Float[Array, "B"], mask: Mask) -> Float[Array, ""]:
    """Mean over the real rows of all devices."""
    count = psum(mask.sum(dtype=values.dtype))
    return psum(jnp.where(mask, values, 0).sum()) / jnp.maximum(count, 1)


def squared_error(x: Float[Array, "B G"], y: Float[Array, "B G"]) -> Float[Array, "B"]:
    """Mean over genes."""
    return jnp.square(x - y).mean(1)


def total_variance(x: Float[Array, "B G"], mask: Mask) -> Float[Array, ""]:
    """Population variance over all entries of the batch."""
    center = row_mean(x.mean(1), mask)
    return row_mean(jnp.square(x - center).mean(1), mask)


def expression_error(
    x: Float[Array, "B G"], y: Float[Array, "B G"], mask: Mask, kind: str
) -> Float[Array, ""]:
    """Mean squared error, for "scaled" over the variance of x: free of the unit, about 1 for a
    constant guess."""
    error = row_mean(squared_error(x, y), mask)
    if kind == "mse":
        return error
    return error / (jax.lax.stop_gradient(total_variance(x, mask)) + SMALLEST_VARIANCE)


def condition_error(logits: Float[Array, "B K"], true: Picked, kind: str) -> Float[Array, "B"]:
    """How badly logits recover the condition of each row.

    "cross_entropy": softmax cross-entropy of rows with one true column, binary cross-entropy of
    rows with several, 0 for rows with none (nothing to recover). "binary": binary cross-entropy,
    mean over columns. "swapped": the same with the one-hot row as the logit and the prediction as
    the target, as the published loop calls it: linear in the prediction at the true columns, blind
    to the others.
    """
    columns, count, own = logits.shape[1], true.weight.sum(1), true.of(logits).sum(1)
    if kind == "swapped":
        always = (columns - count) * math.log(2) + count * (1 + math.log1p(math.exp(-1)))
        return (always - own) / columns
    if kind == "binary":
        return binary_error(logits, own)
    single = jax.nn.logsumexp(logits, 1) - own
    if true.index.ndim == 2 and true.index.shape[1] == 1:
        return jnp.where(count > 0, single, 0)
    return jnp.where(count > 1, binary_error(logits, own), jnp.where(count > 0, single, 0))


def binary_error(logits: Float[Array, "B K"], own: Float[Array, "B"]) -> Float[Array, "B"]:
    """Binary cross-entropy with the sum `own` of the logits of true columns, mean over columns."""
    return (jax.nn.softplus(logits).sum(1) - own) / logits.shape[1]


def divergence(
    mean: Float[Array, "B L Z"], log_variance: Float[Array, "B L Z"], kind: str
) -> Float[Array, "B L"]:
    """KL divergence of each latent's normal from the standard one: "mean" or "sum" over its
    dimensions."""
    each = 0.5 * (jnp.exp(log_variance) + jnp.square(mean) - 1 - log_variance)
    return each.mean(-1) if kind == "mean" else each.sum(-1)


def r2(x: Float[Array, "B G"], y: Float[Array, "B G"]) -> Float[Array, "B"]:
    """Squared Pearson correlation of each row over genes; 0 where a row is constant."""
    x, y = (rows - rows.mean(1, keepdims=True) for rows in (x, y))
    spread = jnp.square(x).sum(1) * jnp.square(y).sum(1)
    return jnp.where(spread > 0, jnp.square((x * y).sum(1)) / jnp.where(spread > 0, spread, 1), 0)
