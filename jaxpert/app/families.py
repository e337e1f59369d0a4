"""The only list of families in the project, and what is found through it.

A family is a package with two modules: `settings`, which imports no JAX (`MODELS`, `defaults`), and
`family` (`FAMILY`). docs/architecture.md shows how to add one.
"""

from __future__ import annotations

import functools
import importlib
import types
from functools import partial
from typing import TYPE_CHECKING, Any

from jaxpert.core.config import ModelEntry
from jaxpert.core.errors import InputError

# Imported for types only: the lists below must not wait for JAX.
if TYPE_CHECKING:
    from jaxpert.core.family import Family

FAMILIES: dict[str, str] = {
    "cradle": "jaxpert.models.cradle",
    "gears": "jaxpert.models.gears",
    "cycseq": "jaxpert.models.cycseq",
    "scgen": "jaxpert.models.scgen",
    "baselines": "jaxpert.models.baselines",
    "set_gp": "jaxpert.models.set_gp",
}
"""{name: package}."""


def settings_of(family: str) -> Any:
    """The module `settings` of a family."""
    return importlib.import_module(f"{FAMILIES[family]}.settings")


def models() -> dict[str, str]:
    """{model: family} of every model; importing no JAX."""
    return {model: family for family in FAMILIES for model in settings_of(family).MODELS}


def family_name_of(model: str) -> str:
    """The family of a model."""
    known = models()
    if model not in known:
        raise InputError(
            f"model.name is {model!r}, expected one of {', '.join(sorted(known))}: correct it"
        )
    return known[model]


def entry_of(model: str) -> ModelEntry:
    """Settings and module of a model; importing no JAX."""
    return settings_of(family_name_of(model)).MODELS[model]


def keys_of(model: str) -> type:
    """The sections of a model's configs; importing no JAX."""
    return settings_of(family_name_of(model)).KEYS


def module_of(model: str) -> Any:
    """The module whose `build` makes the model, or what has such a `build` for this model of
    several that a module makes."""
    entry = entry_of(model)
    module = importlib.import_module(entry.module)
    if not entry.named:
        return module
    return types.SimpleNamespace(__doc__=module.__doc__, build=partial(module.build, model))


# Cached, since a family is asked for many times and imports much.
@functools.cache
def load(family: str) -> Family:
    """A family, with everything that it needs."""
    return importlib.import_module(f"{FAMILIES[family]}.family").FAMILY


def all_families() -> dict[str, Family]:
    """Every family by its name."""
    return {name: load(name) for name in FAMILIES}
