"""The sum of what each treatment does alone."""

from __future__ import annotations

import numpy as np

from jaxpert.evaluation.baselines.rule import rule_of
from jaxpert.evaluation.baselines.training import (
    Baseline,
    Training,
    alone_in,
    baseline,
    control_of,
    note_on_stand_ins,
    uses,
)


def additive(training: Training) -> Baseline:
    """Control plus the sum of the effects that each treatment has alone in training.

    A single perturbation seen in training therefore gets its own training mean. For a treatment
    never given alone in training the mean effect of the single perturbations (of all perturbations,
    where there are no singles) stands in; such treatments are named in the notes and the conditions
    marked in `fallback`.
    """
    alone = alone_in(training)
    # c + sum_t effect_t (docs/evaluation.md, "Baselines").
    rule = rule_of(control_of(training), len(training.treatments), treatment=alone.effect)
    fallback = uses(training, np.flatnonzero(~alone.given))
    return baseline(training, rule, fallback, note_on_stand_ins(training, "additive", alone))
