"""VAEs in which perturbations add to the basal state: z = z_b + D (mask * E); SAMS-VAE with masks,
CPA-VAE without."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpert.core.types import Batch, Model, PyTree, Spec
from jaxpert.models.cradle import network
from jaxpert.models.cradle.assemble import Blocks, Inside, assemble
from jaxpert.models.cradle.offsets import BLOCK, Offsets, offsets_of, relieved
from jaxpert.models.cradle.settings import CpaVaeSettings, SamsVaeSettings
from jaxpert.nn import svi
from jaxpert.nn.distributions import CellNormal, LibraryGammaPoisson
from jaxpert.nn.layers import CountHead, GaussianHead


class Networks(NamedTuple):
    """What the programs close over."""

    settings: SamsVaeSettings | CpaVaeSettings
    spec: Spec
    mask: network.Mask | None
    """None for embeddings without masks."""
    embedding: GaussianHead | None
    """q(E | mask); None for free (mean-field) normals."""
    decoder: CountHead
    encoder: GaussianHead
    offsets: Offsets | None
    """Of the base; None without one."""


def networks(
    spec: Spec,
    settings: SamsVaeSettings | CpaVaeSettings,
    *,
    mask: network.Mask | None,
    embedding: GaussianHead | None,
) -> Networks:
    """The networks at the widths that the data ask for."""
    s, genes, z = settings, len(spec.genes), settings.latent_dim
    # A mean-field encoder does not see z_p (docs/models/cradle.md, 4.2 SAMS-VAE).
    inputs = (genes,) if s.mean_field_encoder else (genes, z)
    return Networks(
        settings=s,
        spec=spec,
        mask=mask,
        embedding=embedding,
        decoder=CountHead((z,), s.hidden_dim, s.decoder_layers, genes),
        encoder=GaussianHead(inputs, s.hidden_dim, s.encoder_layers, z),
        offsets=offsets_of(spec, s.base),
    )


def model(net: Networks, batch: Batch) -> None:
    """The generative NumPyro program, at natural scale: a sum over the batch's cells, the
    treatments' terms weighted by the share of their cells that the batch holds (all of them when
    the batch is the whole split)."""
    s, share = net.settings, network.treatment_share(batch)
    treatments, scale = len(net.spec.treatments), s.embedding_prior_scale
    embedding = network.model_embedding(s.latent_dim, treatments, share, scale=scale, mask=net.mask)
    decoder = svi.network("decoder", net.decoder, *net.decoder.widths)
    with network.cells(batch):
        z_b = network.model_basal(s.latent_dim, batch)
        # x ~ CountHead(z_b + D (m * E), library): the parts are added and not joined (4.2).
        z = z_b + batch.treatment @ embedding.masked
        network.observe(decoder, batch, z, offsets=net.offsets)


def guide(net: Networks, batch: Batch) -> None:
    """The variational program."""
    embedding = _guide_embedding(net, network.treatment_share(batch))
    encoder = svi.network("z_basal_encoder", net.encoder, *net.encoder.widths)
    # q(z_b | x, z_p), with the same draw of masks and embeddings as the likelihood.
    loc, scale = encoder(*_encoder_inputs(net, batch, batch.treatment @ embedding.masked))
    with network.cells(batch):
        numpyro.sample("z_basal", CellNormal(loc, scale, batch.slot).to_event(1))


def shared_latents(net: Networks, params: PyTree, key: PRNGKeyArray) -> dict[str, Array]:
    """`Latent.shared`."""
    # Only the draw is wanted, so its log ratios count for nothing.
    no_weight = jnp.zeros(len(net.spec.treatments))
    drawn = network.posterior(partial(_guide_embedding, net, no_weight), params, key)
    shared = {"effect": drawn.masked, "embedding": drawn.effect}
    if net.mask is None:
        return shared
    # Beside the masks drawn, the probability that each entry is 1.
    return shared | {"mask": drawn.mask, "inclusion": jax.nn.sigmoid(params["mask_logits"])}


def blocks(
    shared: dict[str, Array], treatment: Float[Array, "B T"], failed: Float[Array, "B"]
) -> Blocks:
    """z_p of cells with the given perturbations."""
    return {"perturbation": treatment @ shared["effect"]}


def encode(
    net: Networks, params: PyTree, shared: dict[str, Array], batch: Batch
) -> tuple[Float[Array, "B Z"], Float[Array, "B Z"], Blocks]:
    """Mean and standard deviation of q(z_b | x, z_p), and z_p."""
    z_p = batch.treatment @ shared["effect"]
    inputs = _encoder_inputs(net, batch, z_p)
    mean, std = network.apply(net.encoder, params["z_basal_encoder"], *inputs)
    return mean, std, {"perturbation": z_p}


def counts(
    net: Networks, params: PyTree, cells: Blocks, library: Float[Array, "B"]
) -> LibraryGammaPoisson:
    """Count distribution of cells with the given latents."""
    # Added as in training (docs/models/cradle.md, 4.2 SAMS-VAE).
    z = cells["basal"] + cells["perturbation"]
    decoded = network.apply(net.decoder, params["decoder"], z)
    return network.count_distribution(decoded, library, cells.get(BLOCK))


def make_model(name: str, net: Networks) -> Model:
    """The `Model` of these networks."""
    inside = Inside(
        model=partial(model, net),
        guide=partial(guide, net),
        shared=partial(shared_latents, net),
        encode=partial(encode, net),
        blocks=blocks,
        counts=partial(counts, net),
    )
    return assemble(name, inside, net, ("treatment_cells",))


def _guide_embedding(net: Networks, share: Float[Array, "T"]) -> network.Embedding:
    latent_dim, treatments = net.settings.latent_dim, len(net.spec.treatments)
    return network.guide_embedding(
        latent_dim, treatments, share, network=net.embedding, mask=net.mask
    )


def _encoder_inputs(net: Networks, batch: Batch, z_p: Float[Array, "B Z"]) -> tuple[Array, ...]:
    x = network.standardize(net.spec, relieved(net.offsets, batch))
    if net.settings.mean_field_encoder:
        return (x,)
    return (x, z_p)
