"""What the Gamma-Poisson VAEs share: perturbation embeddings under masks, basal states, counts, and
the functions that every one of them offers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro import handlers

from jaxpert.core.types import Batch, Dataset, InputError, Latent, Model, PyTree, Request, Spec
from jaxpert.nn import svi
from jaxpert.nn.distributions import CellNormal, LibraryGammaPoisson, StraightThroughBernoulli
from jaxpert.nn.layers import CountHead, GaussianHead
from jaxpert.nn.transforms import log_standardize

Blocks = dict[str, Array]
MIN_STD = 1e-4
"""Added to the standard deviation of mean-field embeddings (networks add it to the variance)."""


@dataclass(frozen=True)
class Sizes:
    """Widths and depths of encoder and decoder."""

    latent_dim: int = 200
    hidden_dim: int = 400
    encoder_layers: int = 1
    decoder_layers: int = 1


@dataclass(frozen=True)
class MaskedSettings(Sizes):
    """Of models with a masked latent embedding per treatment."""

    embedding_layers: int = 4
    embedding_hidden_dim: int = 400
    mask_prior: float = 0.01
    embedding_prior_scale: float = 1.0
    temperature: float = 1.0


def check_choices(settings: Any, **choices: tuple[str, ...]) -> None:
    """Refuse a setting that is none of its choices."""
    for name, allowed in choices.items():
        value = getattr(settings, name)
        if value not in allowed:
            raise InputError(
                f"model.kwargs.{name} is {value!r}, expected one of {', '.join(allowed)}"
            )


def check_sizes(settings: Any) -> None:
    """Refuse whole-number settings below 1."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.type == "int" and (
            isinstance(value, bool) or not isinstance(value, int) or value < 1
        ):
            raise InputError(
                f"model.kwargs.{field.name} is {value!r}, expected a whole number, at least 1"
            )


def standardize(spec: Spec, x: Float[Array, "*b G"], guard: str = "unit") -> Float[Array, "*b G"]:
    """Encoder input: ln(1 + x), standardised by the training cells' moments."""
    mean, std = (jnp.asarray(a, x.dtype) for a in (spec.log_mean, spec.log_std))
    return log_standardize(x, mean, std, guard=guard)


def share_of_cells(given: Array, cells: Array, dtype: Any) -> Array:
    """Share of the split's cells of each kind that this device's batch holds: over an epoch every
    global log ratio is counted exactly once."""
    return jnp.where(cells > 0, given / jnp.maximum(cells, 1), 0).astype(dtype)


def treatment_share(batch: Batch) -> Float[Array, "T"]:
    """`share_of_cells` of each treatment; a pair counts for both."""
    given = ((batch.treatment != 0) & batch.mask[:, None]).sum(0)
    return share_of_cells(given, batch.extras["treatment_cells"], batch.x.dtype)


def standard_normal(scale: float, *shape: int) -> dist.Distribution:
    return dist.Normal(jnp.zeros(shape), scale).to_event(1)


@contextlib.contextmanager
def cells(batch: Batch) -> Iterator[None]:
    """The plate of a batch's cells, padding masked out."""
    with numpyro.plate("cells", batch.x.shape[0]), handlers.mask(mask=batch.mask):
        yield


class Embedding(NamedTuple):
    """One draw of the treatments' masks and embeddings; a model without masks has ones."""

    mask: Float[Array, "T Z"]
    effect: Float[Array, "T Z"]

    @property
    def masked(self) -> Float[Array, "T Z"]:
        return self.mask * self.effect


class Mask(NamedTuple):
    """Settings of the masks."""

    prior: float
    temperature: float


