"""One run from a config to a report: the composition root, and the only file that reads a config."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import pkgutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxpert import checkpoint, data, figures, folder, log, report, workflow
from jaxpert import models as model_package
from jaxpert.keys import MEANINGS
from jaxpert.types import SPLITS, Dataset, InputError, Model, TrainState
from jaxpert.workflow import Fitted

Config = dict[str, Any]
PACKAGES = ("jaxpert", "jax", "flax", "numpyro", "optax", "orbax-checkpoint", "anndata", "scanpy", "numpy")


def run(config: Config, workdir: str | Path) -> int:
    """Train, evaluate and report as `config` says, in `workdir`; the same call again goes on where it stopped.

    Returns 0 when the report is written, or when a signal stopped training (everything saved). Raises InputError for
    input that cannot be used, with nothing half-written.
    """
    workdir = Path(workdir).absolute()
    _check_keys(config)
    if config["train"]["multi_process"]:
        _join_processes()
    model_of(config)  # a wrong model name must not wait for the data
    folder.check(config, workdir)
    dataset, truth = load_dataset(config)
    _check_evaluation(config, dataset)
    model = build_model(config, dataset)
    if model.check is not None:
        dataset = replace(dataset, notes=(*dataset.notes, *model.check(dataset)))
    for note in dataset.notes:
        log.say(f"note: {note}")
    with folder.readable_errors(workdir):
        _claim(config, workdir, truth)
        if (workdir / "metrics.json").exists():
            log.say(f"this run is finished: {report.write_report(workdir)}")
            return 0
        fitted = fit(config, workdir, dataset, model)
        if fitted.outcome.reason == "interrupted":
            log.say(f"stopped at step {fitted.outcome.step} and saved; the same command goes on from there")
            return 0
        if jax.process_index() == 0:
            write_results(config, workdir, dataset, fitted, truth)
            log.say(f"report: {report.write_report(workdir)}")
    return 0


def load_dataset(config: Config) -> tuple[Dataset, Any]:
    """The labelled and split data set, and the truth behind it where it is simulated (else None)."""
    settings, quality, split = config["data"], config["quality"], config["split"]
    source, truth = settings["source"], None
    if source == "simulated":
        source, truth = data.simulate(settings["preset"], seed=settings["simulation_seed"])
    public = isinstance(source, str) and source in data.SOURCES
    options = {} if public else _read_options(settings) | ({"name": "simulated"} if truth is not None else {})
    dataset = data.load(source, folder=settings["folder"] or None, doublets=quality["doublets"], **options)
    dataset = data.add_quality(
        dataset,
        multiplier=quality["multiplier"],
        doublets=quality["doublets"],
        columns={name: column for name, column in quality["columns"].items() if column},
        scaled=quality["scaled"],
        doublet_group=quality["doublet_group"] or None,
    )
    kind = split["kind"]
    if kind == "auto":
        combined = int((dataset.condition_treatments.sum(1) > 1).sum())
        kind = "combinations" if combined > 1 else "cells"
        note = f"split.kind=auto chose {kind}: the file has {combined} conditions with two perturbations or more"
        dataset = replace(dataset, notes=(*dataset.notes, note))
    return data.add_split(dataset, kind=kind, seed=split["seed"], column=split["column"] or None), truth


def _read_options(settings: Config) -> Config:
    names = ("perturbation", "control", "separator", "layer", "guide_prefix", "stratum", "highly_variable")
    return {name: settings[name] or None for name in names} | {"min_cells_per_gene": settings["min_cells_per_gene"]}


def model_of(config: Config) -> Any:
    """The model's module."""
    name = config["model"]["name"]
    known = sorted(m.name for m in pkgutil.iter_modules(model_package.__path__) if m.name != "baselines")
    if name not in known:
        raise InputError(f"model.name is {name!r}, expected one of {', '.join(known)}")
    return importlib.import_module(f"jaxpert.models.{name}")


def build_model(config: Config, dataset: Dataset) -> Model:
    """The model that the config names, for the data."""
    try:
        return model_of(config).build(data.make_spec(dataset), **config["model"]["kwargs"])
    except TypeError as error:
        raise InputError(f"model.kwargs do not fit {config['model']['name']}: {error}") from error


