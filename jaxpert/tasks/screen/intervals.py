"""Intervals of any model of a screen, as wide as the perturbations that validation holds ask for
(docs/evaluation.md, "Intervals of a model").

Validation is held out of training, and of the test cells nothing is looked at. All follows from the
data, the fitted parameters and a seed of its own, so that a run that is read back gives the same
widths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from jaxpert.core.fit import Fitted
from jaxpert.core.streams import Stream
from jaxpert.core.types import LEVELS, Dataset, Deviation
from jaxpert.data.moments import Pseudobulk
from jaxpert.evaluation import pseudobulk
from jaxpert.evaluation.conformal import FEWEST, widths
from jaxpert.evaluation.noise import noise_in
from jaxpert.tasks.screen.asking import ask_effects, make_request
from jaxpert.tasks.screen.kinds import NEVER_TRAINED, TRAINED, Known, kind_of, known_of, named_sets

POOLED = "any perturbation never trained"
MOST = 200
"""Held-out perturbations, trained and never trained ones each, that widths are taken from: more
would say no more, and a screen of thousands takes long to predict."""
FLOOR = 0.01
"""Share of the mean variance over genes that every gene has at least, so that none has an interval
of width 0."""


class Calibration(NamedTuple):
    """What training and validation say of how far off predictions are."""

    known: Known
    widths: Mapping[str, Float[np.ndarray, "Q"]]
    """By kind of perturbation (`kinds`), POOLED among them; kinds with too few have none."""
    perturbations: Mapping[str, int]
    """Held out in validation, by kind."""
    usual: Float[np.ndarray, "G"]
    """Standard error of an effect that is usual in training; 0 where it is not known."""
    spread: Float[np.ndarray, "G"]
    """Standard deviation of effects between training perturbations, without that error."""
    notes: tuple[str, ...] = ()
    """What is to be said of intervals that are not given, or not from their own kind."""

    def widths_of(self, kind: str) -> Float[np.ndarray, "Q"]:
        """Those of its kind, else of all never trained; NaN where these are too few too."""
        own = self.widths.get(kind)
        return self.widths.get(POOLED, np.full(len(LEVELS), np.nan)) if own is None else own

    def deviation(
        self, sets: Sequence[frozenset[str]], own: Float[np.ndarray, "R G"] | None
    ) -> Deviation | None:
        """Of sets of perturbed genes; `own` are the standard deviations that the model itself gives
        their effects. None where there is neither that nor an interval."""
        made = self.scaled(sets, own)
        return None if own is None and np.isnan(made.widths).all() else made

    def scaled(
        self, sets: Sequence[frozenset[str]], own: Float[np.ndarray, "R G"] | None
    ) -> Deviation:
        """The same, also where no interval can be given."""
        kinds = [kind_of(genes, self.known) for genes in sets]
        effect = own
        # What training cells leave unsure of a perturbation that they show, and the spread between
        # perturbations for all others.
        if effect is None:
            shown = _raised(self.usual) if self.usual.any() else self.spread
            effect = np.stack([shown if kind == TRAINED else self.spread for kind in kinds])
        # The control has an effect of 0, of which nobody is unsure.
        some = np.array([bool(genes) for genes in sets])[:, None]
        usual, effect = np.where(some, self.usual, 0), np.where(some, effect, 0)
        factors = np.stack([self.widths_of(kind) for kind in kinds])
        return Deviation(effect, np.sqrt(effect**2 + usual**2), usual, factors)


def calibrate(
    fitted: Fitted, dataset: Dataset, *, particles: int, library: float
) -> Calibration | None:
    """The calibration of a model without widths of its own; None for one that has them, and for
    data without training cells of the control.

    Options as in `predict`; the more particles, the less of the width is Monte-Carlo error.
    """
    if fitted.model.deviation is not None or dataset.split is None:
        return None
    known = known_of(dataset)
    # A screen may be there to be tested on alone.
    if frozenset() not in known.sets:
        return None
    bulk = pseudobulk.means_of_rows(dataset, _validation_rows(dataset), variance=True)
    held = _held_out(dataset, bulk)
    kinds = np.array([kind_of(genes, known) for genes in _sets(dataset, held)], object)
    counts = dict(Counter(kinds.tolist()))
    made = Calibration(known, {}, counts, *_of_training(dataset), notes_of(counts))
    # What is too little to say anything is not predicted either.
    trained = kinds == TRAINED
    enough = [which for which in (trained, ~trained) if which.sum() >= FEWEST]
    if not enough:
        return made
    used = np.concatenate([at_most(which) for which in enough])
    predicted, deviation = _predicted(fitted, dataset, made, held[used], particles, library)
    away = _away(predicted, deviation, dataset, bulk, held[used])
    return made._replace(widths=widths_by_kind(away, kinds[used]))


def effect_deviation(
    fitted: Fitted, treatment: Float[np.ndarray, "R T"], key: PRNGKeyArray, library: float
) -> Float[np.ndarray, "R G"] | None:
    """`Model.effect_deviation` of rows of treatments."""
    compute = fitted.model.effect_deviation
    if compute is None:
        return None
    request = make_request(treatment, library=library)
    return np.asarray(jax.jit(compute)(fitted.params, fitted.state, key, request))


def notes_of(perturbations: Mapping[str, int]) -> tuple[str, ...]:
    """Which intervals validation allows, from its number of perturbations of each kind."""
    trained = perturbations.get(TRAINED, 0)
    new = sum(perturbations.get(kind, 0) for kind in NEVER_TRAINED)
    held = f"validation holds {new} perturbations never trained and {trained} trained ones"
    if max(trained, new) < FEWEST:
        return (f"no intervals are given: {held}, expected {FEWEST} of either at least",)
    if new < FEWEST:
        return (
            f"no intervals are given for perturbations never trained: {held}, expected {FEWEST} of "
            "the first at least, which splits by whole perturbations give",
        )
    notes = []
    own = [kind for kind in NEVER_TRAINED if perturbations.get(kind, 0) >= FEWEST]
    if len(own) < len(NEVER_TRAINED):
        whose = f"kinds other than {' and '.join(own)}" if own else "all kinds"
        notes.append(
            f"validation holds fewer than {FEWEST} perturbations of {whose}, whose intervals are "
            f"as wide as all its {new} perturbations never trained ask for"
        )
    if trained < FEWEST:
        notes.append(
            f"{held}: intervals of trained ones are as wide as those of others, and so too wide"
        )
    return tuple(notes)


def widths_by_kind(
    away: Float[np.ndarray, "n G"], kinds: np.ndarray
) -> dict[str, Float[np.ndarray, "Q"]]:
    """`Calibration.widths` from |error| / standard deviation of perturbations of some kinds."""
    made = {kind: widths(away[kinds == kind]) for kind in (TRAINED, *NEVER_TRAINED)}
    # Errors of trained perturbations are smaller, and so say nothing of others.
    made[POOLED] = widths(away[kinds != TRAINED])
    return {kind: factors for kind, factors in made.items() if np.isfinite(factors).all()}


def _predicted(
    fitted: Fitted,
    dataset: Dataset,
    made: Calibration,
    held: Int[np.ndarray, "n"],
    particles: int,
    library: float,
) -> tuple[Float[np.ndarray, "n G"], Deviation]:
    """Effects of validation perturbations and how unsure they are, but for widths."""
    # The control goes in front, since effects are minus the control that the model predicts.
    conditions = np.concatenate([[dataset.control], held])
    treatment = np.asarray(dataset.condition_treatments)[conditions]
    key = jax.random.fold_in(jax.random.key(0), Stream.CALIBRATE)
    asked = ask_effects(fitted, dataset, treatment, key, particles=particles, library=library)
    own = effect_deviation(fitted, treatment, key, library)
    deviation = made.scaled(_sets(dataset, conditions), own)
    return asked.effect[1:], Deviation(*(part[1:] for part in deviation))


def _away(
    predicted: Float[np.ndarray, "n G"],
    deviation: Deviation,
    dataset: Dataset,
    bulk: Pseudobulk,
    held: Int[np.ndarray, "n"],
) -> Float[np.ndarray, "n G"]:
    """By how many standard deviations predictions miss what validation cells show."""
    measured = pseudobulk.effects(bulk, dataset.control)[held]
    noise = noise_in(dataset, bulk)
    squared = deviation.measured.astype(np.float64) ** 2
    # The noise of these very cells, as where intervals are judged (`evaluation.coverage`).
    if noise is not None:
        squared = squared - deviation.usual**2 + np.nan_to_num(noise.total()[held])
    spread = np.sqrt(np.maximum(squared, np.finfo(float).tiny))
    return np.abs(predicted - measured) / spread


def _of_training(dataset: Dataset) -> tuple[Float[np.ndarray, "G"], Float[np.ndarray, "G"]]:
    """`Calibration.usual` and `spread`."""
    bulk = pseudobulk.observed_means(dataset, "train", variance=True)
    effects = pseudobulk.effects(bulk, dataset.control)
    trained = bulk.cells > 0
    trained[dataset.control] = False
    noise = noise_in(dataset, bulk)
    usual = np.zeros(effects.shape[1])
    if noise is not None and trained.any():
        usual = np.nan_to_num(noise.total()[trained]).mean(0)
    # A single perturbation has no spread, but a size.
    centre = effects[trained].mean(0) if trained.sum() > 1 else 0
    squares = ((effects[trained] - centre) ** 2).sum(0) / max(int(trained.sum()) - 1, 1)
    # What the noise does not explain; where it explains all, chance decides what is left.
    spread = np.sqrt(np.maximum(squares - usual, FLOOR * squares))
    return np.sqrt(usual), _raised(spread)


def _raised(deviation: Float[np.ndarray, "G"]) -> Float[np.ndarray, "G"]:
    """With what a silent gene is to have at least."""
    return np.sqrt(np.maximum(deviation**2, FLOOR * (deviation**2).mean()))


def _validation_rows(dataset: Dataset) -> Int[np.ndarray, "n"]:
    """Validation cells that pass quality, with the training control cells of strata where
    validation has no control; no test cells."""
    return pseudobulk.held_out_rows(dataset, "val", controls="train")


def _held_out(dataset: Dataset, bulk: Pseudobulk) -> Int[np.ndarray, "n"]:
    """Perturbations with validation cells that can be measured."""
    there = (bulk.cells > 0) & np.isfinite(bulk.mean).all(1)
    there[dataset.control] = False
    return np.flatnonzero(there)


def at_most(which: Bool[np.ndarray, "n"]) -> Int[np.ndarray, "m"]:
    """MOST of them at most, drawn without a look at anything else."""
    return np.random.default_rng(0).permutation(np.flatnonzero(which))[:MOST]


def _sets(dataset: Dataset, conditions: Int[np.ndarray, "n"]) -> list[frozenset[str]]:
    return named_sets(dataset, np.asarray(dataset.condition_treatments)[conditions])
