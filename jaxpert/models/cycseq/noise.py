"""Everything random in one training step of CycSeq, drawn beforehand, each row's by its own key."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from jaxpert.models.cycseq.layers import Keep
from jaxpert.models.cycseq.network import (
    LATENTS,
    GeneratorNoise,
    Shape,
    Sizes,
    layer_sites,
    trunk_sites,
)


class CriticNoise(NamedTuple):
    """Of the four times that a critic is asked, and where between real and fake rows its slope is
    measured."""

    generator: Keep
    """On fakes, for the generators."""
    real: Keep
    fake: Keep
    mixed: Keep
    """One mask for the score and its slope."""
    mix: Float[Array, "B 1"]
    """Share of the real row, uniform."""


class StepNoise(NamedTuple):
    """In the order of docs/models/cycseq.md (One training step): first passes, cycle passes,
    critics."""

    p2n: GeneratorNoise
    n2p: GeneratorNoise
    n2p_cycle: GeneratorNoise
    p2n_cycle: GeneratorNoise
    x: CriticNoise
    y: CriticNoise


def draw(
    key: PRNGKeyArray, slot: Int[Array, "B"], sizes: Sizes, shape: Shape, dtype: Any
) -> StepNoise:
    """Noise of one step; a row's depends on the key and its slot alone, so that devices change
    nothing."""
    trunk, critic = trunk_sites(sizes, shape), layer_sites(sizes.hidden, sizes.rate)
    # Two generators, each of them used twice, share one layout of sites.
    passes = [{"encoder": trunk, "decoder": trunk}] * 4
    calls = [dict.fromkeys(("generator", "real", "fake", "mixed"), critic)] * 2
    # Three keys of each row: for dropout, for the latents, and for mixing.
    keys = jax.vmap(lambda slot: jax.random.split(jax.random.fold_in(key, slot), 3))(slot)
    # All masks come from one call, so that each row's key is used once.
    kept_passes, kept_calls = masks(keys[:, 0], [passes, calls])
    size = 4, len(LATENTS), shape.latent
    normal = jax.vmap(lambda key: jax.random.normal(key, size, dtype))(keys[:, 1])
    mix = jax.vmap(lambda key: jax.random.uniform(key, (2, 1), dtype))(keys[:, 2])
    generators, critics = [], []
    for i, keep in enumerate(kept_passes):
        generators.append(GeneratorNoise(**keep, normal=normal[:, i]))
    for i, keep in enumerate(kept_calls):
        critics.append(CriticNoise(**keep, mix=mix[:, i]))
    return StepNoise(*generators, *critics)  # pyright: ignore


def masks(keys: Key[Array, "B"], sites: Any) -> Any:
    """Units to keep at every site of a pytree of `Sites`: uniform numbers of 16 bits, two from each
    word.

    A unit is kept with probability round(65536 (1 - rate)) / 65536.
    """
    # All sites side by side in one draw: a generator call costs more than its bits.
    flat, form = jax.tree.flatten(sites, is_leaf=lambda node: isinstance(node, tuple))
    widths, bounds = [], []
    for width, rate in flat:
        widths.append(width)
        # A whole number of 65536ths, so that a comparison of integers decides.
        bounds.append(np.full(width, round((1 - rate) * 2**16), np.uint32))
    total = sum(widths)
    if not total:
        # Without dropout there is nothing to draw.
        return jax.tree.unflatten(form, [])
    # Two numbers from each word halve the words that are drawn.
    words = jax.vmap(lambda key: jax.random.bits(key, (-(-total // 2),), jnp.uint32))(keys)
    # The low and the high half of each word are two numbers.
    halves = jnp.stack([words & 0xFFFF, words >> 16], -1).reshape(len(keys), -1)[:, :total]
    kept: Bool[Array, "B _"] = halves < np.concatenate(bounds)
    return jax.tree.unflatten(form, jnp.split(kept, np.cumsum(widths)[:-1], axis=1))
