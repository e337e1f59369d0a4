"""CRADLE-VAE: perturbation effects apart from technical artifacts, by counterfactual reasoning.

Latents: basal state z_b per cell, masked perturbation embeddings z_p = D (mask * E), one artifact
vector z_a = a u. Counts are Gamma-Poisson on [z_b, z_p, z_a]. The counterfactual term pulls the
basal posterior of a passed cell, told that it had the artifact, towards that of the median failed
cell of the same perturbation.

`compat="reference"` reproduces the numbers of the published code; the default follows the paper
where the two differ: the counterfactual term runs over passed cells only, is the exact KL in the
paper's direction, and uses the same draw of the global latents in both branches; constant genes are
standardised by 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpert.core import parallel
from jaxpert.core.types import Batch, Dataset, InputError, Model, PyTree, Spec
from jaxpert.models.cradle import network as count_vae
from jaxpert.nn import svi
from jaxpert.nn.distributions import CellNormal, LibraryGammaPoisson
from jaxpert.nn.layers import CountHead, GaussianHead


@dataclass(frozen=True)
class Settings(count_vae.MaskedSettings):
    """Hyperparameters; the defaults are the paper's for Norman. The decoder has `decoder_layers` +
    1 hidden layers, as the published code builds it."""

    cf_weight: float = 0.5
    """The paper's alpha (the code's beta); 0 is the ablation without the counterfactual term."""
    cf_reduce: str = "sum"
    """Over the cells of a batch; published weights belong to "sum" beside an ELBO that is a
    mean."""
    recon_weight: str = "balanced_batch"
    """"balanced_batch" weighs passed cells by the batch's failed share and failed cells by the
    rest, as the published numbers were made; "none" is the paper's formula."""
    recon_alpha: float | None = None
    """A fixed failed share in place of the batch's."""
    causal_artifact: bool = True
    """False is the ablation without the causal artifact: a free vector instead of a latent one."""
    compat: str = "default"

    def __post_init__(self):
        count_vae.check_choices(
            self,
            cf_reduce=("sum", "mean"),
            recon_weight=("balanced_batch", "none"),
            compat=("default", "reference"),
        )


class Networks(NamedTuple):
    """What the programs close over: settings, networks and the constants of the data."""

    settings: Settings
    spec: Spec
    decoder: CountHead
    encoder: GaussianHead
    embedding: GaussianHead
    artifact: GaussianHead


class Globals(NamedTuple):
    """One draw of the latents that all cells share."""

    mask: Float[Array, "T Z"]
    effect: Float[Array, "T Z"]
    artifact: Float[Array, "Z"]


def networks(spec: Spec, settings: Settings) -> Networks:
    """The four networks at the widths that the data ask for."""
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


def _standardize(net: Networks, x: Float[Array, "*b G"]) -> Float[Array, "*b G"]:
    return count_vae.standardize(
        net.spec, x, "reference" if net.settings.compat == "reference" else "unit"
    )


def global_weights(batch: Batch) -> tuple[Float[Array, "T"], Float[Array, ""]]:
    """This device's shares of the global log ratios: of each treatment's cells, and of the failed
    cells."""
    failed = (batch.extras["failed"] * batch.mask).sum()
    share = count_vae.share_of_cells(failed, batch.extras["failed_cells"], batch.x.dtype)
    return count_vae.treatment_share(batch), share


def reconstruction_weight(settings: Settings, batch: Batch) -> Float[Array, "B"]:
    """Weight of each cell's likelihood (spec section 3): inverse-frequency balancing that is not
    renormalised."""
    if settings.recon_weight == "none":
        return jnp.ones_like(batch.extras["failed"])
    alpha = settings.recon_alpha
    if alpha is None:
        alpha = parallel.psum((batch.extras["failed"] * batch.mask).sum()) / svi.real_cells(batch)
    return jnp.where(batch.extras["failed"] == 0, alpha, 1 - alpha)


def _model_globals(net: Networks, treatment_share: Array, artifact_share: Array) -> Globals:
    s, treatments, scale = (
        net.settings,
        len(net.spec.treatments),
        net.settings.embedding_prior_scale,
    )
    embedding = count_vae.model_embedding(
        s.latent_dim, treatments, treatment_share, scale=scale, mask=_mask(s)
    )
    if not s.causal_artifact:
        return Globals(*embedding, _free_artifact(s))
    prior = count_vae.standard_normal(scale, s.latent_dim)
    return Globals(
        *embedding, svi.weighted(lambda: numpyro.sample("artifact", prior), artifact_share)()
    )


def _mask(settings: Settings) -> count_vae.Mask:
    return count_vae.Mask(settings.mask_prior, settings.temperature)


def _free_artifact(settings: Settings) -> Float[Array, "Z"]:
    start = numpyro.param(
        "artifact_vector", lambda key: 0.1 * jax.random.normal(key, (settings.latent_dim,))
    )
    return jnp.asarray(start)


