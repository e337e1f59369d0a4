"""Theil-Sen fit of two slopes without intercept: the spatial median of the exact fits to pairs of
points.

The same pairs serve every fit of a batch, so that they are drawn once; the numbers are those of
scikit-learn's `TheilSenRegressor(fit_intercept=False, max_subpopulation=1e5, max_iter=1000,
random_state=1000)`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

MOST, SEED = 100_000, 1000
"""Most pairs of points, and the seed of their draw, as published."""
TOLERANCE, STEPS = 1e-3, 1000
"""The published stop: a step of the median shorter than this, or so many of them."""


class Subsets(NamedTuple):
    """Pairs of points, first < second where all of them are taken."""

    first: Int[np.ndarray, "K"]
    second: Int[np.ndarray, "K"]


class Fit(NamedTuple):
    """both ~ first * c1 + second * c2."""

    c1: Float[Array, ""]
    c2: Float[Array, ""]
    steps: Int[Array, ""]
    """Steps of the spatial median."""


@functools.lru_cache(maxsize=8)
def subsets(points: int, most: int = MOST, seed: int = SEED) -> Subsets:
    """All pairs of `points` where there are at most `most`, else `most` random ones (which may
    repeat)."""
    if points * (points - 1) // 2 <= most:
        return Subsets(*np.triu_indices(points, 1))
    rng = np.random.RandomState(seed)
    # The legacy generator, one draw at a time: nothing else gives the published pairs.
    drawn = np.array([rng.choice(points, 2, replace=False) for _ in range(most)])
    return Subsets(drawn[:, 0], drawn[:, 1])


def theil_sen(
    first: Float[Array, "n"],
    second: Float[Array, "n"],
    both: Float[Array, "n"],
    pairs: tuple[Int[Array, "K"], Int[Array, "K"]],
    *,
    tolerance: float | None = TOLERANCE,
    most_steps: int = STEPS,
) -> Fit:
    """Fit both ~ c1 first + c2 second through all pairs of points in `pairs` (two arrays of
    indices).

    `tolerance` ends the search for the median once a step is shorter; the published 1e-3 leaves the
    slopes about 1e-3 from the exact median, which `tolerance=None` goes to (as far as rounding
    allows, in `most_steps` at most).
    """
    c1, c2 = exact_fits(first, second, both, pairs)
    return Fit(*_spatial_median(c1, c2, tolerance, most_steps))


def exact_fits(
    first: Float[Array, "n"],
    second: Float[Array, "n"],
    both: Float[Array, "n"],
    pairs: tuple[Int[Array, "K"], Int[Array, "K"]],
) -> tuple[Float[Array, "K"], Float[Array, "K"]]:
    """Slopes through each pair of points; of least norm where the two points leave them open."""
    i, j = pairs
    a, b, c, d = first[i], second[i], first[j], second[j]
    u, v = both[i], both[j]
    determinant, square = a * d - b * c, a * a + b * b + c * c + d * d
    # Relative to their size: points on one line through 0 leave the slopes open.
    open_ = jnp.abs(determinant) <= jnp.finfo(both.dtype).eps * square
    # The pseudoinverse of a matrix M of rank 1 is M' / |M|^2.
    least = jnp.where(square > 0, square, 1)
    divisor = jnp.where(open_, 1, determinant)
    # Cramer's rule for a c1 + b c2 = u and c c1 + d c2 = v.
    c1 = jnp.where(open_, (a * u + c * v) / least, (d * u - b * v) / divisor)
    c2 = jnp.where(open_, (b * u + d * v) / least, (a * v - c * u) / divisor)
    return c1, c2


def _spatial_median(
    c1: Float[Array, "K"], c2: Float[Array, "K"], tolerance: float | None, most_steps: int
) -> tuple[Array, Array, Array]:
    """The point of least summed distance to all, by the modified Weiszfeld steps of Karkkainen and
    Ayramo (2005).

    Differs from scikit-learn in staying where it is when it has reached the median exactly (there:
    a jump to 1).
    """
    # A row of ones makes the sum of weights part of the same product.
    points = jnp.stack([jnp.ones_like(c1), c1, c2])

    def step(search: tuple) -> tuple:
        steps, old, _ = search
        new = _weiszfeld(points, old)
        return steps + 1, new, jnp.hypot(new[0] - old[0], new[1] - old[1])

    def unfinished(search: tuple) -> Array:
        steps, (at1, at2), moved = search
        shortest = tolerance
        if tolerance is None:
            # A step below the rounding of the point itself cannot be told from none.
            shortest = 4 * jnp.finfo(c1.dtype).eps * (1 + jnp.hypot(at1, at2))
        return (steps < most_steps) & (moved >= shortest)

    # From the mean, as published: another start would stop elsewhere within the tolerance.
    start = c1.mean(), c2.mean()
    begin = jnp.asarray(0), start, jnp.asarray(jnp.inf, c1.dtype)
    steps, (at1, at2), _ = jax.lax.while_loop(unfinished, step, begin)
    return at1, at2, steps


def _weiszfeld(points: Float[Array, "3 K"], at: tuple[Array, Array]) -> tuple[Array, Array]:
    """One step from `at` towards the mean of the points (rows 1, x, y) weighted by 1 / distance;
    shorter from one of the points."""
    eps = jnp.finfo(points.dtype).eps
    dx, dy = points[1] - at[0], points[2] - at[1]
    distance = jnp.sqrt(dx * dx + dy * dy)
    # 1 / distance has no value on a point: it pulls nothing and only shortens the step.
    away = distance >= eps
    # Kept from being computed again for each of the sums, which are one product.
    weight = jax.lax.optimization_barrier(jnp.where(away, 1 / jnp.where(away, distance, 1), 0))
    total, sum_x, sum_y = points @ weight
    pull_x, pull_y = sum_x - at[0] * total, sum_y - at[1] * total
    pull = jnp.hypot(pull_x, pull_y)
    on_a_point = (weight == 0).any()
    # The share 1 / |pull| that a data point holds back (Karkkainen and Ayramo 2005).
    stay = jnp.where(pull > eps, jnp.where(on_a_point, 1 / jnp.maximum(pull, eps), 0), 1)
    share = (1 - jnp.minimum(stay, 1)) / jnp.maximum(total, eps)
    return at[0] + share * pull_x, at[1] + share * pull_y
