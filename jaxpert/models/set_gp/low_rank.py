"""The processes of large screens: kernels between genes of low rank, and all costs linear in the
number of conditions (docs/models/set_gp.md, "Large screens").

A kernel is F F' + R with R the diagonal that its leading vectors leave, which joins `own`. With
features Phi of the conditions and a diagonal N, the covariance is N + Phi Phi', whose inverse and
determinant need factors of the size of the features alone (Woodbury).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxpert.evaluation.leading import LARGE, leading_right
from jaxpert.models.set_gp import marginal
from jaxpert.models.set_gp.components import Components
from jaxpert.models.set_gp.marginal import Hyper


class Features(NamedTuple):
    """What covariances of large screens are made of."""

    gene: Float[Array, "J T R"]
    """F of every kernel but `own`."""
    left: Float[Array, "J T"]
    """R of these."""
    identity: Float[Array, "T S"]
    """Where combinations share genes, each gene is a feature of its own (S = T); where every gene
    has one condition alone, what is its own is a part of that condition's noise (S = 0)."""
    sets: Float[Array, "C S"]
    """Multi-hot rows."""
    first: Int[Array, "C"]
    """Number of the first gene of each condition. Searching thousands of zeros for it took most of
    the time of every step."""
    single: Float[Array, "C"]
    used: Float[Array, "C"]


class LowRank(NamedTuple):
    """Posterior of all processes, the last one that of the rest; arrays of NumPy or JAX."""

    hyper: Hyper
    class_mean: Float[Any, "K 2"]
    gene: Float[Any, "K T"]
    rest_class_mean: Float[Any, "2 G"]
    rest_gene: Float[Any, "T G"]
    class_spread: Float[Any, "P 2 Q"]
    """Features of singles and of combinations, so that their product is a posterior variance."""
    gene_spread: Float[Any, "P T Q"]
    """The same of each gene."""
    gene_left: Float[Any, "P T"]
    """Variance of each gene that no feature carries."""
    pull: Float[Any, "Q C"]
    """Of the leading direction: from features to weights of the training conditions."""
    own_pull: Float[Any, "T"]
    """Of the leading direction: weight of a gene's own condition beside that."""
    place: Float[Any, "C"]
    """Number of the gene of each training condition of a single gene; -1 for others."""


