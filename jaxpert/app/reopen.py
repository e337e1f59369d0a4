"""A finished run read back from its folder: data, model and best parameters, for what comes after
training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxpert import data
from jaxpert.app import run
from jaxpert.core import checkpoint, log, optim, train
from jaxpert.core.types import SPLITS, Dataset, InputError, Model, TrainState
from jaxpert.data.files import shown
from jaxpert.data.transfer import like_training
from jaxpert.tasks.screen import predict as workflow
from jaxpert.tasks.screen.predict import Fitted

SHAPE_CELLS = 8
"""Training cells from which the shapes of a checkpoint are worked out; the parameters do not depend
on them."""


class Finished(NamedTuple):
    """A run with its report written."""

    config: dict[str, Any]
    dataset: Dataset
    """Labelled and split as in the run."""
    truth: Any
    """The `Truth` behind a simulated screen, else None."""
    fitted: Fitted
    metrics: dict[str, Any]
    """Content of metrics.json."""


def reopen(workdir: str | Path, *, seed: int | None = None) -> Finished:
    """Read a finished run back from its work directory.

    Args:
        workdir: of the run.
        seed: which of several vmapped seeds (`train.seeds`); None keeps all, every leaf of the
            parameters then having a leading seed axis. A run of one seed has none.

    Raises InputError where there is no such folder or run, where it is not finished, and where its
    data are gone or no longer those it was trained on.
    """
    workdir = Path(workdir).absolute()
    config, metrics = read_config(workdir), read_metrics(workdir)
    _check_seed(config, workdir, seed)
    try:
        dataset, truth = _read_again(config, workdir)
        _check_cells(dataset, metrics, workdir)
        model = run.build_model(config, dataset)
        fitted = _fitted(config, workdir, dataset, model, metrics)
    except KeyError as error:
        raise InputError(
            f"config.json of {workdir} lacks {error}, expected every key of this version: an "
            "older one made the run, "
            "so run it again in a new --workdir"
        ) from error
    if seed is not None and config["train"]["seeds"] > 1:
        fitted = workflow.pick_seed(fitted, seed)
    return Finished(config, dataset, truth, fitted, metrics)


def _read_again(config: dict[str, Any], workdir: Path) -> tuple[Dataset, Any]:
    try:
        return run.load_dataset(config)
    except InputError as error:
        raise InputError(
            f"the data of the finished run {workdir} cannot be read again: {error}"
        ) from error


def read_config(workdir: Path) -> dict[str, Any]:
    """Settings of the run in a folder, whether finished or not."""
    if not workdir.is_dir():
        raise InputError(
            f"there is no folder {workdir}, expected that of a finished run: check the path of "
            "the run"
        )
    if not (workdir / "config.json").exists():
        raise InputError(
            f"{workdir} has no config.json, expected the folder of a finished run: give the "
            "--workdir of "
            "experiments/main.py"
        )
    return _json(workdir / "config.json")


def read_metrics(workdir: Path) -> dict[str, Any]:
    """Results of the run in a folder; they are what tells a finished one."""
    if not (workdir / "metrics.json").exists():
        raise InputError(
            f"the run in {workdir} is not finished (it has no metrics.json): run its command "
            "again, which goes on from "
            "the last checkpoint"
        )
    return _json(workdir / "metrics.json")


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error}), expected that of a run: run it again"
        ) from error


def _check_seed(config: dict[str, Any], workdir: Path, seed: int | None) -> None:
    seeds = config["train"]["seeds"]
    if seed is not None and not 0 <= seed < seeds:
        raise InputError(
            f"seed {seed} of {workdir} is asked for, expected 0 to {seeds - 1}: it has "
            f"train.seeds={seeds}"
        )


def _check_cells(dataset: Dataset, metrics: dict[str, Any], workdir: Path) -> None:
    """The run's own count of its data; names are checked against the checkpoint."""
    now, before = run.describe(dataset), metrics["data"]
    differing = [name for name in now if name != "notes" and now[name] != before.get(name)]
    if differing:
        listed = "; ".join(
            f"{name}: {before.get(name)} then, {now[name]} now" for name in differing[:3]
        )
        raise _changed(dataset, workdir, listed)


