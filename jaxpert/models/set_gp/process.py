"""From the effects of training conditions to a posterior: directions, hyperparameters, processes
(docs/models/set_gp.md)."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxpert.models.set_gp import low_rank, marginal
from jaxpert.models.set_gp.components import Components, components_of
from jaxpert.models.set_gp.low_rank import Features, LowRank
from jaxpert.models.set_gp.marginal import Data, Design, Hyper
from jaxpert.models.set_gp.posterior import Posterior, exact_variances, posterior, relations
from jaxpert.models.set_gp.sets import Known, known_of, same

COLUMNS = 64
"""Of the rest of large screens, that its hyperparameters are found from."""


class Training(NamedTuple):
    """What the processes learn from."""

    effects: Float[np.ndarray, "C G"]
    sets: Float[np.ndarray, "C T"]
    """Multi-hot, no row of zeros."""
    kernels: Float[np.ndarray, "J T T"]
    """Between genes, `own` first."""
    errors: Float[np.ndarray, "C G"] | None = None
    """Squared standard errors of the effects, without that of the control."""


class Process(NamedTuple):
    """Everything that predicts any set; arrays of NumPy or JAX."""

    mean: Float[Any, "G"]
    directions: Float[Any, "G K"]
    scale: Float[Any, "K"]
    rest_scale: Float[Any, "G"]
    typical: Float[Any, "2 G"]
    """Squared standard error of a measured effect, of singles and combinations; 0 if not known."""
    known: Known
    """The sets of training."""
    posterior: Posterior | LowRank


class Predicted(NamedTuple):
    """Effects of sets and how sure they are."""

    effect: Float[Any, "R G"]
    variance: Float[Any, "R G"]
    """Of the effect."""
    noise: Float[Any, "R G"]
    """Of a new measurement beside that, sampling error included."""
    usual: Float[Any, "R G"]
    """The sampling error alone; 0 where it is not known."""


def fit(
    training: Training,
    used: Bool[np.ndarray, "C"],
    *,
    most: int,
    steps: int,
    features: Features | None = None,
    found: Hyper | None = None,
) -> tuple[Process, Hyper]:
    """Fit every process to the used conditions; also the unconstrained hyperparameters.

    Args:
        training: all training conditions; those not used keep shapes, and with them compiled
            programs, the same.
        used: which of them count.
        most: directions.
        steps: of the search.
        features: `features_in` of all training conditions, for screens too large for covariances
            that are factorised whole; None for these.
        found: hyperparameters to take as they are, such as those of a fit to all conditions; None
            for a search.
    """
    parts = components_of(training.effects, used, most, training.errors)
    first = _start(len(parts.scale) + 1, len(training.kernels))
    hyper: Hyper | None = None
    if found is not None:
        hyper = jax.tree.map(partial(_as_many, len(parts.scale)), found)
    if features is None:
        made = design_of(training, used)
        if hyper is None:
            hyper = _search(parts, made, first, steps)
        of = posterior(parts, hyper_natural(hyper), made, training.kernels, training.sets)
    else:
        features = features._replace(used=jnp.asarray(used.astype(np.float64)))
        if hyper is None:
            hyper = _search_low_rank(parts, features, first, steps)
        of = low_rank.posterior(parts, hyper_natural(hyper), features)
    process = Process(
        mean=parts.mean,
        directions=parts.directions,
        scale=parts.scale,
        rest_scale=parts.rest_scale,
        typical=_typical(training, used),
        known=known_of(training.sets[used]),
        posterior=of,
    )
    return process, hyper


def design_of(training: Training, used: Bool[np.ndarray, "C"]) -> Design:
    """The design of training conditions."""
    sets = training.sets
    alike = np.stack([sets @ kernel @ sets.T for kernel in training.kernels])
    single = (sets.sum(1) == 1).astype(np.float64)
    return Design(jnp.asarray(alike), jnp.asarray(single), jnp.asarray(used.astype(np.float64)))


def features_in(training: Training, rank: int) -> Features:
    """Features of all training conditions: leading vectors of the kernels take longer than a fit to
    some of the conditions, and are the same for every one."""
    gene, left = low_rank.features_of(training.kernels, rank)
    single = training.sets.sum(1) == 1
    genes = training.sets.shape[1]
    shares = not single.all() or (training.sets.sum(0) > 1).any()
    return Features(
        gene=jnp.asarray(gene),
        left=jnp.asarray(left),
        identity=jnp.eye(genes) if shares else jnp.zeros((genes, 0)),
        sets=jnp.asarray(training.sets if shares else training.sets[:, :0]),
        first=jnp.asarray(training.sets.argmax(1)),
        single=jnp.asarray(single.astype(np.float64)),
        used=jnp.ones(len(training.sets)),
    )


@jax.jit
def predict(process: Process, member: Float[Array, "R T"]) -> Float[Array, "R G"]:
    """Effects of sets; that of the empty set is 0."""
    each, rest = scores(process, member)
    effect = process.mean + (each * process.scale) @ process.directions.T
    effect += rest * process.rest_scale
    return jnp.where(member.sum(1, keepdims=True) > 0, effect, 0)


def scores(
    process: Process, member: Float[Array, "R T"]
) -> tuple[Float[Array, "R K"], Float[Array, "R G"]]:
    """Posterior means of the scores along the directions and of what these leave, each in units of
    its own: m_s + w_s (t e) + own_S (docs/models/set_gp.md, "Predictions")."""
    of = process.posterior
    single = _single(member)
    of_class, rho = jnp.stack([single, 1 - single], 1), of.hyper.rho
    weight = jnp.where(single[:, None] == 1, 1.0, rho)
    each = of_class @ of.class_mean.T + weight[:, :-1] * (member @ of.gene.T)
    rest = of_class @ of.rest_class_mean + weight[:, -1:] * (member @ of.rest_gene)
    if isinstance(of, Posterior):
        trained = same(member, of.member) * of.used
        each, rest = each + trained @ of.own.T, rest + trained @ of.rest_own
    return each, rest


def variances(
    process: Process, member: Float[Array, "R T"]
) -> tuple[Float[Array, "R P"], Float[Array, "R P"]]:
    """Posterior variances of every process' score, and the learned noise of a new measurement."""
    of, single = process.posterior, _single(member)
    if isinstance(of, Posterior):
        spread = exact_variances(of, member, single)
    else:
        spread = low_rank.variances(of, member, single)
    noise = jnp.where(single == 1, of.hyper.noise[:, :1], of.hyper.noise[:, 1:])
    return spread.T, noise.T


