"""Linen modules that two or more models use.

Kernels and biases begin as in PyTorch's linear layer, from which the published models took their
initial values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from jaxpert.core.parallel import psum

MIN_VARIANCE = 1e-4
"""Of a Gaussian head."""
EPSILON = 1e-5
"""Of batch normalisation."""

# x @ kernel as a primitive of its own, for its batching rule: vmapped rows (particles) join the
# rows of one product. JAX's own rule keeps them as an axis, and the kernel's gradient then sums
# over two axes, before which XLA's CPU backend copies the cotangent into another order: half of the
# time of the decoder's last layer.
_rows_times = Primitive("rows_times")


def _product(x: Float[Array, "R W"], kernel: Float[Array, "W H"]) -> Float[Array, "R H"]:
    return x @ kernel


def _join_rows(
    arguments: tuple[Array, Array], axes: tuple[int | None, int | None]
) -> tuple[Array, int]:
    (x, kernel), (rows_axis, kernel_axis) = arguments, axes
    # Vmapped seeds have a kernel each: nothing can be joined.
    if rows_axis is None or kernel_axis is not None:
        return jax.vmap(_product, axes)(x, kernel), 0
    x = jnp.moveaxis(x, rows_axis, 0)
    joined = _rows_times.bind(x.reshape(-1, x.shape[-1]), kernel)
    return joined.reshape(*x.shape[:-1], -1), 0


_rows_times.def_impl(jax.jit(_product))
_rows_times.def_abstract_eval(lambda x, kernel: x.update(shape=(x.shape[0], kernel.shape[1])))
mlir.register_lowering(_rows_times, mlir.lower_fun(_product, multiple_results=False))
# The transposes for y = x W with cotangent c: dx = c W^T and dW = x^T c.
ad.defbilinear(_rows_times, lambda ct, x, kernel: ct @ kernel.T, lambda ct, x, kernel: x.T @ ct)
batching.primitive_batchers[_rows_times] = _join_rows


def uniform_fan_in(key: Array, shape: Sequence[int], fan_in: int, dtype=jnp.float32) -> Array:
    """Uniform(-1/sqrt(fan_in), 1/sqrt(fan_in)): the initialisation of every kernel and bias."""
    return jax.random.uniform(key, tuple(shape), dtype, -1, 1) / fan_in**0.5


class Linear(nn.Module):
    """x @ kernel + bias."""

    inputs: int
    features: int

    def setup(self):
        self.kernel = self.param(
            "kernel", uniform_fan_in, (self.inputs, self.features), self.inputs
        )
        self.bias = self.param("bias", uniform_fan_in, (self.features,), self.inputs)

    def __call__(self, x: Float[Array, "*r W"]) -> Float[Array, "*r H"]:
        return x @ self.kernel + self.bias


class BlockDense(nn.Module):
    """A linear layer on the concatenation of several blocks, with each block's share available on
    its own.

    W [a, b] = W_a a + W_b b: a caller that meets the same `a` again (another particle, another
    branch) reuses `project(0, a)` instead of multiplying once more.
    """

    widths: tuple[int, ...]
    features: int

    def setup(self):
        fan_in = sum(self.widths)
        self.kernel = self.param("kernel", uniform_fan_in, (fan_in, self.features), fan_in)
        self.bias = self.param("bias", uniform_fan_in, (self.features,), fan_in)

    def rows(self, block: int) -> Float[Array, "W H"]:
        """The kernel's rows of one block, which is also its share for the identity matrix (one-hot
        input)."""
        start = sum(self.widths[:block])
        return self.kernel[start : start + self.widths[block]]

    def project(self, block: int, x: Float[Array, "*b W"]) -> Float[Array, "*b H"]:
        """One block's share, without the bias."""
        rows = self.rows(block)
        dtype = jnp.result_type(x, rows)
        joined = _rows_times.bind(x.reshape(-1, x.shape[-1]).astype(dtype), rows.astype(dtype))
        return joined.reshape(*x.shape[:-1], self.features)

    def joined(self, *blocks: Float[Array, "..."]) -> Float[Array, "*b H"]:
        """The sum of all blocks' shares, without the bias."""
        total = self.project(0, blocks[0])
        for i, x in enumerate(blocks[1:], 1):
            total = total + self.project(i, x)
        return total

    def __call__(self, *blocks: Float[Array, "..."]) -> Float[Array, "*b H"]:
        return self.joined(*blocks) + self.bias


