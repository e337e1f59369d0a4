"""Losses of GEARS, each balanced over the conditions of the whole batch (docs/models/gears.md,
Losses)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxpert.core.parallel import psum

HALF_LOG_TAU = 0.5 * float(np.log(2 * np.pi))


class Cells(NamedTuple):
    """What a loss compares, on the log-normalised scale."""

    target: Float[Array, "B G"]
    predicted: Float[Array, "B G"]
    log_variance: Float[Array, "B G"] | None
    condition: Int[Array, "B"]
    mask: Bool[Array, "B"]


class Weights(NamedTuple):
    """Settings of the losses."""

    gamma: float = 2.0
    """The error's exponent is 2 + gamma."""
    direction: str = "sign"
    direction_weight: float = 0.1
    uncertainty: str = "none"
    """"shipped", "gaussian" or "none"."""
    uncertainty_weight: float = 1.0


def cell_shares(
    condition: Int[Array, "B"], mask: Bool[Array, "B"], conditions: int, dtype
) -> Float[Array, "B"]:
    """Weight of each cell: 1 / (conditions in the batch x cells of its own), so that each condition
    counts alike."""
    # |I_c| of the autofocus loss, over the cells of all devices; |C| counts those above 0.
    held = psum(jax.ops.segment_sum(mask.astype(dtype), condition, conditions))
    present = (held > 0).sum().astype(dtype)
    # At least 1 on both sides, so that absent conditions divide nothing by 0.
    return mask / (jnp.maximum(held, 1)[condition] * jnp.maximum(present, 1))


def gene_shares(
    kept: Bool[Array, "C G"] | None, condition: Int[Array, "B"], control: int, genes: int, dtype
) -> Float[Array, "#B G"]:
    """Weight of each gene of each cell: 1 / |kept genes of its condition|; the control keeps all,
    and None does."""
    if kept is None:
        return jnp.full((1, genes), 1 / genes, dtype)
    # Control keeps all genes (docs/models/gears.md, Autofocus loss).
    whole = (jnp.asarray(kept) | (jnp.arange(len(kept)) == control)[:, None]).astype(dtype)
    return (whole / jnp.maximum(whole.sum(1, keepdims=True), 1))[condition]


def direction_errors(
    target: Float[Array, "B G"],
    predicted: Float[Array, "B G"],
    control: Float[Array, "G"],
    kind: str,
) -> Float[Array, "B G"]:
    """Squared difference of the two directions of change, hard (no gradient, as published) or by
    tanh."""
    direction = {"sign": jnp.sign, "tanh": jnp.tanh}[kind]
    # The sign has no gradient and teaches nothing, as published; tanh has one.
    return jnp.square(direction(target - control) - direction(predicted - control))


def error_terms(cells: Cells, weights: Weights) -> Float[Array, "B G"]:
    """|error|^(2 + gamma), as it is or in the form that the uncertainty asks for
    (docs/models/gears.md, Uncertainty losses).

    "shipped" is e^4 (1 + rho exp(-s)), which has no term in s alone: s is held back only by its own
    normalisation and the weight decay. "gaussian" is the negative log-likelihood of a normal with
    variance exp(s).
    """
    error = cells.predicted - cells.target
    s = cells.log_variance
    if weights.uncertainty == "gaussian" and s is not None:
        # Negative log-likelihood of a normal (docs/models/gears.md, Uncertainty losses).
        return 0.5 * (s + jnp.square(error) * jnp.exp(-s)) + HALF_LOG_TAU
    # An even exponent needs no absolute value, and multiplications do for a power.
    if weights.gamma % 2:
        power = jnp.abs(error) ** (2 + weights.gamma)
    else:
        power = error ** int(2 + weights.gamma)
    if weights.uncertainty == "shipped" and s is not None:
        return power * (1 + weights.uncertainty_weight * jnp.exp(-s))
    return power


def objective(
    cells: Cells,
    share: Float[Array, "B"],
    genes: Float[Array, "#B G"],
    control: Float[Array, "G"],
    weights: Weights,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The loss of the whole batch and its terms: error + direction_weight * direction.

    Args:
        share: `cell_shares`, or mask / cells for a plain mean over cells.
        genes: `gene_shares`.
        control: mean control profile, from which directions are taken.
    """

    def balanced(terms: Float[Array, "B G"]) -> Float[Array, ""]:
        # Shares of cells are of the whole batch, so the devices' parts add up.
        return psum(share @ (terms * genes).sum(1))

    error = balanced(error_terms(cells, weights))
    direction = balanced(
        direction_errors(cells.target, cells.predicted, control, weights.direction)
    )
    terms = {"error": error, "direction": direction}
    # Logged, since nothing in the shipped loss holds it back.
    if cells.log_variance is not None:
        terms["log_variance"] = balanced(cells.log_variance)
    return error + weights.direction_weight * direction, terms
