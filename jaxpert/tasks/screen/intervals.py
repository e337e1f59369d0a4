"""Intervals of any model of a screen, as wide as the perturbations that validation holds ask for
(docs/evaluation.md, "Intervals of a model").

Validation is held out of training, and of the test cells nothing is looked at. All follows from the
data, the fitted parameters and a seed of its own, so that a run that is read back gives the same
widths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from jaxpert.core.ensemble import Ensemble, members_of
from jaxpert.core.fit import Fitted
from jaxpert.core.streams import Stream
from jaxpert.core.types import LEVELS, Dataset, Deviation
from jaxpert.data.moments import Pseudobulk
from jaxpert.evaluation import conformal, deconvolution, pseudobulk
from jaxpert.evaluation.conformal import FEWEST
from jaxpert.evaluation.noise import noise_in
from jaxpert.evaluation.row_blocks import padded, shared_rows
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
    effect_widths: Mapping[str, Float[np.ndarray, "Q"]]
    """The same for true effects in place of measured ones."""
    perturbations: Mapping[str, int]
    """Held out in validation, by kind."""
    usual: Float[np.ndarray, "G"]
    """Standard error of an effect that is usual in training; 0 where it is not known."""
    spread: Float[np.ndarray, "G"]
    """Standard deviation of effects between training perturbations, without that error."""
    notes: tuple[str, ...] = ()
    """What is to be said of intervals that are not given, or not from their own kind."""

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
        factors = np.stack([_width_of(kind, self.widths) for kind in kinds])
        of_effects = np.stack([_width_of(kind, self.effect_widths) for kind in kinds])
        return Deviation(effect, np.sqrt(effect**2 + usual**2), usual, factors, of_effects)


def _width_of(kind: str, widths: Mapping[str, np.ndarray]) -> Float[np.ndarray, "Q"]:
    """Those of its kind, else of all never trained; NaN where these are too few too."""
    own = widths.get(kind)
    return widths.get(POOLED, np.full(len(LEVELS), np.nan)) if own is None else own


def calibrate(
    fitted: Fitted | Ensemble, dataset: Dataset, *, particles: int, library: float
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
    made = Calibration(known, {}, {}, counts, *_of_training(dataset), notes_of(counts))
    # What is too little to say anything is not predicted either.
    trained = kinds == TRAINED
    enough = [which for which in (trained, ~trained) if which.sum() >= FEWEST]
    if not enough:
        return made
    used = np.concatenate([at_most(which) for which in enough])
    predicted, deviation, own = _predicted(fitted, dataset, made, held[used], particles, library)
    errors = _errors(predicted, deviation, dataset, bulk, held[used])
    return made._replace(
        widths=by_kind(conformal.widths, kinds[used], errors.away()),
        effect_widths=_effect_widths(errors, kinds[used], own),
    )


def effect_deviation(
    fitted: Fitted | Ensemble,
    treatment: Float[np.ndarray, "R T"],
    key: PRNGKeyArray,
    library: float,
    seed_sd: Float[np.ndarray, "R G"] | None,
) -> Float[np.ndarray, "R G"] | None:
    """How unsure effects are of rows of treatments, by the model: `Model.effect_deviation`, and
    `seed_sd` between several seeds; None where it says neither."""
    compute, within = fitted.model.effect_deviation, None
    if compute is not None:
        request = make_request(treatment, library=library)
        # Rows of other numbers share its program.
        request = padded(request, shared_rows(len(treatment)))
        ask = jax.jit(compute)
        squares = []
        for member in members_of(fitted):
            deviation = np.asarray(ask(member.params, member.state, key, request))
            squares.append(deviation[: len(treatment)] ** 2)
        within = np.mean(squares, axis=0)
    return with_seeds(within, seed_sd)


def with_seeds(
    within: Float[np.ndarray, "R G"] | None, seed_sd: Float[np.ndarray, "R G"] | None
) -> Float[np.ndarray, "R G"] | None:
    """The standard deviation of a mixture of seeds: the mean variance of each, and that between
    them."""
    if seed_sd is None:
        return None if within is None else np.sqrt(within)
    if within is not None:
        return np.sqrt(within + seed_sd**2)
    # A gene in which all seeds agree by chance is not sure for that.
    some = seed_sd.any(1)
    raised = np.array(seed_sd, np.float64)
    raised[some] = np.sqrt(
        np.maximum(raised[some] ** 2, FLOOR * (raised[some] ** 2).mean(1, keepdims=True))
    )
    return raised


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


def by_kind(
    widths: Callable[..., Float[np.ndarray, "Q"]],
    kinds: np.ndarray,
    *of: Float[np.ndarray, "n G"],
) -> dict[str, Float[np.ndarray, "Q"]]:
    """Widths from what is known of perturbations of some kinds, for each that has enough."""
    rows = {kind: kinds == kind for kind in (TRAINED, *NEVER_TRAINED)}
    # Errors of trained perturbations are smaller, and so say nothing of others.
    rows[POOLED] = kinds != TRAINED
    made = {}
    for kind, those in rows.items():
        if those.sum() < FEWEST:
            continue
        factors = widths(*(part[those] for part in of))
        if np.isfinite(factors).all():
            made[kind] = factors
    return made


class Errors(NamedTuple):
    """Of predictions of perturbations that validation measures."""

    error: Float[np.ndarray, "n G"]
    variance: Float[np.ndarray, "n G"]
    """That is claimed of the predicted effects."""
    noise: Float[np.ndarray, "n G"] | None
    """Of these very measurements, as where intervals are judged (`evaluation.coverage`); None
    where it is not known."""
    usual: Float[np.ndarray, "n G"]
    """The same of what is usual in training."""

    def away(self) -> Float[np.ndarray, "n G"]:
        """By how many standard deviations measurements are missed."""
        noise = self.usual if self.noise is None else self.noise
        spread = np.sqrt(np.maximum(self.variance + noise, np.finfo(float).tiny))
        return np.abs(self.error) / spread


def _effect_widths(
    errors: Errors, kinds: np.ndarray, own: bool
) -> dict[str, Float[np.ndarray, "Q"]]:
    # Where the noise is not known, nothing tells true effects from measured ones. Where the model
    # does not say itself (`own`) which effects it is unsure of, the errors of quiet genes are far
    # above what training leads to expect and far below the noise, so that nothing shows them.
    if errors.noise is None or not own:
        return by_kind(conformal.widths, kinds, errors.away())
    return by_kind(deconvolution.widths, kinds, errors.error, errors.variance, errors.noise)


def _predicted(
    fitted: Fitted | Ensemble,
    dataset: Dataset,
    made: Calibration,
    held: Int[np.ndarray, "n"],
    particles: int,
    library: float,
) -> tuple[Float[np.ndarray, "n G"], Deviation, bool]:
    """Effects of validation perturbations, how unsure they are, but for widths, and whether the
    model says that itself."""
    # The control goes in front, since effects are minus the control that the model predicts.
    conditions = np.concatenate([[dataset.control], held])
    treatment = np.asarray(dataset.condition_treatments)[conditions]
    key = jax.random.fold_in(jax.random.key(0), Stream.CALIBRATE)
    asked = ask_effects(fitted, dataset, treatment, key, particles=particles, library=library)
    own = effect_deviation(fitted, treatment, key, library, asked.seed_sd)
    deviation = made.scaled(_sets(dataset, conditions), own)
    without_control = Deviation(*(part[1:] for part in deviation))
    return asked.effect[1:], without_control, own is not None


def _errors(
    predicted: Float[np.ndarray, "n G"],
    deviation: Deviation,
    dataset: Dataset,
    bulk: Pseudobulk,
    held: Int[np.ndarray, "n"],
) -> Errors:
    """How far predictions miss what validation cells show."""
    measured = pseudobulk.effects(bulk, dataset.control)[held]
    noise = noise_in(dataset, bulk)
    of_cells = None if noise is None else np.nan_to_num(noise.total()[held])
    variance = np.asarray(deviation.effect, np.float64) ** 2
    usual = np.asarray(deviation.usual, np.float64) ** 2
    return Errors(predicted - measured, variance, of_cells, usual)


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
