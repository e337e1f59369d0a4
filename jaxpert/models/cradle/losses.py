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
from jaxpert.models.cradle.offsets import relieved_profiles
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
    # 1 / N_f for each failed cell, 1 / N_t for each treatment (docs/models/cradle.md, 5.1 ELBO).
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
        # The failed share of the whole batch, over all devices.
        alpha = parallel.psum((batch.extras["failed"] * batch.mask).sum()) / svi.real_cells(batch)
    # w_i: alpha for passed cells, 1 - alpha for failed ones (5.2 Reconstruction weight).
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
    # x-bar, the median failed cell of each condition (5.4 Reference profiles).
    reference = relieved_profiles(net.offsets, batch.extras["reference"])
    profiles = encoder.project(0, standardize(net, reference))
    include = batch.extras["has_reference"][batch.condition] & batch.mask
    if net.settings.compat == "reference":
        cell, reference = _published_branches(net, encoder, shared, known, profiles, batch)
        divergence = published_divergence(reference, cell)
    else:
        # J2 = sum over I of KL[q(z | x, z_p, u) || q(z | x-bar, z_p, u)] (5.3): what a passed cell
        # would be encoded as, had it the artifact u.
        cell = Posterior(*encoder.heads(known + encoder.project(2, shared.artifact)))
        reference = _reference_branch(net, encoder, shared, profiles, batch)
        divergence = kl_divergence(cell, reference)
        # I holds passed cells alone, as in the paper; the published code takes all.
        include &= batch.extras["failed"] == 0
    total = jnp.where(include, divergence, 0).sum()
    # The ELBO will be divided by the number of cells; J2 as a sum must not be.
    if net.settings.cf_reduce == "sum":
        return total * svi.real_cells(batch)
    return total


def kl_divergence(q: Posterior, p: Posterior) -> Float[Array, "B"]:
    """KL[q || p] of diagonal normals, summed over the latent axis."""
    # 1/2 sum [v_q / v_p + (mu_q - mu_p)^2 / v_p - 1 - ln(v_q / v_p)], exact.
    ratio = (q.std / p.std) ** 2
    return 0.5 * (ratio + ((q.mean - p.mean) / p.std) ** 2 - 1 - jnp.log(ratio)).sum(-1)


def published_divergence(reference: Posterior, cell: Posterior) -> Float[Array, "B"]:
    """The published code's form: KL[reference || cell] without the division of the squared mean
    difference by a variance."""
    # The second formula of docs/models/cradle.md, 5.3 Counterfactual term, faults included.
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
    if not per_condition:
        return posterior
    # From the rows of conditions to those of cells.
    return jax.tree.map(lambda a: a[batch.condition], posterior)


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
    # Failed cells are encoded as passed ones, too.
    flipped = 1 - batch.extras["failed"][:, None]
    cell = Posterior(*encoder.heads(known + encoder.project(2, flipped * shared.artifact)))
    z_p = batch.treatment @ second.masked
    h = (
        profiles[batch.condition]
        + encoder.project(1, z_p)
        + encoder.project(2, flipped * second.artifact)
    )
    return cell, Posterior(*encoder.heads(h))
