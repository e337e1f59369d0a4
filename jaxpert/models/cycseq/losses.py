"""Loss terms of CycSeq, as means over the rows of the whole batch (docs/models/cycseq.md,
Losses)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxpert.core.parallel import psum
from jaxpert.models.cycseq.layers import Picked

# Keeps a batch of constant rows from dividing by 0.
SMALLEST_VARIANCE = 1e-8

Mask = Bool[Array, "B"]


def row_mean(values: Float[Array, "B"], mask: Mask) -> Float[Array, ""]:
    """Mean over the real rows of all devices."""
    # Padding differs between devices, so sums and counts are added up before dividing.
    count = psum(mask.sum(dtype=values.dtype))
    return psum(jnp.where(mask, values, 0).sum()) / jnp.maximum(count, 1)


def squared_error(x: Float[Array, "B G"], y: Float[Array, "B G"]) -> Float[Array, "B"]:
    """Mean over genes."""
    return jnp.square(x - y).mean(1)


def total_variance(x: Float[Array, "B G"], mask: Mask) -> Float[Array, ""]:
    """Population variance over all entries of the batch."""
    # Two passes: a variance from mean squares would cancel in float32.
    center = row_mean(x.mean(1), mask)
    return row_mean(jnp.square(x - center).mean(1), mask)


def expression_error(
    x: Float[Array, "B G"], y: Float[Array, "B G"], mask: Mask, kind: str
) -> Float[Array, ""]:
    """Mean squared error, for "scaled" over the variance of x: free of the unit, about 1 for a
    constant guess."""
    # E(x, x^): mean over rows and genes.
    error = row_mean(squared_error(x, y), mask)
    if kind == "mse":
        return error
    # The batch's own variance is a unit, not something to be learned.
    return error / (jax.lax.stop_gradient(total_variance(x, mask)) + SMALLEST_VARIANCE)


def condition_error(logits: Float[Array, "B K"], true: Picked, kind: str) -> Float[Array, "B"]:
    """How badly logits recover the condition of each row.

    "cross_entropy": softmax cross-entropy of rows with one true column, binary cross-entropy of
    rows with several, 0 for rows with none (nothing to recover). "binary": binary cross-entropy,
    mean over columns. "swapped": the same with the one-hot row as the logit and the prediction as
    the target, as the published loop calls it: linear in the prediction at the true columns, blind
    to the others.
    """
    columns, count, true_logits = logits.shape[1], true.weight.sum(1), true.of(logits).sum(1)
    if kind == "swapped":
        # Softplus of the one-hot entries: ln 2 at the K - k zeros, 1 + ln(1 + 1/e) at the k ones.
        always = (columns - count) * math.log(2) + count * (1 + math.log1p(math.exp(-1)))
        return (always - true_logits) / columns
    if kind == "binary":
        return binary_error(logits, true_logits)
    # Softmax cross-entropy: -log p of the one true column.
    single = jax.nn.logsumexp(logits, 1) - true_logits
    # Known from shapes, so that the common case compiles to one branch.
    one_column_each = true.index.ndim == 2 and true.index.shape[1] == 1
    if one_column_each:
        # Data without combinations skip the binary loss, which reads every column.
        return jnp.where(count > 0, single, 0)
    several = binary_error(logits, true_logits)
    return jnp.where(count > 1, several, jnp.where(count > 0, single, 0))


def binary_error(logits: Float[Array, "B K"], true_logits: Float[Array, "B"]) -> Float[Array, "B"]:
    """Binary cross-entropy, mean over columns; `true_logits` are summed over the true columns."""
    return (jax.nn.softplus(logits).sum(1) - true_logits) / logits.shape[1]


def divergence(
    mean: Float[Array, "B L Z"], log_variance: Float[Array, "B L Z"], kind: str
) -> Float[Array, "B L"]:
    """KL divergence of each latent's normal from the standard one: "mean" or "sum" over its
    dimensions."""
    # KL(N(mu, e^v), N(0, 1)) = (e^v + mu^2 - 1 - v) / 2.
    of_dimension = 0.5 * (jnp.exp(log_variance) + jnp.square(mean) - 1 - log_variance)
    if kind == "mean":
        return of_dimension.mean(-1)
    return of_dimension.sum(-1)


def r2(x: Float[Array, "B G"], y: Float[Array, "B G"]) -> Float[Array, "B"]:
    """Squared Pearson correlation of each row over genes; 0 where a row is constant."""
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    spread = jnp.square(x).sum(1) * jnp.square(y).sum(1)
    # The inner `where` keeps the gradient of the other branch finite.
    divisor = jnp.where(spread > 0, spread, 1)
    return jnp.where(spread > 0, jnp.square((x * y).sum(1)) / divisor, 0)