def _check_names(dataset: Dataset, meta: dict[str, Any], workdir: Path) -> None:
    """Genes and treatments by name and order: parameters go by position."""
    for what, now in (("genes", dataset.genes), ("treatments", dataset.treatments)):
        before = tuple(meta[what])
        if before != now:
            at = next(
                i for i in range(max(len(before), len(now))) if before[i : i + 1] != now[i : i + 1]
            )
            listed = (
                f"of the {what} number {at + 1} was {shown(before[at : at + 1]) or 'none'} and is "
                "now "
            )
            raise _changed(dataset, workdir, listed + (shown(now[at : at + 1]) or "none"))


def _changed(dataset: Dataset, workdir: Path, how: str) -> InputError:
    return InputError(
        f"the data {dataset.name!r} are no longer those that the run in {workdir} was trained on "
        f"({how}): put the file "
        "of then in its place, or train again in a new --workdir"
    )


def _fitted(
    config: dict[str, Any], workdir: Path, dataset: Dataset, model: Model, metrics: dict[str, Any]
) -> Fitted:
    if not (workdir / "checkpoints").is_dir():
        raise InputError(
            f"{workdir} has no checkpoints, expected those of a finished run: run it again "
            "elsewhere"
        )
    with checkpoint.open(workdir) as manager:
        meta = _newest_meta(manager)
        if meta is not None:
            _check_names(dataset, meta, workdir)
        state, meta, notes = checkpoint.restore(manager, _like(config, dataset, model))
    _check_names(dataset, meta, workdir)
    for note in notes:
        log.say(f"note: {note}")
    about = metrics["run"]
    outcome = train.Outcome(about["ended"], about["epochs"], about["steps"])
    return workflow.settle(
        Fitted(model, state.best.params, state.best.state, state, outcome), dataset
    )


def _newest_meta(manager: Any) -> dict[str, Any] | None:
    """Names beside the newest checkpoint, read before its arrays so that changed data are called
    so, and not shapes that do not fit; None where it cannot be read (`checkpoint.restore` then says
    so)."""
    import orbax.checkpoint as ocp

    try:
        args = ocp.args.Composite(meta=ocp.args.JsonRestore())
        return manager.restore(manager.latest_step(), args=args)["meta"]["meta"]
    except Exception:  # orbax, tensorstore and json each have their own for a damaged file
        return None


def _like(config: dict[str, Any], dataset: Dataset, model: Model) -> TrainState:
    """Structure, shapes and types of the run's training state."""
    settings = config["train"]
    few = np.full(len(dataset.cells), SPLITS.index("dropped"), np.int8)
    rows = dataset.rows("train")
    controls = rows[dataset.condition[rows] == dataset.control]
    few[[*rows[:SHAPE_CELLS], *controls[:1]]] = SPLITS.index("train")
    dataset = replace(dataset, split=few)
    tables = data.split_tables(dataset, "train")
    feed = data.make_feed(dataset, "train", batch_size=SHAPE_CELLS, devices=1, tables=tables)
    rate = optim.decayed(settings["learning_rate"], settings["decay"], 1)
    optimizer = optim.build(
        learning_rate=rate,
        weight_decay=settings["weight_decay"],
        clip=settings["clip"] or None,
        **run.optimizer_options(settings),
    )
    seeds = settings["seeds"] if settings["seeds"] > 1 else None
    return jax.eval_shape(
        lambda: train.init(model, optimizer, feed, jax.random.key(config["seed"]), seeds=seeds)
    )


def read_like(finished: Finished, source: str | Path) -> Dataset:
    """Another .h5ad file in the form of a run's data: read by its settings, labelled by its quality
    thresholds.

    Gene filters are not applied; genes, treatments and thresholds are those of the run
    (`data.transfer`).
    """
    settings, quality = finished.config["data"], finished.config["quality"]
    names = ("separator", "layer", "guide_prefix", "stratum")
    options: dict[str, Any] = {name: settings[name] or None for name in names}
    dataset = data.read(
        source, perturbation=settings["perturbation"], control=settings["control"], **options
    )
    return like_training(
        dataset,
        finished.dataset,
        doublets=quality["doublets"],
        columns={name: column for name, column in quality["columns"].items() if column},
        doublet_group=quality["doublet_group"] or None,
    )