def model(net: Networks, batch: Batch) -> None:
    """The generative NumPyro program, at natural scale: a sum over the batch's cells, global terms
    weighted by the share of their cells that the batch holds (all of them when the batch is the
    whole split)."""
    shared = _model_globals(net, *global_weights(batch))
    z_p = batch.treatment @ (shared.mask * shared.effect)
    z_a = batch.extras["failed"][:, None] * shared.artifact
    decoder = svi.network("decoder", net.decoder, *net.decoder.widths)
    with count_vae.cells(batch):
        z_b = count_vae.model_basal(net.settings.latent_dim, batch)
        observe = partial(count_vae.observe, decoder, batch, z_b, z_p, z_a)
        svi.weighted(observe, reconstruction_weight(net.settings, batch))()


def _guide_globals(
    net: Networks, treatment_share: Array, artifact_share: Array, prefix: str = ""
) -> Globals:
    """Draws of the latents that all cells share; with a prefix, draws that the model does not
    have."""
    s, sizes = net.settings, (net.settings.latent_dim, len(net.spec.treatments))
    embedding = count_vae.guide_embedding(
        *sizes, treatment_share, network=net.embedding, mask=_mask(s), prefix=prefix
    )
    if not s.causal_artifact:
        return Globals(*embedding, _free_artifact(s))
    encoder = svi.network("artifact_encoder", net.artifact, s.latent_dim)
    loc, scale = encoder(jnp.ones((s.latent_dim,)))
    posterior = dist.Normal(loc, scale).to_event(1)
    extra = {"is_auxiliary": bool(prefix)}
    artifact = svi.weighted(
        lambda: numpyro.sample(prefix + "artifact", posterior, infer=extra), artifact_share
    )()
    return Globals(*embedding, artifact)


def guide(net: Networks, batch: Batch) -> None:
    """The correlated variational program; the counterfactual term enters as a factor."""
    shared = _guide_globals(net, *global_weights(batch))
    encoder = svi.network("z_basal_encoder", net.encoder, *net.encoder.widths)
    counts = encoder.project(0, _standardize(net, batch.x))
    known = counts + encoder.project(1, batch.treatment @ (shared.mask * shared.effect))
    failed = batch.extras["failed"][:, None]
    loc, scale = encoder.heads(known + encoder.project(2, failed * shared.artifact))
    with count_vae.cells(batch):
        numpyro.sample("z_basal", CellNormal(loc, scale, batch.slot).to_event(1))
    if net.settings.cf_weight:
        term = _counterfactual(net, encoder, shared, known, batch)
        numpyro.factor("counterfactual", net.settings.cf_weight * term)


class Posterior(NamedTuple):
    """A diagonal normal over the basal state."""

    mean: Float[Array, "B Z"]
    std: Float[Array, "B Z"]


def kl_divergence(q: Posterior, p: Posterior) -> Float[Array, "B"]:
    """KL[q || p] of diagonal normals, summed over the latent axis."""
    ratio = (q.std / p.std) ** 2
    return 0.5 * (ratio + ((q.mean - p.mean) / p.std) ** 2 - 1 - jnp.log(ratio)).sum(-1)


def published_divergence(reference: Posterior, own: Posterior) -> Float[Array, "B"]:
    """The published code's form: KL[reference || own] without the division of the squared mean
    difference by a variance."""
    ratio = (reference.std / own.std) ** 2
    return 0.5 * (ratio - 1 - jnp.log(ratio) + (reference.mean - own.mean) ** 2).sum(-1)


def _counterfactual(
    net: Networks, encoder: GaussianHead, shared: Globals, known: Array, batch: Batch
) -> Float[Array, ""]:
    """J2 at natural scale (Eq. for J2; differs in what the module's docstring lists)."""
    profiles = encoder.project(0, _standardize(net, batch.extras["reference"]))
    include = batch.extras["has_reference"][batch.condition] & batch.mask
    if net.settings.compat == "reference":
        own, reference = _published_branches(net, encoder, shared, known, profiles, batch)
        divergence = published_divergence(reference, own)
    else:
        own = Posterior(*encoder.heads(known + encoder.project(2, shared.artifact)))
        reference = _reference_branch(net, encoder, shared, profiles, batch)
        divergence = kl_divergence(own, reference)
        include &= batch.extras["failed"] == 0
    total = jnp.where(include, divergence, 0).sum()
    # The ELBO will be divided by the number of cells; J2 as a sum must not be.
    return total * svi.real_cells(batch) if net.settings.cf_reduce == "sum" else total


def _reference_branch(
    net: Networks, encoder: GaussianHead, shared: Globals, profiles: Array, batch: Batch
) -> Posterior:
    """q(z | median failed cell, z^p, u): the same for all cells of a condition, so it runs once per
    condition, unless there are more conditions than cells in the batch."""
    treatment = jnp.asarray(net.spec.condition_treatments, profiles.dtype)
    per_condition = profiles.shape[0] <= batch.x.shape[0]
    if not per_condition:
        profiles, treatment = profiles[batch.condition], batch.treatment
    h = profiles + encoder.project(1, treatment @ (shared.mask * shared.effect))
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
    zero = jnp.zeros(len(net.spec.treatments)), jnp.zeros(())
    second = _guide_globals(net, *zero, prefix="counterfactual_")
    flipped = 1 - batch.extras["failed"][:, None]
    own = Posterior(*encoder.heads(known + encoder.project(2, flipped * shared.artifact)))
    z_p = batch.treatment @ (second.mask * second.effect)
    h = (
        profiles[batch.condition]
        + encoder.project(1, z_p)
        + encoder.project(2, flipped * second.artifact)
    )
    return own, Posterior(*encoder.heads(h))


