"""What follows training: predictions, scores of every seed and quality threshold, figures, and the
files of a run."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxpert import data
from jaxpert.core import log
from jaxpert.core import workdir as folder
from jaxpert.core.types import SPLITS, Dataset
from jaxpert.evaluation import compare as benchmark
from jaxpert.evaluation import pseudobulk
from jaxpert.models.gears import evaluate as gears_assess
from jaxpert.tasks.screen import evaluate as assess
from jaxpert.tasks.screen import figures
from jaxpert.tasks.screen import predict as workflow
from jaxpert.tasks.screen.predict import Fitted, Prediction

Config = dict[str, Any]
PACKAGES = (
    "jaxpert",
    "jax",
    "flax",
    "numpyro",
    "optax",
    "orbax-checkpoint",
    "anndata",
    "scanpy",
    "numpy",
)


def write_results(
    config: Config, workdir: Path, dataset: Dataset, fitted: Fitted, truth: Any
) -> None:
    """Everything that follows training; metrics.json comes last, as the sign of a finished run.

    The first seed at the run's own MAD multiplier is reported in full. `scores` in metrics.json has
    every seed at every multiplier of `evaluation.multipliers`; effects.npz (predicted effects of
    every seed) and statistics.npz (the sums behind the scores, see `save_statistics`) serve
    comparisons with other runs.
    """
    settings = config["evaluation"]
    truth = None if truth is None else data.pool_truth(truth)
    each = seeds_of(config, fitted)
    log.say(
        f"predicting {len(dataset.conditions)} conditions with {settings['particles']} particles"
    )
    options = {"particles": settings["particles"], "library": settings["library"]}
    predictions = {
        seed: workflow.predict_effects(one, dataset, dataset.conditions, seed=seed, **options)
        for seed, one in each.items()
    }
    planted = None if truth is None else planted_effects(dataset, truth)
    found = [
        (
            seed,
            k,
            *_evaluated(config, labelled(dataset, k), each[seed], predictions[seed], planted, seed),
        )
        for k in multipliers_of(config)
        for seed in each
    ]
    metrics = found[0][2] | {"scores": [_entry(*one) for one in found]}
    if len(each) > 1:
        metrics["seeds"] = _over_seeds([one["model"] for one in metrics["scores"][: len(each)]])
    metrics["quality"] = found[0][3]
    if settings["gears"]:
        metrics["gears"] = gears_assess.scores(dataset, predictions[config["seed"]])
    first = next(iter(each.values()))
    if settings["likelihood"] and first.model.score is not None:
        split = settings["likelihood"]
        metrics["likelihood"] = {
            split: assess.log_likelihood(first, dataset, split, seed=config["seed"])
        }
    metrics["data"] = describe(dataset)
    metrics["run"] = about(config, workdir, fitted)
    prediction = predictions[config["seed"]]
    workflow.to_anndata(prediction, dataset).write_h5ad(workdir / "predictions.h5ad")
    effects = {seed: effects_of(one, dataset) for seed, one in predictions.items()}
    save_effects(workdir / "effects.npz", dataset, effects)
    save_statistics(
        workdir / "statistics.npz", dataset, multipliers_of(config), effects, planted, metrics
    )
    draw(config, workdir, dataset, first, prediction, metrics, truth)
    folder.write_json(workdir / "metrics.json", metrics)
    log.say(str(metrics["verdict"]))


def seeds_of(config: Config, fitted: Fitted) -> dict[int, Fitted]:
    """Every trained seed by its number: `seed`, `seed` + 1 ..."""
    first, count = config["seed"], config["train"]["seeds"]
    return (
        {first: fitted}
        if count == 1
        else {first + i: workflow.pick_seed(fitted, i) for i in range(count)}
    )


def multipliers_of(config: Config) -> list[int]:
    """MAD multipliers to score at, the run's own first."""
    own, more = config["quality"]["multiplier"], config["evaluation"]["multipliers"]
    if not own:
        return [0]
    return [own, *(int(k) for k in more.split(",") if k and int(k) != own)]


def labelled(dataset: Dataset, multiplier: int) -> Dataset:
    """The data set with the labels of a MAD multiplier; 0 stands for none."""
    return data.at_multiplier(dataset, multiplier) if multiplier else dataset


def effects_of(prediction: Prediction, dataset: Dataset) -> Float[np.ndarray, "C G"]:
    """Predicted effects in the data set's order of conditions."""
    where = {name: i for i, name in enumerate(prediction.names)}
    return prediction.effects.effect[[where[name] for name in dataset.conditions]]


