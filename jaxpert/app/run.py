"""One run from a config to a report: the composition root, and the only file that reads a
config."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxpert import data
from jaxpert.app.families import MODULES
from jaxpert.core import checkpoint, log
from jaxpert.core import workdir as folder
from jaxpert.core.config import MEANINGS
from jaxpert.core.family import Job, as_it_is
from jaxpert.core.types import SPLITS, Dataset, InputError, Model, TrainState
from jaxpert.data.quality import MULTIPLIERS
from jaxpert.models.cycseq import family as cycseq_run
from jaxpert.report import page as report
from jaxpert.tasks.screen import figures
from jaxpert.tasks.screen import predict as workflow
from jaxpert.tasks.screen.load import load_dataset as load_dataset
from jaxpert.tasks.screen.predict import Fitted
from jaxpert.tasks.screen.results import describe as describe
from jaxpert.tasks.screen.results import shown_of, write_results

Config = dict[str, Any]


def run(config: Config, workdir: str | Path) -> int:
    """Train, evaluate and report as `config` says, in `workdir`; the same call again goes on where
    it stopped.

    Returns 0 when the report is written, or when a signal stopped training (everything saved).
    Raises InputError for input that cannot be used, with nothing half-written.
    """
    workdir = Path(workdir).absolute()
    _check_keys(config)
    if config["train"]["multi_process"]:
        _join_processes()
    model_of(config)  # a wrong model name must not wait for the data
    folder.check(config, workdir)
    job = make_job(config)
    for note in job.dataset.notes:
        log.say(f"note: {note}")
    with folder.readable_errors(workdir):
        _claim(config, workdir, job.truth)
        if (workdir / "metrics.json").exists():
            log.say(f"this run is finished: {report.write_report(workdir)}")
            return 0
        own = {"feeds": job.feeds, "start": job.start, "meta": job.meta}
        fitted = fit(config, workdir, job.dataset, job.model, **own)
        if fitted.outcome.reason == "interrupted":
            log.say(
                f"stopped at step {fitted.outcome.step} and saved; the same command goes on from "
                "there"
            )
            return 0
        if jax.process_index() == 0:
            job.write(config, workdir, fitted)
            log.say(f"report: {report.write_report(workdir)}")
    return 0


def make_job(config: Config) -> Job:
    """What the config asks for: data, model, and what is special of its family."""
    if config["model"]["name"] == cycseq_run.NAME:
        return cycseq_run.make_job(config)
    dataset, truth = load_dataset(config)
    _check_evaluation(config, dataset)
    model = build_model(config, dataset)
    if model.check is not None:
        dataset = replace(dataset, notes=(*dataset.notes, *model.check(dataset)))

    def write(config: Config, workdir: Path, fitted: Fitted) -> None:
        write_results(config, workdir, dataset, fitted, truth)

    return Job(dataset, truth, model, write)


def model_of(config: Config) -> Any:
    """The model's module."""
    name = config["model"]["name"]
    if name not in MODULES:
        raise InputError(f"model.name is {name!r}, expected one of {', '.join(sorted(MODULES))}")
    return importlib.import_module(MODULES[name])


def build_model(config: Config, dataset: Dataset) -> Model:
    """The model that the config names, for the data."""
    try:
        return model_of(config).build(data.make_spec(dataset), **config["model"]["kwargs"])
    except TypeError as error:
        raise InputError(f"model.kwargs do not fit {config['model']['name']}: {error}") from error


def fit(
    config: Config,
    workdir: Path,
    dataset: Dataset,
    model: Model,
    *,
    feeds: Callable[[], Any] | None = None,
    start: Callable[[TrainState], TrainState] = as_it_is,
    meta: Mapping[str, Any] | None = None,
) -> Fitted:
    """Train, or go on training, with checkpoints and metrics in `workdir`; `feeds`, `start` and
    `meta` as in `Job`."""
    settings = config["train"]
    belongs = {
        "genes": dataset.genes,
        "treatments": dataset.treatments,
        "config": config,
        **(meta or {}),
    }
    with contextlib.ExitStack() as stack:
        manager = stack.enter_context(checkpoint.open(workdir))
        should_stop = stack.enter_context(log.catch_signals())
        rows: list[Any] = []

        def restore(fresh: TrainState) -> TrainState:
            state = _resumed(manager, fresh, start)
            step = int(np.ravel(state.step)[0])
            if jax.process_index() == 0:
                rows.append(
                    stack.enter_context(log.metrics_writer(workdir / "metrics.jsonl", step=step))
                )
            return state

        return workflow.fit(
            model,
            dataset,
            epochs=settings["epochs"],
            max_steps=settings["max_steps"] or None,
            batch_size=settings["batch_size"],
            learning_rate=settings["learning_rate"],
            weight_decay=settings["weight_decay"],
            clip=settings["clip"] or None,
            optimizer=optimizer_options(settings),
            decay=settings["decay"],
            decay_every=decay_every(settings),
            patience=settings["patience"] or None,
            validate_every=settings["validate_every"],
            log_every=settings["log_every"],
            save_seconds=settings["save_seconds"],
            seed=config["seed"],
            seeds=settings["seeds"] if settings["seeds"] > 1 else None,
            devices=settings["devices"] or None,
            feed_options=feed_options(config),
            feeds=None if feeds is None else feeds(),
            restore=restore,
            save=lambda state, at: checkpoint.save(manager, state, belongs | at),
            report=lambda row: [write(row) for write in rows],
            should_stop=should_stop,
        )


