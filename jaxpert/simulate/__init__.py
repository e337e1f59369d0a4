"""A simulated screen whose truth is known (docs/simulator.md).

Called itself, the package makes one: `cells, truth = jaxpert.simulate("demo")`.
"""

import sys
import types

from jaxpert.simulate.annotations import simulated_terms, write_edges, write_gmt
from jaxpert.simulate.from_effects import Effects, EffectsSettings, Profile, simulate_effects
from jaxpert.simulate.screen import simulate, simulate_chunks
from jaxpert.simulate.settings import PRESETS, Settings
from jaxpert.simulate.store import write_screen
from jaxpert.simulate.truth import (
    EffectsTruth,
    LineTruth,
    Truth,
    load_truth,
    pool_truth,
    save_truth,
)

__all__ = [
    "Effects",
    "EffectsSettings",
    "EffectsTruth",
    "LineTruth",
    "PRESETS",
    "Profile",
    "Settings",
    "Truth",
    "load_truth",
    "pool_truth",
    "save_truth",
    "simulate",
    "simulate_chunks",
    "simulate_effects",
    "simulated_terms",
    "write_edges",
    "write_gmt",
    "write_screen",
]


class _Package(types.ModuleType):
    """Importing the package binds its name in `jaxpert`, where users expect the function."""

    def __call__(self, *args, **options):
        return simulate(*args, **options)


# A module is callable only through its class, so the class of this one is replaced.
sys.modules[__name__].__class__ = _Package