def _evaluated(
    config: Config,
    dataset: Dataset,
    fitted: Fitted,
    prediction: Prediction,
    planted: np.ndarray | None,
    seed: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores beside the baselines, and quality of generated cells."""
    scores = assess.evaluate(fitted, dataset, prediction=prediction, truth=planted, seed=seed)
    return scores, _quality(config, dataset, fitted, seed)


def _entry(
    seed: int, multiplier: int, scores: dict[str, Any], quality: dict[str, Any]
) -> dict[str, Any]:
    """One member of `scores` in metrics.json."""
    kept = {name: scores[name] for name in ("model", "baselines", "truth", "perturbations")}
    rates = {library: rate["overall"] for library, rate in quality.get("pass_rate", {}).items()}
    return {"seed": seed, "multiplier": multiplier, **kept, "pass_rate": rates}


def save_effects(path: Path, dataset: Dataset, effects: dict[int, np.ndarray]) -> None:
    """Predicted effects `[seeds, C, G]` as float32, with the seeds, conditions and genes."""
    stacked = np.stack(list(effects.values())).astype(np.float32)
    names = {"conditions": np.array(dataset.conditions), "genes": np.array(dataset.genes)}
    folder.write_arrays(path, {"effect": stacked, "seeds": np.array(list(effects)), **names})


def save_statistics(
    path: Path,
    dataset: Dataset,
    multipliers: Sequence[int],
    effects: dict[int, Float[np.ndarray, "C G"]],
    planted: Float[np.ndarray, "C G"] | None,
    metrics: dict[str, Any],
) -> None:
    """Sums per perturbation behind every score, from which other runs on the same data are compared
    with intervals.

    `sums|PREDICTOR|SEED|MULTIPLIER|SUBSET|SCORE` is an array of `evaluation.scoring` (baselines
    have the seed "any"), `conditions|MULTIPLIER|SUBSET` names its rows, and `measured|MULTIPLIER`
    is a digest of the measured effects, equal for runs that may be compared.
    """
    arrays: dict[str, np.ndarray] = {}
    for k in multipliers:
        cells = labelled(dataset, k)
        training, baselines, _ = assess.baseline_effects(cells)
        observed = pseudobulk.effects(pseudobulk.observed_means(cells), dataset.control)
        held_out = (
            pseudobulk.held_out_effects(cells) if benchmark.HELD_OUT in metrics["model"] else None
        )
        predictions = {f"model|{seed}": values for seed, values in effects.items()}
        predictions |= {f"{name}|any": values for name, values in baselines.items()}
        screen = assess.screen_of(cells, training)
        names, sums = benchmark.statistics(
            observed, predictions, screen, held_out=held_out, truth=planted
        )
        arrays |= {f"conditions|{k}|{subset}": np.array(rows) for subset, rows in names.items()}
        arrays[f"measured|{k}"] = np.array(
            hashlib.sha256(np.round(observed, 6).tobytes()).hexdigest()
        )
        for predictor, subsets in sums.items():
            for subset, scores in subsets.items():
                who, seed = predictor.split("|")
                arrays |= {
                    f"sums|{who}|{seed}|{k}|{subset}|{score}": rows
                    for score, rows in scores.items()
                }
    folder.write_arrays(path, arrays)


def draw(
    config: Config,
    workdir: Path,
    dataset: Dataset,
    fitted: Fitted,
    prediction: Prediction,
    metrics: dict[str, Any],
    truth: Any,
) -> None:
    """All figures; the recovery of a planted truth also goes into `metrics`."""
    pictures, settings, seed = workdir / "figures", config["evaluation"], config["seed"]
    chosen = figures.draw_scores(
        pictures,
        dataset,
        prediction,
        metrics,
        log.read_metrics(workdir / "metrics.jsonl"),
        shown_of(config),
    )
    if fitted.model.scale == "counts" and fitted.model.stochastic:
        figures.draw_quality(pictures, fitted, dataset, chosen, seed=seed)
    figures.draw_latent(pictures, fitted, dataset, settings["umap_cells"], seed=seed)
    if truth is not None:
        metrics["recovery"] = figures.draw_recovery(
            pictures,
            fitted,
            dataset,
            prediction,
            truth,
            planted_effects(dataset, truth),
            particles=settings["particles"],
        )


def shown_of(config: Config) -> list[str]:
    """Perturbations that the user wants in the figures."""
    return [name for name in config["evaluation"]["shown"].split(",") if name]


def planted_effects(dataset: Dataset, truth: Any) -> Float[np.ndarray, "C G"]:
    """True effects of the conditions in the data set's order."""
    where = {str(name): i for i, name in enumerate(truth.conditions)}
    mean = truth.mean_log2[[where[name] for name in dataset.conditions]]
    genes = {str(name): i for i, name in enumerate(truth.genes)}
    return (mean - mean[dataset.control])[:, [genes[name] for name in dataset.genes]]


def _quality(config: Config, dataset: Dataset, fitted: Fitted, seed: int) -> dict[str, Any]:
    """Thresholds, failing shares and pass rates of generated cells."""
    quality, settings = dataset.quality, config["evaluation"]
    if quality is None:
        return {}
    shares = {
        f"{k} MAD": float(data.failed(quality.metrics, bounds).mean())
        for k, bounds in quality.thresholds.items()
    }
    found: dict[str, Any] = {
        "multiplier": quality.multiplier,
        "failed_share": shares,
        "thresholds": {f"{k} MAD": dict(bounds) for k, bounds in quality.thresholds.items()},
    }
    if settings["pass_cells"] and fitted.model.scale == "counts":
        doublets = config["quality"]["doublets"]
        found["pass_rate"] = assess.quality_pass_rates(
            fitted,
            dataset,
            cells_per_condition=settings["pass_cells"],
            library=settings["library"],
            seed=seed,
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


def about(config: Config, workdir: Path, fitted: Fitted) -> dict[str, Any]:
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
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES}
        | {"python": sys.version.split()[0]},
    }


def _over_seeds(scores: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation (ddof 1) over seeds of every score; undefined where any seed's
    is."""

    def summary(subset: str, metric: str) -> dict[str, float] | None:
        values = [one[subset][metric] for one in scores]
        if any(value is None for value in values):
            return None
        return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))}

    return {
        subset: {metric: summary(subset, metric) for metric in of}
        for subset, of in scores[0].items()
    }
