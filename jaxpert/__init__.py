"""Single-cell perturbation prediction in JAX: CRADLE-VAE, GEARS, CycSeq and honest baselines."""

import importlib

_HOMES = {
    "jaxpert.data": (
        "read",
        "add_quality",
        "add_split",
        "add_graphs",
        "drop_unannotated",
        "read_terms",
    ),
    "jaxpert.app.check": ("check",),
    "jaxpert.app.score": ("score",),
    "jaxpert.app.python": ("make_spec", "fit", "predict", "evaluate", "save", "load"),
    "jaxpert.core.ensemble": ("ensemble_of",),
    "jaxpert.tasks.screen.predict": ("embed_cells",),
    "jaxpert.tasks.screen.measured_table": ("measured_effects",),
    "jaxpert.tasks.translation.doses": ("load_doses",),
    "jaxpert.tasks.translation.lines": ("load_lines",),
    "jaxpert.models.cradle.remove_artifacts": ("remove_artifacts",),
    "jaxpert.models.cradle.clean_cells": ("clean_cells",),
    "jaxpert.models.cradle.interpret": ("interpret",),
    "jaxpert.models.gears.predict_sets": ("predict_sets",),
    "jaxpert.models.gears.screen_pairs": ("screen_pairs",),
}
_RENAMED = {
    "load_screen": ("jaxpert.data", "load"),
    "read_effects": ("jaxpert.data.effects_table", "read_table"),
    "prepare_rows": ("jaxpert.tasks.translation.prepare", "prepare"),
    "prepare_doses": ("jaxpert.tasks.translation.doses", "prepare"),
}
"""Public names that are longer than the functions', which stand among their own kind."""
_MODULES = {"simulate": "jaxpert.simulate", "plot": "jaxpert.app.plot"}
"""A package that can be called, and functions that are called by their module's name."""
_HOME = {name: (home, name) for home, names in _HOMES.items() for name in names} | _RENAMED


def __getattr__(name: str):
    """Import on first use: JAX and AnnData take seconds, `import jaxpert` must not.

    Beside the functions, every model has its module here: `jaxpert.gears.build`.
    """
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _HOME:
        home, own = _HOME[name]
        return getattr(importlib.import_module(home), own)
    if not name.startswith("_"):
        families = importlib.import_module("jaxpert.app.families")
        if name in families.models():
            return families.module_of(name)
    raise AttributeError(f"module 'jaxpert' has no attribute {name!r}")


def __dir__() -> list[str]:
    families = importlib.import_module("jaxpert.app.families")
    return sorted((*_HOME, *_MODULES, *families.models()))
