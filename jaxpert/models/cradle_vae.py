"""CRADLE-VAE: perturbation effects apart from technical artifacts, by counterfactual reasoning.

Latents: basal state z_b per cell, masked perturbation embeddings z_p = D (mask * E), one artifact vector z_a = a u.
Counts are Gamma-Poisson on [z_b, z_p, z_a]. The counterfactual term pulls the basal posterior of a passed cell, told
that it had the artifact, towards that of the median failed cell of the same perturbation.

`compat="reference"` reproduces the numbers of the published code; the default follows the paper where the two differ:
the counterfactual term runs over passed cells only, is the exact KL in the paper's direction, and uses the same draw
of the global latents in both branches; constant genes are standardised by 1.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro import handlers

from jaxpert import parallel, svi
from jaxpert.distributions import CellNormal, LibraryGammaPoisson, StraightThroughBernoulli
from jaxpert.nets import CountHead, GaussianHead
from jaxpert.transforms import log_standardize
from jaxpert.types import Batch, Dataset, InputError, Model, PyTree, Request, Spec

CHOICES = {
    "cf_reduce": ("sum", "mean"),
    "recon_weight": ("balanced_batch", "none"),
    "compat": ("default", "reference"),
}


@dataclass(frozen=True)
class Settings:
    """Hyperparameters; the defaults are the paper's for Norman."""

    latent_dim: int = 200
    hidden_dim: int = 400
    encoder_layers: int = 1
    decoder_layers: int = 1
    """Hidden layers of the decoder less one: the published code builds one more than its setting says."""
    embedding_layers: int = 4
    embedding_hidden_dim: int = 400
    mask_prior: float = 0.01
    embedding_prior_scale: float = 1.0
    temperature: float = 1.0
    cf_weight: float = 0.5
    """The paper's alpha (the code's beta); 0 is the ablation without the counterfactual term."""
    cf_reduce: str = "sum"
    """Over the cells of a batch; published weights belong to "sum" beside an ELBO that is a mean."""
    recon_weight: str = "balanced_batch"
    """"balanced_batch" weighs passed cells by the batch's failed share and failed cells by the rest, as the published
    numbers were made; "none" is the paper's formula."""
    recon_alpha: float | None = None
    """A fixed failed share in place of the batch's."""
    causal_artifact: bool = True
    """False is the ablation without the causal artifact: a free vector instead of a latent one."""
    compat: str = "default"

    def __post_init__(self):
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"model.kwargs.{name} is {getattr(self, name)!r}, expected one of {', '.join(allowed)}"
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
    guard = "reference" if net.settings.compat == "reference" else "unit"
    mean, std = (jnp.asarray(a, x.dtype) for a in (net.spec.log_mean, net.spec.log_std))
    return log_standardize(x, mean, std, guard=guard)


def global_weights(batch: Batch) -> tuple[Float[Array, "T"], Float[Array, ""]]:
    """This device's shares of the global log ratios: over an epoch every one of them is counted exactly once."""
    given = ((batch.treatment != 0) & batch.mask[:, None]).sum(0)
    cells = batch.extras["treatment_cells"]
    failed = (batch.extras["failed"] * batch.mask).sum()
    count = batch.extras["failed_cells"]
    share = jnp.where(cells > 0, given / jnp.maximum(cells, 1), 0).astype(batch.x.dtype)
    return share, jnp.where(count > 0, failed / jnp.maximum(count, 1), 0).astype(batch.x.dtype)


def reconstruction_weight(settings: Settings, batch: Batch) -> Float[Array, "B"]:
    """Weight of each cell's likelihood (spec section 3): inverse-frequency balancing that is not renormalised."""
    if settings.recon_weight == "none":
        return jnp.ones_like(batch.extras["failed"])
    alpha = settings.recon_alpha
    if alpha is None:
        alpha = parallel.psum((batch.extras["failed"] * batch.mask).sum()) / svi.real_cells(batch)
    return jnp.where(batch.extras["failed"] == 0, alpha, 1 - alpha)


def _standard_normal(scale: float, *shape: int) -> dist.Distribution:
    return dist.Normal(jnp.zeros(shape), scale).to_event(1)


def _model_globals(net: Networks, treatment_weight: Array, artifact_weight: Array) -> Globals:
    s, treatments = net.settings, len(net.spec.treatments)
    # The published code keeps the prior probability as a float32 buffer.
    prior = jnp.float32(s.mask_prior).astype(jnp.result_type(float))
    logits = jnp.full((treatments, s.latent_dim), jnp.log(prior) - jnp.log1p(-prior))

    def treatment_latents():
        with numpyro.plate("treatments", treatments):
            mask = numpyro.sample("mask", StraightThroughBernoulli(logits).to_event(1))
            effect = numpyro.sample("effect", _standard_normal(s.embedding_prior_scale, treatments, s.latent_dim))
        return mask, effect

    mask, effect = svi.weighted(treatment_latents, treatment_weight)()
    if not s.causal_artifact:
        return Globals(mask, effect, _free_artifact(s))
    prior_artifact = _standard_normal(s.embedding_prior_scale, s.latent_dim)
    artifact = svi.weighted(lambda: numpyro.sample("artifact", prior_artifact), artifact_weight)()
    return Globals(mask, effect, artifact)


