"""Settings of the five models, with their defaults, meanings, ranges and small variants.

The defaults are the papers' for Norman (docs/models/cradle.md, Settings). Configs import this
module, so it imports no JAX.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from jaxpert.core.config import Config, ModelEntry
from jaxpert.core.ranges import DEEPEST, HEAVIEST, MOST, WIDEST
from jaxpert.core.settings import check, setting
from jaxpert.tasks.screen import keys

KEYS = keys.ScreenConfig
Checked = TypeVar("Checked")


@dataclass(frozen=True)
class VaeSettings:
    """Of every Gamma-Poisson VAE: widths and depths of encoder and decoder, and samples."""

    latent_dim: int = setting(200, "width of the latents", at_least=1, at_most=WIDEST)
    hidden_dim: int = setting(
        400, "width of the encoder's and decoder's hidden layers", at_least=1, at_most=WIDEST
    )
    encoder_layers: int = setting(
        1, "hidden layers of the basal encoder", at_least=1, at_most=DEEPEST
    )
    decoder_layers: int = setting(
        1, "hidden layers of the decoder (CRADLE-VAE: less one)", at_least=1, at_most=DEEPEST
    )
    particles: int = setting(
        5, "Monte-Carlo samples of the training loss", at_least=1, at_most=1_000
    )
    score_particles: int = setting(
        100, "importance samples of the predictive IWELBO", at_least=1, at_most=MOST
    )
    base: str = setting(
        "none",
        "predictor over which the model learns what is left: none, a baseline by name, or another "
        "that is computed from effects",
        filled=True,
    )


@dataclass(frozen=True)
class MaskedSettings(VaeSettings):
    """Of models in which each treatment has a latent embedding under a mask."""

    embedding_layers: int = setting(
        4, "hidden layers of the effect and artifact networks", at_least=1, at_most=DEEPEST
    )
    embedding_hidden_dim: int = setting(400, "their width", at_least=1, at_most=WIDEST)
    mask_prior: float = setting(
        0.01, "prior probability that a perturbation moves a latent", above=0, below=1
    )
    embedding_prior_scale: float = setting(
        1.0,
        "prior standard deviation of effects and of the artifact vector",
        at_least=1e-3,
        at_most=1e3,
    )
    temperature: float = setting(
        1.0, "of the straight-through Bernoulli", at_least=1e-3, at_most=1e3
    )


@dataclass(frozen=True)
class CradleVaeSettings(MaskedSettings):
    """Of CRADLE-VAE; its decoder has `decoder_layers` + 1 hidden layers, as the published code
    builds it."""

    cf_weight: float = setting(
        0.5,
        "weight of the counterfactual term (the paper's alpha, the code's beta); 0: the ablation "
        "without it",
        at_least=0,
        at_most=HEAVIEST,
    )
    cf_reduce: str = setting(
        "sum",
        "sum or mean of that term over the cells of a batch; published weights belong to the sum",
        choices=("sum", "mean"),
    )
    recon_weight: str = setting(
        "balanced_batch",
        "weights of the cells' likelihoods: balanced_batch (as published results were made) or "
        "none (the paper's formula)",
        choices=("balanced_batch", "none"),
    )
    causal_artifact: bool = setting(True, "False is the ablation with a free artifact vector")
    compat: str = setting(
        "default",
        "default, or reference: the published code's numbers",
        choices=("default", "reference"),
    )
    recon_alpha: float | None = setting(
        None,
        "a fixed failed share in place of the batch's, for recon_weight=balanced_batch",
        at_least=0,
        at_most=1,
        internal=True,
    )


@dataclass(frozen=True)
class SamsVaeSettings(MaskedSettings):
    """Of SAMS-VAE."""

    guide: str = setting(
        "correlated",
        "correlated (effects know of their masks) or mean_field",
        choices=("correlated", "mean_field"),
    )
    mean_field_encoder: bool = setting(False, "True hides the perturbation from the basal encoder")


@dataclass(frozen=True)
class CpaVaeSettings(VaeSettings):
    """Of CPA-VAE."""

    embedding_prior_scale: float = setting(
        1.0, "prior standard deviation of effects", at_least=1e-3, at_most=1e3
    )
    mean_field_encoder: bool = setting(False, "True hides the perturbation from the basal encoder")


@dataclass(frozen=True)
class SvaePlusSettings(VaeSettings):
    """Of sVAE+."""

    mask_beta: float = setting(2.0, "b of the masks' prior Beta(1, b)", at_least=1e-3, at_most=1e3)
    temperature: float = setting(
        1.0, "of the straight-through Bernoulli", at_least=1e-3, at_most=1e3
    )
    combinations: str = setting(
        "refuse",
        "refuse, or own: every combination has latents of its own, learned from its own cells only",
        choices=("refuse", "own"),
    )


@dataclass(frozen=True)
class ConditionalVaeSettings(VaeSettings):
    """Of the conditional VAE."""


SIZES: Mapping[str, Mapping[str, Any]] = {
    "demo": {"latent_dim": 50, "hidden_dim": 128},
    "test": {"latent_dim": 8, "hidden_dim": 16, "particles": 2, "score_particles": 5},
}
MASKED_SIZES: Mapping[str, Mapping[str, Any]] = {
    "demo": {
        **SIZES["demo"],
        "embedding_layers": 2,
        "embedding_hidden_dim": 64,
        "mask_prior": 0.1,
    },
    "test": {**SIZES["test"], "embedding_layers": 2, "embedding_hidden_dim": 16},
}
# The demo's 6,000 cells cannot carry the published weights: balancing shrinks the likelihood
# threefold beside the KL terms, and the counterfactual term compares with medians of a handful of
# failed cells. So it takes the paper's plain likelihood and a small term.
CRADLE_VAE: Mapping[str, Mapping[str, Any]] = {
    "demo": {**MASKED_SIZES["demo"], "cf_weight": 0.02, "recon_weight": "none"},
    "test": MASKED_SIZES["test"],
}

MODELS: dict[str, ModelEntry] = {
    "cradle_vae": ModelEntry("jaxpert.models.cradle.model", CradleVaeSettings, CRADLE_VAE),
    "sams_vae": ModelEntry("jaxpert.models.cradle.sams_vae", SamsVaeSettings, MASKED_SIZES),
    "cpa_vae": ModelEntry("jaxpert.models.cradle.cpa_vae", CpaVaeSettings, SIZES),
    "svae_plus": ModelEntry("jaxpert.models.cradle.svae_plus", SvaePlusSettings, SIZES),
    "conditional_vae": ModelEntry(
        "jaxpert.models.cradle.conditional_vae", ConditionalVaeSettings, SIZES
    ),
}


def defaults(model: str, variant: str = "full") -> Config:
    """A whole config of a model.

    Raises InputError for an unknown variant.
    """
    return keys.defaults(model, MODELS[model], variant, {})


def checked(settings: Checked) -> Checked:
    """The same settings, as a model is built with them.

    Raises InputError for a value of another type, or out of its range.
    """
    check(settings, "model.kwargs")
    return settings
