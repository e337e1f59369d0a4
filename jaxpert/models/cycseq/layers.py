"""Layers of CycSeq: conditions as column numbers, joint linear layers, PReLU, residual blocks,
attention."""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxpert.nn.layers import BatchNorm, Linear, moments, uniform_fan_in

SLOPE = 0.25
"""Initial slope of every PReLU."""

Keep = dict[str, Bool[Array, "B _"]]
"""Units that dropout keeps, by the name of the site; a site that is not there drops nothing."""


class Picked(NamedTuple):
    """Multi-hot rows as the numbers of their columns: products with them are gathers."""

    index: Int[Array, "B M"] | Int[Array, "T"]
    """Columns of each row, or candidates that all rows share."""
    weight: Float[Array, "B M"] | Float[Array, "B T"]
    """Usually 1; 0 for a number that only fills up the row."""

    def times(self, kernel: Float[Array, "K H"]) -> Float[Array, "B H"]:
        """The product with a matrix."""
        # Shared candidates need one product of the batch with the picked rows.
        if self.index.ndim == 1:
            # Candidates that all rows share: one gather, then a small product.
            return self.weight @ kernel[self.index]
        # One column for each row is the common case and needs no product at all.
        if self.index.shape[1] == 1:
            # One column in each row: a gather is the whole product.
            return kernel[self.index[:, 0]] * self.weight
        return jnp.einsum("bm,bmh->bh", self.weight, kernel[self.index])

    def of(self, rows: Float[Array, "B K"]) -> Float[Array, "B M"] | Float[Array, "B T"]:
        """Each row's entries in its own columns, times the weights."""
        if self.index.ndim == 1:
            return rows[:, self.index] * self.weight
        return jnp.take_along_axis(rows, self.index, 1) * self.weight


class Condition(NamedTuple):
    """What a row is translated or judged under."""

    target: Picked
    stratum: Picked
    dose: Float[Array, "B 1"] | None
    """log10 of the dose, for networks that read it."""

    def parts(self) -> tuple[Picked | Array, ...]:
        """What a network reads of it: the dose only where there is one."""
        if self.dose is None:
            return (self.target, self.stratum)
        return (self.target, self.stratum, self.dose)


def times(rows: Picked | Float[Array, "B W"], kernel: Float[Array, "W H"]) -> Float[Array, "B H"]:
    """The product of rows, given as they are or by their columns, with a matrix."""
    if isinstance(rows, Picked):
        return rows.times(kernel)
    return rows @ kernel


class Joint(nn.Module):
    """A linear layer on the concatenation of named blocks, with a kernel for each, so that blocks
    can be picked."""

    blocks: tuple[tuple[str, int], ...]
    features: int

    def setup(self):
        # The bounds of the initial values are those of one layer on the concatenation.
        fan_in = sum(width for _, width in self.blocks)
        kernels = []
        for name, width in self.blocks:
            # A kernel for each block, so that picked blocks are never multiplied out.
            kernels.append(self.param(name, uniform_fan_in, (width, self.features), fan_in))
        self.kernels = kernels
        self.bias = self.param("bias", uniform_fan_in, (self.features,), fan_in)

    def share(self, block: int, rows: Picked | Float[Array, "B W"]) -> Float[Array, "B H"]:
        """One block's share, without the bias."""
        return times(rows, self.kernels[block])

    def rest(self, *rows: Picked | Float[Array, "B _"]) -> Float[Array, "B H"]:
        """The share of all blocks but the first, with the bias."""
        # The bias comes first and the blocks in order, which fixes the rounding.
        total = self.bias
        for block, part in enumerate(rows, 1):
            total = total + self.share(block, part)
        return total

    def __call__(self, *rows: Picked | Float[Array, "B _"]) -> Float[Array, "B H"]:
        return self.share(0, rows[0]) + self.rest(*rows[1:])


class Embedding(nn.Module):
    """Rows of a table and a bias, as of a linear layer on one-hot rows; with `lookup` normal rows
    alone."""

    columns: int
    features: int
    lookup: bool = False

    @nn.compact
    def __call__(self, rows: Picked) -> Float[Array, "B H"]:
        shape = (self.columns, self.features)
        # As published with look-up tables, normal and without a bias.
        if self.lookup:
            return rows.times(self.param("kernel", nn.initializers.normal(1.0), shape))
        kernel = self.param("kernel", uniform_fan_in, shape, self.columns)
        bias = self.param("bias", uniform_fan_in, (self.features,), self.columns)
        return rows.times(kernel) + bias


