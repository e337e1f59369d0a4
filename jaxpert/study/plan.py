"""What runs a study consists of: every model on every data set, quality threshold and seed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

from jaxpert.core.config import Config, flatten
from jaxpert.core.errors import InputError
from jaxpert.core.paths import path_of
from jaxpert.core.ranges import number
from jaxpert.core.settings import names
from jaxpert.data.quality import MULTIPLIERS
from jaxpert.data.sources import SOURCES
from jaxpert.report.layout import Study
from jaxpert.study.jobs import Job, runs_of

GetConfig = Callable[[str, str], Config]
"""(file in configs/, variant) -> config."""
SIMULATED = "simulated"
VARIED = {
    "seed",
    "split.seed",
    "train.seeds",
    "data.source",
    "data.simulation",
    "quality.multiplier",
    "quality.training_cells",
    "evaluation.multipliers",
    "model.name",
}
"""Keys that a study sets itself."""


class Scope(NamedTuple):
    """Which runs of a study are wanted."""

    models: Sequence[str]
    """Names of variants of the study."""
    sources: Sequence[str]
    """Public names, paths of .h5ad files, or "simulated", with settings of the simulator appended
    as in "simulated:artifact_share=0.1:preset=tiny"."""
    multipliers: Sequence[int]
    """Of 3, 4 and 5; models that are trained on all cells are scored at all three in any case."""
    seeds: Sequence[int]
    """Of training or of the split."""
    variant: str = ""
    """Of the configs; empty: demo for "simulated", else full."""
    vary: str = "auto"
    """What the seeds are of: "train", "split", or "auto": as published, else of training."""
    changes: Mapping[str, str] = {}
    """{config key: text of its value} for all runs whose config has the key."""
    at_once: int = 5
    """Seeds trained together (vmap) at most."""


def plan(study: Study, scope: Scope, get_config: GetConfig) -> list[Job]:
    """Every run that is wanted of a study, a data set after the other.

    Raises InputError for anything wanted that there is not.
    """
    _check(study, scope)
    # Which keys were changed is known only from all configs, so they are checked last.
    changed: set[str] = set()
    jobs: list[Job] = []
    for source in scope.sources:
        for model in scope.models:
            config = _config(study, model, source, scope.variant, get_config)
            changed |= change(config, scope.changes)
            jobs += _jobs_of(study, scope, model, source, config)
    check_changes(scope.changes, changed, [job.config for job in jobs])
    return jobs


def label_of(source: str) -> str:
    """What a data set is called in rows and folders: its public name, or the file's name."""
    # Settings of the simulator are part of the name: they make another data set.
    if source in SOURCES or source.split(":")[0] == SIMULATED:
        return source
    # A zarr store is a folder.
    if not path_of(source).exists():
        raise InputError(
            f"data set {source!r} is none that is known, expected a file, `simulated` or a public "
            f"name ({', '.join(SOURCES)}): check its path"
        )
    return Path(source).stem


def _check(study: Study, scope: Scope) -> None:
    _check_names("model", scope.models, study.variants)
    _check_names("MAD multiplier", scope.multipliers, MULTIPLIERS)
    _check_names("--vary", [scope.vary], ("auto", "train", "split"))
    seeds, at_once = list(scope.seeds), scope.at_once
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds) or at_once < 1:
        raise InputError(
            f"seeds are {seeds}, {at_once} at once, expected different whole numbers, 0 or more: "
            "correct --seeds"
        )
    labels = list(map(label_of, scope.sources))
    # Folders and rows go by the label, where two sets of one name would be mixed.
    if len(set(labels)) < len(labels):
        raise InputError(
            f"two data sets have the same name ({', '.join(labels)}), expected different ones: "
            "rename one of the files"
        )


def _check_names(what: str, asked: Sequence[Any], known: Sequence[Any] | Mapping[Any, Any]) -> None:
    """Refuse a name that there is not, and no name at all."""
    names = ", ".join(map(str, known))
    if not asked:
        raise InputError(f"no {what} is given, expected some of {names}: choose some of these")
    for name in asked:
        if name not in known:
            raise InputError(f"{what} is {name!r}, expected some of {names}: choose some of these")


