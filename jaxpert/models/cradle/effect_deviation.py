"""How unsure the VAEs are of effects: the spread of mean effects between posterior draws of what
all cells share (docs/models/cradle.md, "Uncertainty")."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpert.core.types import PyTree, Request
from jaxpert.nn.transforms import log2p_normalize

if TYPE_CHECKING:
    from jaxpert.models.cradle.assemble import Inside

DRAWS = 32
"""Posterior draws of embeddings and masks."""
CELLS = 32
"""Basal states behind each mean, the same ones for every draw and every row."""
BLOCK_NUMBERS = 2**22
"""Decoded values (cells x genes) at a time."""


def effect_deviation(
    inside: Inside,
    latent_dim: int,
    params: PyTree,
    state: PyTree,
    key: PRNGKeyArray,
    request: Request,
) -> Float[Array, "R G"]:
    """`Model.effect_deviation`: the standard deviation (ddof 1) over posterior draws of the mean
    effect, which is taken of expected counts.

    Basal states are the same in every draw, for perturbations and control alike, so that only what
    is unsure of the perturbation differs between draws.
    """
    del state
    key_shared, key_z = jax.random.split(key)
    basal = jax.random.normal(key_z, (CELLS, latent_dim))
    asked = request.treatment, request.library, request.failed

    def effects_of(key: PRNGKeyArray) -> Float[Array, "R G"]:
        shared = inside.shared(params, key)

        def mean_of(row: tuple[Array, Array, Array]) -> Float[Array, "G"]:
            treatment, library, failed = (jnp.broadcast_to(a, (CELLS, *a.shape)) for a in row)
            blocks = {"basal": basal, **inside.blocks(shared, treatment, failed)}
            return log2p_normalize(inside.counts(params, blocks, library).mean).mean(0)

        control = mean_of((jnp.zeros_like(asked[0][0]), asked[1][0], jnp.zeros(())))
        at_once = max(1, BLOCK_NUMBERS // (CELLS * len(control)))
        return jax.lax.map(mean_of, asked, batch_size=at_once) - control

    def add(sums: tuple[Array, Array, Array], key: PRNGKeyArray) -> tuple[tuple, None]:
        count, mean, squares = sums
        # Welford's update: means of the size of effects would cost the digits of small spreads.
        effect = effects_of(key)
        count, away = count + 1, effect - mean
        mean = mean + away / count
        return (count, mean, squares + away * (effect - mean)), None

    keys = jax.random.split(key_shared, DRAWS)
    shape = jax.eval_shape(effects_of, keys[0])
    zero = jnp.zeros(shape.shape, shape.dtype)
    (count, _, squares), _ = jax.lax.scan(add, (jnp.zeros((), shape.dtype), zero, zero), keys)
    return jnp.sqrt(squares / (count - 1))