def fit(config: Config, workdir: Path, dataset: Dataset, model: Model) -> Fitted:
    """Train, or go on training, with checkpoints and metrics in `workdir`."""
    settings = config["train"]
    meta = {"genes": dataset.genes, "treatments": dataset.treatments, "config": config}
    with contextlib.ExitStack() as stack:
        manager = stack.enter_context(checkpoint.open(workdir))
        should_stop = stack.enter_context(log.catch_signals())
        rows: list[Any] = []

        def restore(fresh: TrainState) -> TrainState:
            state = _resumed(manager, fresh)
            step = int(np.ravel(state.step)[0])
            if jax.process_index() == 0:
                rows.append(stack.enter_context(log.metrics_writer(workdir / "metrics.jsonl", step=step)))
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
            patience=settings["patience"] or None,
            validate_every=settings["validate_every"],
            log_every=settings["log_every"],
            save_seconds=settings["save_seconds"],
            seed=config["seed"],
            seeds=settings["seeds"] if settings["seeds"] > 1 else None,
            devices=settings["devices"] or None,
            feed_options={"layout": settings["layout"]},
            restore=restore,
            save=lambda state, at: checkpoint.save(manager, state, meta | at),
            report=lambda row: [write(row) for write in rows],
            should_stop=should_stop,
        )


def _resumed(manager: Any, fresh: TrainState) -> TrainState:
    if not manager.all_steps():
        return fresh
    state, _, notes = checkpoint.restore(manager, fresh)
    for note in notes:
        log.say(f"note: {note}")
    log.say(f"going on from step {int(np.ravel(state.step)[0])}")
    return state


def write_results(config: Config, workdir: Path, dataset: Dataset, fitted: Fitted, truth: Any) -> None:
    """Everything that follows training; metrics.json comes last, as the sign of a finished run."""
    settings, seed = config["evaluation"], config["seed"]
    options = {"particles": settings["particles"], "library": settings["library"], "seed": seed}
    seeds = config["train"]["seeds"]
    each = [fitted] if seeds == 1 else [workflow.pick_seed(fitted, i) for i in range(seeds)]
    log.say(f"predicting {len(dataset.conditions)} conditions with {settings['particles']} particles")
    prediction = workflow.predict_effects(each[0], dataset, dataset.conditions, **options)
    planted = None if truth is None else _planted(dataset, truth)
    metrics = workflow.evaluate(each[0], dataset, prediction=prediction, truth=planted, **options)
    if seeds > 1:
        others = [workflow.evaluate(one, dataset, truth=planted, **options) for one in each[1:]]
        metrics["seeds"] = _over_seeds([metrics["model"], *(m["model"] for m in others)])
    metrics["quality"] = _quality(config, dataset, each[0])
    if settings["likelihood"] and fitted.model.score is not None:
        split = settings["likelihood"]
        metrics["likelihood"] = {split: workflow.log_likelihood(each[0], dataset, split, seed=seed)}
    metrics["data"] = describe(dataset)
    metrics["run"] = _about(config, workdir, fitted)
    workflow.to_anndata(prediction, dataset).write_h5ad(workdir / "predictions.h5ad")
    draw(config, workdir, dataset, each[0], prediction, metrics, truth)
    folder.write_json(workdir / "metrics.json", metrics)
    log.say(str(metrics["verdict"]))


def draw(
    config: Config,
    workdir: Path,
    dataset: Dataset,
    fitted: Fitted,
    prediction: workflow.Prediction,
    metrics: dict[str, Any],
    truth: Any,
) -> None:
    """All figures; the recovery of a planted truth also goes into `metrics`."""
    pictures, settings, seed = workdir / "figures", config["evaluation"], config["seed"]
    chosen = figures.draw_scores(
        pictures, dataset, prediction, metrics, log.read_metrics(workdir / "metrics.jsonl"), _shown(config)
    )
    if fitted.model.scale == "counts" and fitted.model.stochastic:
        figures.draw_quality(pictures, fitted, dataset, chosen, seed=seed)
    figures.draw_latent(pictures, fitted, dataset, settings["umap_cells"], seed=seed)
    if truth is not None:
        metrics["recovery"] = figures.draw_recovery(
            pictures, fitted, dataset, prediction, truth, _planted(dataset, truth), particles=settings["particles"]
        )


def _planted(dataset: Dataset, truth: Any) -> np.ndarray:
    """True effects of the conditions in the data set's order."""
    where = {str(name): i for i, name in enumerate(truth.conditions)}
    mean = truth.mean_log2[[where[name] for name in dataset.conditions]]
    genes = {str(name): i for i, name in enumerate(truth.genes)}
    return (mean - mean[dataset.control])[:, [genes[name] for name in dataset.genes]]