def _jobs_of(study: Study, scope: Scope, model: str, source: str, config: Config) -> list[Job]:
    """The runs of one model on one data set."""
    vary = scope.vary
    if vary == "auto":
        vary = study.data[source].vary if source in study.data else "train"
    # Every split has training cells of its own, so seeds of the split are runs of their own.
    most = scope.at_once if vary == "train" else 1
    groups = list(runs_of(scope.seeds, most))
    thresholds: list[tuple[int, ...]] = [MULTIPLIERS]
    if study.variants[model].per_threshold:
        thresholds = [(multiplier,) for multiplier in scope.multipliers]
    jobs = []
    for multipliers in thresholds:
        scored = deepcopy(config)
        # One threshold labels the cells of a run; its scores may be made at several.
        scored["quality"]["multiplier"] = multipliers[-1]
        scored["evaluation"]["multipliers"] = ""
        if len(multipliers) > 1:
            scored["evaluation"]["multipliers"] = ",".join(map(str, multipliers))
        for seeds in groups:
            jobs.append(Job(label_of(source), model, scored, seeds, vary, multipliers))
    return jobs


def _config(study: Study, model: str, source: str, variant: str, get_config: GetConfig) -> Config:
    """The config of a model on a data set, from the files of configs/."""
    kind, settings = source, []
    # Only the simulator takes settings; the path of a file may hold a colon.
    if source.startswith(SIMULATED):
        kind, *settings = source.split(":")
    if not variant:
        variant = "demo" if kind == SIMULATED else "full"
    # A file of the user's own is run with the config of the paper's first data set.
    data = kind if kind in study.data else next(iter(study.data))
    config = get_config(*study.config(study.variants[model].model, data, variant))
    simulation = []
    for text in settings:
        # A preset has a key of its own; the others are settings of the simulator.
        if text.startswith("preset="):
            config["data"]["preset"] = text.removeprefix("preset=")
        else:
            simulation.append(text)
    config["data"] |= {"source": kind, "simulation": ",".join(simulation)}
    if kind == SIMULATED:
        config["data"]["perturbation"] = "perturbation"
    config["quality"]["training_cells"] = "all"
    for key, value in study.variants[model].changes.items():
        _put(config, key, value)
    return config


def change(config: Config, changes: Mapping[str, str]) -> set[str]:
    """Set the keys that the config has to the values that texts stand for, and return the keys."""
    flat = flatten(config)
    changed = set()
    for key, text in changes.items():
        # Models have settings of their own, so a key may be there for some only.
        if key in flat:
            _put(config, key, _typed(key, text, flat[key]))
            changed.add(key)
    return changed


def check_changes(
    changes: Mapping[str, str],
    changed: set[str],
    configs: Sequence[Config],
    varied: Collection[str] = VARIED,
) -> None:
    """Refuse changes of what the study varies, and of keys that no config has."""
    known: set[str] = set()
    for config in configs:
        known |= flatten(config).keys()
    for key in changes:
        # A study that changed them would file the rows under the wrong cells.
        if key in varied:
            raise InputError(
                f"--set={key}=... is what the study itself varies, expected a key that it leaves "
                "alone: use the flag for it, such as --models or --seeds"
            )
        if key not in changed:
            close = difflib.get_close_matches(key, sorted(known), 1, 0)[0]
            raise InputError(
                f"{key} is no key of these models' configs, expected one such as {close}: correct "
                "it"
            )


def _typed(key: str, text: str, example: Any) -> Any:
    """The value that a text stands for, of the type that the config has."""
    try:
        # bool("false") is True, so words are looked up.
        if isinstance(example, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(example, list | tuple):
            kind = type(example[0]) if example else str
            return tuple(name if kind is str else number(kind, name) for name in names(text))
        return number(type(example), text) if isinstance(example, int | float) else text
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{key} is {text!r}, expected a value such as {example!r}: correct it"
        ) from error


def _put(config: Config, key: str, value: Any) -> None:
    *path, last = key.split(".")
    for name in path:
        config = config[name]
    config[last] = value
