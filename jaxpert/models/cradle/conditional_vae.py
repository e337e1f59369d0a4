"""Conditional VAE: the perturbation is an input of encoder and decoder, without latents of its own.

z ~ N(0, I), x ~ CountHead([z, D], library), q(z | x, D). An unseen combination is a new input row,
for which nothing in the model says how perturbations combine (docs/models/cradle.md, Conditional
VAE).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpyro
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpert.core.types import Batch, Model, PyTree, Spec
from jaxpert.models.cradle import network
from jaxpert.models.cradle.assemble import Blocks, Inside, assemble
from jaxpert.models.cradle.offsets import BLOCK, Offsets, offsets_of, relieved
from jaxpert.models.cradle.settings import ConditionalVaeSettings, checked
from jaxpert.nn import svi
from jaxpert.nn.distributions import CellNormal, LibraryGammaPoisson
from jaxpert.nn.layers import CountHead, GaussianHead


class Networks(NamedTuple):
    """What the programs close over."""

    settings: ConditionalVaeSettings
    spec: Spec
    decoder: CountHead
    encoder: GaussianHead
    offsets: Offsets | None
    """Of the base; None without one."""


def networks(spec: Spec, settings: ConditionalVaeSettings) -> Networks:
    """The two networks at the widths that the data ask for."""
    s, genes, treatments = settings, len(spec.genes), len(spec.treatments)
    return Networks(
        settings=s,
        spec=spec,
        decoder=CountHead((s.latent_dim, treatments), s.hidden_dim, s.decoder_layers, genes),
        encoder=GaussianHead((genes, treatments), s.hidden_dim, s.encoder_layers, s.latent_dim),
        offsets=offsets_of(spec, s.base),
    )


def model(net: Networks, batch: Batch) -> None:
    """The generative NumPyro program, at natural scale."""
    decoder = svi.network("decoder", net.decoder, *net.decoder.widths)
    # x ~ CountHead([z, D], library) (docs/models/cradle.md, 4.5 Conditional VAE).
    with network.cells(batch):
        z = network.model_basal(net.settings.latent_dim, batch)
        network.observe(decoder, batch, z, batch.treatment, offsets=net.offsets)


def guide(net: Networks, batch: Batch) -> None:
    """The variational program."""
    encoder = svi.network("z_basal_encoder", net.encoder, *net.encoder.widths)
    # q(z | x, D): nothing is shared between cells, so the ELBO has terms of cells alone.
    loc, scale = encoder(*_encoder_inputs(net, batch))
    with network.cells(batch):
        numpyro.sample("z_basal", CellNormal(loc, scale, batch.slot).to_event(1))


def shared_latents(net: Networks, params: PyTree, key: PRNGKeyArray) -> dict[str, Array]:
    """`Latent.shared`: there is nothing to draw, each treatment is its own input."""
    # The identity makes the multi-hot row D from D @ effect, as other models make z_p.
    return {"effect": jnp.eye(len(net.spec.treatments))}


def blocks(
    shared: dict[str, Array], treatment: Float[Array, "B T"], failed: Float[Array, "B"]
) -> Blocks:
    """The decoder's second input."""
    return {"perturbation": treatment @ shared["effect"]}


def encode(
    net: Networks, params: PyTree, shared: dict[str, Array], batch: Batch
) -> tuple[Float[Array, "B Z"], Float[Array, "B Z"], Blocks]:
    """Mean and standard deviation of q(z | x, D), and D."""
    inputs = _encoder_inputs(net, batch)
    mean, std = network.apply(net.encoder, params["z_basal_encoder"], *inputs)
    return mean, std, {"perturbation": batch.treatment}


def counts(
    net: Networks, params: PyTree, cells: Blocks, library: Float[Array, "B"]
) -> LibraryGammaPoisson:
    """Count distribution of cells with the given latents."""
    inputs = cells["basal"], cells["perturbation"]
    decoded = network.apply(net.decoder, params["decoder"], *inputs)
    return network.count_distribution(decoded, library, cells.get(BLOCK))


def _encoder_inputs(net: Networks, batch: Batch) -> tuple[Array, Array]:
    return network.standardize(net.spec, relieved(net.offsets, batch)), batch.treatment


def programs(spec: Spec, **settings):
    """The public NumPyro `(model, guide)` on a `Batch`; settings as in `ConditionalVaeSettings`."""
    net = networks(spec, checked(ConditionalVaeSettings(**settings)))
    return partial(model, net), partial(guide, net)


def build(spec: Spec, **settings: Any) -> Model:
    """Conditional VAE for the data that `spec` describes (docs/models/cradle.md, Conditional VAE).

    Args:
        spec: from `jaxpert.make_spec`.
        **settings: fields of `ConditionalVaeSettings`; an unknown one is a TypeError that names it,
            one out of range an InputError.

    Example:
        model = jaxpert.conditional_vae.build(jaxpert.make_spec(cells), latent_dim=50)
    """
    net = networks(spec, checked(ConditionalVaeSettings(**settings)))
    inside = Inside(
        model=partial(model, net),
        guide=partial(guide, net),
        shared=partial(shared_latents, net),
        encode=partial(encode, net),
        blocks=blocks,
        counts=partial(counts, net),
    )
    # Nothing that all cells share is drawn, so that draws say nothing of a mean effect.
    return assemble("conditional_vae", inside, net, (), effect_deviation=None)
