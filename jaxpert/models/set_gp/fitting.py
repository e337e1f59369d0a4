"""From a split data set to what predicts any set: processes, blend, widths of intervals."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from jaxpert.core import log
from jaxpert.core.types import Dataset
from jaxpert.evaluation import baselines as known_baselines
from jaxpert.evaluation import deconvolution
from jaxpert.evaluation.baselines.rule import Rule, predicted
from jaxpert.evaluation.baselines.seen import training_of
from jaxpert.evaluation.baselines.training import Inapplicable, control_of, seen_in
from jaxpert.models.set_gp import blend, evidence, process
from jaxpert.models.set_gp.kernels import gene_kernels
from jaxpert.models.set_gp.others import Others, Stacked, read_runs, stack
from jaxpert.models.set_gp.process import Process
from jaxpert.models.set_gp.settings import Settings

PROCESS = "set_gp"
CANDIDATES = (
    "mean_perturbation",
    "mean_same_size",
    "additive",
    "scaled_additive",
    "shrunken_additive",
    "matching_mean",
    "annotation_weighted",
)
"""Baselines that the process is stacked with, where the data allow them."""
PREDICTORS = (PROCESS, *CANDIDATES)


class Fitting(NamedTuple):
    """What predicts any set; arrays."""

    control: Float[Any, "G"]
    control_error: Float[Any, "G"]
    """Squared standard error of the control mean; 0 where it is not known."""
    conditions: Float[Any, "C"]
    """Numbers of the training conditions among those of the data."""
    process: Process
    rules: tuple[Rule, ...]
    """Baselines with a weight in any group."""
    stacked: Float[Any, "B"]
    """Numbers of the process and of these among PREDICTORS."""
    weights: Float[Any, "K B"]
    """Of the process and then these, in every group of `evidence.GROUPS` and for trained sets."""
    widths: Float[Any, "K Q"]
    """Factors of standard deviations for each level of `LEVELS`."""
    effect_widths: Float[Any, "K Q"]
    """The same for true effects in place of measured ones."""
    runs: Stacked
    """Finished runs on top of the blend, of which there may be none."""


def fit(settings: Settings, dataset: Dataset) -> Fitting:
    """Fit processes to the training conditions, and stack them with the baselines."""
    training = training_of(dataset)
    seen, control = seen_in(training), control_of(training)
    noise = training.noise
    control_error = np.zeros(len(control)) if noise is None else noise.control
    kernels = gene_kernels(dataset, training, settings)
    of = process.Training(
        effects=training.means[seen] - control,
        sets=training.condition_treatments[seen].astype(np.float64),
        kernels=np.stack(list(kernels.values())),
        errors=None if noise is None else noise.condition[seen],
    )
    # What the whole does not allow has no place in the blend, even where a part of it would.
    whole_rules = rules_of(training, CANDIDATES)
    others = read_runs(settings.runs, dataset, seen.tolist()) if settings.runs else None
    log.say(f"fitting Gaussian processes to {len(seen)} perturbations")
    with jax.enable_x64(True):
        everything = np.ones(len(seen), bool)
        options: dict[str, Any] = {"most": settings.components}
        if len(seen) > settings.exact:
            options["features"] = process.features_in(of, settings.rank)
        whole, found = process.fit(of, everything, steps=settings.steps, **options)
        # A short search of their own made the parts surer of themselves than the whole is, and all
        # widths too large: left-out conditions have a say in the few hyperparameters alone.
        again = partial(process.fit, steps=settings.steps, found=found, **options)
        refit = partial(_refit, partial(again, of), training, whole_rules, seen)
        left_out = None
        if settings.folds:
            left_out = evidence.gather(of.effects, of.sets, settings.folds, refit)
        names = (PROCESS,) if left_out is None else left_out.names
        weights = blend.stacked(left_out if settings.blend else None, of.effects, len(names))
        run_weights = np.ones((len(weights), 1))
        if others is not None:
            run_weights = stack(others, seen, of.effects, of.sets, weights, names, refit)
        trained = _trained_widths(of, again, control_error) if settings.folds else None
    factors = blend.widths(left_out, of.effects, weights)
    # Where the noise is not known, nothing tells true effects from measured ones.
    effect_factors = factors
    if of.errors is not None:
        effect_factors = blend.effect_widths(
            left_out, of.effects, of.errors, weights, control_error
        )
    if trained is not None:
        effect_factors[-1] = trained
    used = np.flatnonzero(weights[:, 1:].any(0)) + 1
    rules = [whole_rules[names[b]] for b in used]
    return Fitting(
        control=control,
        control_error=control_error,
        conditions=seen.astype(np.float64),
        process=whole,
        rules=tuple(rules),
        stacked=np.array([PREDICTORS.index(names[b]) for b in (0, *used)], float),
        weights=weights[:, [0, *used]],
        widths=factors,
        effect_widths=effect_factors,
        runs=_stacked(training, others, run_weights),
    )


def _stacked(
    training: known_baselines.Training,
    others: Others | None,
    weights: Float[np.ndarray, "K N"],
) -> Stacked:
    """The runs as arrays; none of them where there are none."""
    sets = training.condition_treatments
    effects = (
        np.zeros((0, len(sets), training.means.shape[1])) if others is None else others.effects
    )
    return Stacked(sets=sets.astype(np.float64), effects=effects, weights=weights)


def rules_of(training: known_baselines.Training, names: Collection[str]) -> dict[str, Rule]:
    """Those of the baselines that the data allow, by name."""
    rules, asked = {}, training._replace(rules_alone=True)
    for name in names:
        made = known_baselines.BASELINES[name](asked)
        if not isinstance(made, Inapplicable):
            rules[name] = made.rule
    return rules


def _refit(
    again: Callable[..., tuple[Process, Any]],
    training: known_baselines.Training,
    candidates: Collection[str],
    seen: np.ndarray,
    used: Bool[np.ndarray, "C"],
) -> tuple[
    dict[str, Callable[[np.ndarray], np.ndarray]],
    Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
]:
    """Predictors fitted to some of the training conditions (`evidence.Refit`)."""
    fitted, _ = again(used)
    cells = training.cells.copy()
    cells[seen[~used]] = 0
    fewer = training._replace(cells=cells)
    predictors: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        PROCESS: lambda sets: np.asarray(process.predict(fitted, jnp.asarray(sets)))
    }
    for name, rule in rules_of(fewer, candidates).items():
        predictors[name] = partial(_effects, rule)

    def spread(sets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        made = process.predict_all(fitted, jnp.asarray(sets))
        return np.sqrt(np.asarray(made.variance + made.noise)), np.asarray(made.variance)

    return predictors, spread


def _trained_widths(
    of: process.Training, again: Callable[..., tuple[Process, Any]], control: Float[np.ndarray, "G"]
) -> Float[np.ndarray, "Q"] | None:
    """Widths of true effects of the training conditions themselves.

    Measurements can be split in two without their cells: y + e and y - e, with e as large as the
    known noise, are independent and twice as noisy. What is fitted to the first is held against the
    second. None where the noise is not known.
    """
    if of.errors is None:
        return None
    split = np.sqrt(of.errors) * np.random.default_rng(0).standard_normal(of.errors.shape)
    errors = 2 * of.errors
    half = of._replace(effects=of.effects + split, errors=errors)
    fitted, _ = again(half, np.ones(len(of.sets), bool))
    made = process.predict_all(fitted, jnp.asarray(of.sets))
    error = np.asarray(made.effect) - (of.effects - split)
    return deconvolution.widths(error, np.asarray(made.variance), errors, control)


def _effects(rule: Rule, sets: Float[np.ndarray, "R T"]) -> Float[np.ndarray, "R G"]:
    return np.asarray(predicted(rule, sets)) - rule.control
