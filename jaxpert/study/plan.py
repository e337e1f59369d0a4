"""What runs a study consists of: every model on every data set, quality threshold and seed, as
configs and folders."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

from jaxpert import data
from jaxpert.core import workdir as folder
from jaxpert.core.types import InputError
from jaxpert.data.quality import MULTIPLIERS
from jaxpert.study.ledger import Cell

Config = dict[str, Any]
GetConfig = Callable[[str, str], Config]
"""(file in configs/, variant) -> config."""
NEUTRAL = (
    "train.seeds",
    "train.devices",
    "train.layout",
    "train.multi_process",
    "train.save_seconds",
    "data.folder",
    "evaluation.shown",
    "evaluation.umap_cells",
)
"""Keys that change no number of a table."""
VARY_SPLIT = ("norman", "dixit")
"""Screens whose published seeds are those of the split; elsewhere they are those of training."""


class Variant(NamedTuple):
    """A model of the study."""

    module: str
    changes: Mapping[str, Any] = {}
    per_threshold: bool = True
    """Trained anew for each MAD multiplier; else once on all cells and scored at each."""


MODELS = {
    "cradle_vae": Variant("cradle_vae"),
    "cradle_vae_without_counterfactual": Variant("cradle_vae", {"model.kwargs.cf_weight": 0.0}),
    "cradle_vae_without_causal": Variant("cradle_vae", {"model.kwargs.causal_artifact": False}),
    "sams_vae": Variant("sams_vae", per_threshold=False),
    "cpa_vae": Variant("cpa_vae", per_threshold=False),
    "svae_plus": Variant("svae_plus", per_threshold=False),
    "conditional_vae": Variant("conditional_vae", per_threshold=False),
    "sams_vae_passed": Variant("sams_vae", {"quality.training_cells": "passed"}),
}


class Job(NamedTuple):
    """One run: a model on a data set, with the seeds that are trained together."""

    data: str
    model: str
    config: Config
    seeds: tuple[int, ...]
    vary: str
    """What the seed is of: "train" or "split"."""
    multipliers: tuple[int, ...]

    @property
    def name(self) -> str:
        """Start of the names of its folder and lock files."""
        threshold = f"{self.multipliers[0]}mad" if MODELS[self.model].per_threshold else "allcells"
        return f"{re.sub(r'[^A-Za-z0-9._=-]', '_', self.data)}-{self.model}-{threshold}"


def plan(
    models: Sequence[str],
    sources: Sequence[str],
    multipliers: Sequence[int],
    seeds: Sequence[int],
    get_config: GetConfig,
    *,
    variant: str = "",
    vary: str = "auto",
    changes: Mapping[str, str] | None = None,
    at_once: int = 5,
) -> list[Job]:
    """Every run of a study.

    Args:
        models: names in MODELS.
        sources: public names, paths of .h5ad files, or "simulated", with settings of the simulator
            appended as in "simulated:artifact_share=0.1:preset=tiny".
        multipliers: of 3, 4 and 5; models that are trained on all cells are scored at all three
            whatever is asked.
        seeds: of training or of the split.
        get_config: (name of a file in configs/, variant) -> config.
        variant: full, demo or test; empty: demo for "simulated", else full.
        vary: "train", "split", or "auto" (as published: the split on Norman and Dixit, else
            training).
        changes: {config key: text of its value} for all jobs whose config has the key.
        at_once: seeds trained together (vmap) at most.
    """
    _check_names("model", models, MODELS)
    _check_names("MAD multiplier", multipliers, MULTIPLIERS)
    _check_names("--vary", [vary], ("auto", "train", "split"))
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds) or at_once < 1:
        raise InputError(
            f"seeds are {list(seeds)}, {at_once} at once, expected different whole numbers, 0 or "
            "more"
        )
    names = [label_of(source) for source in sources]
    if len(set(names)) < len(names):
        raise InputError(
            f"two data sets have the same name ({', '.join(names)}): rename one of the files"
        )
    changed: set[str] = set()
    jobs = []
    for source, label in zip(sources, names, strict=True):
        what = vary if vary != "auto" else "split" if source in VARY_SPLIT else "train"
        groups = list(runs_of(seeds, at_once if what == "train" else 1))
        for model in models:
            base = _config(model, source, variant, get_config)
            changed |= _change(base, changes or {})
            for scored in (
                [(k,) for k in multipliers] if MODELS[model].per_threshold else [MULTIPLIERS]
            ):
                config = deepcopy(base)
                config["quality"]["multiplier"] = scored[-1]
                config["evaluation"]["multipliers"] = (
                    "" if len(scored) == 1 else ",".join(map(str, scored))
                )
                jobs += [Job(label, model, config, group, what, scored) for group in groups]
    _check_changes(changes or {}, changed, jobs)
    return sorted(jobs, key=lambda job: sources.index(sources[names.index(job.data)]))


def _check_names(what: str, asked: Sequence[Any], known: Sequence[Any] | Mapping[Any, Any]) -> None:
    wrong = [name for name in asked if name not in known]
    if wrong or not asked:
        given = f"{what} is {wrong[0]!r}" if wrong else f"no {what} is given"
        raise InputError(f"{given}, expected some of {', '.join(map(str, known))}")


def label_of(source: str) -> str:
    """What a data set is called in rows and folders: its public name, or the file's name."""
    if source in data.SOURCES or source.split(":")[0] == "simulated":
        return source
    if not Path(source).is_file():
        raise InputError(
            f"data set {source!r} is no file and neither `simulated` nor a public name "
            f"({', '.join(data.SOURCES)})"
        )
    return Path(source).stem


