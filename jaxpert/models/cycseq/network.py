"""The CycSeq generator, which translates expression between two states."""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpert.models.cycseq.layers import (
    Condition,
    Dropout,
    Embedding,
    Joint,
    Keep,
    Prelu,
    Residual,
    SingleAttention,
    TokenAttention,
    normalized,
)
from jaxpert.models.cycseq.settings import NONE
from jaxpert.nn.layers import BatchNorm, Linear

LATENTS = ("expression", "perturbation", "noise")
"""Nothing but the names tells the three latents apart: one prior, and the decoder reads all."""
# The bounds keep the exponential and its inverse finite in float32.
LOG_VARIANCES = (-20.0, 10.0)

Sites = dict[str, tuple[int, float]]
"""Width and rate of each dropout site."""


class Sizes(NamedTuple):
    """What generator and critic have in common."""

    genes: int
    targets: int
    strata: int
    dose: bool
    hidden: tuple[int, ...]
    rate: float
    """Of dropout in the linear layers."""


class Shape(NamedTuple):
    """What is the generator's own."""

    embedding: int
    latent: int
    blocks: int
    residual_rate: float
    normalized_blocks: bool
    attention: str
    tokens: int
    batch_norm: bool
    lookup: bool
    clamp: bool
    expression_head: str
    condition_head: str


class GeneratorNoise(NamedTuple):
    """What is random in one pass."""

    encoder: Keep
    decoder: Keep
    normal: Float[Array, "B 3 Z"] | None
    """Standard normal variates of the latents; None for z = mean."""


STILL = GeneratorNoise({}, {}, None)
"""Nothing dropped, z = mean."""


class Generated(NamedTuple):
    """What a generator makes of a row."""

    expression: Float[Array, "B G"]
    target: Float[Array, "B K"]
    """Logits of the perturbation columns."""
    stratum: Float[Array, "B S"]
    """Logits of the batch columns."""
    mean: Float[Array, "B 3 Z"]
    log_variance: Float[Array, "B 3 Z"]
    z: Float[Array, "B 3 Z"]


class Trunk(nn.Module):
    """From the first layer's linear output on: activations, more layers, residual blocks,
    attention."""

    hidden: tuple[int, ...]
    rate: float
    shape: Shape
    batch_norm: bool

    def setup(self):
        for i, width in enumerate(self.hidden, 1):
            # The first layer is joint with the conditions and stands outside.
            if i > 1:
                setattr(self, f"linear{i}", Linear(self.hidden[i - 2], width))
            if self.batch_norm:
                setattr(self, f"norm{i}", BatchNorm(width))
            setattr(self, f"prelu{i}", Prelu())
            setattr(self, f"drop{i}", Dropout(self.rate))
        # Residual blocks and attention keep the width of the last linear layer.
        width, shape = self.hidden[-1], self.shape
        for i in range(shape.blocks):
            setattr(
                # Blocks have their own rate, since the published switch spares them.
                self,
                f"block{i}",
                Residual(width, shape.residual_rate, shape.normalized_blocks),
            )
        if shape.attention == "single":
            self.attention = SingleAttention(width)
        elif shape.attention == "tokens":
            self.attention = TokenAttention(width, shape.tokens)

    def __call__(
        self, first: Float[Array, "B _"], keep: Keep, weight: Float[Array, "B"] | None
    ) -> Float[Array, "B H"]:
        h = first
        for i in range(1, len(self.hidden) + 1):
            if i > 1:
                h = getattr(self, f"linear{i}")(h)
            if self.batch_norm:
                h = normalized(getattr(self, f"norm{i}"), h, weight)
            # Normalisation before the activation, dropout after it (docs/models/cycseq.md, Trunk).
            h = getattr(self, f"drop{i}")(getattr(self, f"prelu{i}")(h), keep.get(f"drop{i}"))
        for i in range(self.shape.blocks):
            h = getattr(self, f"block{i}")(h, _kept_in_block(keep, i), weight)
        # Without attention there is no layer, so nothing is asked for.
        if self.shape.attention == NONE:
            return h
        return self.attention(h)


def _kept_in_block(keep: Keep, block: int) -> Keep:
    """Units that dropout keeps in a residual block, by the block's own names of its sites."""
    prefix = f"block{block}."
    kept_here = {}
    for name, kept in keep.items():
        # The trunk's own sites have no prefix.
        if name.startswith(prefix):
            kept_here[name.removeprefix(prefix)] = kept
    return kept_here


def layer_sites(hidden: tuple[int, ...], rate: float) -> Sites:
    """Dropout sites of linear layers."""
    # A rate of 0 has no site, so that no mask is drawn.
    if not rate:
        return {}
    return {f"drop{i}": (width, rate) for i, width in enumerate(hidden, 1)}


def trunk_sites(sizes: Sizes, shape: Shape) -> Sites:
    """Dropout sites of a trunk."""
    sites, width = layer_sites(sizes.hidden, sizes.rate), sizes.hidden[-1]
    if not shape.residual_rate:
        return sites
    block = Residual(width, shape.residual_rate, shape.normalized_blocks)
    for i in range(shape.blocks):
        for site in block.sites:
            sites[f"block{i}.{site}"] = width, shape.residual_rate
    return sites


