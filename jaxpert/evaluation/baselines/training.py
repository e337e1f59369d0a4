"""What baselines see, what they return, and what several of them share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.types import InputError
from jaxpert.evaluation.baselines.rule import Rule, predicted
from jaxpert.evaluation.noise import Noise

Means = Float[np.ndarray, "C G"]


class Training(NamedTuple):
    """What baselines may know: training pseudobulk and what each condition perturbs."""

    means: Means
    """Mean log expression of each condition's training cells; rows without cells are never read."""
    cells: Int[np.ndarray, "C"]
    """Training cells behind each mean."""
    condition_treatments: Float[np.ndarray, "C T"]
    """Multi-hot; the control's row is zero."""
    control: int
    conditions: Sequence[str]
    treatments: Sequence[str]
    genes: Sequence[str]
    noise: Noise | None = None
    """Squared standard errors of the means; None where they are not known."""
    similarity: Float[np.ndarray, "T T"] | None = None
    """How much of their annotation each two treatments share, from 0 to 1; None without
    annotations."""
    embeddings: Float[np.ndarray, "T K"] | None = None
    """Of the treatments, from another screen, with rows of NaN for those it lacks; None without
    one."""
    rules_alone: bool = False
    """Whether rules are asked for and no means of the conditions, which take longer in large
    screens."""


class Baseline(NamedTuple):
    """Predicted means and what they rest on."""

    means: Means
    """No rows where rules alone were asked for."""
    fallback: Bool[np.ndarray, "C"]
    """Conditions for which training held too little, so that (part of) the mean effect stands
    in."""
    rule: Rule
    """What predicts any other set of treatments too."""
    notes: tuple[str, ...] = ()
    """One sentence for each thing that had to be replaced or was chosen."""


class Inapplicable(NamedTuple):
    """In place of a baseline that these data do not allow."""

    why: str
    """What is missing; a part of a sentence."""


class Alone(NamedTuple):
    """What each treatment does alone."""

    effect: Float[np.ndarray, "T G"]
    """Where it was never given alone, the stand-in."""
    given: Bool[np.ndarray, "T"]
    """Whether training has it alone."""
    stand_in: Float[np.ndarray, "G"]
    averaged: Int[np.ndarray, "_"]
    """Conditions whose mean effect the stand-in is."""
    source: str
    """These in words."""


def baseline(
    training: Training,
    rule: Rule,
    fallback: Bool[np.ndarray, "C"] | None = None,
    notes: tuple[str, ...] = (),
) -> Baseline:
    """The baseline of a rule, with its predictions of all conditions."""
    sets = training.condition_treatments
    means = np.asarray(predicted(rule, sets[:0] if training.rules_alone else sets))
    if fallback is None:
        fallback = np.zeros(len(sets), bool)
    return Baseline(means, fallback, rule, notes)


def control_of(training: Training) -> np.ndarray:
    """Mean of the training control `[G]`; an InputError where training holds no control cell."""
    if training.cells[training.control] == 0:
        raise InputError(
            "the training split holds no control cell that passes quality control, expected at "
            "least one for the baselines: check `data.control`, `split.kind` or loosen the "
            "quality criteria"
        )
    return training.means[training.control]


def seen_in(training: Training) -> np.ndarray:
    """Numbers of the perturbations with training cells; an InputError where there are none."""
    seen = np.flatnonzero(training.cells > 0)
    seen = seen[seen != training.control]
    if not len(seen):
        raise InputError(
            "no perturbation has a training cell that passes quality control, expected at least "
            "one for the baselines: check `split.kind` or loosen the quality criteria"
        )
    return seen


def sizes_of(training: Training) -> Int[np.ndarray, "C"]:
    """Treatments of each condition."""
    return training.condition_treatments.sum(1).astype(np.int64)


def alone_in(training: Training) -> Alone:
    """What each treatment does alone in training, and what stands in where it was never given
    alone: the mean effect of the singles, or of all perturbations where there are none."""
    control, seen = control_of(training), seen_in(training)
    singles = seen[sizes_of(training)[seen] == 1]
    treatment = training.condition_treatments[singles].argmax(1)
    averaged, source = singles, "the single perturbations"
    if not len(singles):
        averaged, source = seen, "all perturbations"
    stand_in = training.means[averaged].mean(0) - control
    # All begin with the stand-in; those given alone then get an effect of their own.
    effect = np.tile(stand_in, (training.condition_treatments.shape[1], 1))
    effect[treatment] = training.means[singles] - control
    given = np.zeros(len(effect), bool)
    given[treatment] = True
    return Alone(effect, given, stand_in, averaged, source)


def has_combinations(training: Training) -> bool:
    """Whether any condition, trained or not, has several treatments."""
    return bool((sizes_of(training) > 1).any())


def uses(training: Training, treatments: Int[np.ndarray, "_"]) -> Bool[np.ndarray, "C"]:
    """Conditions that contain any of the treatments."""
    return training.condition_treatments[:, treatments].sum(1) > 0


def note_on(
    training: Training, baseline: str, which: Int[np.ndarray, "_"], what: str
) -> tuple[str, ...]:
    """One sentence that names those of the treatments that some condition has, and of which `what`
    holds; none where there are none."""
    used = which[training.condition_treatments[:, which].any(0)]
    if not len(used):
        return ()
    names = ", ".join(np.asarray(training.treatments, str)[used])
    return (f"baseline {baseline}: {len(used)} treatments are {what}: {names}",)


def note_on_stand_ins(training: Training, baseline: str, alone: Alone) -> tuple[str, ...]:
    """The sentence on treatments that training never gave alone."""
    what = f"never given alone in training, so the mean effect of {alone.source} stands in"
    return note_on(training, baseline, np.flatnonzero(~alone.given), what)