def _quality(config: Config, dataset: Dataset, fitted: Fitted) -> dict[str, Any]:
    """Thresholds, failing shares and pass rates of generated cells."""
    quality, settings = dataset.quality, config["evaluation"]
    assert quality is not None
    shares = {
        f"{k} MAD": float(data.failed(quality.metrics, bounds).mean()) for k, bounds in quality.thresholds.items()
    }
    found: dict[str, Any] = {
        "multiplier": quality.multiplier,
        "failed_share": shares,
        "thresholds": {f"{k} MAD": dict(bounds) for k, bounds in quality.thresholds.items()},
    }
    if settings["pass_cells"] and fitted.model.scale == "counts":
        doublets = config["quality"]["doublets"]
        found["pass_rate"] = workflow.quality_pass_rates(
            fitted,
            dataset,
            cells_per_condition=settings["pass_cells"],
            library=settings["library"],
            seed=config["seed"],
            doublets=doublets if doublets in ("scrublet", "scanpy", "none") else "scrublet",
        )
    return found


def describe(dataset: Dataset) -> dict[str, Any]:
    """The data set in numbers, with every note about what was left out or decided."""
    sizes = dataset.condition_treatments.sum(1)
    perturbed = np.arange(len(sizes)) != dataset.control
    return {
        "name": dataset.name,
        "cells": len(dataset.cells),
        "genes": len(dataset.genes),
        "conditions": len(dataset.conditions),
        "single perturbations": int((perturbed & (sizes == 1)).sum()),
        "combinations": int((sizes > 1).sum()),
        "control cells": int((dataset.condition == dataset.control).sum()),
        "strata": len(dataset.strata),
        "cells per split": {split: len(dataset.rows(split)) for split in SPLITS},
        "notes": list(dataset.notes),
    }


def _about(config: Config, workdir: Path, fitted: Fitted) -> dict[str, Any]:
    rows = [row for row in log.read_metrics(workdir / "metrics.jsonl") if "train/loss" in row]
    # The first stretch of a call includes warming up.
    speeds = [row["cells_per_second"] for row in rows[1:] or rows]
    seeds = config["train"]["seeds"]
    leaves = jax.tree.leaves(fitted.params)
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "command": " ".join(["python", *sys.argv]) if sys.argv[0].endswith("main.py") else "",
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "ended": fitted.outcome.reason,
        "epochs": fitted.outcome.epochs,
        "steps": fitted.outcome.step,
        "best epoch": np.asarray(fitted.train.best.epoch).tolist(),
        "best validation loss": np.asarray(fitted.train.best.loss).tolist(),
        "parameters": sum(leaf.size for leaf in leaves) // seeds,
        "cells per second (median)": float(np.median(speeds)) if speeds else None,
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES} | {"python": sys.version.split()[0]},
    }


def _over_seeds(scores: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation (ddof 1) over seeds of every score; undefined where any seed's is."""

    def summary(subset: str, metric: str) -> dict[str, float] | None:
        values = [one[subset][metric] for one in scores]
        if any(value is None for value in values):
            return None
        return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))}

    return {subset: {metric: summary(subset, metric) for metric in of} for subset, of in scores[0].items()}


def _check_keys(config: Config) -> None:
    """Every config has the keys that all need, and no value out of its range."""
    flat = folder.flatten(config)
    missing = [key for key in MEANINGS if key not in flat and not key.startswith("model.kwargs.")]
    if missing:
        raise InputError(f"the config lacks {', '.join(missing)}, expected every key that --help lists")
    positive = (
        "train.epochs",
        "train.batch_size",
        "train.log_every",
        "train.seeds",
        "evaluation.particles",
        "train.validate_every",
    )
    for key in positive:
        if flat[key] < 1:
            raise InputError(f"{key} is {flat[key]}, expected at least 1")
    if not flat["train.learning_rate"] > 0:
        raise InputError(f"train.learning_rate is {flat['train.learning_rate']}, expected a positive number")
    if flat["evaluation.particles"] % 20 and flat["evaluation.particles"] >= 40:
        raise InputError(f"evaluation.particles is {flat['evaluation.particles']}, expected a multiple of 20")


def _check_evaluation(config: Config, dataset: Dataset) -> None:
    """What would otherwise be found wrong only after training."""
    settings = config["evaluation"]
    figures.named_conditions(dataset, _shown(config))
    split = settings["likelihood"]
    if split and (split not in SPLITS[:3] or not len(dataset.rows(split))):
        there = ", ".join(name for name in SPLITS[:3] if len(dataset.rows(name)))
        raise InputError(f"evaluation.likelihood is {split!r}, expected a split with cells ({there}) or nothing")


def _shown(config: Config) -> list[str]:
    return [name for name in config["evaluation"]["shown"].split(",") if name]


def _join_processes() -> None:
    try:
        jax.distributed.initialize()
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"train.multi_process is set but no other process was found ({error}): start the processes through Slurm, "
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