class Conditions(nn.Module):
    """Embeddings of what a row is translated under; encoder and decoder have their own."""

    sizes: Sizes
    width: int
    lookup: bool

    def setup(self):
        self.target = Embedding(self.sizes.targets, self.width, self.lookup)
        self.stratum = Embedding(self.sizes.strata, self.width, self.lookup)

    def __call__(self, condition: Condition) -> tuple[Array, ...]:
        embedded = self.target(condition.target), self.stratum(condition.stratum)
        # The dose is a number and is read as it is.
        if condition.dose is None:
            return embedded
        return (*embedded, condition.dose)


def condition_blocks(sizes: Sizes, target: int, stratum: int) -> tuple[tuple[str, int], ...]:
    """Blocks of a joint layer that stand for the conditions."""
    blocks = ("target", target), ("stratum", stratum)
    if not sizes.dose:
        return blocks
    return (*blocks, ("dose", 1))


class Encoder(nn.Module):
    """Row and conditions to the moments of three latents, from one product: means first, then log
    variances."""

    sizes: Sizes
    shape: Shape

    def setup(self):
        sizes, shape = self.sizes, self.shape
        self.conditions = Conditions(sizes, shape.embedding, shape.lookup)
        blocks = (
            ("expression", sizes.genes),
            *condition_blocks(sizes, shape.embedding, shape.embedding),
        )
        self.first = Joint(blocks, sizes.hidden[0])
        self.trunk = Trunk(sizes.hidden, sizes.rate, shape, shape.batch_norm)
        # One layer for all moments, which is one product in place of six.
        self.heads = Linear(sizes.hidden[-1], 2 * len(LATENTS) * shape.latent)

    def __call__(
        self,
        x: Float[Array, "B G"],
        condition: Condition,
        keep: Keep,
        weight: Float[Array, "B"] | None,
    ) -> tuple[Float[Array, "B 3 Z"], Float[Array, "B 3 Z"]]:
        h = self.trunk(self.first(x, *self.conditions(condition)), keep, weight)
        # Six heads (three means, three log variances) as one product.
        heads = self.heads(h).reshape(len(x), 2, len(LATENTS), -1)
        mean, log_variance = heads[:, 0], heads[:, 1]
        # Applied to the value, so that the gradient is 0 beyond the bounds.
        if self.shape.clamp:
            log_variance = jnp.clip(log_variance, *LOG_VARIANCES)
        return mean, log_variance


class Decoder(nn.Module):
    """Latents and conditions to expression and to logits of the conditions; its layers are never
    normalised."""

    sizes: Sizes
    shape: Shape

    def setup(self):
        sizes, shape, last = self.sizes, self.shape, self.sizes.hidden[-1]
        self.conditions = Conditions(sizes, shape.embedding, shape.lookup)
        blocks = (
            ("latent", len(LATENTS) * shape.latent),
            *condition_blocks(sizes, shape.embedding, shape.embedding),
        )
        self.first = Joint(blocks, sizes.hidden[0])
        # The decoder's trunk is never normalised (docs/models/cycseq.md, Trunk).
        self.trunk = Trunk(sizes.hidden, sizes.rate, shape, False)
        self.expression = Linear(last, sizes.genes)
        self.target = Linear(last, sizes.targets)
        self.stratum = Linear(last, sizes.strata)
        if shape.expression_head == "prelu":
            self.prelu = Prelu()

    def __call__(
        self,
        z: Float[Array, "B 3 Z"],
        condition: Condition,
        keep: Keep,
        weight: Float[Array, "B"] | None,
    ) -> tuple[Float[Array, "B G"], Float[Array, "B K"], Float[Array, "B S"]]:
        h = self.trunk(self.first(z.reshape(len(z), -1), *self.conditions(condition)), keep, weight)
        x, target, stratum = self.expression(h), self.target(h), self.stratum(h)
        # Heads of rows and conditions are chosen apart (docs/models/cycseq.md, Decoder).
        if self.shape.expression_head == "tanh":
            x = jnp.tanh(x)
        else:
            x = self.prelu(x)
        if self.shape.condition_head == "tanh":
            target, stratum = jnp.tanh(target), jnp.tanh(stratum)
        return x, target, stratum


class Generator(nn.Module):
    """Translates rows of one state (perturbed, control) to the other, under conditions
    (docs/models/cycseq.md, Generators).

    `weight` marks the rows that count for batch moments in training; None normalises by the
    remembered ones.
    """

    sizes: Sizes
    shape: Shape

    def setup(self):
        self.encoder = Encoder(self.sizes, self.shape)
        self.decoder = Decoder(self.sizes, self.shape)

    def __call__(
        self,
        x: Float[Array, "B G"],
        condition: Condition,
        noise: GeneratorNoise,
        weight: Float[Array, "B"] | None,
    ) -> Generated:
        mean, log_variance = self.encoder(x, condition, noise.encoder, weight)
        # z = mu + e^(v/2) eps; in evaluation its mean.
        z = mean
        if noise.normal is not None:
            # z = mean + exp(v / 2) noise (docs/models/cycseq.md, Latents).
            z = mean + jnp.exp(log_variance / 2) * noise.normal
        return Generated(*self.decoder(z, condition, noise.decoder, weight), mean, log_variance, z)

    def decode(self, z: Float[Array, "B 3 Z"], condition: Condition) -> Float[Array, "B G"]:
        """Expression from latents, by remembered moments and without dropout."""
        return self.decoder(z, condition, {}, None)[0]
