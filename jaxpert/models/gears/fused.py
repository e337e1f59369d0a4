"""The heavy part of a GEARS training step, row by row: two normalised layers over R x G hidden
vectors, read out (docs/models/gears.md, Speed).

A row (the G hidden vectors of one perturbation set) and all that is made of it stay in the
processor's caches, so that only the second layer's input and output are ever stored whole; rows
without cells are skipped. The derivative is written out: the first layer's output enters it through
the covariance of what the layer reads, and is neither stored nor computed again. Genes come last
within a row: products that sum over them are twice as fast that way on CPUs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxpert.core.types import PyTree
from jaxpert.models.gears.layers import Layer
from jaxpert.nn.layers import Affine, Moments, joined, normalizer


class Inputs(NamedTuple):
    """h[r, g] = relu(left[variant[r], g] + right[r])."""

    left: Float[Array, "V G W"]
    right: Float[Array, "R W"]
    variant: Int[Array, "R"]
    weight: Float[Array, "R"]
    """Cells of each row."""


class Spread(NamedTuple):
    """Mean and variance over the genes of each row."""

    mean: Float[Array, "R H"]
    variance: Float[Array, "R H"]


class Kept(NamedTuple):
    """What the derivative needs beside the arguments."""

    read: Spread
    """Of what the first layer reads; its whole covariance in place of the variance."""
    hidden: Float[Array, "R H G"]
    output: Float[Array, "R W G"]
    output_mean: Float[Array, "R W"]
    affines: tuple[Affine, Affine]
    pulls: tuple[Callable, Callable]


def _normalize(
    layer: Layer, weight: Float[Array, "R"], genes: int, spread: Spread
) -> tuple[Affine, Callable]:
    """The map of the normalisation, and its derivative: from that of the map to those of layer and
    spread."""

    def affine(scale: Array, offset: Array, remembered: Moments, spread: Spread) -> Affine:
        return normalizer(
            scale, offset, joined(spread.mean, spread.variance, weight, genes), remembered
        )

    return jax.vjp(affine, layer.scale, layer.offset, layer.remembered, spread)


def _scan_rows(
    function: Callable[..., PyTree], start: PyTree, weight: Float[Array, "R"], *xs: PyTree
) -> tuple[PyTree, PyTree]:
    """Scan `function(*row) -> (added to the sums, kept of the row)` over the rows that have cells:
    (sums, what was kept; zeros for rows without cells)."""
    shapes = jax.eval_shape(function, *jax.tree.map(lambda x: x[0], xs))[1]

    def step(sums: PyTree, row: tuple) -> tuple[PyTree, PyTree]:
        def real(sums: PyTree) -> tuple[PyTree, PyTree]:
            added, kept = function(*row[1:])
            return jax.tree.map(jnp.add, sums, added), kept

        def absent(sums: PyTree) -> tuple[PyTree, PyTree]:
            return sums, jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), shapes)

        return jax.lax.cond(row[0] > 0, real, absent, sums)

    return jax.lax.scan(step, start, (weight, *xs))


@jax.custom_vjp
def recover(
    inputs: Inputs, layers: tuple[Layer, Layer], onto: Float[Array, "G W"]
) -> tuple[Float[Array, "R G"], tuple[Spread, Spread]]:
    """Each gene's product of its recovered vector with its own row of `onto`, and what both
    normalisations saw.

    The recovered vectors are normalise(relu(normalise(h @ kernel + bias)) @ kernel + bias), with
    moments over all cells and genes. The second result has no derivative.
    """
    return _forward(inputs, layers, onto)[0]


def _forward(
    inputs: Inputs, layers: tuple[Layer, Layer], onto: Float[Array, "G W"]
) -> tuple[tuple[Array, tuple[Spread, Spread]], tuple]:
    (left, right, variant, weight), (first, second) = inputs, layers
    left, genes = left.swapaxes(1, 2), left.shape[1]

    # 1. Mean and covariance of h over the genes of each row give the moments of the first layer's
    # output, h K + b, before it is formed: mean K + b, and the diagonal of K' cov K.

    def look(right: Array, variant: Array) -> tuple[tuple, Spread]:
        h = jax.nn.relu(left[variant] + right[:, None])
        mean = h.mean(1)
        apart = h - mean[:, None]
        return (), Spread(mean, apart @ apart.T / genes)

    _, read = _scan_rows(look, (), weight, right, variant)
    variance = (first.kernel * (read.variance @ first.kernel)).sum(1)
    inner = Spread(read.mean @ first.kernel + first.bias, variance)
    affine1, pull1 = _normalize(first, weight, genes, inner)
    scale, shift = affine1.scale[:, None], affine1.shift[:, None]

    # 2. With its normalisation known, a row goes through both layers while it is in the cache.

    def through(right: Array, variant: Array) -> tuple[tuple, tuple]:
        h = jax.nn.relu(left[variant] + right[:, None])
        hidden = jax.nn.relu((first.kernel.T @ h + first.bias[:, None]) * scale + shift)
        output = second.kernel.T @ hidden + second.bias[:, None]
        mean = output.mean(1)
        return (), (hidden, output, Spread(mean, jnp.square(output - mean[:, None]).mean(1)))

    _, (hidden, output, outer) = _scan_rows(through, (), weight, right, variant)

    # 3. The second normalisation, y scale + shift, goes into the read-out.
    affine2, pull2 = _normalize(second, weight, genes, outer)
    scaled = (onto * affine2.scale).T
    z = jax.lax.map(lambda row: (row * scaled).sum(0), output) + onto @ affine2.shift
    kept = Kept(read, hidden, output, outer.mean, (affine1, affine2), (pull1, pull2))
    return (z, (inner, outer)), (inputs, layers, onto, kept)


def _backward(residuals: tuple, slopes: tuple) -> tuple[Inputs, tuple[Layer, Layer], Array]:
    inputs, (first, second), onto, kept = residuals
    weight, dz, genes = inputs.weight, slopes[0], onto.shape[0]
    (affine1, affine2), (pull1, pull2) = kept.affines, kept.pulls

    # 3. z = onto . (y scale + shift): the sums over rows of dz and dz y are all that the read-out
    # and the second normalisation need.
    pulled, _ = _scan_rows(
        lambda dz, output: (dz * output, ()), jnp.zeros_like(onto.T), weight, dz, kept.output
    )
    of_gene, pulled = dz.sum(0), pulled.T
    d_onto = pulled * affine2.scale + of_gene[:, None] * affine2.shift
    *of_norm2, at_outer = pull2(Affine((pulled * onto).sum(0), of_gene @ onto))

    # 2. Back through both layers.
    (d_kernel2, d_bias2, products, shifts), partly = _back_through_layers(
        inputs, (first, second), onto, kept, dz, at_outer
    )

    # 1. The first normalisation acts on u = h K + b. `products` is the sum over rows and genes of
    # the slope of u's normalised value times h, so that the slopes of scale and shift follow
    # without u itself: sum(slope u) = sum over inputs of (K products) + b sum(slope).
    products = products.T
    *of_norm1, at_inner = pull1(
        Affine((first.kernel * products).sum(0) + first.bias * shifts, shifts)
    )
    # Through the moments of u the slopes go on into K, b, and the mean and covariance of h.
    twice = 2 * at_inner.variance[:, None]
    d_kernel1 = products * affine1.scale + kept.read.mean.T @ at_inner.mean
    d_kernel1 += ((kept.read.variance @ first.kernel) * twice).sum(0)
    d_bias1 = shifts * affine1.scale + at_inner.mean.sum(0)
    squares = (first.kernel * twice) @ first.kernel.T / genes
    constant = at_inner.mean @ first.kernel.T / genes - jnp.einsum(
        "rij,rj->ri", squares, kept.read.mean
    )
    d_inputs = _back_into_inputs(inputs, partly, squares, constant)
    layers = Layer(d_kernel1, d_bias1, *of_norm1), Layer(d_kernel2, d_bias2, *of_norm2)
    return d_inputs, layers, d_onto


def _back_through_layers(
    inputs: Inputs,
    layers: tuple[Layer, Layer],
    onto: Float[Array, "G W"],
    kept: Kept,
    dz: Float[Array, "R G"],
    at_outer: Spread,
) -> tuple[tuple[Array, Array, Array, Array], Float[Array, "R W G"]]:
    """Slopes of the second layer, what those of the first need, and the slopes of h through z.

    Beside the way through z there is the one through the moments of the output y:
    d(mean) / dy = 1 / G and d(variance) / dy = 2 (y - mean) / G.
    """
    first, second = layers
    left, genes = inputs.left.swapaxes(1, 2), onto.shape[0]
    affine1, affine2 = kept.affines
    scaled, kernel = (onto * affine2.scale).T, first.kernel * affine1.scale

    def back(
        dz: Array,
        hidden: Array,
        output: Array,
        mean: Array,
        at: Spread,
        right: Array,
        variant: Array,
    ) -> tuple[tuple, Array]:
        slope, constant = 2 / genes * at.variance, (at.mean - 2 * at.variance * mean) / genes
        d_output = dz * scaled + (output * slope[:, None] + constant[:, None])
        d_hidden = jnp.where(hidden > 0, second.kernel @ d_output, 0)
        h = jax.nn.relu(left[variant] + right[:, None])
        sums = hidden @ d_output.T, d_output.sum(1), d_hidden @ h.T, d_hidden.sum(1)
        return sums, kernel @ d_hidden

    empty = (second.kernel, second.bias, first.kernel.T, first.bias)
    start = jax.tree.map(jnp.zeros_like, empty)
    held = kept.hidden, kept.output, kept.output_mean
    return _scan_rows(back, start, inputs.weight, dz, *held, at_outer, inputs.right, inputs.variant)


def _back_into_inputs(
    inputs: Inputs,
    partly: Float[Array, "R W G"],
    squares: Float[Array, "R W W"],
    constant: Float[Array, "R W"],
) -> Inputs:
    """Slopes of the inputs: of h through z (`partly`) and through its mean and covariance."""
    left, variant = inputs.left.swapaxes(1, 2), inputs.variant
    # One gene base for all rows: its slopes are a plain sum over them.
    shared = len(left) == 1

    def back(
        partly: Array, square: Array, constant: Array, right: Array, variant: Array
    ) -> tuple[Array, Array]:
        h = jax.nn.relu(left[variant] + right[:, None])
        d_sum = jnp.where(h > 0, partly + (square @ h + constant[:, None]), 0)
        # With several gene bases the slopes go to the base that the row has.
        d_left = d_sum if shared else jnp.zeros_like(left).at[variant].set(d_sum)
        return d_left, d_sum.sum(1)

    start = jnp.zeros_like(left[0]) if shared else jnp.zeros_like(left)
    d_left, d_right = _scan_rows(
        back, start, inputs.weight, partly, squares, constant, inputs.right, variant
    )
    no_slope: Any = np.zeros(variant.shape, jax.dtypes.float0)
    d_left = d_left.reshape(left.shape).swapaxes(1, 2)
    return Inputs(d_left, d_right, no_slope, jnp.zeros_like(inputs.weight))


recover.defvjp(_forward, _backward)
