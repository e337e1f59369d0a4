"""The contract between the parts of a run: what a task, a family of models and their problem are.

One road leads from a config to a report, whatever the task and the family (`app/run.py`):
`task.load` -> `family.build` -> `core.fit` -> `task.evaluate` -> `task.draw` -> report. All parts
are plain functions in NamedTuples. docs/architecture.md shows how to add a family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxpert.core.config import Config, ModelEntry
from jaxpert.core.fit import Fitted
from jaxpert.core.types import Batch, Dataset, Feed, Model, Spec, TrainState


def as_it_is(state: TrainState) -> TrainState:
    """The fresh state of a run that starts from nothing."""
    return state


class Problem(NamedTuple):
    """What a run is about: the data in every form that training and scoring need."""

    dataset: Dataset
    """Labelled and split, with every note."""
    spec: Spec
    feeds: Callable[[Model, Any], tuple[Feed, Feed | None]]
    """(model, section `train` of the config) -> feeds of training and validation."""
    sample: Callable[[Model], Batch]
    """A few training rows with the model's tables, from which shapes are worked out."""
    truth: Any = None
    """Behind simulated cells, else None."""
    details: Any = None
    """The task's own form of the data (translation: its `Prepared` rows)."""
    start: Any = None
    """The finished run that training goes on from, as `Family.start` read it."""
    audit: Mapping[str, Any] = {}
    """What was understood of the data before training: for the report, and for `jaxpert check`."""


class Ready(NamedTuple):
    """A model built for a problem."""

    model: Model
    notes: tuple[str, ...] = ()
    """What a user should know of the model and the data together."""
    begin: Callable[[TrainState], TrainState] = as_it_is
    """From the fresh training state to the one that training begins with (fine-tuning)."""
    meta: Mapping[str, Any] = {}
    """Kept beside every checkpoint; anything that JSON holds."""


class Results(NamedTuple):
    """What evaluation leaves; the run writes it, figures last."""

    metrics: dict[str, Any]
    """For metrics.json, but for what the run knows itself (`run`)."""
    predictions: Any
    """AnnData for predictions.h5ad."""
    arrays: Mapping[str, Mapping[str, np.ndarray]]
    """{file name: arrays} for .npz files."""
    shown: Any = None
    """What the task's figures are drawn from."""


class Task(NamedTuple):
    """What is asked of a model, whatever the model."""

    name: str
    keys: type
    """Dataclass of the sections of a config (`tasks/<task>/keys.py`)."""
    load: Callable[[Any, Family, Mapping[str, Family]], Problem]
    """(config, family, other families by name) -> problem. Every demand of the evaluation is
    checked here, before training. Raises InputError."""
    evaluate: Callable[[Any, Problem, Fitted, Family, Mapping[str, Family]], Results]
    """(config, problem, fitted, family, other families by name) -> results."""
    draw: Callable[[Any, Results, Path, Sequence[Mapping[str, Any]]], dict[str, str]]
    """(config, results, folder, rows of metrics.jsonl) -> why figures could not be drawn, by name;
    the others are PNG files in the folder (`report.attempts`)."""
    predict: Callable[..., Any]
    """(problem, fitted, names, **options) -> AnnData of one row for each perturbation."""
    about: Callable[[Problem], dict[str, Any]]
    """The data in numbers, with every note: the part `data` of metrics.json."""


class Beside(NamedTuple):
    """How a family is trained and asked beside another one, on the same rows."""

    why_not: Callable[[Problem], str]
    """Why it cannot; empty where it can."""
    check: Callable[[Any, Problem], None]
    """(config, problem): raises InputError for what would be found only after training."""
    fit: Callable[[Any, Problem, int], tuple[Any, list[str]]]
    """(config, problem, epochs) -> what predicts rows with it, and notes."""


class Command(NamedTuple):
    """Something that `jaxpert NAME RUN ...` makes of finished runs of a family."""

    meaning: str
    """One sentence for `--help`."""
    options: type
    """Settings dataclass of its flags (`core.settings`)."""
    work: Callable[[Sequence[Run], Path, Any], None]
    """(runs, folder, options): write files into the folder, which is empty; the command then moves
    them to where the user wants them, all or none, and names them. Raises InputError."""
    many: bool = False
    """Whether it takes several runs."""


class Family(NamedTuple):
    """Models of one paper, and what is special of them.

    Example:
        FAMILY = Family("gears", "GEARS", SCREEN, settings.MODELS, settings.defaults)
    """

    name: str
    """As commands and metrics.json call it."""
    title: str
    """As people call it."""
    task: Task
    models: Mapping[str, ModelEntry]
    defaults: Callable[[str, str], Config]
    """(model, variant) -> a whole config."""
    build: Callable[[Any, Problem], Ready] | None = None
    """(config, problem) -> model; None for `build(problem.spec, **settings)` of its module."""
    predict: Callable[..., Any] | None = None
    """In place of `task.predict`, where the family can predict more than the task knows of."""
    predictor: Callable[[Problem, Fitted], Any] | None = None
    """What predicts rows in both directions (translation)."""
    scores: Callable[[Any, Any], dict[str, Any]] | None = None
    """(measured, prediction) -> the scores of its paper, a part of metrics.json by its name."""
    section: Any = None
    """`report.sections.Section` that shows these scores; None for none."""
    commands: Mapping[str, Command] = {}
    """What can be asked of its finished runs, by the name of the command: "figures" and "tables" of
    its paper, and what is special of it."""
    beside: Mapping[str, Beside] = {}
    """{task: how it is trained beside others there}."""
    effects: bool = False
    """Whether its models learn from tables of effects too, and not from cells alone."""
    start: Callable[[Any], Any] | None = None
    """(config) -> the finished run in `train.start`; what it returns has `reference`."""
    study: Any = None
    """`report.layout.Study`: what `jaxpert study` compares; None for none."""


class Finished(NamedTuple):
    """A finished run, read back from its folder."""

    config: Any
    """The task's dataclass."""
    family: Family
    problem: Problem
    fitted: Fitted
    metrics: dict[str, Any]
    """Content of metrics.json."""


class Run(NamedTuple):
    """A finished run among several."""

    label: str
    """What tells it from the others: its model, or where that is the same its folder."""
    workdir: Path
    finished: Finished
