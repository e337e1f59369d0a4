"""Networks of CRADLE-VAE at the widths that the data ask for."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Array, Float

from jaxpert.core.types import Spec
from jaxpert.models.cradle import network
from jaxpert.models.cradle.settings import CradleVaeSettings
from jaxpert.nn.layers import CountHead, GaussianHead


class Networks(NamedTuple):
    """What the programs close over: settings, networks and the constants of the data."""

    settings: CradleVaeSettings
    spec: Spec
    decoder: CountHead
    """p(x | z_b, z_p, z_a)."""
    encoder: GaussianHead
    """q(z_b | x, z_p, z_a)."""
    embedding: GaussianHead
    """q(E_t | mask_t)."""
    artifact: GaussianHead
    """q(u), on a constant input."""


def networks(spec: Spec, settings: CradleVaeSettings) -> Networks:
    """The four networks."""
    s, genes, treatments = settings, len(spec.genes), len(spec.treatments)
    z, layers, hidden = s.latent_dim, s.embedding_layers, s.embedding_hidden_dim
    return Networks(
        settings=s,
        spec=spec,
        decoder=CountHead((z, z, z), s.hidden_dim, s.decoder_layers + 1, genes),
        encoder=GaussianHead((genes, z, z), s.hidden_dim, s.encoder_layers, z),
        embedding=GaussianHead((z, treatments), hidden, layers, z),
        artifact=GaussianHead((z,), hidden, layers, z),
    )


def standardize(net: Networks, x: Float[Array, "*b G"]) -> Float[Array, "*b G"]:
    """What the encoder reads; constant genes are guarded as `compat` says."""
    guard = "reference" if net.settings.compat == "reference" else "unit"
    return network.standardize(net.spec, x, guard)
