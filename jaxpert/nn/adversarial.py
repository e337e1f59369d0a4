"""The players of a generative adversarial network: their losses, the gradient penalty, and their
game as one loss.

D is the probability that a critic gives to "real", the sigmoid of its logit. All losses are per
row, so that callers weigh rows (padding) and devices themselves. The equations stand in
docs/models/cycseq.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpert.core.types import PyTree

KINDS = ("log", "lsgan")

Logits = Float[Array, "*r"]


def called_real(logits: Logits, kind: str) -> Logits:
    """Loss of rows that should be called real: what a generator minimises on its fakes, a critic on
    real rows.

    "log" is -ln D, "lsgan" the squared distance of D from 1 (a least-squares loss behind a sigmoid,
    as the published CycSeq has it).
    """
    if kind == "log":
        # -ln sigmoid(l) = softplus(-l), finite for any logit: the logarithm of a sigmoid that
        # underflows would not be.
        return jax.nn.softplus(-logits)
    return jnp.square(jax.nn.sigmoid(logits) - 1)


def called_fake(logits: Logits, kind: str) -> Logits:
    """Loss of rows that should be called fake: -ln(1 - D), or the squared probability D."""
    if kind == "log":
        return jax.nn.softplus(logits)  # -ln(1 - sigmoid(l))
    return jnp.square(jax.nn.sigmoid(logits))


def critic_loss(real: Float[Array, ""], fake: Float[Array, ""], kind: str) -> Float[Array, ""]:
    """What a critic minimises, from its mean losses on real and fake rows: their sum, for "lsgan"
    half of it."""
    if kind == "log":
        return real + fake
    # Half of the sum, as published (docs/models/cycseq.md, "Adversarial loss").
    return 0.5 * (real + fake)


def slopes(
    score: Callable[[Float[Array, "B W"]], Float[Array, "B"]], x: Float[Array, "B W"]
) -> Float[Array, "B W"]:
    """Gradient of each row's score with respect to that row.

    Exact for scores that look at every row by itself (no batch normalisation); what is random in
    `score` must be fixed in it (one dropout mask), so that the value and its gradient belong to one
    function.
    """
    # No row enters another's score, so the gradient of the sum holds every row's own gradient.
    return jax.grad(lambda rows: score(rows).sum())(x)


def norms(rows: Float[Array, "B W"]) -> Float[Array, "B"]:
    """Euclidean norms, with gradient 0 (not NaN) at 0."""
    squares = jnp.square(rows).sum(-1)
    positive = squares > 0
    # The inner `where` keeps sqrt away from 0: the gradient of the branch not taken is computed
    # too, and 0 times its infinite slope would be NaN.
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1)), 0)


def penalty(slopes: Float[Array, "B W"]) -> Float[Array, "B"]:
    """Squared distance of each slope's norm from 1 (WGAN-GP, Gulrajani et al. 2017, Eq. 3)."""
    return jnp.square(norms(slopes) - 1)


def game(
    generators: Callable[[PyTree, PyTree], tuple[Array, PyTree, Any]],
    critics: Callable[[PyTree, PyTree], tuple[Array, Any]],
    params_g: PyTree,
    params_d: PyTree,
) -> tuple[Float[Array, ""], Any, Any]:
    """The simultaneous game of generators and critics as one scalar to differentiate.

    Its gradient is that of `generators` in `params_g` with fixed critics, and that of `critics` in
    `params_d` with fixed fakes: neither player's loss reaches the other's parameters. The value of
    the sum means nothing by itself.

    Args:
        generators: (params_g, params_d) -> (loss, fakes, anything).
        critics: (params_d, fakes) -> (loss, anything).
    """
    # Stopped gradients let one backward pass serve both players.
    loss_g, fakes, seen_g = generators(params_g, jax.lax.stop_gradient(params_d))
    loss_d, seen_d = critics(params_d, jax.lax.stop_gradient(fakes))
    return loss_g + loss_d, seen_g, seen_d