def optimizer_options(settings: Config) -> dict[str, Any]:
    """Arguments of `optim.build` from the section `train`, less those that `workflow.fit` has
    itself."""
    parts = {
        name: tuple(part for part in settings[name].split(",") if part)
        for name in ("clip_parts", "freeze")
    }
    same = {name: settings[name] for name in ("b1", "b2", "clip_kind")}
    return {"kind": settings["optimizer"], **same, **parts}


def decay_every(settings: Config) -> int:
    """Epochs between two steps of the learning rate."""
    return settings["decay_every"] or max(1, round(settings["epochs"] / 10))


def feed_options(config: Config) -> dict[str, Any]:
    """Arguments of `workflow.make_feeds` from the section `train`."""
    settings = config["train"]
    pairing = {"step": None, "cell": config["split"]["seed"]}
    if settings["pairing"] not in pairing:
        raise InputError(f"train.pairing is {settings['pairing']!r}, expected step or cell")
    own = {"layout": settings["layout"], "drop_last": settings["drop_last"]}
    return own | {"pair_seed": pairing[settings["pairing"]]}


def _resumed(
    manager: Any, fresh: TrainState, start: Callable[[TrainState], TrainState]
) -> TrainState:
    if not manager.all_steps():
        return start(fresh)
    state, _, notes = checkpoint.restore(manager, fresh)
    for note in notes:
        log.say(f"note: {note}")
    log.say(f"going on from step {int(np.ravel(state.step)[0])}")
    return state


def _check_keys(config: Config) -> None:
    """Every config has the keys that all need, and no value out of its range."""
    flat = folder.flatten(config)
    missing = [key for key in MEANINGS if key not in flat and not key.startswith("model.kwargs.")]
    if missing:
        raise InputError(
            f"the config lacks {', '.join(missing)}, expected every key that --help lists"
        )
    positive = (
        "train.epochs",
        "train.batch_size",
        "train.log_every",
        "train.seeds",
        "evaluation.particles",
        "train.validate_every",
    )
    for key in positive:
        if flat[key] < (key != "train.epochs" or not flat["train.start"]):
            raise InputError(f"{key} is {flat[key]}, expected at least 1")
    if not flat["train.learning_rate"] > 0:
        raise InputError(
            f"train.learning_rate is {flat['train.learning_rate']}, expected a positive number"
        )
    if flat["evaluation.particles"] % 20 and flat["evaluation.particles"] >= 40:
        raise InputError(
            f"evaluation.particles is {flat['evaluation.particles']}, expected a multiple of 20"
        )
    _check_labels(config)


def _check_labels(config: Config) -> None:
    """Which cells are trained on, and at which thresholds scores are taken."""
    cells = config["quality"]["training_cells"]
    if cells not in ("all", "passed"):
        raise InputError(f"quality.training_cells is {cells!r}, expected all or passed")
    asked, known = config["evaluation"]["multipliers"], MULTIPLIERS
    if any(part not in map(str, known) for part in asked.split(",") if part):
        raise InputError(
            f"evaluation.multipliers is {asked!r}, expected some of {', '.join(map(str, known))} "
            "joined by commas, or "
            "nothing"
        )


def _check_evaluation(config: Config, dataset: Dataset) -> None:
    """What would otherwise be found wrong only after training."""
    settings = config["evaluation"]
    figures.named_conditions(dataset, shown_of(config))
    split = settings["likelihood"]
    if split and (split not in SPLITS[:3] or not len(dataset.rows(split))):
        there = ", ".join(name for name in SPLITS[:3] if len(dataset.rows(name)))
        raise InputError(
            f"evaluation.likelihood is {split!r}, expected a split with cells ({there}) or nothing"
        )


def _join_processes() -> None:
    try:
        jax.distributed.initialize()
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"train.multi_process is set but no other process was found ({error}): start the "
            "processes through Slurm, "
            "MPI, Kubernetes or a TPU pod, or leave it False"
        ) from error


def _claim(config: Config, workdir: Path, truth: Any) -> None:
    """Make the work directory this run's own, the planted truth beside it."""
    if jax.process_index() != 0:
        return
    workdir.mkdir(parents=True, exist_ok=True)
    if not (workdir / "config.json").exists():
        folder.write_json(workdir / "config.json", config)
    if truth is not None and not (workdir / "truth.npz").exists():
        data.save_truth(truth, workdir / ".truth.part.npz")
        os.replace(workdir / ".truth.part.npz", workdir / "truth.npz")
