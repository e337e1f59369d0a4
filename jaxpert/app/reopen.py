"""A finished run read back from its folder, the one way for all: data, model and best
parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxpert.app import families
from jaxpert.app.run import Prepared, prepare, read, vmapped_seeds
from jaxpert.core import checkpoint, fit, log, settings, train, workdir
from jaxpert.core.config import Config, completed, every_default, missing_keys
from jaxpert.core.errors import InputError
from jaxpert.core.family import Finished, Run
from jaxpert.core.paths import path_of
from jaxpert.data.files import shown
from jaxpert.data.identity import changed, check_same


def reopen(folder: str | Path, *, seed: int | None = None) -> Finished:
    """Read a finished run back from its work directory.

    Args:
        folder: of the run.
        seed: which of several vmapped seeds (`train.seeds`); None keeps all, every leaf of the
            parameters then having a leading seed axis. A run of one seed has none.

    Raises InputError where there is no such folder or run, where it is not finished, and where its
    data are gone or no longer those it was trained on.
    """
    folder = path_of(folder).absolute()
    kept, metrics = workdir.read_config(folder), workdir.read_metrics(folder)
    _check_parts(metrics, folder)
    prepared = _prepare_again(kept, folder)
    _check_seed(prepared.config, folder, seed)
    # Numbers are compared before parameters are read, since reading takes longer.
    _check_numbers(prepared, metrics, folder)
    fitted = _restore(prepared, metrics, folder)
    if seed is not None and vmapped_seeds(prepared.config) is not None:
        fitted = fit.pick_seed(fitted, seed)
    return Finished(prepared.config, prepared.family, prepared.problem, fitted, metrics)


def data_of(folder: str | Path) -> Prepared:
    """The data of a run as they are now, its model built but without parameters."""
    folder = path_of(folder).absolute()
    return _prepare_again(workdir.read_config(folder), folder)


def open_runs(folders: Sequence[str | Path]) -> list[Run]:
    """Finished runs under labels that tell them apart: the name of the model, or where several have
    it, the folder's."""
    paths = [path_of(folder).absolute() for folder in folders]
    # Figures show one seed, so the first stands for a run of several.
    finished = [reopen(path, seed=0) for path in paths]
    models = [run.config.model.name for run in finished]
    runs = []
    for path, run, model in zip(paths, finished, models, strict=True):
        label = model if models.count(model) == 1 else path.name
        runs.append(Run(label, path, run))
    return runs


def upgraded(old: Config) -> Config:
    """A config of form 1, which had the keys of every task, in today's form.

    Keys of other tasks are left out; what another family did beside stood under that family's name.
    """
    name = old["model"]["name"]
    keys = settings.plain(families.keys_of(name)())
    new: Config = {"model": old["model"]}
    # Only keys of today's form are taken over; what was left out has its default.
    for section, defaults in keys.items():
        if section == "model" or section not in old:
            continue
        if isinstance(defaults, Mapping):
            new[section] = {key: old[section].get(key, value) for key, value in defaults.items()}
        else:
            new[section] = old[section]
    beside = {name: old["evaluation"].get(name) for name in families.FAMILIES}
    # One switch for each family became one list of names.
    if "scores_of" in keys["evaluation"]:
        new["evaluation"]["scores_of"] = ",".join(name for name, on in beside.items() if on)
    if "beside" in keys["evaluation"]:
        texts = [f"{name}={epochs}" for name, epochs in beside.items() if epochs]
        new["evaluation"]["beside"] = ",".join(texts)
    return new


def completed_config(raw: Config, folder: Path) -> Config:
    """The config of a run with the keys that its version did not have yet."""
    name = raw.get("model", {}).get("name", "")
    defaults = every_default(families.keys_of(name), families.entry_of(name))
    absent = missing_keys(defaults, raw)
    if absent:
        log.say(f"note: config.json of {folder} lacks {shown(absent)}: the defaults are taken")
    return completed(raw, defaults)


def _prepare_again(kept: workdir.Kept, folder: Path) -> Prepared:
    try:
        raw = kept.config if kept.format >= workdir.FORMAT else upgraded(kept.config)
        raw = completed_config(raw, folder)
        if raw["train"].get("start"):
            # What it went on from may be gone; what it took from there stands in the run itself.
            raw = {**raw, "train": {**raw["train"], "start": str(folder)}}
        checked, family = read(raw)
    # The file may have been changed by hand: whatever stands in a wrong place is one kind of fault.
    except (InputError, AttributeError, LookupError, TypeError) as error:
        raise InputError(
            f"config.json of {folder} is not one of this version ({error}), expected one that this "
            "version wrote: run it again in a new --workdir"
        ) from error
    try:
        return prepare(checked, family, folder)
    except InputError as error:
        raise InputError(
            f"the data of the finished run {folder} cannot be read again ({error}), expected them "
            "as they were: put the file back in its place"
        ) from error


def _restore(prepared: Prepared, metrics: Mapping[str, Any], folder: Path) -> fit.Fitted:
    if not (folder / "checkpoints").is_dir():
        raise InputError(
            f"{folder} has no checkpoints, expected those of a finished run: run it again elsewhere"
        )
    checked, _, problem, ready = prepared
    # Shapes alone: no parameter is drawn just to be overwritten.
    like = train.shapes(
        ready.model,
        fit.make_optimizer(checked.train, 1),
        problem.sample(ready.model),
        fit.root_key(checked.seed, vmapped_seeds(checked)),
    )
    with checkpoint.open(folder, write=False) as manager:
        # Data come first, so that changed ones are called so, and not shapes that do not fit.
        meta = checkpoint.newest_meta(manager)
        notes = () if meta is None else check_same(problem.dataset, meta, folder)
        state, _, more = checkpoint.restore(manager, like)
    for note in (*notes, *more):
        log.say(f"note: {note}")
    # How training ended is read from metrics, as it is not part of the checkpoint.
    ended = metrics["run"]
    outcome = train.Outcome(ended["ended"], ended["epochs"], ended["steps"])
    fitted = fit.Fitted(ready.model, state.best.params, state.best.state, state, outcome)
    return fit.after_training(fitted, problem.dataset)


def _check_seed(checked: Any, folder: Path, seed: int | None) -> None:
    seeds = vmapped_seeds(checked) or 1
    if seed is not None and not 0 <= seed < seeds:
        raise InputError(
            f"seed {seed} of {folder} is asked for, expected 0 to {seeds - 1}: it has "
            f"train.seeds={seeds}"
        )


def _check_parts(metrics: Mapping[str, Any], folder: Path) -> None:
    """What is needed of metrics.json is there."""
    data, ended = metrics.get("data"), metrics.get("run")
    whole = isinstance(data, Mapping) and isinstance(ended, Mapping)
    if not whole or not {"ended", "epochs", "steps"} <= set(ended or ()):
        raise InputError(
            f"metrics.json of {folder} lacks `data` or `run`, expected what a finished run leaves: "
            "delete it and run its command again, which goes on from the last checkpoint"
        )


def _check_numbers(prepared: Prepared, metrics: Mapping[str, Any], folder: Path) -> None:
    """The run's own count of its data; names are checked against the checkpoint."""
    now = prepared.family.task.about(prepared.problem)
    before = metrics["data"]
    differing = [key for key in now if key != "notes" and now[key] != before.get(key)]
    if differing:
        changes = [f"{key}: {before.get(key)} then, {now[key]} now" for key in differing[:3]]
        raise changed(prepared.problem.dataset, folder, "; ".join(changes))
