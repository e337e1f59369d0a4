"""From settings and data to the scGen network and what its functions close over."""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxpert.core import settings as core_settings
from jaxpert.core.types import Spec
from jaxpert.models.scgen.network import FORMS, Network
from jaxpert.models.scgen.settings import Settings


class ScGen(NamedTuple):
    """What the pure functions close over (`Model.details`)."""

    spec: Spec
    settings: Settings
    network: Network


def make(spec: Spec, **settings: Any) -> ScGen:
    """The network for the data that `spec` describes; settings as in `build`."""
    s = Settings(**settings)
    core_settings.check(s, "model.kwargs")
    network = Network(
        genes=len(spec.genes),
        latent=s.latent_dim,
        hidden=s.hidden_dim,
        layers=s.hidden_layers,
        form=FORMS[s.variant],
        dropout=float(s.dropout),
    )
    return ScGen(spec, s, network)
