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
        if self.index.ndim == 1:
            return self.weight @ kernel[self.index]
        if self.index.shape[1] == 1:
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
        return (self.target, self.stratum) if self.dose is None else tuple(self)  # pyright: ignore


def times(rows: Picked | Float[Array, "B W"], kernel: Float[Array, "W H"]) -> Float[Array, "B H"]:
    """The product of rows, given as they are or by their columns, with a matrix."""
    return rows.times(kernel) if isinstance(rows, Picked) else rows @ kernel


class Joint(nn.Module):
    """A linear layer on the concatenation of named blocks, with a kernel for each, so that blocks
    can be picked."""

    blocks: tuple[tuple[str, int], ...]
    features: int

    def setup(self):
        fan_in = sum(width for _, width in self.blocks)
        self.kernels = [
            self.param(name, uniform_fan_in, (width, self.features), fan_in)
            for name, width in self.blocks
        ]
        self.bias = self.param("bias", uniform_fan_in, (self.features,), fan_in)

    def share(self, block: int, rows: Picked | Float[Array, "B W"]) -> Float[Array, "B H"]:
        """One block's share, without the bias."""
        return times(rows, self.kernels[block])

    def rest(self, *rows: Picked | Float[Array, "B _"]) -> Float[Array, "B H"]:
        """The share of all blocks but the first, with the bias."""
        return sum((self.share(i, one) for i, one in enumerate(rows, 1)), self.bias)

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
        if self.lookup:
            return rows.times(self.param("kernel", nn.initializers.normal(1.0), shape))
        kernel = self.param("kernel", uniform_fan_in, shape, self.columns)
        return rows.times(kernel) + self.param(
            "bias", uniform_fan_in, (self.features,), self.columns
        )


class Prelu(nn.Module):
    """x where it is positive, else x times one learned slope."""

    @nn.compact
    def __call__(self, x: Float[Array, "*r H"]) -> Float[Array, "*r H"]:
        return jnp.where(x > 0, x, self.param("slope", nn.initializers.constant(SLOPE), ()) * x)


class Dropout(nn.Module):
    """Keep the given units, scaled up by 1 / (1 - rate)."""

    rate: float

    def __call__(
        self, x: Float[Array, "B H"], keep: Bool[Array, "B H"] | None
    ) -> Float[Array, "B H"]:
        return x if keep is None else jnp.where(keep, x / (1 - self.rate), 0)


def normalized(
    norm: BatchNorm, x: Float[Array, "B H"], weight: Float[Array, "B"] | None
) -> Float[Array, "B H"]:
    """Normalise by the moments of the rows of weight 1, or by the remembered ones without
    weights."""
    return norm(None if weight is None else moments(x, weight))(x)


class Residual(nn.Module):
    """Two linear layers around which the input is added.

    As published: normalised after both, dropout after both activations. Not `normalized` is the
    paper's block: no normalisation, no dropout at the end.
    """

    width: int
    rate: float
    normalized: bool = True

    def setup(self):
        for i in (1, 2):
            setattr(self, f"linear{i}", Linear(self.width, self.width))
            setattr(self, f"prelu{i}", Prelu())
            if self.normalized:
                setattr(self, f"norm{i}", BatchNorm(self.width))
        self.drop1, self.drop2 = Dropout(self.rate), Dropout(self.rate)

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the dropout sites."""
        return ("drop1", "drop2") if self.normalized else ("drop1",)

    def __call__(
        self, h: Float[Array, "B H"], keep: Keep, weight: Float[Array, "B"] | None
    ) -> Float[Array, "B H"]:
        r = self.drop1(self.prelu1(self._linear(1, h, weight)), keep.get("drop1"))
        return self.drop2(self.prelu2(self._linear(2, r, weight) + h), keep.get("drop2"))

    def _linear(
        self, i: int, x: Float[Array, "B H"], weight: Float[Array, "B"] | None
    ) -> Float[Array, "B H"]:
        y = getattr(self, f"linear{i}")(x)
        return normalized(getattr(self, f"norm{i}"), y, weight) if self.normalized else y


class SingleAttention(nn.Module):
    """h + gamma (V h + c): what self-attention over a sequence of one token comes to.

    The softmax over one key is 1 whatever queries and keys are, so they have no effect and no
    gradient, and are left out. gamma starts at 0, when V and c have no gradient either.
    """

    width: int

    def setup(self):
        self.value = Linear(self.width, self.width)
        self.gamma = self.param("gamma", nn.initializers.zeros, ())

    def __call__(self, h: Float[Array, "B H"]) -> Float[Array, "B H"]:
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
        d = self.width // self.tokens
        self.query, self.key, self.value = Linear(d, d), Linear(d, d), Linear(d, d)
        self.gamma = self.param("gamma", nn.initializers.zeros, ())

    def __call__(self, h: Float[Array, "B H"]) -> Float[Array, "B H"]:
        parts = h.reshape(len(h), self.tokens, -1)
        scores = (
            jnp.einsum("bqd,bkd->bqk", self.query(parts), self.key(parts)) / parts.shape[-1] ** 0.5
        )
        return h + self.gamma * (jax.nn.softmax(scores) @ self.value(parts)).reshape(h.shape)
