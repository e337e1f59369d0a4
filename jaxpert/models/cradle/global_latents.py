"""What all cells of CRADLE-VAE share: masks, perturbation embeddings and the artifact vector, in
model and guide."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpert.core.types import PyTree
from jaxpert.models.cradle import network
from jaxpert.models.cradle.settings import CradleVaeSettings
from jaxpert.models.cradle.setup import Networks
from jaxpert.nn import svi


class Globals(NamedTuple):
    """One draw of the latents that all cells share."""

    mask: Float[Array, "T Z"]
    effect: Float[Array, "T Z"]
    artifact: Float[Array, "Z"]

    @property
    def masked(self) -> Float[Array, "T Z"]:
        """What each treatment adds to the latents of a cell."""
        return self.mask * self.effect


class Shares(NamedTuple):
    """This device's weights of the global log ratios."""

    treatments: Float[Array, "T"]
    """Share of each treatment's cells that the batch holds."""
    artifact: Float[Array, ""]
    """Share of the failed cells."""


def model_globals(net: Networks, shares: Shares) -> Globals:
    """The prior of masks, embeddings and artifact vector."""
    s = net.settings
    embedding = network.model_embedding(
        s.latent_dim,
        len(net.spec.treatments),
        shares.treatments,
        scale=s.embedding_prior_scale,
        mask=_mask(s),
    )
    # The ablation has no latent u, and so no term U_i (docs/models/cradle.md, 5.5 Ablations).
    if not s.causal_artifact:
        return Globals(*embedding, _free_artifact(s))
    # u ~ N(0, s^2 I), weighted by the share of failed cells: U_i of the ELBO (4.1, 5.1).
    prior = network.standard_normal(s.embedding_prior_scale, s.latent_dim)
    draw = svi.weighted(lambda: numpyro.sample("artifact", prior), shares.artifact)
    return Globals(*embedding, draw())


def guide_globals(net: Networks, shares: Shares, prefix: str = "") -> Globals:
    """Posterior draws of masks, embeddings and artifact vector; with a prefix, draws that the model
    does not have."""
    s = net.settings
    embedding = network.guide_embedding(
        s.latent_dim,
        len(net.spec.treatments),
        shares.treatments,
        network=net.embedding,
        mask=_mask(s),
        prefix=prefix,
    )
    if not s.causal_artifact:
        return Globals(*embedding, _free_artifact(s))
    # q(u) reads a constant vector of ones: a learned normal in all but name (4.1).
    encoder = svi.network("artifact_encoder", net.artifact, s.latent_dim)
    loc, scale = encoder(jnp.ones((s.latent_dim,)))
    posterior = dist.Normal(loc, scale).to_event(1)
    # NumPyro takes an auxiliary site out of the comparison of guide and model.
    extra = {"is_auxiliary": bool(prefix)}
    draw = svi.weighted(
        lambda: numpyro.sample(prefix + "artifact", posterior, infer=extra), shares.artifact
    )
    return Globals(*embedding, draw())


def no_shares(net: Networks) -> Shares:
    """Weights of draws whose log ratios count for nothing."""
    return Shares(jnp.zeros(len(net.spec.treatments)), jnp.zeros(()))


def posterior_globals(net: Networks, params: PyTree, key: PRNGKeyArray) -> Globals:
    """One draw of masks, effects and the artifact vector from the guide."""
    return network.posterior(partial(guide_globals, net, no_shares(net)), params, key)


def shared_latents(net: Networks, params: PyTree, key: PRNGKeyArray) -> dict[str, Array]:
    """`Latent.shared`."""
    drawn = posterior_globals(net, params, key)
    return {
        "effect": drawn.masked,
        "embedding": drawn.effect,
        "mask": drawn.mask,
        # The posterior probability itself, which no draw of the mask tells.
        "inclusion": jax.nn.sigmoid(params["mask_logits"]),
        "artifact": drawn.artifact,
    }


def _mask(settings: CradleVaeSettings) -> network.Mask:
    return network.Mask(settings.mask_prior, settings.temperature)


def _free_artifact(settings: CradleVaeSettings) -> Float[Array, "Z"]:
    """The ablation without a causal artifact: a parameter in place of a latent."""
    # Standard normal times 0.1 (docs/models/cradle.md, 3.7 Initial values).
    start = numpyro.param(
        "artifact_vector", lambda key: 0.1 * jax.random.normal(key, (settings.latent_dim,))
    )
    return jnp.asarray(start)
