"""VAEs in which perturbations add to the basal state: z = z_b + D (mask * E); SAMS-VAE with masks,
CPA-VAE without."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpert.core.types import Batch, Model, PyTree, Spec
from jaxpert.models.cradle import network as count_vae
from jaxpert.nn import svi
from jaxpert.nn.distributions import CellNormal, LibraryGammaPoisson
from jaxpert.nn.layers import CountHead, GaussianHead


class Networks(NamedTuple):
    """What the programs close over."""

    settings: Any
    """`latent_dim`, `embedding_prior_scale` and `mean_field_encoder` are read here."""
    spec: Spec
    mask: count_vae.Mask | None
    """None for embeddings without masks."""
    embedding: GaussianHead | None
    """q(E | mask); None for free (mean-field) normals."""
    decoder: CountHead
    encoder: GaussianHead


def networks(
    spec: Spec, settings: Any, *, mask: count_vae.Mask | None, embedding: GaussianHead | None
) -> Networks:
    """The networks at the widths that the data ask for."""
    s, genes, z = settings, len(spec.genes), settings.latent_dim
    inputs = (genes,) if s.mean_field_encoder else (genes, z)
    return Networks(
        settings=s,
        spec=spec,
        mask=mask,
        embedding=embedding,
        decoder=CountHead((z,), s.hidden_dim, s.decoder_layers, genes),
        encoder=GaussianHead(inputs, s.hidden_dim, s.encoder_layers, z),
    )


def model(net: Networks, batch: Batch) -> None:
    """The generative NumPyro program, at natural scale: a sum over the batch's cells, the
    treatments' terms weighted by the share of their cells that the batch holds (all of them when
    the batch is the whole split)."""
    s, share = net.settings, count_vae.treatment_share(batch)
    treatments, scale = len(net.spec.treatments), s.embedding_prior_scale
    embedding = count_vae.model_embedding(
        s.latent_dim, treatments, share, scale=scale, mask=net.mask
    )
    decoder = svi.network("decoder", net.decoder, *net.decoder.widths)
    with count_vae.cells(batch):
        z_b = count_vae.model_basal(s.latent_dim, batch)
        count_vae.observe(decoder, batch, z_b + batch.treatment @ embedding.masked)


def _guide_embedding(net: Networks, share: Float[Array, "T"]) -> count_vae.Embedding:
    sizes = net.settings.latent_dim, len(net.spec.treatments)
    return count_vae.guide_embedding(*sizes, share, network=net.embedding, mask=net.mask)


def guide(net: Networks, batch: Batch) -> None:
    """The variational program."""
    embedding = _guide_embedding(net, count_vae.treatment_share(batch))
    encoder = svi.network("z_basal_encoder", net.encoder, *net.encoder.widths)
    loc, scale = encoder(*_encoder_inputs(net, batch, batch.treatment @ embedding.masked))
    with count_vae.cells(batch):
        numpyro.sample("z_basal", CellNormal(loc, scale, batch.slot).to_event(1))


def _encoder_inputs(net: Networks, batch: Batch, z_p: Float[Array, "B Z"]) -> tuple[Array, ...]:
    x = count_vae.standardize(net.spec, batch.x)
    return (x,) if net.settings.mean_field_encoder else (x, z_p)


def shared_latents(net: Networks, params: PyTree, key: PRNGKeyArray) -> dict[str, Array]:
    """`Latent.shared`."""
    zero = jnp.zeros(len(net.spec.treatments))
    drawn = count_vae.posterior(partial(_guide_embedding, net, zero), params, key)
    shared = {"effect": drawn.masked, "embedding": drawn.effect}
    if net.mask is None:
        return shared
    return shared | {"mask": drawn.mask, "inclusion": jax.nn.sigmoid(params["mask_logits"])}


def blocks(
    shared: dict[str, Array], treatment: Float[Array, "B T"], failed: Float[Array, "B"]
) -> count_vae.Blocks:
    """z_p of cells with the given perturbations."""
    return {"perturbation": treatment @ shared["effect"]}


def encode(
    net: Networks, params: PyTree, shared: dict[str, Array], batch: Batch
) -> tuple[Float[Array, "B Z"], Float[Array, "B Z"], count_vae.Blocks]:
    """Mean and standard deviation of q(z_b | x, z_p), and z_p."""
    z_p = batch.treatment @ shared["effect"]
    mean, std = count_vae.apply(
        net.encoder, params["z_basal_encoder"], *_encoder_inputs(net, batch, z_p)
    )
    return mean, std, {"perturbation": z_p}


def counts(
    net: Networks, params: PyTree, cells: count_vae.Blocks, library: Float[Array, "B"]
) -> LibraryGammaPoisson:
    """Count distribution of cells with the given latents."""
    z = cells["basal"] + cells["perturbation"]
    return LibraryGammaPoisson(*count_vae.apply(net.decoder, params["decoder"], z), library)


def assemble(net: Networks, *, particles: int, score_particles: int) -> Model:
    """The `Model` of these networks."""
    inside = count_vae.Inside(
        model=partial(model, net),
        guide=partial(guide, net),
        shared=partial(shared_latents, net),
        encode=partial(encode, net),
        blocks=blocks,
        counts=partial(counts, net),
    )
    return count_vae.assemble(
        inside, net.spec, net.settings, particles=particles, score_particles=score_particles
    )
