"""What follows training on a screen: predictions, and scores of every seed and quality
threshold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from jaxpert import data
from jaxpert.core import log
from jaxpert.core.ensemble import Ensemble, ensemble_of, members_of
from jaxpert.core.family import Family, Problem, Results
from jaxpert.core.fit import Fitted, pick_seed
from jaxpert.core.types import Dataset
from jaxpert.evaluation import subset_names
from jaxpert.evaluation.coverage import Predicted, coverage
from jaxpert.tasks.screen import each, files, recovery
from jaxpert.tasks.screen.audit import labelled, multipliers_of
from jaxpert.tasks.screen.evaluate import log_likelihood, quality_pass_rates, score
from jaxpert.tasks.screen.keys import ScreenConfig
from jaxpert.tasks.screen.measured import Measured, beside_itself, measure
from jaxpert.tasks.screen.predict import Prediction, predict_effects, to_anndata


class Shown(NamedTuple):
    """What figures are drawn from: the first seed at the run's own quality labels."""

    problem: Problem
    fitted: Fitted
    prediction: Prediction
    measured: Measured
    recovered: recovery.Recovered | None
    metrics: Mapping[str, Any]


class _Scored(NamedTuple):
    """Scores of one seed at one quality threshold."""

    seed: int
    multiplier: int
    scores: dict[str, Any]
    quality: dict[str, Any]

    def entry(self) -> dict[str, Any]:
        """A member of `scores` in metrics.json."""
        names = ("model", "baselines", "truth", "perturbations")
        rates = {
            library: rate["overall"] for library, rate in self.quality.get("pass_rate", {}).items()
        }
        head = {"seed": self.seed, "multiplier": self.multiplier}
        return head | {name: self.scores[name] for name in names} | {"pass_rate": rates}


def evaluate_run(
    config: ScreenConfig,
    problem: Problem,
    fitted: Fitted,
    family: Family,
    others: Mapping[str, Family],
) -> Results:
    """Predict and score every condition (`Task.evaluate`).

    The first seed at the run's own MAD multiplier is reported in full. `scores` in metrics.json has
    every seed at every multiplier of `evaluation.multipliers`.
    """
    dataset, keys = problem.dataset, config.evaluation
    truth = None if problem.truth is None else data.pool_truth(problem.truth)
    seeds = seeds_of(config, fitted)
    log.say(f"predicting {len(dataset.conditions)} conditions with {keys.particles} particles")
    predictions = _predict_all(config, dataset, seeds)
    measured = {k: measure(labelled(dataset, k), truth) for k in multipliers_of(config)}
    own, trained = next(iter(measured)), predictions[config.seed].effects_of(dataset)
    # Only at the run's own labels does the model rest on the same cells as its namesake.
    measured[own] = beside_itself(measured[own], fitted.model.name, trained)
    scored = _score_all(config, measured, seeds, predictions)
    # What has no mean over seeds (latents, generated cells) is that of the first.
    first, prediction = members_of(seeds[config.seed])[0], predictions[config.seed]
    # Scores are made for the run's own threshold and first seed before all others.
    of = next(iter(measured.values()))
    metrics = scored[0].scores | {"scores": [one.entry() for one in scored]}
    if len(seeds) > 1:
        # The first entries are those of all seeds at the run's own threshold.
        metrics["seeds"] = over_seeds([entry["model"] for entry in metrics["scores"][: len(seeds)]])
    metrics["quality"] = scored[0].quality
    metrics["notes"] = [*metrics["notes"], *_rate_notes(scored[0].quality)]
    for name in keys.scores_of:
        scores_of_paper = others[name].scores
        assert scores_of_paper is not None, "checked when the data were loaded"
        metrics[name] = scores_of_paper(of, prediction)
    if keys.likelihood and first.model.score is not None:
        bound = log_likelihood(first, dataset, keys.likelihood, seed=config.seed)
        metrics["likelihood"] = {keys.likelihood: bound}
    recovered = None
    if truth is not None:
        recovered = recovery.recover(first, of, prediction, truth, particles=keys.particles)
        metrics["recovery"] = recovered.scores
    metrics |= _intervals(of, prediction, metrics["notes"]) | _learned(first, dataset)
    effects = {seed: made.effects_of(dataset) for seed, made in predictions.items()}
    metrics["each"] = each.each(of, effects[config.seed], prediction)
    return Results(
        metrics=metrics,
        predictions=to_anndata(prediction, dataset),
        arrays={
            "effects.npz": files.effects_arrays(dataset, effects, each.target(of).effects),
            "statistics.npz": files.statistics_arrays(measured, effects),
        },
        shown=Shown(problem, first, prediction, of, recovered, metrics),
    )


def _learned(fitted: Fitted, dataset: Dataset) -> dict[str, Any]:
    """`learned` of metrics.json, of models that tell what they have learned."""
    if fitted.model.learned is None:
        return {}
    return {"learned": fitted.model.learned(fitted.params, fitted.state, dataset)}


def _intervals(measured: Measured, prediction: Prediction, notes: list[str]) -> dict[str, Any]:
    """`coverage` of metrics.json where there are intervals; else a note, where they could be."""
    calibration = prediction.calibration
    found = covered(measured, prediction) if prediction.deviation is not None else {"model": {}}
    if not found["model"]:
        return {} if calibration is None else {"notes": [*notes, *calibration.notes]}
    if calibration is None:
        return {"coverage": found}
    held = dict(calibration.perturbations)
    return {"coverage": found | {"notes": list(calibration.notes), "calibrated_on": held}}


