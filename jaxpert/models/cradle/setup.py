"""Networks of CRADLE-VAE at the widths that the data ask for."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Array, Float

from jaxpert.core.types import Spec
from jaxpert.models.cradle import network
from jaxpert.models.cradle.offsets import Offsets, offsets_of
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
    offsets: Offsets | None
    """Of the base; None without one."""


def networks(spec: Spec, settings: CradleVaeSettings) -> Networks:
    """The four networks."""
    s, genes, treatments = settings, len(spec.genes), len(spec.treatments)
    z, layers, hidden = s.latent_dim, s.embedding_layers, s.embedding_hidden_dim
    return Networks(
        settings=s,
        spec=spec,
        # One hidden layer more than the setting says, as the published code builds it (4.1).
        decoder=CountHead((z, z, z), s.hidden_dim, s.decoder_layers + 1, genes),
        # Blocks [x, z_p, a u], kept apart so that what is in common is multiplied once (13 Speed).
        encoder=GaussianHead((genes, z, z), s.hidden_dim, s.encoder_layers, z),
        embedding=GaussianHead((z, treatments), hidden, layers, z),
        # Of the same size as the network of the embeddings.
        artifact=GaussianHead((z,), hidden, layers, z),
        offsets=offsets_of(spec, s.base),
    )


def standardize(net: Networks, x: Float[Array, "*b G"]) -> Float[Array, "*b G"]:
    """What the encoder reads; constant genes are guarded as `compat` says."""
    # Constant genes are divided by 1, and as published by almost 0 (3.6 Encoder input).
    guard = "reference" if net.settings.compat == "reference" else "unit"
    return network.standardize(net.spec, x, guard)
