"""CPA-VAE: additive perturbation embeddings without masks, z = z_b + D E, with a mean-field guide.

SAMS-VAE with every mask entry 1; q(E_t) are free normals (docs/models/cradle.md, CPA-VAE).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from jaxpert.core.types import Model, Spec
from jaxpert.models.cradle import additive
from jaxpert.models.cradle.settings import CpaVaeSettings, checked


def networks(spec: Spec, settings: CpaVaeSettings) -> additive.Networks:
    """No masks, and free embeddings."""
    # z_p = D E, every mask entry being 1 (docs/models/cradle.md, 4.3 CPA-VAE).
    return additive.networks(spec, settings, mask=None, embedding=None)


def programs(spec: Spec, **settings):
    """The public NumPyro `(model, guide)` on a `Batch`; settings as in `CpaVaeSettings`."""
    net = networks(spec, checked(CpaVaeSettings(**settings)))
    return partial(additive.model, net), partial(additive.guide, net)


def build(spec: Spec, **settings: Any) -> Model:
    """CPA-VAE for the data that `spec` describes.

    Source: the baseline of that name in Bereket and Karaletsos 2023; see docs/models/cradle.md,
    CPA-VAE.

    Args:
        spec: from `jaxpert.make_spec`.
        **settings: fields of `CpaVaeSettings`; an unknown one is a TypeError that names it, one out
            of range an InputError.

    Example:
        model = jaxpert.cpa_vae.build(jaxpert.make_spec(cells), latent_dim=50)
    """
    return additive.make_model("cpa_vae", networks(spec, checked(CpaVaeSettings(**settings))))