def _single(member: Float[Array, "R T"]) -> Float[Array, "R"]:
    return (member.sum(1) == 1) * 1.0


@jax.jit
def predict_all(process: Process, member: Float[Array, "R T"]) -> Predicted:
    """Effects of sets, their variances and those of new measurements."""
    left, noise = variances(process, member)
    single = _single(member)
    of_class = jnp.stack([single, 1 - single], 1)
    some = member.sum(1, keepdims=True) > 0

    def of_genes(each: Array) -> Array:
        # Processes are independent, so that variances along the directions add up.
        along = (each[:, :-1] * process.scale**2) @ (process.directions**2).T
        return jnp.where(some, along + each[:, -1:] * process.rest_scale**2, 0)

    usual = jnp.where(some, of_class @ process.typical, 0)
    measured = of_genes(noise) + usual
    return Predicted(predict(process, member), of_genes(left), measured, usual)


@jax.jit
def hyper_natural(hyper: Hyper) -> Hyper:
    """Natural hyperparameters of all processes."""
    return jax.vmap(marginal.natural)(hyper)


def _as_many(count: int, leaf: Array) -> Array:
    """The first processes and the last one, which is that of the rest: fewer conditions have fewer
    directions."""
    return jnp.concatenate([leaf[:count], leaf[-1:]])


def _start(processes: int, kernels: int) -> Hyper:
    one = marginal.start(kernels)
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (processes, *leaf.shape)), one)


def _search(parts: Components, made: Design, begin: Hyper, steps: int) -> Hyper:
    leading = jax.tree.map(lambda leaf: leaf[:-1], begin)
    last = jax.tree.map(lambda leaf: leaf[-1:], begin)
    of_each = Data(jnp.asarray(parts.scores.T[:, :, None]), jnp.asarray(parts.known[:-1]))
    of_rest = Data(jnp.asarray(_root(parts.rest))[None], jnp.asarray(parts.known[-1:]))
    found = [
        _search_all(leading, made, of_each, steps),
        _search_all(last, made, of_rest, steps),
    ]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *found)


@partial(jax.jit, static_argnames="steps")
def _search_all(begin: Hyper, made: Design, data: Data, steps: int) -> Hyper:
    each = partial(marginal.search, steps=steps)
    return jax.vmap(each, in_axes=(0, None, 0))(begin, made, data)


def _search_low_rank(parts: Components, features: Features, begin: Hyper, steps: int) -> Hyper:
    columns = _columns(parts.rest)
    leading = jax.tree.map(lambda leaf: leaf[:-1], begin)
    last = jax.tree.map(lambda leaf: leaf[-1:], begin)
    each = jnp.asarray(parts.scores.T[:, :, None]), jnp.asarray(parts.known[:-1])
    rest = jnp.asarray(columns)[None], jnp.asarray(parts.known[-1:])
    found = [
        low_rank.search(leading, features, *each, steps),
        low_rank.search(last, features, *rest, steps),
    ]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *found)


def _columns(rest: Float[np.ndarray, "C G"]) -> Float[np.ndarray, "C N"]:
    """Random directions in which the rest varies as its genes do, where there are too many
    conditions for `_root`."""
    random = np.random.default_rng(0).normal(size=(rest.shape[1], COLUMNS))
    return rest @ random / np.sqrt(rest.shape[1])


def _root(rest: Float[np.ndarray, "C G"]) -> Float[np.ndarray, "C C"]:
    """C columns with the second moments of all genes.

    Genes move together, so that thousands of them are no thousands of observations: they count as
    many as there are conditions.
    """
    values, vectors = np.linalg.eigh(rest @ rest.T / rest.shape[1])
    return vectors * np.sqrt(np.maximum(values, 0) * len(rest))


def _typical(training: Training, used: np.ndarray) -> Float[np.ndarray, "2 G"]:
    """Median squared standard error of the singles and of the combinations; of all where there are
    none of a class."""
    if training.errors is None:
        return np.zeros((2, training.effects.shape[1]))
    single = training.sets.sum(1) == 1
    rows = []
    for of_class in (single, ~single):
        chosen = used & of_class
        rows.append(np.median(training.errors[chosen if chosen.any() else used], axis=0))
    return np.stack(rows)


@jax.jit
def weights(process: Process, member: Float[Array, "R T"]) -> Float[Array, "R C"]:
    """How much each training condition counts in the prediction of a set: its posterior weight
    k*' (K + noise)^-1, averaged over the directions by their variance (in large screens that of the
    leading direction)."""
    of, single = process.posterior, _single(member)
    if not isinstance(of, Posterior):
        return low_rank.weights(of, member, single)
    cross, _ = relations(of, member, single)
    # (K + noise)^-1 = L^-T L^-1.
    half = jnp.einsum("prc,pdc->prd", cross, of.whitening)
    each = jnp.einsum("prd,pdc->prc", half, of.whitening)
    share = process.scale**2 / (process.scale**2).sum()
    return jnp.tensordot(share, each[:-1], 1)