class Trunk(nn.Module):
    """Leaky-ReLU layers, each after the first added to its input; no normalisation, no dropout
    (docs/models/cradle.md, "Trunk")."""

    widths: tuple[int, ...]
    hidden: int
    layers: int

    def setup(self):
        self.layer0 = BlockDense(self.widths, self.hidden)
        for k in range(1, self.layers):
            setattr(self, f"layer{k}", BlockDense((self.hidden,), self.hidden))

    def after(self, projected: Float[Array, "*b H"]) -> Float[Array, "*b H"]:
        """From the sum of the first layer's block shares to the last hidden layer."""
        # h_1 = lrelu(W_1 x + b_1), then h_k = h_{k-1} + lrelu(W_k h_{k-1} + b_k).
        h = nn.leaky_relu(projected + self.layer0.bias)
        for k in range(1, self.layers):
            h = h + nn.leaky_relu(getattr(self, f"layer{k}")(h))
        return h


class GaussianHead(nn.Module):
    """Trunk, then mean and standard deviation of a diagonal normal: var = exp(.) + 1e-4
    (docs/models/cradle.md, "Gaussian head")."""

    widths: tuple[int, ...]
    hidden: int
    layers: int
    out: int

    def setup(self):
        self.trunk = Trunk(self.widths, self.hidden, self.layers)
        self.mean = BlockDense((self.hidden,), self.out)
        self.log_var = BlockDense((self.hidden,), self.out)

    def project(self, block: int, x: Float[Array, "*b W"]) -> Float[Array, "*b H"]:
        return self.trunk.layer0.project(block, x)

    def rows(self, block: int) -> Float[Array, "W H"]:
        return self.trunk.layer0.rows(block)

    def heads(
        self, projected: Float[Array, "*b H"]
    ) -> tuple[Float[Array, "*b Z"], Float[Array, "*b Z"]]:
        """(mean, std) from the sum of the first layer's block shares."""
        h = self.trunk.after(projected)
        return self.mean(h), jnp.sqrt(jnp.exp(self.log_var(h)) + MIN_VARIANCE)

    def __call__(
        self, *blocks: Float[Array, "..."]
    ) -> tuple[Float[Array, "*b Z"], Float[Array, "*b Z"]]:
        return self.heads(self.trunk.layer0.joined(*blocks))


class CountHead(nn.Module):
    """Trunk, then logits over genes, beside one free log inverse dispersion per gene
    (docs/models/cradle.md, "Count head")."""

    widths: tuple[int, ...]
    hidden: int
    layers: int
    genes: int

    def setup(self):
        self.trunk = Trunk(self.widths, self.hidden, self.layers)
        self.out = BlockDense((self.hidden,), self.genes)
        self.log_concentration = self.param(
            "log_concentration", nn.initializers.zeros, (self.genes,)
        )

    def __call__(
        self, *blocks: Float[Array, "..."]
    ) -> tuple[Float[Array, "*b G"], Float[Array, "G"]]:
        hidden = self.trunk.after(self.trunk.layer0.joined(*blocks))
        return self.out(hidden), self.log_concentration


Weight = Float[Array, "..."]
"""How many rows each row stands for, over all leading axes of what it weighs (1 where an axis
counts evenly)."""


class Moments(NamedTuple):
    """Of weighted rows, over all devices."""

    mean: Float[Array, "H"]
    variance: Float[Array, "H"]
    """Divided by the count."""
    count: Float[Array, ""]


class Affine(NamedTuple):
    """x * scale + shift."""

    scale: Float[Array, "H"]
    shift: Float[Array, "H"]

    def __call__(self, x: Float[Array, "*r H"]) -> Float[Array, "*r H"]:
        return x * self.scale + self.shift