def posterior_globals(net: Networks, params: PyTree, key: PRNGKeyArray) -> Globals:
    """One draw of masks, effects and the artifact vector from the guide."""
    zero = jnp.zeros(len(net.spec.treatments)), jnp.zeros(())
    return count_vae.posterior(partial(_guide_globals, net, *zero), params, key)


def shared_latents(net: Networks, params: PyTree, key: PRNGKeyArray) -> dict[str, Array]:
    """`Latent.shared`."""
    drawn = posterior_globals(net, params, key)
    return {
        "effect": drawn.mask * drawn.effect,
        "embedding": drawn.effect,
        "mask": drawn.mask,
        "inclusion": jax.nn.sigmoid(params["mask_logits"]),
        "artifact": drawn.artifact,
    }


def blocks(
    shared: dict[str, Array], treatment: Float[Array, "B T"], failed: Float[Array, "B"]
) -> count_vae.Blocks:
    """z_p and z_a of cells with the given perturbations and artifact flags."""
    return {
        "perturbation": treatment @ shared["effect"],
        "artifact": failed[:, None] * shared["artifact"],
    }


def encode(
    net: Networks, params: PyTree, shared: dict[str, Array], batch: Batch
) -> tuple[Float[Array, "B Z"], Float[Array, "B Z"], count_vae.Blocks]:
    """Mean and standard deviation of q(z_b | x, z_p, z_a), and z_p, z_a."""
    known = blocks(shared, batch.treatment, batch.extras["failed"])
    inputs = _standardize(net, batch.x), known["perturbation"], known["artifact"]
    mean, std = count_vae.apply(net.encoder, params["z_basal_encoder"], *inputs)
    return mean, std, known


def counts(
    net: Networks, params: PyTree, cells: count_vae.Blocks, library: Float[Array, "B"]
) -> LibraryGammaPoisson:
    """Count distribution of cells with the given latents."""
    latents = cells["basal"], cells["perturbation"], cells["artifact"]
    return LibraryGammaPoisson(*count_vae.apply(net.decoder, params["decoder"], *latents), library)


def programs(spec: Spec, **settings):
    """The public NumPyro `(model, guide)` on a `Batch`, for one's own SVI or MCMC; settings as in
    `Settings`."""
    net = networks(spec, Settings(**settings))
    return partial(model, net), partial(guide, net)


def check(settings: Settings, dataset: Dataset) -> tuple[str, ...]:
    """Refuse data without artifact labels, or with too few failed cells for what the settings ask;
    note weak weights."""
    if dataset.quality is None:
        raise InputError(
            f"{dataset.name!r} has no artifact labels, which CRADLE-VAE needs: label its cells "
            "with data.add_quality"
        )
    for split in ("train", "val"):
        rows = dataset.rows(split)
        failed = dataset.quality.failed[rows]
        both = np.intersect1d(dataset.condition[rows[failed]], dataset.condition[rows[~failed]])
        if len(rows) and settings.cf_weight and not len(both):
            raise InputError(
                f"the {split} split of {dataset.name!r} has {failed.sum()} failed cells in "
                f"{len(rows)} "
                "and no condition with both failed and passed cells, of which the counterfactual "
                "term needs at least "
                "one: lower quality.multiplier, or train without the term "
                "(model.kwargs.cf_weight=0)"
            )
    share = float(dataset.quality.failed[dataset.rows("train")].mean())
    if settings.recon_weight == "none" or settings.recon_alpha is not None or 0.1 <= share <= 0.9:
        return ()
    return (
        f"{share:.1%} of the training cells failed, so the published balancing weighs the "
        "likelihood by only "
        f"{2 * share * (1 - share):.3f} beside the KL terms: model.kwargs.recon_weight=none, the "
        "paper's formula, fits "
        "such data better",
    )


def build(spec: Spec, *, particles: int = 5, score_particles: int = 100, **settings) -> Model:
    """CRADLE-VAE for the data that `spec` describes.

    Args:
        spec: from `data.make_spec`.
        particles: Monte-Carlo samples of the training loss.
        score_particles: importance samples of the predictive IWELBO (`Model.score`).
        **settings: fields of `Settings`; an unknown one is a TypeError naming it.
    """
    net = networks(spec, Settings(**settings))
    inside = count_vae.Inside(
        model=partial(model, net),
        guide=partial(guide, net),
        shared=partial(shared_latents, net),
        encode=partial(encode, net),
        blocks=blocks,
        counts=partial(counts, net),
    )
    return count_vae.assemble(
        inside,
        spec,
        net.settings,
        particles=particles,
        score_particles=score_particles,
        check=partial(check, net.settings),
    )
