"""SAMS-VAE: sparse additive mechanism shifts, z = z_b + D (mask * E).

Prior: mask_t ~ Bernoulli(pi), E_t ~ N(0, s_E^2 I), z_b ~ N(0, I). Guide: free Bernoullis for the
masks; "correlated" has q(E_t | mask_t) by a network, "mean_field" free normals. Artifact labels are
not used (docs/models/cradle.md, SAMS-VAE).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from jaxpert.core.types import Model, Spec
from jaxpert.models.cradle import additive
from jaxpert.models.cradle.network import Mask
from jaxpert.models.cradle.settings import SamsVaeSettings, checked
from jaxpert.nn.layers import GaussianHead


def networks(spec: Spec, settings: SamsVaeSettings) -> additive.Networks:
    """Masks, and embeddings that know of them where the guide is correlated."""
    s, z = settings, settings.latent_dim
    # None is the mean-field guide: embeddings that do not know of their masks.
    embedding = None
    if s.guide == "correlated":
        # q(E_t | m_t) reads the mask and the one-hot vector of t (docs/models/cradle.md, 4.1).
        inputs = (z, len(spec.treatments))
        embedding = GaussianHead(inputs, s.embedding_hidden_dim, s.embedding_layers, z)
    return additive.networks(spec, s, mask=Mask(s.mask_prior, s.temperature), embedding=embedding)


def programs(spec: Spec, **settings):
    """The public NumPyro `(model, guide)` on a `Batch`; settings as in `SamsVaeSettings`."""
    net = networks(spec, checked(SamsVaeSettings(**settings)))
    return partial(additive.model, net), partial(additive.guide, net)


def build(spec: Spec, **settings: Any) -> Model:
    """SAMS-VAE for the data that `spec` describes.

    Source: Bereket and Karaletsos 2023; see docs/models/cradle.md, SAMS-VAE.

    Args:
        spec: from `jaxpert.make_spec`.
        **settings: fields of `SamsVaeSettings`; an unknown one is a TypeError that names it, one
            out of range an InputError.

    Example:
        model = jaxpert.sams_vae.build(jaxpert.make_spec(cells), latent_dim=50, mask_prior=0.1)
    """
    return additive.make_model("sams_vae", networks(spec, checked(SamsVaeSettings(**settings))))
