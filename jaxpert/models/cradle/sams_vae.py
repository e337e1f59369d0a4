"""SAMS-VAE: sparse additive mechanism shifts, z = z_b + D (mask * E).

Prior: mask_t ~ Bernoulli(pi), E_t ~ N(0, s_E^2 I), z_b ~ N(0, I). Guide: free Bernoullis for the
masks; "correlated" has q(E_t | mask_t) by a network, "mean_field" free normals. Artifact labels are
not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from jaxpert.core.types import Model, Spec
from jaxpert.models.cradle import additive as additive_vae
from jaxpert.models.cradle import network as count_vae
from jaxpert.nn.layers import GaussianHead


@dataclass(frozen=True)
class Settings(count_vae.MaskedSettings):
    """Hyperparameters; the defaults are the original paper's for Norman."""

    guide: str = "correlated"
    """Or "mean_field"."""
    mean_field_encoder: bool = False
    """True hides the perturbation from q(z_b | x)."""

    def __post_init__(self):
        count_vae.check_choices(self, guide=("correlated", "mean_field"))


def networks(spec: Spec, settings: Settings) -> additive_vae.Networks:
    """Masks, and embeddings that know of them where the guide is correlated."""
    s, z = settings, settings.latent_dim
    correlated = GaussianHead(
        (z, len(spec.treatments)), s.embedding_hidden_dim, s.embedding_layers, z
    )
    embedding = correlated if s.guide == "correlated" else None
    return additive_vae.networks(
        spec, s, mask=count_vae.Mask(s.mask_prior, s.temperature), embedding=embedding
    )


def programs(spec: Spec, **settings):
    """The public NumPyro `(model, guide)` on a `Batch`; settings as in `Settings`."""
    net = networks(spec, Settings(**settings))
    return partial(additive_vae.model, net), partial(additive_vae.guide, net)


def build(spec: Spec, *, particles: int = 5, score_particles: int = 100, **settings) -> Model:
    """SAMS-VAE for the data that `spec` describes; arguments as in `cradle_vae.build`."""
    net = networks(spec, Settings(**settings))
    return additive_vae.assemble(net, particles=particles, score_particles=score_particles)
