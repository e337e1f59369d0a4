"""What every config has, whatever the task: a seed, a model with its settings, and training.

A config is a dataclass of sections (`tasks/<task>/keys.py`) of which `model` and `train` are
described here. It is read once, in `app/run.py`; behind it nobody sees a dictionary of texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any, NamedTuple

from jaxpert.core import settings
from jaxpert.core.errors import InputError
from jaxpert.core.ranges import HEAVIEST, MOST, brief
from jaxpert.core.settings import setting

Config = dict[str, Any]
"""As ml_collections and config.json hold it: nested dictionaries of plain values."""
VARIANTS = ("full", "demo", "test")
"""Of every config: the paper's settings, minutes on two cores, seconds."""


# Small data take a higher rate and smaller batches, so that these variants end in minutes.
SMALL: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "demo": {
        "data": {"perturbation": "perturbation"},
        "train": {"epochs": 150, "batch_size": 128, "learning_rate": 1e-3, "patience": 30},
    },
    "test": {
        "data": {"preset": "tiny", "perturbation": "perturbation"},
        "train": {"epochs": 3, "batch_size": 64},
    },
}
"""What the variants on simulated cells change of the sections: minutes on two cores, and
seconds."""


class ModelEntry(NamedTuple):
    """A model of a family, as far as it is known without importing JAX."""

    module: str
    """Dotted name of the module whose `build(spec, **settings)` makes the model."""
    settings: type
    """Its settings dataclass."""
    variants: Mapping[str, Mapping[str, Any]] = {}
    """What a variant of the configs changes of the settings."""
    named: bool = False
    """Whether the module makes several models, so that its `build` takes the model's name
    first."""


@dataclass(frozen=True)
class ModelKeys:
    """The section `model`."""

    name: str = setting("", "which model is trained")
    kwargs: Any = None
    """The model's settings dataclass."""


@dataclass(frozen=True)
class TrainKeys:
    """The section `train`, as far as all tasks share it."""

    epochs: int = setting(2000, "passes over the training cells, at most", at_least=0, at_most=MOST)
    max_steps: int = setting(0, "steps, at most; 0: no bound", at_least=0)
    batch_size: int = setting(512, "cells per step over all devices", at_least=1, at_most=MOST)
    optimizer: str = setting(
        "adam", "what updates the parameters", choices=("adam", "rmsprop", "sgd")
    )
    learning_rate: float = setting(3e-4, "of the optimiser, at the start", above=0, at_most=10)
    b1: float = setting(0.9, "Adam's decay of the first moment", at_least=0, below=1)
    b2: float = setting(0.999, "Adam's decay of the second moment", at_least=0, below=1)
    decay: float = setting(
        1.0, "factor of the learning rate after every train.decay_every epochs", above=0, at_most=1
    )
    decay_every: int = setting(1, "epochs; 0: a tenth of train.epochs", at_least=0, at_most=MOST)
    weight_decay: float = setting(1e-6, "L2 added to the gradient", at_least=0, at_most=HEAVIEST)
    clip: float = setting(100.0, "bound on the gradient; 0: none", at_least=0)
    clip_kind: str = setting(
        "norm", "what it bounds: the global norm, or each value", choices=("norm", "value")
    )
    clip_parts: tuple[str, ...] = setting(
        (),
        "parts of the parameters that the clip is for, joined by commas; empty: all",
        joined=True,
    )
    freeze: tuple[str, ...] = setting(
        (), "parameters to leave as they are, by path, joined by commas; empty: none", joined=True
    )
    drop_last: bool = setting(False, "whether to leave out the incomplete last batch of an epoch")
    patience: int = setting(
        50,
        "epochs without a lower validation loss before training stops; 0: never",
        at_least=0,
        at_most=MOST,
    )
    validate_every: int = setting(1, "epochs between validations", at_least=1, at_most=MOST)
    log_every: int = setting(
        50, "steps run in one compiled program and logged as one row", at_least=1, at_most=MOST
    )
    save_seconds: float = setting(60.0, "seconds between checkpoints", at_least=0)
    devices: int = setting(0, "number of devices; 0: all", at_least=0, at_most=MOST)
    layout: str = setting(
        "auto",
        "cells on the device: dense, csr (nonzero counts alone), stream (brought from the host "
        "ahead of their steps), or auto (the first of them that fits; stream for counts on disk)",
        choices=("auto", "dense", "csr", "stream"),
    )
    multi_process: bool = setting(
        False, "whether the job runs as several processes (jax.distributed)"
    )


