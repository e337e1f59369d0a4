"""The additive baseline with effects shrunken by their noise."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from jaxpert.evaluation.baselines.rule import rule_of
from jaxpert.evaluation.baselines.training import (
    Alone,
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
from jaxpert.evaluation.noise import Noise


def shrunken_additive(training: Training) -> Baseline | Inapplicable:
    """Control plus the sum of single effects, each times a factor of its own that the noise of its
    cells sets.

    An effect measured on n cells is the true one plus noise, so its length is overstated. The
    positive-part James-Stein factor (James and Stein 1961; Efron and Morris 1973) is the empirical
    Bayes estimate of the one number by which to multiply it: near 1 for many cells or a strong
    effect, 0 for what could be noise alone. Effects are shrunken towards 0 and not towards their
    mean, so that a treatment without effect adds nothing to a combination.
    """
    if training.noise is None:
        return Inapplicable("fewer than two control cells say how unsure the means are")
    alone = alone_in(training)
    kept = factors(training, alone, training.noise)
    rule = rule_of(
        control_of(training), len(training.treatments), treatment=kept[:, None] * alone.effect
    )
    fallback = uses(training, np.flatnonzero(~alone.given))
    notes = note_on_stand_ins(training, "shrunken_additive", alone)
    return baseline(training, rule, fallback, notes)


def factors(training: Training, alone: Alone, noise: Noise) -> Float[np.ndarray, "T"]:
    """James-Stein factor of the effect of each treatment alone, and of its stand-in."""
    seen = seen_in(training)
    singles = seen[sizes_of(training)[seen] == 1]
    treatment = training.condition_treatments[singles].argmax(1)
    # The mean of k effects has 1 / k of their own noise, and all that of the control they share.
    share = noise.share[alone.averaged].mean()
    of_mean = noise.condition[alone.averaged].mean(0) / len(alone.averaged)
    stand_in = james_stein(alone.stand_in, of_mean + share * noise.control)
    kept = np.full(len(alone.effect), stand_in)
    total = noise.total()
    for single, t in zip(singles, treatment, strict=True):
        kept[t] = james_stein(alone.effect[t], total[single])
    return kept


def james_stein(effect: Float[np.ndarray, "G"], variance: Float[np.ndarray, "G"]) -> float:
    """Positive-part factor of an effect whose entries have these error variances."""
    genes, power = len(effect), float((effect**2).sum())
    if power == 0:
        return 0.0
    # 1 - (G - 2) v / |d|^2, where the variances of genes differ with their mean for v.
    return max(0.0, 1 - max(genes - 2, 0) * float(variance.mean()) / power)