def model_embedding(
    latent_dim: int, treatments: int, share: Float[Array, "T"], *, scale: float, mask: Mask | None
) -> Embedding:
    """Prior: E_t ~ N(0, scale^2), mask_t ~ Bernoulli(pi), elementwise; ones in place of masks where
    `mask` is None."""

    def latents() -> Embedding:
        with numpyro.plate("treatments", treatments):
            drawn: Any = jnp.ones((treatments, latent_dim))
            if mask is not None:
                # The published code keeps the prior probability as a float32 buffer.
                prior = jnp.float32(mask.prior).astype(drawn.dtype)
                logits = jnp.full_like(drawn, jnp.log(prior) - jnp.log1p(-prior))
                drawn = numpyro.sample("mask", StraightThroughBernoulli(logits).to_event(1))
            effect: Any = numpyro.sample("effect", standard_normal(scale, treatments, latent_dim))
            return Embedding(drawn, effect)

    return svi.weighted(latents, share)()


def guide_embedding(
    latent_dim: int,
    treatments: int,
    share: Float[Array, "T"],
    *,
    network: GaussianHead | None,
    mask: Mask | None,
    prefix: str = "",
) -> Embedding:
    """Posterior: q(mask) free Bernoullis; q(E | mask) by `network` on [mask_t, onehot_t] (the
    correlated guide), or free normals where it is None (mean-field). With a `prefix`, draws that
    the model does not have."""
    extra = {"is_auxiliary": bool(prefix)}
    zeros = jnp.zeros((treatments, latent_dim))

    def latents() -> Embedding:
        with contextlib.nullcontext() if prefix else numpyro.plate("treatments", treatments):
            drawn: Any = jnp.ones_like(zeros)
            if mask is not None:
                posterior = StraightThroughBernoulli(
                    jnp.asarray(numpyro.param("mask_logits", zeros)), mask.temperature
                )
                drawn = numpyro.sample(prefix + "mask", posterior.to_event(1), infer=extra)
            normal = _free_normal(zeros) if network is None else _given_mask(network, drawn)
            effect: Any = numpyro.sample(prefix + "effect", normal.to_event(1), infer=extra)
            return Embedding(drawn, effect)

    return svi.weighted(latents, share)()


def _free_normal(zeros: Float[Array, "T Z"]) -> dist.Normal:
    loc, log_scale = (
        jnp.asarray(numpyro.param(f"effect_{name}", zeros)) for name in ("loc", "log_scale")
    )
    return dist.Normal(loc, jnp.exp(log_scale) + MIN_STD)


def _given_mask(network: GaussianHead, mask: Float[Array, "T Z"]) -> dist.Normal:
    encoder = svi.network("embedding_encoder", network, *network.widths)
    # The one-hot part of the input is a row of the kernel.
    return dist.Normal(*encoder.heads(encoder.project(0, mask) + encoder.rows(1)))


def apply(network: Any, params: PyTree, *inputs: Array) -> Any:
    """A network's outputs outside the programs."""
    return network.apply({"params": params}, *inputs)


def observe(decoder: CountHead, batch: Batch, *blocks: Float[Array, "B _"]) -> None:
    """Likelihood of the batch's counts; the library is the cell's own total."""
    numpyro.sample("x", LibraryGammaPoisson(*decoder(*blocks), batch.x.sum(-1)), obs=batch.x)


def model_basal(latent_dim: int, batch: Batch) -> Float[Array, "B Z"]:
    """z_b ~ N(0, I)."""
    z: Any = numpyro.sample("z_basal", standard_normal(1.0, batch.x.shape[0], latent_dim))
    return z


class Inside(NamedTuple):
    """What a Gamma-Poisson VAE must say of itself; `assemble` makes the rest."""

    model: svi.Program
    guide: svi.Program
    shared: Callable[[PyTree, PRNGKeyArray], dict[str, Array]]
    """As `Latent.shared`."""
    encode: Callable[[PyTree, dict[str, Array], Batch], tuple[Array, Array, Blocks]]
    """(params, shared, batch) -> mean and standard deviation of the basal posterior, and the other
    blocks."""
    blocks: Callable[[dict[str, Array], Array, Array], Blocks]
    """(shared, treatment, failed) -> the blocks other than the basal one."""
    counts: Callable[[PyTree, Blocks, Float[Array, "B"]], LibraryGammaPoisson]
    """(params, blocks, library) -> distribution of their counts."""
    site: str = "z_basal"
    """The programs' name of the per-cell latent."""


