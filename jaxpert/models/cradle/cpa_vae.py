"""CPA-VAE: additive perturbation embeddings without masks, z = z_b + D E, with a mean-field guide.

SAMS-VAE with every mask entry 1; q(E_t) are free normals.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from jaxpert.core.types import Model, Spec
from jaxpert.models.cradle import additive as additive_vae
from jaxpert.models.cradle.network import Sizes


@dataclass(frozen=True)
class Settings(Sizes):
    """Hyperparameters; the defaults are the original paper's for Norman."""

    embedding_prior_scale: float = 1.0
    mean_field_encoder: bool = False
    """True hides the perturbation from q(z_b | x)."""


def networks(spec: Spec, settings: Settings) -> additive_vae.Networks:
    """No masks, and free embeddings."""
    return additive_vae.networks(spec, settings, mask=None, embedding=None)


def programs(spec: Spec, **settings):
    """The public NumPyro `(model, guide)` on a `Batch`; settings as in `Settings`."""
    net = networks(spec, Settings(**settings))
    return partial(additive_vae.model, net), partial(additive_vae.guide, net)


def build(spec: Spec, *, particles: int = 5, score_particles: int = 100, **settings) -> Model:
    """CPA-VAE for the data that `spec` describes; arguments as in `cradle_vae.build`."""
    net = networks(spec, Settings(**settings))
    return additive_vae.assemble(net, particles=particles, score_particles=score_particles)
