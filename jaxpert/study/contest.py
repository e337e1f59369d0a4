"""Which runs a leaderboard consists of: every model that answers the task, on every split, with
every seed, all of them on the same cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

from jaxpert.app import families, training
from jaxpert.core import config as of_core
from jaxpert.core import settings
from jaxpert.core.config import Config
from jaxpert.core.errors import InputError
from jaxpert.core.paths import path_of
from jaxpert.core.ranges import LARGEST_SEED, brief, number
from jaxpert.data.sources import SOURCES
from jaxpert.evaluation.baselines import BASELINES
from jaxpert.study.jobs import Job, runs_of
from jaxpert.study.plan import SIMULATED, change, check_changes
from jaxpert.tasks.screen import keys
from jaxpert.tasks.screen.keys import SPLIT_KINDS, ScreenConfig

DEMO = "demo"
SHARED = ("data", "graphs", "quality", "split", "evaluation")
"""Sections of a config that are the same for all models, which are then scored on the same
cells."""
OF_CONFIG = ("data", "graphs", "quality", "split")
"""Those that are taken from a config which is named as the data."""
SMALL_DEMO = "cells=4000,genes=500"
"""Settings of the simulated screen: all models once take a few minutes on two cores."""
FEW_EPOCHS = {DEMO: 30}
"""Most epochs where none are given, for the same reason."""
FEW_SEEDS = {DEMO: (0,)}
"""Training seeds where none are given, for the same reason; else those of SEEDS."""
SEEDS = (0, 1)
VARIED = {
    "seed",
    "split.seed",
    "split.kind",
    "train.seeds",
    "data.source",
    "model.name",
    "evaluation.multipliers",
}
"""Keys that a leaderboard sets itself."""


class Split(NamedTuple):
    """A kind of split and the seed that it is drawn with."""

    kind: str
    seed: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.seed}" if self.seed else self.kind


class Contest(NamedTuple):
    """What is compared."""

    label: str
    """Of the data, as rows and folders call them."""
    sections: Config
    """Of the configs, those of SHARED."""
    variant: str
    """Of the models' settings: full, demo or test."""
    models: tuple[str, ...]
    splits: tuple[Split, ...]
    seeds: tuple[int, ...]
    epochs: int | None = None
    """Most epochs of every model; None for each model's own number."""
    changes: Mapping[str, str] = {}
    """{config key: text of its value} for all runs whose config has the key."""
    at_once: int = 1
    """Seeds trained together (vmap) at most."""

    def name(self, split: Split) -> str:
        """What the rows of a split are filed under."""
        return f"{self.label}, {split}"


def entrants() -> tuple[str, ...]:
    """Models of the task, in the order of their families; what stands beside every model as a
    baseline is no entrant."""
    names = []
    for model in families.models():
        if families.keys_of(model) is ScreenConfig and model not in BASELINES:
            names.append(model)
    return tuple(names)


def strangers() -> dict[str, str]:
    """{model: why it cannot stand beside the others} of those that answer another task."""
    reasons = {}
    for model, family in families.models().items():
        if families.keys_of(model) is not ScreenConfig:
            task = families.load(family).task.name
            reasons[model] = f"it answers the task {task}, whose data are no cells of one screen"
    return reasons


def check_models(models: Sequence[str]) -> tuple[str, ...]:
    """The models that are wanted; all entrants for none.

    Raises InputError for one that there is not, or that answers another task.
    """
    known = entrants()
    for model in models:
        if model not in known:
            raise InputError(
                f"--models names {brief(model)}, expected some of {', '.join(known)}: choose some "
                "of these"
            )
    return tuple(dict.fromkeys(models)) or known


def check_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """The seeds in their order.

    Raises InputError for none, for one that is given twice, and for one out of range.
    """
    wrong = [seed for seed in seeds if not 0 <= seed <= LARGEST_SEED]
    if wrong or not seeds or len(set(seeds)) < len(seeds):
        raise InputError(
            f"--seeds is {','.join(map(str, seeds)) or 'empty'}, expected different whole numbers "
            f"from 0 to {LARGEST_SEED}: correct it"
        )
    return tuple(sorted(seeds))


def seeds_of(given: Sequence[int], label: str) -> tuple[int, ...]:
    """The training seeds that are given, or those that stand for none, by the name of the data."""
    return check_seeds(given or FEW_SEEDS.get(label, SEEDS))


