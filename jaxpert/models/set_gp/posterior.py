"""The posterior of every process, as arrays that predict any set (docs/models/set_gp.md,
"Predictions")."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxpert.models.set_gp import marginal
from jaxpert.models.set_gp.components import Components
from jaxpert.models.set_gp.marginal import Data, Design, Hyper
from jaxpert.models.set_gp.sets import same


class Posterior(NamedTuple):
    """Processes of K components, and the last one of what these leave; NumPy or JAX arrays.

    The score of a set S with the multi-hot row t is m_s + w_s (t e) + own_S, with s for single or
    combined, w = 1 for singles and rho for combinations.
    """

    hyper: Hyper
    """Natural, with the processes in front."""
    class_mean: Float[Any, "K 2"]
    gene: Float[Any, "K T"]
    """e, what each gene adds."""
    own: Float[Any, "K C"]
    """What each training combination has of its own."""
    rest_class_mean: Float[Any, "2 G"]
    rest_gene: Float[Any, "T G"]
    rest_own: Float[Any, "C G"]
    whitening: Float[Any, "P C C"]
    """L^-1 of every covariance L L'; conditions left out have rows of their own."""
    crossed: Float[Any, "J T C"]
    """K_j M' of the training conditions."""
    kernels: Float[Any, "J T T"]
    member: Float[Any, "C T"]
    used: Float[Any, "C"]


def posterior(
    parts: Components, hyper: Hyper, made: Design, kernels: np.ndarray, sets: np.ndarray
) -> Posterior:
    """The posterior under natural hyperparameters.

    Args:
        parts: of the effects.
        hyper: of the K components, and last of the rest.
        made: design of the training conditions.
        kernels: between genes, `own` first.
        sets: multi-hot rows of the training conditions.
    """
    leading = jax.tree.map(lambda leaf: leaf[:-1], hyper)
    last = jax.tree.map(lambda leaf: leaf[-1], hyper)
    scores = jnp.asarray(parts.scores.T[:, :, None])
    shared = made, jnp.asarray(kernels), jnp.asarray(sets)
    each = _all(*shared, leading, scores, jnp.asarray(parts.known[:-1]))
    rest = _last(*shared, last, jnp.asarray(parts.rest), jnp.asarray(parts.known[-1]))
    class_mean, gene, own, whitening = each
    return Posterior(
        hyper=hyper,
        class_mean=class_mean[..., 0],
        gene=gene[..., 0],
        own=own[..., 0],
        rest_class_mean=rest[0],
        rest_gene=rest[1],
        rest_own=rest[2],
        whitening=jnp.concatenate([whitening, rest[3][None]]),
        crossed=np.einsum("jtu,cu->jtc", kernels, sets),
        kernels=kernels,
        member=sets,
        used=made.used,
    )


def _one(
    made: Design, kernels: Array, sets: Array, hyper: Hyper, scores: Array, known: Array
) -> tuple[Array, Array, Array, Array]:
    factor = jnp.linalg.cholesky(marginal.covariance(hyper, made, Data(scores, known)))
    whitening = jax.scipy.linalg.solve_triangular(factor, jnp.eye(len(sets)), lower=True)
    # a = (K + noise)^-1 z, from which every posterior mean is a sum.
    solved = whitening.T @ (whitening @ scores)
    combined = 1 - made.single
    class_mean = jnp.stack([hyper.mean[0] * made.single, hyper.mean[1] * combined]) @ solved
    weighted = marginal.weights(made, hyper.rho)[:, None] * solved
    gene = jnp.tensordot(hyper.genes, kernels, 1) @ (sets.T @ weighted)
    own = (hyper.pair * combined)[:, None] * solved
    return class_mean, gene, own, whitening


_last = jax.jit(_one)
_all = jax.jit(jax.vmap(_one, in_axes=(None, None, None, 0, 0, 0)))


def relations(
    of: Posterior, member: Float[Array, "R T"], single: Float[Array, "R"]
) -> tuple[Float[Array, "P R C"], Float[Array, "P R"]]:
    """Prior covariances of asked sets with the training conditions, and their variances."""
    combined, trained_single = 1 - single, (of.member.sum(1) == 1) * 1.0
    alike = jnp.einsum("rt,jtc->jrc", member, of.crossed)
    itself = jnp.einsum("rt,jtu,ru->jr", member, of.kernels, member)
    equal = same(member, of.member)

    def one(hyper: Hyper) -> tuple[Array, Array]:
        weight = jnp.where(single == 1, 1.0, hyper.rho)
        other = jnp.where(trained_single == 1, 1.0, hyper.rho)
        cross = hyper.mean[0] * jnp.outer(single, trained_single)
        cross += hyper.mean[1] * jnp.outer(combined, 1 - trained_single)
        cross += jnp.outer(weight, other) * jnp.tensordot(hyper.genes, alike, 1)
        cross += hyper.pair * combined[:, None] * equal
        variance = jnp.where(single == 1, hyper.mean[0], hyper.mean[1])
        variance += weight**2 * jnp.tensordot(hyper.genes, itself, 1) + hyper.pair * combined
        return cross * of.used, variance

    return jax.vmap(one)(of.hyper)


def exact_variances(
    of: Posterior, member: Float[Array, "R T"], single: Float[Array, "R"]
) -> Float[Array, "P R"]:
    """Posterior variances of every process' score."""
    cross, prior = relations(of, member, single)
    # k** - |L^-1 k*|^2, which a product in 32 bits keeps above 0 but for rounding.
    explained = (jnp.einsum("pcd,prd->prc", of.whitening, cross) ** 2).sum(2)
    return jnp.maximum(prior - explained, 0)