def features_of(kernels: Float[np.ndarray, "J T T"], rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Leading vectors of every kernel but the first, and the diagonal that they leave."""
    genes, count = len(kernels[0]), len(kernels) - 1
    rank = min(rank, genes)
    vectors, left = np.zeros((count, genes, rank)), np.zeros((count, genes))
    for j, kernel in enumerate(kernels[1:]):
        values, found = _leading(kernel, rank)
        vectors[j, :, : len(values)] = found * np.sqrt(np.maximum(values, 0))
        left[j] = np.maximum(1 - (vectors[j] ** 2).sum(1), 0)
    return vectors, left


def _leading(kernel: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    if rank >= len(kernel) - 1 or len(kernel) <= LARGE:
        values, vectors = np.linalg.eigh(kernel)
        return values[-rank:], vectors[:, -rank:]
    vectors = leading_right(kernel, rank)
    # v'Kv of each vector, its eigenvalue.
    return (vectors * (kernel @ vectors)).sum(0), vectors


def own_variance(hyper: Hyper, features: Features) -> Float[Array, "T"]:
    """Variance of each gene that its features do not carry."""
    return hyper.genes[0] + hyper.genes[1:] @ features.left


def gene_features(hyper: Hyper, features: Features) -> Float[Array, "T q"]:
    """sqrt(a_j) F_j of all kernels side by side, and last what is a gene's own."""
    scaled = jnp.sqrt(hyper.genes[1:])[:, None, None] * features.gene
    kernels = jnp.moveaxis(scaled, 0, 1).reshape(len(features.identity), -1)
    own = jnp.sqrt(own_variance(hyper, features))[:, None] * features.identity
    return jnp.concatenate([kernels, own], 1)


def parts_of(
    hyper: Hyper, features: Features, known: Float[Array, "C"]
) -> tuple[Float[Array, "C Q"], Float[Array, "C"]]:
    """Phi and N of the training conditions; those left out have no features and variance 1."""
    combined = 1 - features.single
    weight = jnp.where(features.single == 1, 1.0, hyper.rho)
    of_class = jnp.stack([features.single, combined], 1) * jnp.sqrt(hyper.mean)
    genes = weight[:, None] * _of_sets(features, gene_features(hyper, features))
    phi = jnp.concatenate([of_class, genes], 1) * features.used[:, None]
    noise = known + jnp.where(features.single == 1, hyper.noise[0], hyper.noise[1])
    noise += hyper.pair * combined
    if not features.identity.shape[1]:
        noise += weight**2 * _of_sets(features, own_variance(hyper, features))
    return phi, jnp.where(features.used == 1, noise, 1.0)


def _of_sets(features: Features, of_genes: Array) -> Array:
    """Sums over the genes of each training condition."""
    if features.identity.shape[1]:
        return features.sets @ of_genes
    # Every condition has one gene, which a product with thousands of zeros would find too late.
    return of_genes[features.first]


def likelihood(
    hyper: Hyper, features: Features, scores: Float[Array, "C N"], known: Float[Array, "C"]
) -> Float[Array, ""]:
    """-log N(scores | 0, N + Phi Phi') of all columns, without constants."""
    phi, noise = parts_of(hyper, features, known)
    factor = _factor(phi, noise)
    scaled = scores / noise[:, None]
    explained = jax.scipy.linalg.solve_triangular(factor, phi.T @ scaled, lower=True)
    value = 0.5 * ((scores * scaled).sum() - (explained**2).sum())
    logs = jnp.log(jnp.diag(factor)).sum() + 0.5 * jnp.log(noise).sum()
    return value + scores.shape[1] * logs


def _factor(phi: Array, noise: Array) -> Array:
    return jnp.linalg.cholesky(jnp.eye(phi.shape[1]) + phi.T @ (phi / noise[:, None]))


def objective(hyper: Hyper, features: Features, scores: Array, known: Array) -> Array:
    """As `marginal.objective`."""
    value = likelihood(marginal.natural(hyper), features, scores, known)
    return value + marginal.penalty(hyper)


@partial(jax.jit, static_argnames="steps")
def search(
    begin: Hyper, features: Features, scores: Float[Array, "P C N"], known: Array, steps: int
) -> Hyper:
    """The most likely hyperparameters of every process, one after the other: each fills the memory
    with features of its own."""

    def one(problem: tuple[Hyper, Array, Array]) -> Hyper:
        start, z, errors = problem
        goal = partial(objective, features=features, scores=z, known=errors)
        return marginal.descend(goal, start, steps)

    return jax.lax.map(one, (begin, scores, known))


def posterior(parts: Components, hyper: Hyper, features: Features) -> LowRank:
    """The posterior under natural hyperparameters."""
    leading = jax.tree.map(lambda leaf: leaf[:-1], hyper)
    last = jax.tree.map(lambda leaf: leaf[-1], hyper)
    scores = jnp.asarray(parts.scores.T[:, :, None])
    each = _each(features, leading, scores, jnp.asarray(parts.known[:-1]))
    rest = _last(features, last, jnp.asarray(parts.rest), jnp.asarray(parts.known[-1]))
    class_spread, gene_spread, gene_left = (
        jnp.concatenate([many, one[None]]) for many, one in zip(each[2:5], rest[2:5], strict=True)
    )
    return LowRank(
        hyper=hyper,
        class_mean=each[0][..., 0],
        gene=each[1][..., 0],
        rest_class_mean=rest[0],
        rest_gene=rest[1],
        class_spread=class_spread,
        gene_spread=gene_spread,
        gene_left=gene_left,
        pull=each[5][0],
        own_pull=each[6][0],
        place=jnp.where(features.single * features.used == 1, features.first, -1),
    )


def _one(features: Features, hyper: Hyper, scores: Array, known: Array) -> tuple[Array, ...]:
    phi, noise = parts_of(hyper, features, known)
    factor = _factor(phi, noise)
    whitening = jax.scipy.linalg.solve_triangular(factor, jnp.eye(len(factor)), lower=True)
    # L^-1 Phi' N^-1: the weights of the features are its transpose times whitened features.
    pull = whitening @ (phi / noise[:, None]).T
    beta = whitening.T @ (pull @ scores)
    of_class = jnp.diag(jnp.sqrt(hyper.mean))
    genes = gene_features(hyper, features)
    own = jnp.zeros(len(genes))
    if not features.identity.shape[1]:
        own = own_variance(hyper, features)
    # A gene with a condition of its own: kappa of what the features leave there is the gene's own.
    alone = features.single * features.used

    def at_gene(of_conditions: Array) -> Array:
        # Adds at numbers: a product with a table of sets is one of thousands of zeros.
        kept = (alone * of_conditions.T).T
        return jax.ops.segment_sum(kept, features.first, len(genes))

    there = at_gene(jnp.ones(len(alone)))
    kappa = jnp.where(there > 0, own / (at_gene(noise) + (there == 0)), 0)
    gene = genes @ beta[2:] + kappa[:, None] * at_gene(scores - phi @ beta)
    full = jnp.concatenate([jnp.zeros((len(genes), 2)), genes], 1)
    spread = (full - kappa[:, None] * at_gene(phi)) @ whitening.T
    classes = jnp.pad(of_class, ((0, 0), (0, phi.shape[1] - 2))) @ whitening.T
    return of_class @ beta[:2], gene, classes, spread, own * (1 - kappa), pull, kappa


_each = jax.jit(lambda features, *of: jax.lax.map(lambda one: _one(features, *one), of))
_last = jax.jit(_one)


def variances(
    of: LowRank, member: Float[Array, "R T"], single: Float[Array, "R"]
) -> Float[Array, "P R"]:
    """Posterior variances of every process' score."""
    of_class = jnp.stack([single, 1 - single], 1)

    def one(process: tuple[Hyper, Array, Array, Array]) -> Array:
        hyper, classes, genes, left = process
        weight = jnp.where(single == 1, 1.0, hyper.rho)
        spread = of_class @ classes + weight[:, None] * (member @ genes)
        own = weight**2 * (member @ left) + hyper.pair * (1 - single)
        return (spread**2).sum(1) + own

    return jax.lax.map(one, (of.hyper, of.class_spread, of.gene_spread, of.gene_left))


def weights(
    of: LowRank, member: Float[Array, "R T"], single: Float[Array, "R"]
) -> Float[Array, "R C"]:
    """Weights of the training conditions along the leading direction."""
    of_class = jnp.stack([single, 1 - single], 1)
    weight = jnp.where(single == 1, 1.0, of.hyper.rho[0])[:, None]
    spread = of_class @ of.class_spread[0] + weight * (member @ of.gene_spread[0])
    place = of.place.astype(jnp.int32)
    own = (weight * member * of.own_pull)[:, place] * (place >= 0)
    return spread @ of.pull + own
