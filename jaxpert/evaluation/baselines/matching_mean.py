"""The mean of what each treatment does alone."""

from __future__ import annotations

import numpy as np

from jaxpert.evaluation.baselines.mean_cell import cell_effect
from jaxpert.evaluation.baselines.rule import rule_of
from jaxpert.evaluation.baselines.training import (
    Baseline,
    Inapplicable,
    Training,
    alone_in,
    baseline,
    control_of,
    has_combinations,
    note_on,
    uses,
)


def matching_mean(training: Training) -> Baseline | Inapplicable:
    """A combination looks like the mean of the training profiles of its treatments alone.

    For a treatment never given alone the mean of all perturbed cells (`mean_cell`) stands in
    (as in Systema). Where no condition is a combination it would be `additive`
    over again and is not made.
    """
    if not has_combinations(training):
        return Inapplicable(
            "no perturbation is a combination, so that it would be additive over again"
        )
    alone = alone_in(training)
    effect = np.where(alone.given[:, None], alone.effect, cell_effect(training))
    # (m_A + m_B) / 2 - c is half the sum of both effects.
    sizes = np.arange(1, len(effect) + 1)
    factor = np.concatenate([[1.0], 1 / sizes])
    never = np.flatnonzero(~alone.given)
    what = "never given alone in training, so the mean of all perturbed cells stands in"
    rule = rule_of(control_of(training), len(training.treatments), treatment=effect, factor=factor)
    notes = note_on(training, "matching_mean", never, what)
    return baseline(training, rule, uses(training, never), notes)