def defaults(
    keys: type,
    name: str,
    entry: ModelEntry,
    variant: str,
    *changes: Mapping[str, Mapping[str, Any]],
) -> Config:
    """A whole config of a model: the task's defaults, changed section by section.

    Args:
        keys: the task's dataclass of sections.
        name, entry: of the model.
        variant: of the config.
        *changes: {section: {key: value}}, the later ones winning.

    Raises:
        InputError: for a variant that the model does not have.
    """
    known = (*VARIANTS, *(other for other in entry.variants if other not in VARIANTS))
    if variant not in known:
        raise InputError(
            f"variant is {brief(variant)}, expected one of {', '.join(known)}: correct it"
        )
    config = settings.plain(keys())
    # Merged key by key, so that a family states only what it changes.
    for sections in changes:
        for section, values in sections.items():
            config[section] |= values
    kwargs = settings.plain(entry.settings()) | dict(entry.variants.get(variant, {}))
    config["model"] = {"name": name, "kwargs": kwargs}
    return config


def read(keys: type, entry: ModelEntry, config: Mapping[str, Any]) -> Any:
    """The config as the task's dataclass, every value checked; `model.kwargs` becomes the model's
    settings dataclass.

    Raises:
        InputError: for a key that is missing or unknown, a value of another type or out of range.
    """
    _check_sections(keys, config)
    # A default filled in silently could differ from what an older run was trained with.
    missing = missing_keys(settings.plain(keys()), config)
    if missing:
        raise InputError(
            f"the config lacks {', '.join(missing)}, expected every key that --help lists: add it"
        )
    # Which settings a model has depends on its family, so its section is read apart.
    model = dict(config["model"])
    kwargs = settings.read(entry.settings, model["kwargs"], "model.kwargs")
    rest = {name: value for name, value in config.items() if name != "model"}
    checked = settings.read(keys, rest)
    return checked.__class__(
        **settings.arguments(checked) | {"model": ModelKeys(model["name"], kwargs)}
    )


def _check_sections(keys: type, config: Mapping[str, Any]) -> None:
    """Raise InputError where something else stands in the place of a section."""
    sections = [name for name, kind in settings.types_of(keys).items() if is_dataclass(kind)]
    for name in sections:
        # One that is not there at all lacks keys, which are named later.
        if not isinstance(config.get(name, {}), Mapping):
            raise InputError(
                f"{name} is {brief(config[name])}, expected a section of keys: see --help for all"
            )
    for key in ("name", "kwargs"):
        if key not in config.get("model", {}):
            raise InputError(
                f"the config lacks model.{key}, expected a model and its settings: add it"
            )


def every_default(keys: type, entry: ModelEntry) -> Config:
    """The defaults of a task's keys and of a model's settings, whatever the variant."""
    every = settings.plain(keys())
    return {**every, "model": {"kwargs": settings.plain(entry.settings())}}


def missing_keys(expected: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Keys that a config lacks, but for a model without any settings, which is seen elsewhere."""
    have = {*flatten(config), "model.name", "model.kwargs"}
    return [key for key in flatten(expected) if key not in have]


def completed(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> Config:
    """A config with the keys that an older version of the same form did not have yet.

    A key that comes later has a default under which everything is as it was without it.
    """
    whole = dict(config)
    for key, value in defaults.items():
        given = config.get(key, {})
        if isinstance(value, Mapping) and isinstance(given, Mapping):
            whole[key] = completed(given, value)
        else:
            whole.setdefault(key, value)
    return whole


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"data.source": ...} from nested dictionaries."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        # An empty section has no keys, but stands where somebody may have expected a value.
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def listed(keys: type, entry: ModelEntry) -> list[settings.Entry]:
    """Every key of a run of this model, for `--help` and for finding the closest one."""
    shared = [key for key in settings.entries(keys) if key.key != "model.name"]
    return shared + settings.entries(entry.settings, "model.kwargs")
