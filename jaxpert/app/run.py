"""One run from a config to a report: the composition root, the same for every task and family."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxpert.app import base, families
from jaxpert.core import (
    checkpoint,
    config,
    files,
    fit,
    log,
    parallel,
    processes,
    settings,
    stages,
    unforeseen,
    workdir,
)
from jaxpert.core.about import about
from jaxpert.core.config import Config
from jaxpert.core.errors import InputError
from jaxpert.core.family import Family, Problem, Ready
from jaxpert.core.paths import path_of
from jaxpert.core.train import Hooks
from jaxpert.core.types import Dataset, Feed, TrainState
from jaxpert.data.identity import check_same, identity
from jaxpert.report import attempts, page, told
from jaxpert.simulate import save_truth

FIGURES = "figures"
"""Folder of the figures."""
Feeds = tuple[Feed, Feed | None]


class Prepared(NamedTuple):
    """Everything of a run before training."""

    config: Any
    """The task's dataclass."""
    family: Family
    problem: Problem
    """Its data set has every note."""
    ready: Ready


def run(raw: Config, folder: str | Path, *, draw: bool = True) -> int:
    """Train, evaluate and report as a config says, in a work directory; the same call again goes on
    where it stopped.

    Without `draw` no figures are drawn, which takes longer than a short training; the same call
    with it draws them later.

    Returns 0 when the report is written, or when a signal stopped training (everything saved).
    Raises InputError for input that cannot be used, with nothing half-written.
    """
    folder = path_of(folder).absolute()
    checked, family = read(raw)
    # Processes are joined before any device is touched.
    if checked.train.multi_process:
        processes.join()
    # Keys that the config of an older version did not have yet count as their defaults.
    defaults = config.every_default(family.task.keys, family.models[checked.model.name])
    # Wrong folders are refused before data are read, which may take minutes.
    with workdir.readable_errors(folder):
        workdir.check(raw, folder, defaults)
    with contextlib.ExitStack() as stack:
        # A second process in the folder of a run is refused as early; a new folder is not made
        # before all input was found usable, so that errors leave no trace.
        begun = (folder / workdir.CONFIG).exists()
        if begun:
            stack.enter_context(_alone(folder))
        with stages.stage(_reading(checked)):
            prepared = prepare(checked, family, folder)
        told.tell_notes(prepared.problem.dataset.notes)
        # Feeds refuse devices that there are not, and a finished run needs none.
        feeds = None
        if not _is_finished(folder):
            check_names(prepared)
            feeds = prepared.problem.feeds(prepared.ready.model, checked.train)
        stack.enter_context(workdir.readable_errors(folder))
        if not begun:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_alone(folder))
            # Another process may have been here while data were read.
            workdir.check(raw, folder, defaults)
        with _lost_processes():
            _claim(raw, folder, prepared.problem)
        unforeseen.FOLDER.set(folder)
        _check_data(prepared.problem.dataset, folder)
        return _go_on(prepared, feeds, raw, folder, draw)


def _reading(checked: Any) -> str:
    source = checked.data.source
    return "simulating a screen" if source == "simulated" else f"reading {source}"


def _is_finished(folder: Path) -> bool:
    """Whether results and figures are there, both of which come after training."""
    return (folder / workdir.METRICS).exists() and (folder / FIGURES).exists()


def _go_on(prepared: Prepared, feeds: Feeds | None, raw: Config, folder: Path, draw: bool) -> int:
    """What is left of a run."""
    # Results say that a run is finished; a run killed while it drew draws again.
    if feeds is None or _is_finished(folder):
        log.result(f"this run is finished: {write_report(folder)}")
        return 0
    with _lost_processes():
        fitted = train(prepared, raw, folder, feeds)
    assert fitted.outcome is not None
    if fitted.outcome.reason == "interrupted":
        log.result(
            f"stopped at step {fitted.outcome.step} and saved; the same command goes on from there"
        )
        return 0
    # One process writes for all of them.
    if jax.process_index() == 0:
        finish(prepared, fitted, folder, draw)
        with stages.stage("making the report"):
            report = write_report(folder)
        log.result(f"report: {report}")
    return 0


def read(raw: Config) -> tuple[Any, Family]:
    """A config as its task's dataclass, every value checked, and the family of its model."""
    model = raw.get("model")
    name = model.get("name", "") if isinstance(model, Mapping) else ""
    family = families.load(families.family_name_of(str(name)))
    return config.read(family.task.keys, family.models[name], raw), family


def prepare(checked: Any, family: Family, folder: Path | None = None) -> Prepared:
    """Read the data and build the model; `folder` is that of a run that may be there already."""
    problem = family.task.load(checked, family, families.all_families())
    problem = base.problem_with_base(checked, problem, folder)
    # A family with a build of its own starts from more than a spec.
    ready = family.build(checked, problem) if family.build else build(checked, problem)
    notes = (*problem.dataset.notes, *base.note_on(problem.spec.base), *ready.notes)
    dataset = replace(problem.dataset, notes=notes)
    return Prepared(checked, family, problem._replace(dataset=dataset), ready)


def check_names(prepared: Prepared) -> None:
    """Parameters that the section `train` names are there."""
    model, problem = prepared.ready.model, prepared.problem
    fit.check_names(model, prepared.config.train, problem.sample(model))