class Prelu(nn.Module):
    """x where it is positive, else x times one learned slope."""

    @nn.compact
    def __call__(self, x: Float[Array, "*r H"]) -> Float[Array, "*r H"]:
        slope = self.param("slope", nn.initializers.constant(SLOPE), ())
        # One slope for the whole site (docs/models/cycseq.md, Trunk).
        return jnp.where(x > 0, x, slope * x)


class Dropout(nn.Module):
    """Keep the given units, scaled up by 1 / (1 - rate)."""

    rate: float

    def __call__(
        self, x: Float[Array, "B H"], keep: Bool[Array, "B H"] | None
    ) -> Float[Array, "B H"]:
        if keep is None:
            return x
        # Scaled up in training, so that evaluation needs no factor.
        return jnp.where(keep, x / (1 - self.rate), 0)


def normalized(
    norm: BatchNorm, x: Float[Array, "B H"], weight: Float[Array, "B"] | None
) -> Float[Array, "B H"]:
    """Normalise by the moments of the rows of weight 1, or by the remembered ones without
    weights."""
    seen = None if weight is None else moments(x, weight)
    return norm(seen)(x)


class Residual(nn.Module):
    """Two linear layers around which the input is added (docs/models/cycseq.md, Residual block).

    As published: normalised after both, dropout after both activations. Not `normalized` is the
    paper's block: no normalisation, no dropout at the end.
    """

    width: int
    rate: float
    normalized: bool = True

    def setup(self):
        # Named one by one, so that a path such as "block0.linear1" can be frozen.
        for i in (1, 2):
            setattr(self, f"linear{i}", Linear(self.width, self.width))
            setattr(self, f"prelu{i}", Prelu())
            if self.normalized:
                setattr(self, f"norm{i}", BatchNorm(self.width))
        # The two sites drop different units, so each has a name.
        self.drop1, self.drop2 = Dropout(self.rate), Dropout(self.rate)

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the dropout sites."""
        if self.normalized:
            return ("drop1", "drop2")
        # The paper's block drops nothing after the input is added.
        return ("drop1",)

    def __call__(
        self, h: Float[Array, "B H"], keep: Keep, weight: Float[Array, "B"] | None
    ) -> Float[Array, "B H"]:
        # r = drop(PReLU(BN(A1 h))), out = drop(PReLU(BN(A2 r) + h)): the input is added before the
        # second activation.
        r = self.drop1(self.prelu1(self._linear(1, h, weight)), keep.get("drop1"))
        return self.drop2(self.prelu2(self._linear(2, r, weight) + h), keep.get("drop2"))

    def _linear(
        self, i: int, x: Float[Array, "B H"], weight: Float[Array, "B"] | None
    ) -> Float[Array, "B H"]:
        y = getattr(self, f"linear{i}")(x)
        if not self.normalized:
            return y
        return normalized(getattr(self, f"norm{i}"), y, weight)


class SingleAttention(nn.Module):
    """h + gamma (V h + c): what self-attention over a sequence of one token comes to
    (docs/models/cycseq.md, Attention).

    The softmax over one key is 1 whatever queries and keys are, so they have no effect and no
    gradient, and are left out. gamma starts at 0, when V and c have no gradient either.
    """

    width: int

    def setup(self):
        self.value = Linear(self.width, self.width)
        self.gamma = self.param("gamma", nn.initializers.zeros, ())

    def __call__(self, h: Float[Array, "B H"]) -> Float[Array, "B H"]:
        # Gated at 0, so that training begins with the plain trunk.
        return h + self.gamma * self.value(h)


class TokenAttention(nn.Module):
    """Self-attention over the parts of each row, added with weight gamma (0 at the start).

    The row is cut into `tokens` parts of equal width d, queries, keys and values are linear maps
    that all parts share, and the scores are scaled by 1 / sqrt(d): the smallest change that gives
    the paper's equation a meaning.
    """

    width: int
    tokens: int

    def setup(self):
        # Linear maps are shared by all tokens, so their width is that of one token.
        d = self.width // self.tokens
        self.query, self.key, self.value = Linear(d, d), Linear(d, d), Linear(d, d)
        self.gamma = self.param("gamma", nn.initializers.zeros, ())

    def __call__(self, h: Float[Array, "B H"]) -> Float[Array, "B H"]:
        # softmax(q k^T / sqrt(d)) v over the parts of each row.
        parts = h.reshape(len(h), self.tokens, -1)
        products = jnp.einsum("bqd,bkd->bqk", self.query(parts), self.key(parts))
        # Scores by the root of the width (docs/models/cycseq.md, Attention).
        scores = products / parts.shape[-1] ** 0.5
        attended = jax.nn.softmax(scores) @ self.value(parts)
        return h + self.gamma * attended.reshape(h.shape)
