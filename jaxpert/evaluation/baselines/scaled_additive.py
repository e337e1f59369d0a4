"""The additive baseline with one factor for combinations."""

from __future__ import annotations

import numpy as np

from jaxpert.evaluation.baselines.rule import rule_of
from jaxpert.evaluation.baselines.training import (
    Baseline,
    Inapplicable,
    Training,
    alone_in,
    baseline,
    control_of,
    note_on_stand_ins,
    seen_in,
    sizes_of,
    uses,
)


def scaled_additive(training: Training) -> Baseline | Inapplicable:
    """Control plus one factor times the sum of single effects, for combinations; singles as in
    `additive`.

    The factor is that of least squares through the origin over all genes of the trained
    combinations whose treatments were all given alone: the usual first correction of additivity,
    since two strong effects rarely add up in full. Without such a combination it is not made.
    """
    control, seen, alone = control_of(training), seen_in(training), alone_in(training)
    sets = training.condition_treatments
    # A stand-in is no effect of the treatment, from which nothing on its sum could be learned.
    whole = (sizes_of(training) > 1) & (sets @ ~alone.given == 0)
    fitted = seen[whole[seen]]
    if not len(fitted):
        return Inapplicable(
            "no combination was trained on whose treatments training also has alone, from which "
            "its factor would come"
        )
    added = sets[fitted] @ alone.effect
    measured = training.means[fitted] - control
    # f = sum <d_AB, d_A + d_B> / sum |d_A + d_B|^2 (docs/evaluation.md, "Baselines").
    power = float((added**2).sum())
    factor = float((measured * added).sum()) / power if power else 1.0
    rule = rule_of(
        control,
        len(training.treatments),
        treatment=alone.effect,
        factor=np.array([1.0, 1.0, factor]),
    )
    chosen = (
        f"baseline scaled_additive: the factor is {factor:.3g}, from {len(fitted)} trained "
        "combinations",
    )
    notes = chosen + note_on_stand_ins(training, "scaled_additive", alone)
    return baseline(training, rule, uses(training, np.flatnonzero(~alone.given)), notes)
