"""Layers of GEARS: networks of normalised layers, graph convolutions, the norm cap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpert.nn.graphs import Hops, attend, propagate
from jaxpert.nn.layers import Affine, BatchNorm, Linear, Moments, Weight, moments, uniform_fan_in

# As published: a norm of 1 is allowed, and the guard keeps the division defined.
LARGEST_NORM, NORM_GUARD = 1.0, 1e-7


class Layer(NamedTuple):
    """A linear layer and its normalisation."""

    kernel: Float[Array, "W H"]
    bias: Float[Array, "H"]
    scale: Float[Array, "H"]
    offset: Float[Array, "H"]
    remembered: Moments


class Mlp(nn.Module):
    """Linear, BatchNorm, ReLU, ..., Linear, BatchNorm: normalised after the last layer too, without
    a last ReLU."""

    widths: tuple[int, ...]
    repeat_single: bool = False

    def setup(self):
        for i in range(self.last + 1):
            inputs, features = self.widths[i], self.widths[i + 1]
            setattr(self, f"linear{i}", Linear(inputs, features))
            setattr(self, f"norm{i}", BatchNorm(features, self.repeat_single))

    @property
    def last(self) -> int:
        """Number of the last layer."""
        return len(self.widths) - 2

    def normalized(self, i: int, x: Float[Array, "*r H"], weight: Weight | None) -> Affine:
        """The normalisation of layer i for its linear output; with the remembered moments without
        weights."""
        seen = None if weight is None else moments(x, weight)
        return getattr(self, f"norm{i}")(seen)

    def hidden(self, x: Float[Array, "*r W"], weight: Weight | None) -> Float[Array, "*r V"]:
        """What the last linear layer reads."""
        for i in range(self.last):
            x = getattr(self, f"linear{i}")(x)
            # No ReLU after the last layer (docs/models/gears.md, Normalised layers).
            x = nn.relu(self.normalized(i, x, weight)(x))
        return x

    def __call__(self, x: Float[Array, "*r W"], weight: Weight | None) -> Float[Array, "*r H"]:
        y = getattr(self, f"linear{self.last}")(self.hidden(x, weight))
        return self.normalized(self.last, y, weight)(y)

    def projected(self, x: Float[Array, "R G W"], onto: Float[Array, "G H"]) -> Float[Array, "R G"]:
        """Each gene's product of the output, normalised by remembered moments, with its own row of
        `onto`.

        The last layer and its normalisation go into that row, so that they cost nothing per cell:
        onto . ((h K + b) scale + shift) = h . (K (onto scale)) + onto . (b scale + shift).
        """
        # Only the last layer is folded; earlier ones have a ReLU behind them.
        *_, layer = self.layers()
        scale, shift = self.normalized(self.last, x, None)
        constant = onto @ (layer.bias * scale + shift)
        rows = (onto * scale) @ layer.kernel.T
        return jnp.einsum("rgh,gh->rg", self.hidden(x, None), rows) + constant

    def layers(self) -> tuple[Layer, ...]:
        """What the layers are made of."""
        layers = []
        for i in range(self.last + 1):
            linear, norm = getattr(self, f"linear{i}"), getattr(self, f"norm{i}")
            layers.append(
                Layer(linear.kernel, linear.bias, norm.scale, norm.bias, norm.remembered())
            )
        return tuple(layers)

    def remember(self, batch: Sequence[Moments]) -> None:
        """Take in the moments of a batch that went through `layers` elsewhere."""
        for i, seen in enumerate(batch):
            # Calling a normalisation with moments is what stores them.
            getattr(self, f"norm{i}")(seen)


class GraphConvolution(nn.Module):
    """Layers of one hop each along a graph, ReLU between them: weighted SGConv or GCN (the
    operator's weights tell them apart), or attention (docs/models/gears.md, Propagation
    operator)."""

    width: int
    layers: int
    attention: bool = False

    def setup(self):
        for i in range(self.layers):
            setattr(self, f"layer{i}", Linear(self.width, self.width))
            if self.attention:
                # One vector for each end of an edge, as in single-head attention.
                shape = (2, self.width)
                attention = self.param(f"attention{i}", uniform_fan_in, shape, self.width)
                setattr(self, f"attention{i}", attention)

    def __call__(self, x: Float[Array, "P H"], hops: Hops) -> Float[Array, "n H"]:
        # Only nodes within reach of the outputs take part.
        x = x[hops.inputs]
        for i, hop in enumerate(hops.steps):
            linear = getattr(self, f"layer{i}")
            if self.attention:
                # The kernel comes first, so that attention looks at transformed nodes.
                x = x @ linear.kernel
                from_sender, from_receiver = getattr(self, f"attention{i}")
                sent, received = x @ from_sender, x @ from_receiver
                # Every edge's logit is the sum of what its two ends say; a hop's receivers are
                # numbered among themselves, `own` says which nodes they are.
                logits = nn.leaky_relu(sent[hop.senders] + received[hop.own][hop.receivers], 0.2)
                x = attend(hop, x, logits) + linear.bias
            else:
                x = linear(propagate(hop, x))
            # A ReLU between layers and none after the last (Propagation operator).
            if i + 1 < len(hops.steps):
                x = nn.relu(x)
        return x[hops.outputs]


def project(table: Float[Array, "n H"]) -> Float[Array, "n H"]:
    """Rows with a norm above 1 are divided by it (plus 1e-7; docs/models/gears.md, Norm cap)."""
    norm = jnp.sqrt(jnp.square(table).sum(-1, keepdims=True))
    return jnp.where(norm > LARGEST_NORM, table / (norm + NORM_GUARD), table)


def capped(table: Float[Array, "n H"]) -> Float[Array, "n H"]:
    """`project` in value, the identity in its gradient: that of a plain look-up at the projected
    rows."""
    # The difference is a constant to the gradient, which passes the table alone.
    return table + jax.lax.stop_gradient(project(table) - table)
