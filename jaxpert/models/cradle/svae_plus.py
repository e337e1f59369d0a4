"""sVAE+: every condition moves the prior mean of a sparse set of latents, z ~ N(mask_c * m_c, I).

mask_prob ~ Beta(1, b) and mask ~ Bernoulli(mask_prob), elementwise; m is a parameter of the model.
The guide has a point mass for mask_prob, and q(z | x) sees neither perturbation nor mask. A
combination is a condition of its own, with nothing from its parts, so unseen combinations cannot be
predicted: a screen that holds combinations needs `combinations="own"` (docs/models/cradle.md,
sVAE+).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.distributions.util import clamp_probs

from jaxpert.core.types import Batch, Dataset, InputError, Model, PyTree, Spec
from jaxpert.models.cradle import network
from jaxpert.models.cradle.assemble import Blocks, Inside, assemble
from jaxpert.models.cradle.offsets import BLOCK, Offsets, offsets_of, relieved
from jaxpert.models.cradle.settings import SvaePlusSettings, checked
from jaxpert.nn import svi
from jaxpert.nn.distributions import CellNormal, LibraryGammaPoisson, StraightThroughBernoulli
from jaxpert.nn.layers import CountHead, GaussianHead


class Networks(NamedTuple):
    """What the programs close over."""

    settings: SvaePlusSettings
    spec: Spec
    perturbed: np.ndarray
    """Conditions other than the control: those with latents, [K]."""
    decoder: CountHead
    encoder: GaussianHead
    offsets: Offsets | None
    """Of the base; None without one."""


def networks(spec: Spec, settings: SvaePlusSettings) -> Networks:
    """The two networks at the widths that the data ask for."""
    s, genes = settings, len(spec.genes)
    return Networks(
        settings=s,
        spec=spec,
        perturbed=np.flatnonzero(np.arange(len(spec.conditions)) != spec.control),
        decoder=CountHead((s.latent_dim,), s.hidden_dim, s.decoder_layers, genes),
        encoder=GaussianHead((genes,), s.hidden_dim, s.encoder_layers, s.latent_dim),
        offsets=offsets_of(spec, s.base),
    )


def condition_share(net: Networks, batch: Batch) -> Float[Array, "K"]:
    """Share of each perturbed condition's cells that this device's batch holds."""
    none = jnp.zeros(len(net.spec.conditions), jnp.int32)
    given = none.at[batch.condition].add(batch.mask.astype(jnp.int32))
    share = network.share_of_cells(given, batch.extras["condition_cells"], batch.x.dtype)
    return share[net.perturbed]


def _by_condition(net: Networks, shift: Float[Array, "K Z"]) -> Float[Array, "C Z"]:
    """Zero for the control."""
    zeros = jnp.zeros((len(net.spec.conditions), shift.shape[1]), shift.dtype)
    return zeros.at[net.perturbed].set(shift)


def model(net: Networks, batch: Batch) -> None:
    """The generative NumPyro program, at natural scale: a sum over the batch's cells, the
    conditions' terms weighted by the share of their cells that the batch holds (all of them when
    the batch is the whole split)."""
    s, conditions = net.settings, len(net.perturbed)
    ones = jnp.ones((conditions, s.latent_dim))

    def masks() -> Any:
        with numpyro.plate("conditions", conditions):
            # p ~ Beta(1, b), m ~ Bernoulli(p), elementwise (docs/models/cradle.md, 4.4 sVAE+).
            prob: Any = numpyro.sample("mask_prob", dist.Beta(ones, s.mask_beta * ones).to_event(1))
            return numpyro.sample("mask", StraightThroughBernoulli(_logits(prob)).to_event(1))

    mask = svi.weighted(masks, condition_share(net, batch))()
    # eta is a parameter and no latent, so that its prior enters nowhere.
    start = partial(jax.random.normal, shape=ones.shape)
    mean: Any = numpyro.param("prior_mean", lambda key: 0.1 * start(key))
    # z ~ N(m_c * eta_c, I), the control's mean being 0.
    loc = _by_condition(net, mask * mean)[batch.condition]
    decoder = svi.network("decoder", net.decoder, *net.decoder.widths)
    with network.cells(batch):
        z: Any = numpyro.sample("z", dist.Normal(loc, 1.0).to_event(1))
        network.observe(decoder, batch, z, offsets=net.offsets)


def _logits(prob: Float[Array, "K Z"]) -> Float[Array, "K Z"]:
    # Away from 0 and 1, where a logit is infinite.
    prob = clamp_probs(prob)
    return jnp.log(prob) - jnp.log1p(-prob)


def _guide_masks(net: Networks, share: Float[Array, "K"]) -> tuple[Array, Array]:
    s, zeros = net.settings, jnp.zeros((len(net.perturbed), net.settings.latent_dim))
    logits: Any = numpyro.param("mask_logits", zeros)

    def masks() -> tuple[Array, Array]:
        with numpyro.plate("conditions", len(zeros)):
            # A point mass: guide and model agree on the mask, and only p's Beta density is left.
            prob: Any = numpyro.sample("mask_prob", dist.Delta(jax.nn.sigmoid(logits)).to_event(1))
            posterior = StraightThroughBernoulli(_logits(prob), s.temperature)
            mask: Any = numpyro.sample("mask", posterior.to_event(1))
            return prob, mask

    return svi.weighted(masks, share)()


def guide(net: Networks, batch: Batch) -> None:
    """The variational program."""
    _guide_masks(net, condition_share(net, batch))
    encoder = svi.network("z_encoder", net.encoder, *net.encoder.widths)
    # q(z | x) from the counts alone: the perturbation acts through the prior.
    loc, scale = encoder(network.standardize(net.spec, relieved(net.offsets, batch)))
    with network.cells(batch):
        numpyro.sample("z", CellNormal(loc, scale, batch.slot).to_event(1))


def shared_latents(net: Networks, params: PyTree, key: PRNGKeyArray) -> dict[str, Array]:
    """`Latent.shared`: rows of the treatments' own (single) conditions, zeros (inclusion NaN) for
    treatments that were only given in combinations; `shift [C, Z]` is what the model works with."""
    no_weight = jnp.zeros(len(net.perturbed))
    prob, mask = network.posterior(partial(_guide_masks, net, no_weight), params, key)
    embedding = params["prior_mean"]
    # For each treatment, the condition in which it was given alone.
    table = net.spec.condition_treatments[net.perturbed]
    single = np.where(table.sum(1)[:, None] == 1, table, 0).T != 0
    row, alone = single.argmax(1), single.any(1)[:, None]

    def of_treatments(values: Array, missing: float = 0.0) -> Array:
        # `row` is 0 where a treatment was never given alone, which `alone` masks out.
        return jnp.where(alone, values[row], missing)

    return {
        "effect": of_treatments(mask * embedding),
        "embedding": of_treatments(embedding),
        "mask": of_treatments(mask),
        "inclusion": of_treatments(prob, jnp.nan),
        "shift": _by_condition(net, mask * embedding),
    }


def blocks(
    net: Networks,
    shared: dict[str, Array],
    treatment: Float[Array, "B T"],
    failed: Float[Array, "B"],
) -> Blocks:
    """The prior mean of the condition with exactly these treatments; the control's where there is
    none (`support` refuses such rows)."""
    table = jnp.asarray(net.spec.condition_treatments, treatment.dtype)
    # A condition is found by its whole row: sVAE+ knows no parts of combinations.
    same = (treatment[:, None] == table).all(-1)
    return {"perturbation": jnp.where(same.any(1)[:, None], shared["shift"][same.argmax(1)], 0)}


def encode(
    net: Networks, params: PyTree, shared: dict[str, Array], batch: Batch
) -> tuple[Float[Array, "B Z"], Float[Array, "B Z"], Blocks]:
    """q(z | x), told as the deviation from the prior mean (the basal block) and the prior mean."""
    x = network.standardize(net.spec, relieved(net.offsets, batch))
    mean, std = network.apply(net.encoder, params["z_encoder"], x)
    # The deviation from the prior mean stands for the basal state, so that it can be moved.
    shift = blocks(net, shared, batch.treatment, batch.extras["failed"])["perturbation"]
    return mean - shift, std, {"perturbation": shift}


def counts(
    net: Networks, params: PyTree, cells: Blocks, library: Float[Array, "B"]
) -> LibraryGammaPoisson:
    """Count distribution of cells with the given latents."""
    z = cells["basal"] + cells["perturbation"]
    decoded = network.apply(net.decoder, params["decoder"], z)
    return network.count_distribution(decoded, library, cells.get(BLOCK))


def check(settings: SvaePlusSettings, dataset: Dataset) -> tuple[str, ...]:
    """Refuse combinations unless they are to have latents of their own; then say what that
    means."""
    sizes = dataset.condition_treatments.sum(1)
    pairs = np.asarray(dataset.conditions, object)[sizes > 1].tolist()
    if not pairs:
        return ()
    if settings.combinations == "refuse":
        raise InputError(
            f"{dataset.name!r} holds {len(pairs)} combinations such as {pairs[0]!r}, for which "
            "sVAE+ has no rule, expected none: give each of them latents of its own "
            '(model.kwargs.combinations="own"), or leave them out of the file'
        )
    return (
        f"sVAE+ gives each of the {len(pairs)} combinations latents of its own: it learns nothing "
        "about those without training cells, whose predictions are the prior's",
    )


def support(
    net: Networks, trained: np.ndarray, treatment: Float[np.ndarray, "R T"]
) -> tuple[str, ...]:
    """Whether the condition of each row had training cells; InputError for combinations outside the
    screen."""
    words = []
    for row in treatment:
        same = np.flatnonzero((net.spec.condition_treatments == row).all(1))
        if not len(same):
            names = "+".join(np.asarray(net.spec.treatments, object)[row != 0])
            raise InputError(
                f"sVAE+ has no latents for {names!r}, expected conditions of the screen that it "
                "was trained on: take cradle_vae or sams_vae for new combinations"
            )
        # A condition of the screen may have all of its cells in validation or test.
        words.append("trained" if trained[same[0]] else "no training cells")
    return tuple(words)


def programs(spec: Spec, **settings):
    """The public NumPyro `(model, guide)` on a `Batch`; settings as in `SvaePlusSettings`."""
    net = networks(spec, checked(SvaePlusSettings(**settings)))
    return partial(model, net), partial(guide, net)


def build(spec: Spec, **settings: Any) -> Model:
    """sVAE+ for the data that `spec` describes.

    Source: the baseline of that name in Bereket and Karaletsos 2023; see docs/models/cradle.md,
    sVAE+.

    Args:
        spec: from `jaxpert.make_spec`.
        **settings: fields of `SvaePlusSettings`; an unknown one is a TypeError that names it, one
            out of range an InputError.

    Example:
        model = jaxpert.svae_plus.build(jaxpert.make_spec(cells), combinations="own")
    """
    net = networks(spec, checked(SvaePlusSettings(**settings)))
    inside = Inside(
        model=partial(model, net),
        guide=partial(guide, net),
        shared=partial(shared_latents, net),
        encode=partial(encode, net),
        blocks=partial(blocks, net),
        counts=partial(counts, net),
        site="z",
    )
    return assemble(
        "svae_plus",
        inside,
        net,
        ("condition_cells",),
        check=partial(check, net.settings),
        support=partial(support, net, spec.condition_cells > 0),
    )