def splits_of(texts: Sequence[str], own: Mapping[str, Any]) -> tuple[Split, ...]:
    """Splits of texts such as "combinations" or "simulation:3"; without one that of the data's own
    section."""
    if not texts:
        return (Split(own["kind"], own["seed"]),)
    splits = []
    for text in texts:
        kind, _, seed = text.partition(":")
        try:
            split = Split(kind, number(int, seed) if seed else own["seed"])
        except ValueError:
            split = Split("", -1)
        if split.kind not in SPLIT_KINDS or not 0 <= split.seed <= LARGEST_SEED:
            raise InputError(
                f"--splits holds {brief(text)}, expected kinds of {', '.join(SPLIT_KINDS)}, with a "
                "seed as in combinations:1 where there are several: correct it"
            )
        splits.append(split)
    return tuple(dict.fromkeys(splits))


def source_of(text: str, variant: str) -> tuple[str, Config, str]:
    """What DATA stands for: a name, the sections of a config that all models share, and the variant
    of their settings.

    Args:
        text: `demo`, a public screen, a file, or a config of the project (NAME or NAME:VARIANT).
        variant: of the models' settings; empty: demo for simulated cells, else full.

    Raises InputError for anything else.
    """
    name, _, of_config = text.partition(":")
    if text == DEMO:
        sections = _sections(variant or DEMO, simulated=True)
        sections["data"] |= {
            "source": SIMULATED,
            "preset": DEMO,
            "simulation": SMALL_DEMO,
        }
        return DEMO, sections, variant or DEMO
    if text in SOURCES or path_of(text).exists():
        sections = _sections(variant or "full", simulated=False)
        sections["data"]["source"] = text
        return path_of(text).stem, sections, variant or "full"
    if name not in training.configs():
        raise InputError(
            f"the data are {brief(text)}, expected an .h5ad file, `{DEMO}`, a public screen "
            f"({', '.join(SOURCES)}) or a config ({', '.join(sorted(training.configs()))}): check "
            "its path"
        )
    named = training.load_config(training.configs()[name], of_config)
    if families.keys_of(named["model"]["name"]) is not ScreenConfig:
        raise InputError(
            f"the config {name!r} is one of {named['model']['name']}, which answers another task, "
            "expected one of a screen of cells: choose another config, or give a file"
        )
    simulated = named["data"]["source"] == SIMULATED
    variant = variant or ("demo" if simulated else "full")
    sections = _sections(variant, simulated)
    for section in OF_CONFIG:
        sections[section] = deepcopy(named[section])
    return name, sections, variant


def _sections(variant: str, simulated: bool) -> Config:
    """The shared sections as the task has them, without what takes time and fills no table."""
    if variant not in of_core.VARIANTS:
        raise InputError(
            f"--variant is {brief(variant)}, expected one of {', '.join(of_core.VARIANTS)}: "
            "correct it"
        )
    plain = settings.plain(ScreenConfig())
    sections = {name: deepcopy(plain[name]) for name in SHARED}
    if simulated:
        sections["data"] |= of_core.SMALL["demo"]["data"]
    sections["evaluation"] |= keys.SMALL.get(variant, {}).get("evaluation", {})
    sections["evaluation"] |= {"pass_cells": 0, "likelihood": "", "umap_cells": 0}
    return sections


def jobs_of(contest: Contest) -> list[Job]:
    """Every run, one split after the other."""
    changed: set[str] = set()
    jobs: list[Job] = []
    for split in contest.splits:
        for model in contest.models:
            config = config_of(contest, model, split)
            changed |= change(config, contest.changes)
            multiplier = (config["quality"]["multiplier"],)
            for seeds in runs_of(contest.seeds, contest.at_once):
                jobs.append(Job(contest.name(split), model, config, seeds, "train", multiplier))
    check_changes(contest.changes, changed, [job.config for job in jobs], VARIED)
    return jobs


def config_of(contest: Contest, model: str, split: Split) -> Config:
    """The config of a model: its family's settings and schedule, and the sections of all."""
    config = families.load(families.family_name_of(model)).defaults(model, contest.variant)
    config |= deepcopy({name: contest.sections[name] for name in SHARED})
    # Cells that one model cannot use stay, since all are scored on the same ones.
    config["graphs"]["unannotated"] = "keep"
    config["split"] |= split._asdict()
    # A gene without annotation has to be predicted by something, since its cells stay.
    if "absent" in config["model"]["kwargs"]:
        config["model"]["kwargs"]["absent"] = "average"
    most = most_epochs(contest)
    if most is not None:
        config["train"]["epochs"] = min(most, config["train"]["epochs"])
    return config


def most_epochs(contest: Contest) -> int | None:
    """What bounds the epochs of every model; None for nothing."""
    return FEW_EPOCHS.get(contest.label) if contest.epochs is None else contest.epochs


def data_config(contest: Contest, split: Split) -> ScreenConfig:
    """The config of the data alone, of which no model asks anything.

    Raises InputError for a value of another type or out of its range.
    """
    sections = deepcopy(contest.sections)
    sections["split"] |= split._asdict()
    change(sections, contest.changes)
    return settings.read(ScreenConfig, sections)