def covered(measured: Measured, prediction: Prediction) -> dict[str, Any]:
    """Whether the model's intervals hold: on what was measured of each subset, and on the planted
    effects of simulated cells."""
    dataset, screen = measured.dataset, measured.screen
    deviation = prediction.deviation_of(dataset)
    assert deviation is not None
    predicted = Predicted(prediction.effects_of(dataset), deviation)
    # What training has seen comes last: of it intervals say little.
    order = sorted(screen.subsets, key=lambda name: name in ("all", "train"))
    subsets = {name: screen.subsets[name] for name in order}
    found = coverage(predicted, measured.effects, subsets, screen.noise)
    if measured.held_out is not None:
        test = {subset_names.HELD_OUT: screen.subsets["test"]}
        tested = coverage(predicted, measured.held_out, test, screen.noise_held_out)
        found = {part: {**found[part], **tested[part]} for part in found}
    if measured.planted is not None:
        # The truth has no noise, so that the deviation is that of the effect alone.
        alone = deviation._replace(
            measured=deviation.effect,
            usual=0 * deviation.usual,
            widths=deviation.effect_widths,
        )
        # Genes that no cell has a count of are right at 0 whatever is said, which would hide the
        # others.
        counted = (np.nan_to_num(measured.effects) != 0).any(0)
        truth = coverage(
            _of_genes(predicted._replace(deviation=alone), counted),
            measured.planted[:, counted],
            subsets,
        )
        planted = {f"planted, {name}": part for name, part in truth["model"].items()}
        found["model"] |= planted
        found["conditions"] |= {f"planted, {n}": k for n, k in truth["conditions"].items()}
    return found


def _of_genes(predicted: Predicted, genes: Bool[np.ndarray, "G"]) -> Predicted:
    deviation = predicted.deviation
    return Predicted(
        predicted.effect[:, genes],
        deviation._replace(
            effect=deviation.effect[:, genes],
            measured=deviation.measured[:, genes],
            usual=deviation.usual[:, genes],
        ),
    )


def seeds_of(config: ScreenConfig, fitted: Fitted) -> dict[int, Fitted | Ensemble]:
    """Every trained seed by its number: `seed`, `seed` + 1 ...; with `evaluation.ensemble` all of
    them under the first."""
    count = config.train.seeds
    if count == 1:
        return {config.seed: fitted}
    if config.evaluation.ensemble:
        return {config.seed: ensemble_of(fitted)}
    return {config.seed + i: pick_seed(fitted, i) for i in range(count)}


def over_seeds(scores: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation (ddof 1) over seeds of every score; undefined where any seed's
    is."""

    def summary(subset: str, metric: str) -> dict[str, float] | None:
        # A mean over some seeds alone would not be comparable, so it stays undefined.
        values = [seed[subset][metric] for seed in scores]
        if any(value is None for value in values):
            return None
        return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))}

    summaries: dict[str, Any] = {}
    for subset, metrics in scores[0].items():
        summaries[subset] = {metric: summary(subset, metric) for metric in metrics}
    return summaries


def _predict_all(
    config: ScreenConfig, dataset: Dataset, seeds: Mapping[int, Fitted | Ensemble]
) -> dict[int, Prediction]:
    """What each seed's model predicts of every condition, with intervals."""
    keys = config.evaluation
    asked = {"particles": keys.particles, "library": keys.library, "intervals": True}
    return {
        seed: predict_effects(single, dataset, dataset.conditions, seed=seed, **asked)
        for seed, single in seeds.items()
    }


def _score_all(
    config: ScreenConfig,
    measured: Mapping[int, Measured],
    seeds: Mapping[int, Fitted | Ensemble],
    predictions: Mapping[int, Prediction],
) -> list[_Scored]:
    """Scores beside the baselines and quality of generated cells, of each seed at each
    threshold."""
    scored = []
    for multiplier, of in measured.items():
        for seed, single in seeds.items():
            scores = score(of, predictions[seed], seed)
            quality = _quality(config, of.dataset, members_of(single)[0], seed)
            scored.append(_Scored(seed, multiplier, scores, quality))
    return scored


def _rate_notes(quality: Mapping[str, Any]) -> list[str]:
    """Notes on the pass rates, those of both libraries once."""
    notes: list[str] = []
    for rate in quality.get("pass_rate", {}).values():
        notes += rate["notes"]
    return list(dict.fromkeys(notes))


def _quality(config: ScreenConfig, dataset: Dataset, fitted: Fitted, seed: int) -> dict[str, Any]:
    """Thresholds, failing shares and pass rates of generated cells."""
    quality, keys = dataset.quality, config.evaluation
    if quality is None:
        return {}
    shares = {
        f"{k} MAD": float(data.failed(quality.metrics, bounds).mean())
        for k, bounds in quality.thresholds.items()
    }
    numbers: dict[str, Any] = {
        "multiplier": quality.multiplier,
        "failed_share": shares,
        "thresholds": {f"{k} MAD": dict(bounds) for k, bounds in quality.thresholds.items()},
    }
    # Pass rates need counts, which models of means do not generate.
    if keys.pass_cells and fitted.model.scale == "counts":
        # A column of calls says nothing of generated cells, which are called anew.
        callers = ("scrublet", "scanpy", "none")
        doublets = config.quality.doublets
        numbers["pass_rate"] = quality_pass_rates(
            fitted,
            dataset,
            cells_per_condition=keys.pass_cells,
            library=keys.library,
            seed=seed,
            doublets=doublets if doublets in callers else "scrublet",
        )
    return numbers
