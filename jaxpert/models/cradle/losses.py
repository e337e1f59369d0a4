"""What the loss of CRADLE-VAE has beyond a plain ELBO: weights of its terms, and the counterfactual
term (docs/models/cradle.md, Training objective)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpert.core import parallel
from jaxpert.core.types import Batch
from jaxpert.models.cradle import network
from jaxpert.models.cradle.global_latents import Globals, Shares, guide_globals, no_shares
from jaxpert.models.cradle.settings import CradleVaeSettings
from jaxpert.models.cradle.setup import Networks, standardize
from jaxpert.nn import svi
from jaxpert.nn.layers import GaussianHead


class Posterior(NamedTuple):
    """A diagonal normal over the basal state."""

    mean: Float[Array, "B Z"]
    std: Float[Array, "B Z"]


def global_shares(batch: Batch) -> Shares:
    """This device's weights of the global log ratios."""
    failed = (batch.extras["failed"] * batch.mask).sum()
    artifact = network.share_of_cells(failed, batch.extras["failed_cells"], batch.x.dtype)
    return Shares(network.treatment_share(batch), artifact)


def reconstruction_weight(settings: CradleVaeSettings, batch: Batch) -> Float[Array, "B"]:
    """Weight of each cell's likelihood (docs/models/cradle.md, Reconstruction weight): failed and
    passed cells by the share of the others, not renormalised."""
    if settings.recon_weight == "none":
        return jnp.ones_like(batch.extras["failed"])
    alpha = settings.recon_alpha
    if alpha is None:
        alpha = parallel.psum((batch.extras["failed"] * batch.mask).sum()) / svi.real_cells(batch)
    return jnp.where(batch.extras["failed"] == 0, alpha, 1 - alpha)


def counterfactual(
    net: Networks, encoder: GaussianHead, shared: Globals, known: Array, batch: Batch
) -> Float[Array, ""]:
    """J2 at natural scale (docs/models/cradle.md, Counterfactual term).

    Args:
        net: networks and settings.
        encoder: q(z_b | x, z_p, z_a), bound to its parameters.
        shared: the guide's draw of what all cells share.
        known: the encoder's products with counts and z_p.
        batch: with the tables `reference` and `has_reference`.
    """
    profiles = encoder.project(0, standardize(net, batch.extras["reference"]))
    include = batch.extras["has_reference"][batch.condition] & batch.mask
    if net.settings.compat == "reference":
        cell, reference = _published_branches(net, encoder, shared, known, profiles, batch)
        divergence = published_divergence(reference, cell)
    else:
        # J2 asks what a passed cell would be encoded as, had it the artifact u.
        cell = Posterior(*encoder.heads(known + encoder.project(2, shared.artifact)))
        reference = _reference_branch(net, encoder, shared, profiles, batch)
        divergence = kl_divergence(cell, reference)
        include &= batch.extras["failed"] == 0
    total = jnp.where(include, divergence, 0).sum()
    # The ELBO will be divided by the number of cells; J2 as a sum must not be.
    return total * svi.real_cells(batch) if net.settings.cf_reduce == "sum" else total


def kl_divergence(q: Posterior, p: Posterior) -> Float[Array, "B"]:
    """KL[q || p] of diagonal normals, summed over the latent axis."""
    ratio = (q.std / p.std) ** 2
    return 0.5 * (ratio + ((q.mean - p.mean) / p.std) ** 2 - 1 - jnp.log(ratio)).sum(-1)


def published_divergence(reference: Posterior, cell: Posterior) -> Float[Array, "B"]:
    """The published code's form: KL[reference || cell] without the division of the squared mean
    difference by a variance."""
    ratio = (reference.std / cell.std) ** 2
    return 0.5 * (ratio - 1 - jnp.log(ratio) + (reference.mean - cell.mean) ** 2).sum(-1)


def _reference_branch(
    net: Networks, encoder: GaussianHead, shared: Globals, profiles: Array, batch: Batch
) -> Posterior:
    """q(z | median failed cell, z_p, u) of each cell's condition."""
    treatment = jnp.asarray(net.spec.condition_treatments, profiles.dtype)
    # All cells of a condition have the same, so it runs once per condition, unless there are more
    # conditions than cells in the batch.
    per_condition = profiles.shape[0] <= batch.x.shape[0]
    if not per_condition:
        profiles, treatment = profiles[batch.condition], batch.treatment
    h = profiles + encoder.project(1, treatment @ shared.masked)
    posterior = Posterior(*encoder.heads(h + encoder.project(2, shared.artifact)))
    return jax.tree.map(lambda a: a[batch.condition], posterior) if per_condition else posterior


def _published_branches(
    net: Networks,
    encoder: GaussianHead,
    shared: Globals,
    known: Array,
    profiles: Array,
    batch: Batch,
) -> tuple[Posterior, Posterior]:
    """Both branches as published: flipped artifact for every cell, the reference with a second,
    independent draw."""
    second = guide_globals(net, no_shares(net), prefix="counterfactual_")
    flipped = 1 - batch.extras["failed"][:, None]
    cell = Posterior(*encoder.heads(known + encoder.project(2, flipped * shared.artifact)))
    z_p = batch.treatment @ second.masked
    h = (
        profiles[batch.condition]
        + encoder.project(1, z_p)
        + encoder.project(2, flipped * second.artifact)
    )
    return cell, Posterior(*encoder.heads(h))