def moments(x: Float[Array, "*r H"], weight: Weight) -> Moments:
    """Mean and variance over all axes but the last; rows of weight 0 are as good as absent."""
    axes = tuple(range(x.ndim - 1))
    # Where `weight` has size 1 along an axis of `x`, one weight stands for all rows along it.
    count = psum(weight.sum()) * (math.prod(x.shape[:-1]) // weight.size)
    rows = jnp.maximum(count, 1)
    # Two passes: the mean of squares minus the squared mean would cancel in float32.
    mean = psum((x * weight[..., None]).sum(axes)) / rows
    variance = psum((jnp.square(x - mean) * weight[..., None]).sum(axes)) / rows
    return Moments(mean, variance, count)


def joined(
    mean: Float[Array, "R H"], variance: Float[Array, "R H"], weight: Float[Array, "R"], size: int
) -> Moments:
    """Moments of R groups of `size` rows together, from those within each group."""
    # Law of total variance: the mean of the variances plus the variance of the means.
    groups = psum(weight.sum())
    whole = psum(weight @ mean) / jnp.maximum(groups, 1)
    spread = psum(weight @ (variance + jnp.square(mean - whole))) / jnp.maximum(groups, 1)
    return Moments(whole, spread, groups * size)


def normalizer(
    scale: Float[Array, "H"],
    bias: Float[Array, "H"],
    batch: Moments,
    remembered: Moments,
    fewest: int = 2,
    epsilon: float = EPSILON,
) -> Affine:
    """Normalisation by the moments of the batch, or where that has fewer rows by the remembered
    ones."""
    enough = batch.count >= fewest
    mean = jnp.where(enough, batch.mean, remembered.mean)
    variance = jnp.where(enough, batch.variance, remembered.variance)
    # scale (x - mean) / sqrt(variance + epsilon) + bias, sorted by x.
    factor = scale * jax.lax.rsqrt(variance + epsilon)
    return Affine(factor, bias - mean * factor)


class BatchNorm(nn.Module):
    """Batch normalisation as an affine map, which callers may fold into the next product.

    Normalises by the biased variance of the batch and remembers the unbiased one, r <- (1 -
    momentum) r + momentum s, as the published codes do (Flax's own remembers the biased one). Fewer
    than two rows have no variance: then the remembered moments are used and kept. With
    `repeat_single` a single row counts as two equal ones, as published for GEARS: variance 0, so no
    signal passes.
    """

    features: int
    repeat_single: bool = False
    epsilon: float = EPSILON
    momentum: float = 0.1

    def setup(self):
        shape = (self.features,)
        self.scale = self.param("scale", nn.initializers.ones, shape)
        self.bias = self.param("bias", nn.initializers.zeros, shape)
        self.mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        self.variance = self.variable("batch_stats", "variance", jnp.ones, shape)

    def remembered(self) -> Moments:
        """The moments that evaluation uses; they count no rows."""
        return Moments(self.mean.value, self.variance.value, jnp.zeros((), self.scale.dtype))

    def __call__(self, batch: Moments | None) -> Affine:
        """The map for rows with these moments, which are then remembered; with the remembered ones
        for None."""
        old = self.remembered()
        # A single row has no spread, unless it counts as two equal ones.
        fewest = 1 if self.repeat_single else 2
        rows = old if batch is None else batch
        affine = normalizer(self.scale, self.bias, rows, old, fewest, self.epsilon)
        learning = self.is_mutable_collection("batch_stats") and not self.is_initializing()
        if batch is not None and learning:
            # A rate of 0 in place of a branch: whether there are rows enough is known on the device
            # alone. count / (count - 1) makes the biased variance unbiased.
            count = jnp.maximum(batch.count, 2)
            rate = jnp.where(batch.count >= fewest, self.momentum, 0).astype(self.scale.dtype)
            self.mean.value += rate * (jax.lax.stop_gradient(batch.mean) - old.mean)
            unbiased = jax.lax.stop_gradient(batch.variance) * (count / (count - 1))
            self.variance.value += rate * (unbiased - old.variance)
        return affine
