"""Hyperparameters of the Gaussian processes by marginal likelihood, of all components at once
(docs/models/set_gp.md, "Hyperparameters").

Everything here is in float64: a covariance of a few hundred conditions loses in float32 what tells
one kernel from another.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

RATE = 0.3
"""Of Adam, at the first step."""
SPREAD = 2.0
"""Standard deviation of the prior on the log of a variance: e^2 to either side is likely."""
RHO, RHO_SPREAD = 0.8, 0.2
"""Prior of the factor by which effects in combinations are weaker than alone."""
LOWEST, HIGHEST = 1e-5, 1e2
"""Bounds of variances, in units of the variance of the data."""


class Design(NamedTuple):
    """What the covariance of training conditions is made of; the same for all components."""

    similar: Float[Array, "J C C"]
    """M K_j M' of every kernel between genes, the identity first."""
    single: Float[Array, "C"]
    """1 for conditions of one perturbation, 0 for combinations."""
    used: Float[Array, "C"]
    """1 for conditions with data, 0 for those left out, which then tell nothing."""


class Data(NamedTuple):
    """Measured scores of one process."""

    scores: Float[Array, "C N"]
    """Independent columns under one covariance; zero rows where a condition is left out."""
    known: Float[Array, "C"]
    """Squared standard errors that are known, without that of the control: all conditions share
    it, and the mean effect has taken it away. 0 where they are not known."""


class Hyper(NamedTuple):
    """Hyperparameters of one process, unconstrained (`natural` makes them variances)."""

    mean: Float[Array, "2"]
    """Log variances of the mean of singles and of combinations."""
    genes: Float[Array, "J"]
    """Log variance of each kernel between genes, the identity first."""
    pair: Float[Array, ""]
    """Log variance of what a combination has of its own."""
    noise: Float[Array, "2"]
    """Log variances of the noise that is not known, of singles and of combinations."""
    rho: Float[Array, ""]
    """Factor of effects in combinations."""


def natural(hyper: Hyper) -> Hyper:
    """Variances between their bounds, and rho between 0 and 2."""

    def bounded(log: Array) -> Array:
        # Smooth bounds: the search needs a gradient wherever it stands.
        low, high = jnp.log(LOWEST), jnp.log(HIGHEST)
        middle, half = (low + high) / 2, (high - low) / 2
        return jnp.exp(middle + half * jnp.tanh((log - middle) / half))

    return Hyper(
        bounded(hyper.mean),
        bounded(hyper.genes),
        bounded(hyper.pair),
        bounded(hyper.noise),
        1 + jnp.tanh(hyper.rho - 1),
    )


def start(kernels: int) -> Hyper:
    """Where the search begins, and the centre of the prior: the data's variance shared out."""
    return Hyper(
        mean=jnp.log(jnp.array([0.1, 0.1])),
        genes=jnp.log(jnp.full(kernels, 0.5 / kernels)),
        pair=jnp.log(jnp.array(0.1)),
        noise=jnp.log(jnp.array([0.1, 0.1])),
        rho=1 + jnp.arctanh(jnp.array(RHO - 1)),
    )


def weights(design: Design, rho: Float[Array, ""]) -> Float[Array, "C"]:
    """rho for combinations, 1 for single perturbations."""
    return jnp.where(design.single == 1, 1.0, rho)


def signal(hyper: Hyper, design: Design) -> Float[Array, "C C"]:
    """Prior covariance of the effects of training conditions, by natural hyperparameters."""
    combined = 1 - design.single
    mean = hyper.mean[0] * jnp.outer(design.single, design.single)
    mean += hyper.mean[1] * jnp.outer(combined, combined)
    w = weights(design, hyper.rho)
    genes = jnp.tensordot(hyper.genes, design.similar, 1)
    return mean + jnp.outer(w, w) * genes + jnp.diag(hyper.pair * combined)


def noise(hyper: Hyper, design: Design, data: Data) -> Float[Array, "C"]:
    """Variance of the noise of each condition: what is known and what is learned beside it."""
    return data.known + jnp.where(design.single == 1, hyper.noise[0], hyper.noise[1])


def covariance(hyper: Hyper, design: Design, data: Data) -> Float[Array, "C C"]:
    """Of measured scores; a condition that is left out has variance 1 and no relation."""
    whole = signal(hyper, design) + jnp.diag(noise(hyper, design, data))
    both = jnp.outer(design.used, design.used)
    return both * whole + jnp.diag(1 - design.used)


@jax.custom_vjp
def gaussian(matrix: Float[Array, "C C"], scores: Float[Array, "C N"]) -> Float[Array, ""]:
    """-log N(scores | 0, matrix) of all columns, without constants."""
    return _gaussian(matrix, scores)[0]


def _gaussian(matrix: Array, scores: Array) -> tuple[Array, tuple[Array, Array, int]]:
    factor = jnp.linalg.cholesky(matrix)
    # One triangular solve and one product are half as long as two solves.
    whitening = jax.scipy.linalg.solve_triangular(factor, jnp.eye(len(matrix)), lower=True)
    inverse = whitening.T @ whitening
    solved = inverse @ scores
    columns = scores.shape[1]
    value = 0.5 * (scores * solved).sum() + columns * jnp.log(jnp.diag(factor)).sum()
    return value, (inverse, solved, columns)


def _gaussian_slope(kept: tuple[Array, Array, int], slope: Array) -> tuple[Array, Array]:
    # d/dK = (n K^-1 - a a') / 2 with a = K^-1 z: no derivative goes through the factorisation.
    inverse, solved, columns = kept
    return slope * 0.5 * (columns * inverse - solved @ solved.T), slope * solved


gaussian.defvjp(_gaussian, _gaussian_slope)


def objective(hyper: Hyper, design: Design, data: Data) -> Float[Array, ""]:
    """Negative log of the marginal likelihood times the prior, for scores of variance about 1."""
    return gaussian(covariance(natural(hyper), design, data), data.scores) + penalty(hyper)


def penalty(hyper: Hyper) -> Float[Array, ""]:
    """Negative log of the prior of hyperparameters, without constants."""
    centre = start(len(hyper.genes))
    rho = (natural(hyper).rho - RHO) / RHO_SPREAD
    away = jax.tree.map(lambda now, then: (((now - then) / SPREAD) ** 2).sum(), hyper, centre)
    return 0.5 * (away.mean + away.genes + away.pair + away.noise + rho**2)


def search(begin: Hyper, design: Design, data: Data, steps: int) -> Hyper:
    """The most likely hyperparameters of one process."""
    return descend(partial(objective, design=design, data=data), begin, steps)


def descend(goal: Callable[[Hyper], Array], begin: Hyper, steps: int) -> Hyper:
    """Adam with a rate that falls to 0 on hyperparameters, which are logarithms, all of a size.

    A step costs one factorisation. L-BFGS takes fewer steps, but vmapped it searches every
    direction for as long as the slowest component does, and came out ten times as slow.
    """
    slope = jax.grad(goal)
    method = optax.adam(optax.cosine_decay_schedule(RATE, steps))

    def step(carry: tuple[Hyper, optax.OptState], _: None) -> tuple[tuple, None]:
        hyper, state = carry
        change, state = method.update(slope(hyper), state)
        return (optax.apply_updates(hyper, change), state), None

    (hyper, _), _ = jax.lax.scan(step, (begin, method.init(begin)), None, length=steps)
    return hyper
