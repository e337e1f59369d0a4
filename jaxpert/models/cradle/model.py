"""CRADLE-VAE: perturbation effects apart from technical artifacts, by counterfactual reasoning.

Latents: basal state z_b per cell, masked perturbation embeddings z_p = D (mask * E), one artifact
vector z_a = a u. Counts are Gamma-Poisson on [z_b, z_p, z_a]. The counterfactual term pulls the
basal posterior of a passed cell, told that it had the artifact, towards that of the median failed
cell of the same perturbation (docs/models/cradle.md, CRADLE-VAE).

`compat="reference"` reproduces the numbers of the published code. The default follows the paper
where the two differ: the counterfactual term runs over passed cells only, is the exact KL in the
paper's direction, and uses the same draw of the global latents in both branches; constant genes are
standardised by 1.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpyro
from jaxtyping import Array, Float

from jaxpert.core.types import Batch, Dataset, InputError, Model, PyTree, Spec
from jaxpert.models.cradle import network
from jaxpert.models.cradle.assemble import Blocks, Inside, assemble
from jaxpert.models.cradle.global_latents import guide_globals, model_globals, shared_latents
from jaxpert.models.cradle.losses import counterfactual, global_shares, reconstruction_weight
from jaxpert.models.cradle.offsets import BLOCK, relieved
from jaxpert.models.cradle.settings import CradleVaeSettings, checked
from jaxpert.models.cradle.setup import Networks, networks, standardize
from jaxpert.nn import svi
from jaxpert.nn.distributions import CellNormal, LibraryGammaPoisson


def model(net: Networks, batch: Batch) -> None:
    """The generative NumPyro program, at natural scale: a sum over the batch's cells, global terms
    weighted by the share of their cells that the batch holds (all of them when the batch is the
    whole split)."""
    shared = model_globals(net, global_shares(batch))
    # z_p = D (m * E) and z_a = a u (docs/models/cradle.md, 4.1 CRADLE-VAE).
    z_p = batch.treatment @ shared.masked
    z_a = batch.extras["failed"][:, None] * shared.artifact
    decoder = svi.network("decoder", net.decoder, *net.decoder.widths)
    with network.cells(batch):
        z_b = network.model_basal(net.settings.latent_dim, batch)
        # x ~ CountHead([z_b, z_p, z_a], library), its log density weighted by w_i (5.1, 5.2).
        observe = partial(network.observe, decoder, batch, z_b, z_p, z_a, offsets=net.offsets)
        svi.weighted(observe, reconstruction_weight(net.settings, batch))()


def guide(net: Networks, batch: Batch) -> None:
    """The correlated variational program; the counterfactual term enters as a factor."""
    shared = guide_globals(net, global_shares(batch))
    encoder = svi.network("z_basal_encoder", net.encoder, *net.encoder.widths)
    # The first layer is linear in its blocks, so what both encodings of a cell have in common is
    # multiplied once, and the counts once for all particles (docs/models/cradle.md, Speed).
    counts = encoder.project(0, standardize(net, relieved(net.offsets, batch)))
    known = counts + encoder.project(1, batch.treatment @ shared.masked)
    failed = batch.extras["failed"][:, None]
    # q(z_b | x, z_p, a u): the third block is the artifact of failed cells alone.
    loc, scale = encoder.heads(known + encoder.project(2, failed * shared.artifact))
    with network.cells(batch):
        numpyro.sample("z_basal", CellNormal(loc, scale, batch.slot).to_event(1))
    # With weight 0 the second encoding is left out (5.5 Ablations).
    if net.settings.cf_weight:
        term = counterfactual(net, encoder, shared, known, batch)
        numpyro.factor("counterfactual", net.settings.cf_weight * term)


def blocks(
    shared: dict[str, Array], treatment: Float[Array, "B T"], failed: Float[Array, "B"]
) -> Blocks:
    """z_p and z_a of cells with the given perturbations and artifact flags."""
    return {
        "perturbation": treatment @ shared["effect"],
        "artifact": failed[:, None] * shared["artifact"],
    }


def encode(
    net: Networks, params: PyTree, shared: dict[str, Array], batch: Batch
) -> tuple[Float[Array, "B Z"], Float[Array, "B Z"], Blocks]:
    """Mean and standard deviation of q(z_b | x, z_p, z_a), and z_p, z_a."""
    known = blocks(shared, batch.treatment, batch.extras["failed"])
    x = standardize(net, relieved(net.offsets, batch))
    inputs = x, known["perturbation"], known["artifact"]
    mean, std = network.apply(net.encoder, params["z_basal_encoder"], *inputs)
    return mean, std, known


def counts(
    net: Networks, params: PyTree, cells: Blocks, library: Float[Array, "B"]
) -> LibraryGammaPoisson:
    """Count distribution of cells with the given latents."""
    latents = cells["basal"], cells["perturbation"], cells["artifact"]
    decoded = network.apply(net.decoder, params["decoder"], *latents)
    return network.count_distribution(decoded, library, cells.get(BLOCK))


def check(settings: CradleVaeSettings, dataset: Dataset) -> tuple[str, ...]:
    """Refuse data without artifact labels, or with too few failed cells for what the settings ask;
    note weak weights."""
    quality = dataset.quality
    if quality is None:
        raise InputError(
            f"{dataset.name!r} has no artifact labels, expected some for CRADLE-VAE: label its "
            "cells with data.add_quality"
        )
    # Only the counterfactual term needs failed cells to compare with.
    if settings.cf_weight:
        for split in ("train", "val"):
            _check_references(dataset, quality.failed, split)
    # The mean weight is 2 q (1 - q) at a failed share q (5.2 Reconstruction weight).
    share = float(quality.failed[dataset.rows("train")].mean())
    if settings.recon_weight == "none" or settings.recon_alpha is not None or 0.1 <= share <= 0.9:
        return ()
    return (
        f"{share:.1%} of the training cells failed, so the published balancing weighs the "
        f"likelihood by only {2 * share * (1 - share):.3f} beside the KL terms: "
        "model.kwargs.recon_weight=none, the paper's formula, fits such data better",
    )


def _check_references(dataset: Dataset, failed: np.ndarray, split: str) -> None:
    """Some condition of the split has both failed and passed cells."""
    rows = dataset.rows(split)
    failed = failed[rows]
    both = np.intersect1d(dataset.condition[rows[failed]], dataset.condition[rows[~failed]])
    if len(rows) and not len(both):
        raise InputError(
            f"the {split} split of {dataset.name!r} has {failed.sum()} failed cells in {len(rows)} "
            "and no condition with both failed and passed cells, expected at least one for the "
            "counterfactual term: lower quality.multiplier, or train without the term "
            "(model.kwargs.cf_weight=0)"
        )


def programs(spec: Spec, **settings):
    """The public NumPyro `(model, guide)` on a `Batch`, for a user's own SVI or MCMC.

    Args:
        spec: from `jaxpert.make_spec`.
        **settings: fields of `CradleVaeSettings`.
    """
    net = networks(spec, checked(CradleVaeSettings(**settings)))
    return partial(model, net), partial(guide, net)


def build(spec: Spec, **settings: Any) -> Model:
    """CRADLE-VAE for the data that `spec` describes.

    The data need quality labels. Source: Baek et al. 2024; what differs from the published code is
    in docs/models/cradle.md, Paper and code.

    Args:
        spec: from `jaxpert.make_spec`.
        **settings: fields of `CradleVaeSettings` (docs/models/cradle.md, Settings); an unknown one
            is a TypeError that names it, one out of range an InputError.

    Example:
        cells = jaxpert.add_quality(jaxpert.read("screen.h5ad", perturbation="gene"))
        cells = jaxpert.add_split(cells, kind="cells")
        model = jaxpert.cradle_vae.build(jaxpert.make_spec(cells), latent_dim=50)
    """
    net = networks(spec, checked(CradleVaeSettings(**settings)))
    inside = Inside(
        model=partial(model, net),
        guide=partial(guide, net),
        shared=partial(shared_latents, net),
        encode=partial(encode, net),
        blocks=blocks,
        counts=partial(counts, net),
    )
    tables: tuple[str, ...] = ("treatment_cells", "failed_cells")
    # Medians of failed cells are made for the counterfactual term alone.
    if net.settings.cf_weight:
        tables += ("reference", "has_reference")
    return assemble("cradle_vae", inside, net, tables, check=partial(check, net.settings))