def runs_of(seeds: Sequence[int], most: int) -> Iterator[tuple[int, ...]]:
    """Stretches of consecutive seeds, none longer than `most`: what one run can train together."""
    stretch: list[int] = []
    for seed in sorted(seeds):
        if stretch and (seed != stretch[-1] + 1 or len(stretch) == most):
            yield tuple(stretch)
            stretch = []
        stretch.append(seed)
    if stretch:
        yield tuple(stretch)


def _config(model: str, source: str, variant: str, get_config: GetConfig) -> Config:
    """The config of a model on a data set, from the files of configs/."""
    kind, *settings = source.split(":") if source.startswith("simulated") else (source,)
    variant = variant or ("demo" if kind == "simulated" else "full")
    public = kind if kind in data.SOURCES else "norman"
    module = MODELS[model].module
    if module == "cradle_vae":
        config = get_config(f"cradle_{public}", variant)
    else:
        config = get_config(
            "cradle_baselines", f"{module},{public if variant == 'full' else variant}"
        )
    own = [part for part in settings if not part.startswith("preset=")]
    preset = [part.removeprefix("preset=") for part in settings if part.startswith("preset=")]
    config["data"] |= {"source": kind, "simulation": ",".join(own)} | (
        {"preset": preset[-1]} if preset else {}
    )
    if kind == "simulated":
        config["data"]["perturbation"] = "perturbation"
    config["quality"]["training_cells"] = "all"
    for key, value in MODELS[model].changes.items():
        _put(config, key, value)
    return config


def _change(config: Config, changes: Mapping[str, str]) -> set[str]:
    """Set the keys that the config has, and return them."""
    flat = folder.flatten(config)
    there = {key: text for key, text in changes.items() if key in flat}
    for key, text in there.items():
        _put(config, key, _typed(key, text, flat[key]))
    return set(there)


def _check_changes(changes: Mapping[str, str], changed: set[str], jobs: Sequence[Job]) -> None:
    known = sorted({key for job in jobs for key in folder.flatten(job.config)})
    fixed = {
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
    for key in changes:
        if key in fixed:
            raise InputError(
                f"--set={key}=... is what the study itself varies: use --models, --data, --seeds "
                "..."
            )
        if key not in changed:
            close = difflib.get_close_matches(key, known, 1, 0)[0]
            raise InputError(
                f"{key} is no key of these models' configs, expected one such as {close}"
            )


def _typed(key: str, text: str, example: Any) -> Any:
    """The value that a text stands for, of the type that the config has."""
    try:
        if isinstance(example, bool):
            return {"true": True, "false": False}[text.lower()]
        return type(example)(text)
    except (KeyError, ValueError) as error:
        raise InputError(f"{key} is {text!r}, expected a value such as {example!r}") from error


def _put(config: Config, key: str, value: Any) -> None:
    *path, last = key.split(".")
    for name in path:
        config = config[name]
    config[last] = value


def cells_of(job: Job, seed: int) -> list[Cell]:
    """The cells of the tables that one seed of a job fills."""
    return [Cell(job.data, job.model, k, seed) for k in job.multipliers]


def config_of(job: Job) -> Config:
    """The config of a job's run."""
    config = deepcopy(job.config)
    config["train"]["seeds"] = len(job.seeds)
    (config if job.vary == "train" else config["split"])["seed"] = job.seeds[0]
    return config


def folder_of(job: Job, results: Path) -> Path:
    """Where a job's run lies."""
    seeds = f"{job.seeds[0]}" if len(job.seeds) == 1 else f"{job.seeds[0]}-{job.seeds[-1]}"
    return results / "runs" / f"{job.name}-{job.vary}seeds{seeds}"


def settings_of(config: Config, vary: str) -> Config:
    """The flattened config less the seed and what changes no result, as plain JSON values."""
    left_out = {*NEUTRAL, "seed" if vary == "train" else "split.seed"}
    return json.loads(
        json.dumps({k: v for k, v in folder.flatten(config).items() if k not in left_out})
    )
