"""What the programs of the Gamma-Poisson VAEs share: masked perturbation embeddings, basal states
and counts (docs/models/cradle.md, Building blocks)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro import handlers

from jaxpert.core.types import Batch, PyTree, Spec
from jaxpert.models.cradle.offsets import Offsets
from jaxpert.nn import svi
from jaxpert.nn.distributions import LibraryGammaPoisson, StraightThroughBernoulli
from jaxpert.nn.layers import CountHead, GaussianHead
from jaxpert.nn.transforms import log_standardize

MIN_STD = 1e-4
"""Added to the standard deviation of free embeddings (networks add it to the variance)."""


class Mask(NamedTuple):
    """Settings of the masks."""

    prior: float
    temperature: float


class Embedding(NamedTuple):
    """One draw of the treatments' masks and embeddings; a model without masks has ones."""

    mask: Float[Array, "T Z"]
    effect: Float[Array, "T Z"]

    @property
    def masked(self) -> Float[Array, "T Z"]:
        """What each treatment adds to the latents of a cell."""
        return self.mask * self.effect


def standardize(spec: Spec, x: Float[Array, "*b G"], guard: str = "unit") -> Float[Array, "*b G"]:
    """What encoders read: ln(1 + x), standardised by the training cells' moments."""
    mean = jnp.asarray(spec.log_mean, x.dtype)
    std = jnp.asarray(spec.log_std, x.dtype)
    return log_standardize(x, mean, std, guard=guard)


def share_of_cells(given: Array, cells: Array, dtype: Any) -> Array:
    """Share of the split's cells of each kind that this device's batch holds.

    Weighted by it, every global log ratio is counted exactly once over an epoch (ELBO).
    """
    # A kind without cells in the split has weight 0 (docs/models/cradle.md, 5.1 ELBO).
    return jnp.where(cells > 0, given / jnp.maximum(cells, 1), 0).astype(dtype)


def treatment_share(batch: Batch) -> Float[Array, "T"]:
    """`share_of_cells` of each treatment; a pair counts for both."""
    # How many real cells of the batch have each treatment, of the split's N_t.
    given = ((batch.treatment != 0) & batch.mask[:, None]).sum(0)
    return share_of_cells(given, batch.extras["treatment_cells"], batch.x.dtype)


def standard_normal(scale: float, *shape: int) -> dist.Distribution:
    """Independent normals around 0, the last axis being one event."""
    return dist.Normal(jnp.zeros(shape), scale).to_event(1)


@contextlib.contextmanager
def cells(batch: Batch) -> Iterator[None]:
    """The plate of a batch's cells, padding masked out."""
    with numpyro.plate("cells", batch.x.shape[0]), handlers.mask(mask=batch.mask):
        yield


def model_embedding(
    latent_dim: int, treatments: int, share: Float[Array, "T"], *, scale: float, mask: Mask | None
) -> Embedding:
    """The prior: E_t ~ N(0, scale^2), mask_t ~ Bernoulli(pi), elementwise; ones in place of masks
    where `mask` is None."""

    def latents() -> Embedding:
        with numpyro.plate("treatments", treatments):
            drawn: Any = jnp.ones((treatments, latent_dim))
            if mask is not None:
                # The published code keeps the prior probability as a float32 buffer.
                prior = jnp.float32(mask.prior).astype(drawn.dtype)
                logits = jnp.full_like(drawn, jnp.log(prior) - jnp.log1p(-prior))
                drawn = numpyro.sample("mask", StraightThroughBernoulli(logits).to_event(1))
            # E_t ~ N(0, s^2 I), whatever the mask (docs/models/cradle.md, 4.1).
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
    """The posterior: free Bernoullis for masks, and embeddings that know of their masks or not.

    Args:
        latent_dim: width of the latents.
        treatments: their number.
        share: weight of each treatment's log ratio.
        network: q(E_t | mask_t) on [mask_t, onehot_t], the correlated guide; None for free normals
            (mean-field).
        mask: None for ones in place of masks.
        prefix: of the sites' names; with one, the draws are none that the model has.
    """
    extra = {"is_auxiliary": bool(prefix)}
    zeros = jnp.zeros((treatments, latent_dim))

    def latents() -> Embedding:
        # A second draw in one guide stands outside the plate, whose name NumPyro allows once.
        plate = contextlib.nullcontext() if prefix else numpyro.plate("treatments", treatments)
        with plate:
            drawn: Any = jnp.ones_like(zeros)
            if mask is not None:
                # One free logit per treatment and latent; 0 starts at probability 1/2 (3.7).
                logits = jnp.asarray(numpyro.param("mask_logits", zeros))
                posterior = StraightThroughBernoulli(logits, mask.temperature)
                drawn = numpyro.sample(prefix + "mask", posterior.to_event(1), infer=extra)
            # q(E_t | m_t) knows of the mask in the correlated guide, and not in the mean-field one.
            normal = _free_normal(zeros) if network is None else _given_mask(network, drawn)
            effect: Any = numpyro.sample(prefix + "effect", normal.to_event(1), infer=extra)
            return Embedding(drawn, effect)

    return svi.weighted(latents, share)()


def model_basal(latent_dim: int, batch: Batch) -> Float[Array, "B Z"]:
    """The prior of basal states, z_b ~ N(0, I)."""
    z: Any = numpyro.sample("z_basal", standard_normal(1.0, batch.x.shape[0], latent_dim))
    return z


def observe(
    decoder: CountHead,
    batch: Batch,
    *blocks: Float[Array, "B _"],
    offsets: Offsets | None = None,
) -> None:
    """Likelihood of the batch's counts; the library is the cell's own total."""
    rows = None if offsets is None else offsets.rows(batch)
    numpyro.sample("x", count_distribution(decoder(*blocks), batch.x.sum(-1), rows), obs=batch.x)


def count_distribution(
    decoded: tuple[Float[Array, "B G"], Float[Array, "G"]],
    library: Float[Array, "B"],
    offset: Float[Array, "B G"] | None,
) -> LibraryGammaPoisson:
    """Distribution of counts for what a decoder gives, over a base where there is one."""
    logits, log_concentration = decoded
    # rho = softmax(h + b): rates are multiplied by exp(b) and shared out anew
    # (docs/models/residual.md, "VAEs").
    if offset is not None:
        logits = logits + offset
    return LibraryGammaPoisson(logits, log_concentration, library)


def apply(network: Any, params: PyTree, *inputs: Array) -> Any:
    """A network's outputs outside the programs."""
    return network.apply({"params": params}, *inputs)


def posterior(program: svi.Program, params: PyTree, key: PRNGKeyArray) -> Any:
    """What a guide's program of the shared latents returns for one draw."""
    return handlers.substitute(handlers.seed(program, key), params)()


def _free_normal(zeros: Float[Array, "T Z"]) -> dist.Normal:
    loc = jnp.asarray(numpyro.param("effect_loc", zeros))
    log_scale = jnp.asarray(numpyro.param("effect_log_scale", zeros))
    # Here 1e-4 is added to the standard deviation (docs/models/cradle.md, 4.3 CPA-VAE).
    return dist.Normal(loc, jnp.exp(log_scale) + MIN_STD)


def _given_mask(network: GaussianHead, mask: Float[Array, "T Z"]) -> dist.Normal:
    encoder = svi.network("embedding_encoder", network, *network.widths)
    # The one-hot part of the input is a row of the kernel.
    return dist.Normal(*encoder.heads(encoder.project(0, mask) + encoder.rows(1)))