def _free_artifact(settings: Settings) -> Float[Array, "Z"]:
    start = numpyro.param("artifact_vector", lambda key: 0.1 * jax.random.normal(key, (settings.latent_dim,)))
    return jnp.asarray(start)


def model(net: Networks, batch: Batch) -> None:
    """The generative NumPyro program, at natural scale: a sum over the batch's cells, global terms weighted by the
    share of their cells that the batch holds (all of them when the batch is the whole split)."""
    shared = _model_globals(net, *global_weights(batch))
    z_p = batch.treatment @ (shared.mask * shared.effect)
    z_a = batch.extras["failed"][:, None] * shared.artifact
    decoder = svi.network("decoder", net.decoder, *net.decoder.widths)
    with numpyro.plate("cells", batch.x.shape[0]), handlers.mask(mask=batch.mask):
        z_b: Any = numpyro.sample("z_basal", _standard_normal(1.0, batch.x.shape[0], net.settings.latent_dim))
        logits, log_concentration = decoder(z_b, z_p, z_a)
        counts = LibraryGammaPoisson(logits, log_concentration, batch.x.sum(-1))
        observe = partial(numpyro.sample, "x", counts, obs=batch.x)
        svi.weighted(observe, reconstruction_weight(net.settings, batch))()


def _guide_globals(net: Networks, treatment_weight: Array, artifact_weight: Array, prefix: str = "") -> Globals:
    """Draws of the latents that all cells share; with a prefix, draws that the model does not have."""
    s, treatments = net.settings, len(net.spec.treatments)
    extra = {"is_auxiliary": bool(prefix)}
    zeros = jnp.zeros((treatments, s.latent_dim))
    logits = numpyro.param("mask_logits", zeros)
    embedding = svi.network("embedding_encoder", net.embedding, *net.embedding.widths)

    def treatment_latents():
        with contextlib.nullcontext() if prefix else numpyro.plate("treatments", treatments):
            posterior = StraightThroughBernoulli(logits, s.temperature).to_event(1)
            mask: Any = numpyro.sample(prefix + "mask", posterior, infer=extra)
            # [mask_t, onehot_t] in the first layer: the one-hot part is a row of the kernel.
            loc, scale = embedding.heads(embedding.project(0, mask) + embedding.rows(1))
            return mask, numpyro.sample(prefix + "effect", dist.Normal(loc, scale).to_event(1), infer=extra)

    mask, effect = svi.weighted(treatment_latents, treatment_weight)()
    if not s.causal_artifact:
        return Globals(mask, effect, _free_artifact(s))
    encoder = svi.network("artifact_encoder", net.artifact, s.latent_dim)
    loc, scale = encoder(jnp.ones((s.latent_dim,)))
    posterior = dist.Normal(loc, scale).to_event(1)
    artifact = svi.weighted(lambda: numpyro.sample(prefix + "artifact", posterior, infer=extra), artifact_weight)()
    return Globals(mask, effect, artifact)


def guide(net: Networks, batch: Batch) -> None:
    """The correlated variational program; the counterfactual term enters as a factor."""
    shared = _guide_globals(net, *global_weights(batch))
    encoder = svi.network("z_basal_encoder", net.encoder, *net.encoder.widths)
    counts = encoder.project(0, _standardize(net, batch.x))
    known = counts + encoder.project(1, batch.treatment @ (shared.mask * shared.effect))
    failed = batch.extras["failed"][:, None]
    loc, scale = encoder.heads(known + encoder.project(2, failed * shared.artifact))
    with numpyro.plate("cells", batch.x.shape[0]), handlers.mask(mask=batch.mask):
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
    """The published code's form: KL[reference || own] without the division of the squared mean difference by a
    variance."""
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
    """q(z | median failed cell, z^p, u): the same for all cells of a condition, so it runs once per condition, unless
    there are more conditions than cells in the batch."""
    treatment = jnp.asarray(net.spec.condition_treatments, profiles.dtype)
    per_condition = profiles.shape[0] <= batch.x.shape[0]
    if not per_condition:
        profiles, treatment = profiles[batch.condition], batch.treatment
    h = profiles + encoder.project(1, treatment @ (shared.mask * shared.effect))
    posterior = Posterior(*encoder.heads(h + encoder.project(2, shared.artifact)))
    return jax.tree.map(lambda a: a[batch.condition], posterior) if per_condition else posterior


def _published_branches(
    net: Networks, encoder: GaussianHead, shared: Globals, known: Array, profiles: Array, batch: Batch
) -> tuple[Posterior, Posterior]:
    """Both branches as published: flipped artifact for every cell, the reference with a second, independent draw."""
    zero = jnp.zeros(len(net.spec.treatments)), jnp.zeros(())
    second = _guide_globals(net, *zero, prefix="counterfactual_")
    flipped = 1 - batch.extras["failed"][:, None]
    own = Posterior(*encoder.heads(known + encoder.project(2, flipped * shared.artifact)))
    z_p = batch.treatment @ (second.mask * second.effect)
    h = profiles[batch.condition] + encoder.project(1, z_p) + encoder.project(2, flipped * second.artifact)
    return own, Posterior(*encoder.heads(h))


