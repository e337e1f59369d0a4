"""The sum of what each treatment does alone."""

from __future__ import annotations

import numpy as np

from jaxpert.evaluation.baselines.training import (
    Baseline,
    Training,
    control_of,
    keep_control,
    note_on,
    seen_in,
    uses,
)


def additive(training: Training) -> Baseline:
    """Control plus the sum of the effects that each treatment has alone in training.

    A single perturbation seen in training therefore gets its own training mean. For a treatment
    never given alone in training the mean effect of the single perturbations (of all perturbations,
    where there are no singles) stands in; such treatments are named in the notes and the conditions
    marked in `fallback`.
    """
    control, seen = control_of(training), seen_in(training)
    sizes = training.condition_treatments.sum(1)
    singles = seen[sizes[seen] == 1]
    alone = training.condition_treatments[singles].argmax(1)
    averaged, source = singles, "the single perturbations"
    if not len(singles):
        averaged, source = seen, "all perturbations"
    stand_in = training.means[averaged].mean(0) - control
    # All begin with the stand-in; those given alone then get an effect of their own.
    effect = np.tile(stand_in, (training.condition_treatments.shape[1], 1))
    effect[alone] = training.means[singles] - control
    never = np.setdiff1d(np.arange(len(effect)), alone)
    fallback = uses(training, never)
    note = f"never given alone in training, so the mean effect of {source} stands in"
    # A note is worth writing only for treatments that some condition has.
    used = never[training.condition_treatments[:, never].any(0)]
    # c + sum_t effect_t (docs/evaluation.md, "Baselines").
    means = keep_control(training, control + training.condition_treatments @ effect)
    return Baseline(means, fallback, note_on("additive", used, training.treatments, note))
