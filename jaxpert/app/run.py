"""One run from a config to a report: the composition root, the same for every task and family."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxpert.app import families
from jaxpert.core import checkpoint, config, files, fit, log, settings, workdir
from jaxpert.core.about import about
from jaxpert.core.config import Config
from jaxpert.core.errors import InputError
from jaxpert.core.family import Family, Problem, Ready
from jaxpert.core.train import Hooks
from jaxpert.core.types import TrainState
from jaxpert.report import page
from jaxpert.simulate import save_truth


class Prepared(NamedTuple):
    """Everything of a run before training."""

    config: Any
    """The task's dataclass."""
    family: Family
    problem: Problem
    """Its data set has every note."""
    ready: Ready


def run(raw: Config, folder: str | Path) -> int:
    """Train, evaluate and report as a config says, in a work directory; the same call again goes on
    where it stopped.

    Returns 0 when the report is written, or when a signal stopped training (everything saved).
    Raises InputError for input that cannot be used, with nothing half-written.
    """
    folder = Path(folder).expanduser().absolute()
    checked, family = read(raw)
    # Processes are joined before any device is touched.
    if checked.train.multi_process:
        _join_processes()
    # Wrong folders are refused before data are read, which may take minutes.
    workdir.check(raw, folder)
    prepared = prepare(checked, family)
    for note in prepared.problem.dataset.notes:
        log.say(f"note: {note}")
    with workdir.readable_errors(folder):
        # The folder is claimed once all input was found usable, so that errors leave no trace.
        _claim(raw, folder, prepared.problem.truth)
        # The last file to be written says that a run is finished.
        if (folder / workdir.METRICS).exists():
            log.say(f"this run is finished: {write_report(folder)}")
            return 0
        fitted = train(prepared, raw, folder)
        assert fitted.outcome is not None
        if fitted.outcome.reason == "interrupted":
            log.say(
                f"stopped at step {fitted.outcome.step} and saved; the same command goes on from "
                "there"
            )
            return 0
        # One process writes for all of them.
        if jax.process_index() == 0:
            finish(prepared, fitted, folder)
            log.say(f"report: {write_report(folder)}")
    return 0


def read(raw: Config) -> tuple[Any, Family]:
    """A config as its task's dataclass, every value checked, and the family of its model."""
    name = raw.get("model", {}).get("name", "")
    family = families.load(families.family_name_of(name))
    return config.read(family.task.keys, family.models[name], raw), family


def prepare(checked: Any, family: Family) -> Prepared:
    """Read the data and build the model."""
    problem = family.task.load(checked, family, families.all_families())
    # A family with a build of its own starts from more than a spec.
    ready = family.build(checked, problem) if family.build else build(checked, problem)
    dataset = replace(problem.dataset, notes=(*problem.dataset.notes, *ready.notes))
    return Prepared(checked, family, problem._replace(dataset=dataset), ready)


def build(checked: Any, problem: Problem) -> Ready:
    """The model that a config names, for the data."""
    module = families.module_of(checked.model.name)
    model = module.build(problem.spec, **settings.arguments(checked.model.kwargs))
    # The model sees the data before training does, so that it can refuse them.
    notes = () if model.check is None else tuple(model.check(problem.dataset))
    return Ready(model, notes)


def train(prepared: Prepared, raw: Config, folder: Path) -> fit.Fitted:
    """Train, or go on training, with checkpoints and metrics in the work directory."""
    checked, _, problem, ready = prepared
    belongs = {
        "genes": problem.dataset.genes,
        "treatments": problem.dataset.treatments,
        "config": raw,
        **ready.meta,
    }
    with contextlib.ExitStack() as stack:
        manager = stack.enter_context(checkpoint.open(folder))
        # Writers are added on restoring, when the step to go on from is known.
        writers: list[Callable[[dict], None]] = []

        def restore(fresh: TrainState) -> TrainState:
            state = _resumed(manager, fresh, ready)
            # Several seeds have a step each, all of them equal.
            step = int(np.ravel(state.step)[0])
            if jax.process_index() == 0:  # rows after the step that is gone on from are dropped
                writer = log.metrics_writer(folder / "metrics.jsonl", step=step)
                writers.append(stack.enter_context(writer))
            return state

        def report(row: dict) -> None:
            for write in writers:
                write(row)

        hooks = Hooks(
            save=lambda state, at: checkpoint.save(manager, state, belongs | at),
            report=report,
            should_stop=stack.enter_context(log.catch_signals()),
        )
        return fit.fit(
            ready.model,
            problem.dataset,
            problem.feeds(ready.model, checked.train),
            checked.train,
            seed=checked.seed,
            seeds=vmapped_seeds(checked),
            loop=fit.Loop(restore, hooks),
        )


def vmapped_seeds(checked: Any) -> int | None:
    """Seeds that are trained at once; None for a run of one."""
    seeds = getattr(checked.train, "seeds", 1)
    return seeds if seeds > 1 else None


def finish(prepared: Prepared, fitted: fit.Fitted, folder: Path) -> None:
    """Evaluate, and write everything that follows training; metrics.json comes last, as the sign of
    a finished run."""
    # The order is that of what a crash would leave: metrics come last.
    checked, family, problem, _ = prepared
    results = family.task.evaluate(checked, problem, fitted, family, families.all_families())
    rows = log.read_metrics(folder / "metrics.jsonl")
    run_numbers = about(fitted, vmapped_seeds(checked) or 1, rows)
    # metrics.json keeps its form whatever the data: no NaN, no infinity.
    results.metrics["data"] = family.task.about(problem)
    results.metrics["run"] = _finite(run_numbers)
    with files.whole(folder / "predictions.h5ad") as part:
        results.predictions.write_h5ad(part)
    for name, arrays in results.arrays.items():
        files.write_arrays(folder / name, arrays)
    # Figures come before the metrics, so that a finished run has them.
    family.task.draw(checked, results, folder / "figures", rows)
    workdir.write_metrics(folder, results.metrics)
    log.say(str(results.metrics["verdict"]))


def write_report(folder: Path) -> Path:
    """The report of a finished run, with the sections of all families."""
    sections = {
        name: family.section
        for name, family in families.all_families().items()
        if family.section is not None
    }
    return page.write_report(folder, sections)


def _finite(numbers: Mapping[str, Any]) -> dict[str, Any]:
    # Imported where it is needed, which keeps the start of a command short.
    from jaxpert.evaluation.compare import json_safe

    return json_safe(dict(numbers))


def _resumed(manager: Any, fresh: TrainState, ready: Ready) -> TrainState:
    # A fresh run may begin with the parameters of another one.
    if not manager.all_steps():
        return ready.begin(fresh)
    state, _, notes = checkpoint.restore(manager, fresh)
    for note in notes:
        log.say(f"note: {note}")
    log.say(f"going on from step {int(np.ravel(state.step)[0])}")
    return state


def _join_processes() -> None:
    try:
        jax.distributed.initialize()
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"train.multi_process is set but no other process was found ({error}): start the "
            "processes through Slurm, MPI, Kubernetes or a TPU pod, or leave it False"
        ) from error


def _claim(raw: Config, folder: Path, truth: Any) -> None:
    """Make the work directory this run's own, the planted truth beside it."""
    # Several processes would write the same files.
    if jax.process_index() != 0:
        return
    folder.mkdir(parents=True, exist_ok=True)
    # A folder that goes on keeps its config, which was compared before.
    if not (folder / workdir.CONFIG).exists():
        workdir.write_config(folder, raw)
    if truth is not None and not (folder / "truth.npz").exists():
        with files.whole(folder / "truth.npz") as part:
            save_truth(truth, part)