def posterior_globals(net: Networks, params: PyTree, key: PRNGKeyArray) -> Globals:
    """One draw of masks, effects and the artifact vector from the guide."""
    zero = jnp.zeros(len(net.spec.treatments)), jnp.zeros(())
    drawn: Any = handlers.substitute(handlers.seed(_guide_globals, key), params)(net, *zero)
    return drawn


def decode(
    net: Networks, params: PyTree, shared: Globals, z_basal: Float[Array, "R Z"], request: Request
) -> LibraryGammaPoisson:
    """Count distribution of cells with the given basal states, perturbations and artifact flags."""
    z_p = request.treatment @ (shared.mask * shared.effect)
    z_a = request.failed[:, None] * shared.artifact
    logits, log_concentration = net.decoder.apply({"params": params["decoder"]}, z_basal, z_p, z_a)
    return LibraryGammaPoisson(logits, log_concentration, request.library)


def predict(net: Networks, params: PyTree, state: PyTree, key: PRNGKeyArray, request: Request) -> Float[Array, "R G"]:
    """Counts of one generated cell per row (Alg. 3): fresh globals shared by the rows, z_b ~ N(0, I)."""
    key_globals, key_z, key_x = jax.random.split(key, 3)
    shared = posterior_globals(net, params, key_globals)
    shape = (request.treatment.shape[0], net.settings.latent_dim)
    return decode(net, params, shared, jax.random.normal(key_z, shape), request).sample(key_x)


def embed(net: Networks, params: PyTree, state: PyTree, key: PRNGKeyArray, batch: Batch) -> dict[str, Array]:
    """Posterior mean of the basal state (`z_basal`) and the perturbation's part (`z_perturbation`) at one draw of the
    globals."""
    shared = posterior_globals(net, params, key)
    z_p = batch.treatment @ (shared.mask * shared.effect)
    z_a = batch.extras["failed"][:, None] * shared.artifact
    mean, _ = net.encoder.apply({"params": params["z_basal_encoder"]}, _standardize(net, batch.x), z_p, z_a)
    return {"z_basal": mean, "z_perturbation": z_p}


def programs(spec: Spec, **settings):
    """The public NumPyro `(model, guide)` on a `Batch`, for one's own SVI or MCMC; settings as in `Settings`."""
    net = networks(spec, Settings(**settings))
    return partial(model, net), partial(guide, net)


def check(settings: Settings, dataset: Dataset) -> tuple[str, ...]:
    """Refuse data without artifact labels, or with too few failed cells for what the settings ask; note weak
    weights."""
    if dataset.quality is None:
        raise InputError(
            f"{dataset.name!r} has no artifact labels, which CRADLE-VAE needs: label its cells with data.add_quality"
        )
    for split in ("train", "val"):
        rows = dataset.rows(split)
        failed = dataset.quality.failed[rows]
        both = np.intersect1d(dataset.condition[rows[failed]], dataset.condition[rows[~failed]])
        if len(rows) and settings.cf_weight and not len(both):
            raise InputError(
                f"the {split} split of {dataset.name!r} has {failed.sum()} failed cells in {len(rows)} "
                "and no condition with both failed and passed cells, of which the counterfactual term needs at least "
                "one: lower quality.multiplier, or train without the term (model.kwargs.cf_weight=0)"
            )
    share = float(dataset.quality.failed[dataset.rows("train")].mean())
    if settings.recon_weight == "none" or settings.recon_alpha is not None or 0.1 <= share <= 0.9:
        return ()
    return (
        f"{share:.1%} of the training cells failed, so the published balancing weighs the likelihood by only "
        f"{2 * share * (1 - share):.3f} beside the KL terms: model.kwargs.recon_weight=none, the paper's formula, fits "
        "such data better",
    )


def build(spec: Spec, *, particles: int = 5, score_particles: int = 100, **settings) -> Model:
    """CRADLE-VAE for the data that `spec` describes.

    Args:
        particles: Monte-Carlo samples of the training loss.
        score_particles: importance samples of the predictive IWELBO (`Model.score`).
        **settings: fields of `Settings`; an unknown one is a TypeError naming it.
    """
    net = networks(spec, Settings(**settings))
    bound_model, bound_guide = partial(model, net), partial(guide, net)

    def score(params: PyTree, state: PyTree, key: PRNGKeyArray, batch: Batch) -> Float[Array, "B"]:
        draws = jax.random.split(key, score_particles)
        return svi.cell_bound(bound_model, bound_guide, params, draws, batch, local_sites=("z_basal",))

    return Model(
        init=svi.make_init(bound_model, bound_guide),
        loss=svi.make_loss(bound_model, bound_guide, particles),
        predict=partial(predict, net),
        score=score,
        embed=partial(embed, net),
        check=partial(check, net.settings),
    )
