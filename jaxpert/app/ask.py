"""What the commands do with finished runs, whatever their task and family."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxpert.app import run
from jaxpert.app.reopen import reopen
from jaxpert.core import files, fit, log, workdir
from jaxpert.core.ensemble import ensemble_of
from jaxpert.core.errors import InputError
from jaxpert.core.family import Finished
from jaxpert.core.paths import path_of
from jaxpert.core.spreadsheets import write_table


def predict(finished: Finished, names: Sequence[str], **options: Any) -> Any:
    """Predict perturbations with a finished run, as AnnData.

    Of a run of several seeds, the means over seeds, with the layer `effect_seed_sd`: the standard
    deviation over seeds (ddof 1).
    """
    # A family's own way comes first, since it may know more names than the task.
    how = finished.family.predict or finished.family.task.predict
    seeds = run.vmapped_seeds(finished.config)
    if seeds is None:
        return how(finished.problem, finished.fitted, names, **options)
    if getattr(finished.config.evaluation, "ensemble", False):
        return how(finished.problem, ensemble_of(finished.fitted), names, **options)
    singles = [fit.pick_seed(finished.fitted, index) for index in range(seeds)]
    return _over_seeds([how(finished.problem, single, names, **options) for single in singles])


def predict_to_files(
    folder: str | Path, names: Sequence[str], output: Path, **options: Any
) -> list[Path]:
    """Predictions of a finished run as .h5ad, and as .csv with one row for each perturbation and
    gene."""
    workdir.check_file_place(output)
    finished = reopen(folder)
    given, model = options, finished.fitted.model
    # A model that shifts control cells takes as many of them as particles.
    used = {"seed": model.stochastic, "particles": model.stochastic or model.needs_control}
    # A config with particles belongs to models that generate cells.
    keys = getattr(finished.config.evaluation, "particles", None)
    if keys is not None:
        # What the user asks for comes last and so replaces the run's own.
        options = {"particles": keys, "library": finished.config.evaluation.library, **options}
    elif "particles" in options:
        raise InputError(
            f"--particles is for models that generate cells, which {finished.family.title} does "
            "not, expected no such flag for it: leave it out"
        )
    _refuse_idle(finished, given, used)
    return write_predictions(predict(finished, names, **options), output)


def _refuse_idle(finished: Finished, given: Mapping[str, Any], used: Mapping[str, bool]) -> None:
    """Refuse flags of drawn cells that change nothing in what the model predicts."""
    for flag, value in given.items():
        if not used[flag]:
            raise InputError(
                f"--{flag} is {value}, which changes nothing in predictions of "
                f"{finished.config.model.name}, expected no such flag for it: leave it out"
            )


def write_predictions(predicted: Any, output: Path) -> list[Path]:
    """The AnnData of `predict` as .h5ad, and as .csv beside it."""
    table = output.with_suffix(".csv")
    with workdir.readable_errors(output, "--output"):
        output.parent.mkdir(parents=True, exist_ok=True)
        with files.whole(output) as part:
            predicted.write_h5ad(part)
        write_table(table, long_table(predicted), index=False)
    return [output, table]


def cells_to_file(
    folder: str | Path, names: Sequence[str], output: Path, **options: int
) -> list[Path]:
    """Predicted cells of a finished run as an .h5ad file in the form of cell-eval; of a run of
    several seeds those of the first. The options are those of `cell_eval.predict_cells`."""
    from jaxpert.tasks.screen.cell_eval import predict_cells

    workdir.check_file_place(output)
    finished = reopen(folder, seed=0)
    if finished.family.task.name != "screen":
        raise InputError(
            f"{folder} is a run of the task {finished.family.task.name}, whose rows are no cells, "
            "expected a run of a screen: leave --format out"
        )
    model, dataset = finished.fitted.model, finished.problem.dataset
    counts = model.stochastic and model.scale == "counts"
    used = {"seed": model.stochastic, "cells": counts}
    # Control cells to shift are drawn as well.
    used = {flag: drawn or model.needs_control for flag, drawn in used.items()}
    _refuse_idle(finished, options, used)
    predicted = predict_cells(finished.fitted, dataset, names, **options)
    for note in predicted.uns["notes"]:
        log.say(f"note: {note}")
    with workdir.readable_errors(output, "--output"):
        output.parent.mkdir(parents=True, exist_ok=True)
        with files.whole(output) as part:
            predicted.write_h5ad(part)
    return [output]


def long_table(predicted: Any) -> Any:
    """A table with one row for each predicted perturbation and gene, from the AnnData of
    `predict`."""
    import pandas

    genes = len(predicted.var_names)
    columns: dict[str, Any] = {"perturbation": np.repeat(np.asarray(predicted.obs_names), genes)}
    for name in predicted.obs.columns:
        if name != "condition":
            columns[name] = np.repeat(np.asarray(predicted.obs[name]), genes)
    columns["gene"] = np.tile(np.asarray(predicted.var_names), len(predicted.obs_names))
    columns["mean"] = np.asarray(predicted.X).ravel()
    for name, layer in predicted.layers.items():
        columns[name] = np.asarray(layer).ravel()
    return pandas.DataFrame(columns)


def evaluate_again(folder: str | Path, output: str | Path) -> Path:
    """Score a finished run with its data and write results, figures and report to a folder; returns
    the path of the report."""
    folder, output = (path_of(path).absolute() for path in (folder, output))
    workdir.check_place(output, "--output")
    finished = reopen(folder)
    prepared = run.Prepared(
        finished.config, finished.family, finished.problem, run.Ready(finished.fitted.model)
    )
    with workdir.readable_errors(output, "--output"):
        output.mkdir(parents=True, exist_ok=True)
        # Two evaluations into one folder would mix their files.
        with workdir.alone(output, "--output"):
            files.remove_parts(output)
            # The first run's folder stays as it is, and the report is made of what is copied.
            shutil.copyfile(folder / workdir.CONFIG, output / workdir.CONFIG)
            # Curves of training that somebody threw away are missing on the page, no more.
            if (folder / "metrics.jsonl").exists():
                shutil.copyfile(folder / "metrics.jsonl", output / "metrics.jsonl")
            run.finish(prepared, finished.fitted, output)
            return run.write_report(output)


class Around(NamedTuple):
    """Files that a screen is drawn around."""

    effects: str
    scale: str
    profile: str


def simulate_to_files(
    preset: str | None, around: Around | None, settings: str, seed: int, output: Path
) -> list[Path]:
    """A simulated screen, of a preset or around the effects of a file, as .h5ad and its truth as
    .truth.npz."""
    from jaxpert import simulate
    from jaxpert.data.effects_file import simulate_files
    from jaxpert.tasks.screen.load import simulator_settings

    workdir.check_file_place(output)
    overrides = simulator_settings(settings)
    if around is not None:
        cells, truth = simulate_files(*around, seed=seed, **overrides)
    else:
        cells, truth = simulate.simulate(str(preset), seed=seed, **overrides)
    beside = output.with_suffix(".truth.npz")
    with workdir.readable_errors(output, "--output"):
        output.parent.mkdir(parents=True, exist_ok=True)
        with files.whole(output) as part:
            cells.write_h5ad(part)
        with files.whole(beside) as part:
            simulate.save_truth(truth, part)
    return [output, beside]


def _over_seeds(predictions: Sequence[Any]) -> Any:
    """Means over seeds of predictions of the same perturbations."""
    # A copy, since the first prediction is also one of those averaged.
    mean = predictions[0].copy()
    mean.X = np.mean([prediction.X for prediction in predictions], axis=0)
    for name in list(mean.layers):
        mean.layers[name] = np.mean([one.layers[name] for one in predictions], axis=0)
    # Each seed has widths of its own; a mean over seeds is rather nearer than any of them.
    for name in ("width_50", "width_90", "effect_width_50", "effect_width_90"):
        if all(name in one.obs for one in predictions):
            mean.obs[name] = np.mean([one.obs[name] for one in predictions], axis=0)
    effects = np.stack([prediction.layers["effect"] for prediction in predictions])
    # The sample deviation: seeds are a sample of all that could be taken.
    mean.layers["effect_seed_sd"] = effects.std(axis=0, ddof=1)
    return mean
