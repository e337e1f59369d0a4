"""Single-cell perturbation prediction in JAX: CRADLE-VAE, GEARS and CycSeq with honest
baselines."""

import importlib

_HOMES = {
    "jaxpert.data": (
        "read",
        "load",
        "simulate",
        "add_quality",
        "add_split",
        "add_graphs",
        "read_terms",
        "make_spec",
    ),
    "jaxpert.tasks.screen.predict": ("fit", "predict", "embed_cells"),
    "jaxpert.tasks.screen.evaluate": ("evaluate",),
    "jaxpert.models.cradle.remove_artifacts": ("remove_artifacts",),
    "jaxpert.models.cradle.clean_cells": ("clean_cells",),
    "jaxpert.models.cradle.interpret": ("interpret",),
    "jaxpert.models.gears.predict_sets": ("predict_sets",),
    "jaxpert.models.gears.screen_pairs": ("screen_pairs",),
    "jaxpert.app.families": (
        "cradle_vae",
        "sams_vae",
        "cpa_vae",
        "svae_plus",
        "conditional_vae",
        "gears",
    ),
}
__all__ = [
    "read",
    "load",
    "simulate",
    "add_quality",
    "add_split",
    "add_graphs",
    "read_terms",
    "make_spec",
    "fit",
    "predict",
    "evaluate",
    "embed_cells",
    "remove_artifacts",
    "clean_cells",
    "interpret",
    "predict_sets",
    "screen_pairs",
    "cradle_vae",
    "sams_vae",
    "cpa_vae",
    "svae_plus",
    "conditional_vae",
    "gears",
]
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str):
    """Import on first use: JAX and AnnData take seconds, `import jaxpert` must not."""
    if name not in _HOME:
        raise AttributeError(f"module 'jaxpert' has no attribute {name!r}")
    home = _HOME[name]
    if home == "jaxpert.app.families":
        return importlib.import_module(importlib.import_module(home).MODULES[name])
    return getattr(importlib.import_module(home), name)