def assemble(
    inside: Inside,
    spec: Spec,
    settings: Sizes,
    *,
    particles: int,
    score_particles: int,
    **options: Any,
) -> Model:
    """The `Model` around a VAE's programs; `options` are further fields of it.

    Args:
        inside: the programs and their parts.
        spec: the data.
        settings: hyperparameters.
        particles: Monte-Carlo samples of the training loss.
        score_particles: importance samples of the predictive IWELBO (`Model.score`).
        **options: `check` and `support`, where they are the model's own.
    """
    check_sizes(settings)

    def score(params: PyTree, state: PyTree, key: PRNGKeyArray, batch: Batch) -> Float[Array, "B"]:
        draws = jax.random.split(key, score_particles)
        return svi.cell_bound(
            inside.model, inside.guide, params, draws, batch, local_sites=(inside.site,)
        )

    return Model(
        init=svi.make_init(inside.model, inside.guide),
        loss=svi.make_loss(inside.model, inside.guide, particles),
        predict=partial(_predict, inside, settings.latent_dim),
        score=score,
        embed=partial(_embed, inside),
        latent=Latent(
            shared=inside.shared,
            cells=partial(_draw_cells, inside),
            decode=lambda params, blocks, library: inside.counts(params, blocks, library).mean,
        ),
        **{"check": no_demands, "support": partial(treatments_trained, spec)} | options,
    )


def _predict(
    inside: Inside,
    latent_dim: int,
    params: PyTree,
    state: PyTree,
    key: PRNGKeyArray,
    request: Request,
) -> Float[Array, "R G"]:
    """Counts of one generated cell per row (Alg. 3): fresh globals shared by the rows, z_b ~ N(0,
    I)."""
    key_shared, key_z, key_x = jax.random.split(key, 3)
    shared = inside.shared(params, key_shared)
    basal = jax.random.normal(key_z, (request.treatment.shape[0], latent_dim))
    blocks = {"basal": basal, **inside.blocks(shared, request.treatment, request.failed)}
    return inside.counts(params, blocks, request.library).sample(key_x)


def _embed(
    inside: Inside, params: PyTree, state: PyTree, key: PRNGKeyArray, batch: Batch
) -> dict[str, Array]:
    """Posterior mean of the basal state (`z_basal`) and the other blocks (`z_perturbation` ...) at
    one draw of the globals."""
    mean, _, blocks = inside.encode(params, inside.shared(params, key), batch)
    return {"z_basal": mean} | {f"z_{name}": block for name, block in blocks.items()}


def _draw_cells(inside: Inside, params: PyTree, key: PRNGKeyArray, batch: Batch) -> Blocks:
    key_shared, key_z = jax.random.split(key)
    mean, std, blocks = inside.encode(params, inside.shared(params, key_shared), batch)
    return {"basal": CellNormal(mean, std, batch.slot).sample(key_z), **blocks}


def posterior(program: svi.Program, params: PyTree, key: PRNGKeyArray) -> Any:
    """What a guide's program of the globals returns for one draw."""
    return handlers.substitute(handlers.seed(program, key), params)()


def no_demands(dataset: Dataset) -> tuple[str, ...]:
    return ()


def treatments_trained(spec: Spec, treatment: Float[np.ndarray, "R T"]) -> tuple[str, ...]:
    """Which treatments of each row no training cell received: their latents are the prior's."""
    untrained = spec.treatment_cells == 0

    def words(row: np.ndarray) -> str:
        names = [spec.treatments[t] for t in np.flatnonzero((row != 0) & untrained)]
        return f"no training cells: {', '.join(names)}" if names else "trained"

    return tuple(words(row) for row in treatment)