def build(checked: Any, problem: Problem) -> Ready:
    """The model that a config names, for the data."""
    module = families.module_of(checked.model.name)
    model = module.build(problem.spec, **settings.arguments(checked.model.kwargs))
    # The model sees the data before training does, so that it can refuse them.
    notes = () if model.check is None else tuple(model.check(problem.dataset))
    return Ready(model, notes)


def train(prepared: Prepared, raw: Config, folder: Path, feeds: Feeds | None = None) -> fit.Fitted:
    """Train, or go on training, with checkpoints and metrics in the work directory."""
    checked, _, problem, ready = prepared
    belongs = {**identity(problem.dataset), "config": raw, **ready.meta}
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

        should_stop = stack.enter_context(log.catch_signals())
        hooks = Hooks(
            save=lambda state, at: checkpoint.save(manager, state, belongs | at),
            report=report,
            should_stop=should_stop,
        )
        fitted = fit.fit(
            ready.model,
            problem.dataset,
            feeds or problem.feeds(ready.model, checked.train),
            checked.train,
            seed=checked.seed,
            seeds=vmapped_seeds(checked),
            loop=fit.Loop(restore, hooks),
        )
        # Too late for the loop, which has saved everything.
        return _interrupted(fitted) if should_stop() else fitted


def _interrupted(fitted: fit.Fitted) -> fit.Fitted:
    assert fitted.outcome is not None
    return fitted._replace(outcome=fitted.outcome._replace(reason="interrupted"))


def vmapped_seeds(checked: Any) -> int | None:
    """Seeds that are trained at once; None for a run of one."""
    seeds = getattr(checked.train, "seeds", 1)
    return seeds if seeds > 1 else None


def finish(prepared: Prepared, fitted: fit.Fitted, folder: Path, draw: bool = True) -> None:
    """Evaluate, and write everything that follows training: files, then metrics.json, the sign of a
    finished run, then figures, each of which may fail; none without `draw`."""
    checked, family, problem, _ = prepared
    results = family.task.evaluate(checked, problem, fitted, family, families.all_families())
    rows = log.read_metrics(folder / "metrics.jsonl")
    results.metrics["data"] = family.task.about(problem)
    results.metrics["audit"] = dict(problem.audit)
    results.metrics["run"] = about(fitted, vmapped_seeds(checked) or 1, rows)
    with files.whole(folder / "predictions.h5ad") as part:
        results.predictions.write_h5ad(part)
    for name, arrays in results.arrays.items():
        files.write_arrays(folder / name, arrays)
    # What comes first is what a crash leaves: pictures can be drawn again, and so come last.
    # Undefined numbers become null: one of them must not cost the others.
    workdir.write_metrics(folder, _finite(results.metrics))
    told.tell_verdict(results.metrics)
    if not draw:
        return
    # The folder appears when all is drawn, or noted, so that it says that nothing is to be done.
    with files.whole_folder(folder / FIGURES) as part:
        missing: attempts.Missing = {}
        with stages.stage("drawing figures"):
            drawn = attempts.attempt(
                missing, "the figures", family.task.draw, checked, results, part, rows
            )
        attempts.write_missing(part, missing | (drawn or {}))


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
        for note in checkpoint.strange(manager):
            log.say(f"note: {note}")
        return ready.begin(fresh)
    state, _, notes = checkpoint.restore(manager, fresh)
    for note in notes:
        log.say(f"note: {note}")
    log.say(f"going on from step {int(np.ravel(state.step)[0])}")
    return state


@contextlib.contextmanager
def _lost_processes() -> Iterator[None]:
    """What a process is told when another one of its run has died, as one sentence."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        text = " ".join(str(error).split())
        # Memory runs out in runs of one process too, and is no matter of the others.
        if jax.process_count() == 1 or "RESOURCE_EXHAUSTED" in text:
            raise
        raise InputError(
            f"another process of this run has gone ({text[:200]}), expected all of them to the "
            "end: start them again with the same command, which goes on from the last checkpoint"
        ) from error


def _alone(folder: Path) -> contextlib.AbstractContextManager:
    """The lock of the work directory, which the first of several processes holds for all."""
    return workdir.alone(folder) if jax.process_index() == 0 else contextlib.nullcontext()


def _claim(raw: Config, folder: Path, problem: Problem) -> None:
    """Make the work directory this run's own, the planted truth and the base beside it."""
    # Several processes would write the same files.
    if jax.process_index() == 0:
        _write_claim(raw, folder, problem)
    # No other process leaves checkpoints in a folder that nobody has claimed: if this one dies
    # here, they would stand there without a config, and no command could go on.
    parallel.wait_for_all("claimed")


def _write_claim(raw: Config, folder: Path, problem: Problem) -> None:
    for place in (folder, folder / "figures"):
        if place.is_dir():
            files.remove_parts(place)
    # A folder that goes on keeps its config, which was compared before.
    if not (folder / workdir.CONFIG).exists():
        workdir.write_config(folder, raw)
    if problem.truth is not None and not (folder / "truth.npz").exists():
        with files.whole(folder / "truth.npz") as part:
            save_truth(problem.truth, part)
    base.keep(problem.spec.base, folder)


def _check_data(dataset: Dataset, folder: Path) -> None:
    """Refuse to go on with other data than those that the newest checkpoint belongs to."""
    with checkpoint.open(folder, write=False) as manager:
        meta = checkpoint.newest_meta(manager)
    if meta is not None:
        for note in check_same(dataset, meta, folder):
            log.say(f"note: {note}")
