"""Distance correlation (Szekely, Rizzo and Bakirov 2007): biased V-statistics, exponent 1, square
root taken.

Distances are formed a few rows at a time, so that memory grows with n and not with its square.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

ROWS = 16
"""Rows of the distance matrices at a time."""
Columns = tuple[int, ...]


def distance_correlations(
    columns: Float[Array, "m n"], pairs: Sequence[tuple[Columns, int]]
) -> Float[Array, "pairs"]:
    """Distance correlation of every (group of columns, other column) in `pairs` over the same n
    observations.

    A group of several columns is one sample of vectors with Euclidean distances. NaN where a side
    is constant. With `columns = [a, b, ab]`, `[((0, 1), 2), ((0,), 1)]` asks for dC([a b], ab) and
    dC(a, b).
    """
    varies = jnp.ptp(columns, 1) > 0
    # A shift changes no distance, and centred squares lose fewer digits.
    columns = jnp.where(varies[:, None], columns - columns.mean(1, keepdims=True), 0)
    means = jnp.stack([_mean_distances(column) for column in columns])
    # Each group once, in a fixed order, as the order is part of the compiled program.
    groups = tuple(dict.fromkeys(group for group, _ in pairs))
    covariances, group_means = _sums(columns, means, groups, tuple(pairs))
    square = 2 * (columns**2).mean(1)  # mean squared distance
    variances = {}
    for group, mean in zip(groups, group_means, strict=True):
        # The squared distance of vectors is the sum of those of their columns.
        variances[group] = _variance(square[jnp.array(group)].sum(), mean)
    correlations = []
    for covariance, (group, other) in zip(covariances, pairs, strict=True):
        product = variances[group] * _variance(square[other], means[other])
        # dCor^2 = dCov^2 / (dVar_x dVar_y); rounding may leave dCov^2 slightly below 0.
        correlations.append(jnp.sqrt(jnp.maximum(covariance, 0) / jnp.sqrt(product)))
    return jnp.stack(correlations)


def _variance(square: Array, means: Float[Array, "n"]) -> Array:
    """Squared distance variance from the mean squared distance and each point's mean distance."""
    # Mean square of d_ij - d_i. - d_.j + d_..: E[d^2] - 2 E[d_i.^2] + E[d]^2.
    variance = square - 2 * (means**2).mean() + means.mean() ** 2
    return jnp.where(square > 0, variance, jnp.nan)


def _mean_distances(values: Float[Array, "n"]) -> Float[Array, "n"]:
    """Mean |difference| of every value to all, from the sorted order."""
    n = len(values)
    order = jnp.argsort(values)
    ranked = values[order]
    # sum_j |x_j - x_i| = i x_i - sum of those below + sum of those above - (n - i) x_i.
    rank = jnp.arange(1, n + 1, dtype=values.dtype)
    means = ((2 * rank - n) * ranked + ranked.sum() - 2 * jnp.cumsum(ranked)) / n
    return jnp.zeros_like(values).at[order].set(means)


def _sums(
    columns: Float[Array, "m n"],
    means: Float[Array, "m n"],
    groups: tuple[Columns, ...],
    pairs: tuple[tuple[Columns, int], ...],
) -> tuple[list[Array], list[Array]]:
    """Squared distance covariance of every pair, and each point's mean distance in every group.

    One of two matrices is double-centred: centring the other as well would not change the sum of
    their product.
    """
    n = columns.shape[1]
    # Those of one column have their mean distances already.
    vectors: list[Columns] = [group for group in groups if len(group) > 1]
    others = sorted({other for _, other in pairs})
    # d_ij - d_i. - d_.j + d_..: row and grand mean together are one offset per row.
    rows = (columns, means - means.mean(1, keepdims=True), jnp.ones((1, n), columns.dtype))
    # Padded to whole blocks of ROWS observations; the last row is 0 where there is none.
    blocks = jnp.pad(jnp.concatenate(rows), ((0, 0), (0, -n % ROWS)))
    blocks = blocks.reshape(len(blocks), -1, ROWS).swapaxes(0, 1)

    def add(sums: tuple[Array, ...], block: Array) -> tuple[tuple[Array, ...], None]:
        values, offset, real = block[: len(columns)], block[len(columns) : -1], block[-1][:, None]
        gaps, centred, distance = [], {}, {}
        for x, column in zip(values, columns, strict=True):
            gaps.append(jnp.abs(x[:, None] - column))
        for group in groups:
            distance[group] = _norm(gaps, group)
        for k in others:
            centred[k] = (gaps[k] - offset[k][:, None] - means[k]) * real
        # Only one of the two matrices is centred; see the docstring.
        terms = [distance[group] * centred[other] for group, other in pairs]
        terms += [distance[group] * real for group in vectors]
        return jax.tree.map(lambda total, term: total + term.sum(0), sums, tuple(terms)), None

    empty = (jnp.zeros(n, columns.dtype),) * (len(pairs) + len(vectors))
    sums, _ = jax.lax.scan(add, empty, blocks)
    covariances = [total.mean() / n for total in sums[: len(pairs)]]
    summed = dict(zip(vectors, sums[len(pairs) :], strict=True))
    group_means = []
    for group in groups:
        first, *more = group
        group_means.append(summed[group] / n if more else means[first])
    return covariances, group_means


def _norm(gaps: list[Array], group: Columns) -> Array:
    """Euclidean distance over the columns of a group, from the distances in each of them."""
    # A root of a square would cost digits where there is one column.
    if len(group) == 1:
        return gaps[group[0]]
    square = gaps[group[0]] * gaps[group[0]]
    for k in group[1:]:
        square = square + gaps[k] * gaps[k]
    return jnp.sqrt(square)
