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
    columns = jnp.where(varies[:, None], columns - columns.mean(1, keepdims=True), 0)
    means = jnp.stack([_mean_distances(column) for column in columns])
    groups = tuple(dict.fromkeys(group for group, _ in pairs))
    covariance, group_means = _sums(columns, means, groups, tuple(pairs))
    square = 2 * (columns**2).mean(1)  # mean squared distance
    own = [
        _variance(square[jnp.array(group)].sum(), group_means[k]) for k, group in enumerate(groups)
    ]
    found = []
    for value, (group, other) in zip(covariance, pairs, strict=True):
        product = own[groups.index(group)] * _variance(square[other], means[other])
        found.append(jnp.sqrt(jnp.maximum(value, 0) / jnp.sqrt(product)))
    return jnp.stack(found)


def _variance(square: Array, means: Float[Array, "n"]) -> Array:
    """Squared distance variance from the mean squared distance and each point's mean distance."""
    variance = square - 2 * (means**2).mean() + means.mean() ** 2
    return jnp.where(square > 0, variance, jnp.nan)


def _mean_distances(values: Float[Array, "n"]) -> Float[Array, "n"]:
    """Mean |difference| of every value to all, from the sorted order."""
    n = len(values)
    order = jnp.argsort(values)
    ranked = values[order]
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
    others = sorted({other for _, other in pairs})
    rows = (columns, means - means.mean(1, keepdims=True), jnp.ones((1, n), columns.dtype))
    blocks = jnp.pad(jnp.concatenate(rows), ((0, 0), (0, -n % ROWS)))
    blocks = blocks.reshape(len(blocks), -1, ROWS).swapaxes(0, 1)

    def add(sums: tuple[Array, ...], block: Array) -> tuple[tuple[Array, ...], None]:
        of, offset, real = block[: len(columns)], block[len(columns) : -1], block[-1][:, None]
        gaps = [jnp.abs(mine[:, None] - column) for mine, column in zip(of, columns, strict=True)]
        distance = {group: _norm([gaps[k] for k in group]) for group in groups}
        centred = {k: (gaps[k] - offset[k][:, None] - means[k]) * real for k in others}
        terms = [distance[group] * centred[other] for group, other in pairs]
        terms += [distance[group] * real for group in groups]
        return tuple(total + term.sum(0) for total, term in zip(sums, terms, strict=True)), None

    empty = tuple(jnp.zeros(n, columns.dtype) for _ in range(len(pairs) + len(groups)))
    sums, _ = jax.lax.scan(add, empty, blocks)
    return [total.mean() / n for total in sums[: len(pairs)]], [
        total / n for total in sums[len(pairs) :]
    ]


def _norm(gaps: list[Array]) -> Array:
    return (
        gaps[0]
        if len(gaps) == 1
        else jnp.sqrt(sum((gap * gap for gap in gaps[1:]), gaps[0] * gaps[0]))
    )
