"""A job of a study: one run, with its config, its folder and the cells of the tables it fills."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

from jaxpert.app import families
from jaxpert.core.config import Config, every_default, flatten
from jaxpert.study.ledger import Cell

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


class Job(NamedTuple):
    """One run: a model on a data set, with the seeds that are trained together."""

    data: str
    model: str
    """Name of a variant of the study."""
    config: Config
    seeds: tuple[int, ...]
    vary: str
    """What the seed is of: "train" or "split"."""
    multipliers: tuple[int, ...]
    """One for a model that is trained for a threshold, all for one that is trained on all cells."""

    @property
    def name(self) -> str:
        """Start of the names of its folder and lock files."""
        # A model that is trained for a threshold has one, the others have all.
        threshold = "allcells"
        if len(self.multipliers) == 1:
            threshold = f"{self.multipliers[0]}mad"
        return f"{re.sub(r'[^A-Za-z0-9._=-]', '_', self.data)}-{self.model}-{threshold}"


def runs_of(seeds: Sequence[int], most: int) -> Iterator[tuple[int, ...]]:
    """Stretches of consecutive seeds, none longer than `most`: what one run can train together."""
    stretch: list[int] = []
    for seed in sorted(seeds):
        # Seeds that are vmapped together are numbered on from the first (`fit.root_key`).
        if stretch and (seed != stretch[-1] + 1 or len(stretch) == most):
            yield tuple(stretch)
            stretch = []
        stretch.append(seed)
    if stretch:
        yield tuple(stretch)


def cells_of(job: Job, seed: int) -> list[Cell]:
    """The cells of the tables that one seed of a job fills."""
    # A model that is trained on all cells is scored at every threshold.
    return [Cell(job.data, job.model, k, seed) for k in job.multipliers]


def config_of(job: Job) -> Config:
    """The config of a job's run."""
    # A copy, since jobs of one model share their config.
    config = deepcopy(job.config)
    config["train"]["seeds"] = len(job.seeds)
    _section_of_seed(config, job.vary)["seed"] = job.seeds[0]
    return config


def first_seed(config: Config, vary: str) -> int:
    """The first of the seeds that a config's run trains together."""
    return _section_of_seed(config, vary)["seed"]


def _section_of_seed(config: Config, vary: str) -> Config:
    """The part of a config that holds the seed which a study varies."""
    return config if vary == "train" else config["split"]


def folder_of(job: Job, results: Path) -> Path:
    """Where a job's run lies."""
    seeds = str(job.seeds[0])
    if len(job.seeds) > 1:
        seeds += f"-{job.seeds[-1]}"
    return results / "runs" / f"{job.name}-{job.vary}seeds{seeds}"


def settings_of(config: Config, vary: str) -> Config:
    """The flattened config less the seed and what changes no result, as plain JSON values."""
    seed = "seed" if vary == "train" else "split.seed"
    kept = {key: value for key, value in flatten(config).items() if key not in {*NEUTRAL, seed}}
    # Through JSON, so that a tuple equals the list that a row of an earlier run holds.
    return json.loads(json.dumps(kept))


def with_later_keys(settings: Config, vary: str) -> Config:
    """Settings of `settings_of`, of a run of an older version, with the keys that came later: their
    defaults leave everything as it was without them."""
    model = settings["model.name"]
    defaults = every_default(families.keys_of(model), families.entry_of(model))
    return settings_of(defaults, vary) | settings
