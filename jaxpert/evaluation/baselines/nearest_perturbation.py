"""The trained perturbation that is most like the one asked for."""

from __future__ import annotations

import numpy as np

from jaxpert.evaluation.baselines.rule import for_all, rule_of, summed
from jaxpert.evaluation.baselines.training import (
    Baseline,
    Inapplicable,
    Training,
    baseline,
    control_of,
    has_combinations,
    seen_in,
)


def nearest_perturbation(training: Training) -> Baseline | Inapplicable:
    """Every perturbation looks like the trained one that is most like it; of equally near ones like
    their mean.

    Two sets a and b are as alike as the cosine of their multi-hot rows, a S b / |a| |b| with
    |a|^2 = a S a, where S is the identity, or with annotations the Jaccard index of the terms of
    each two treatments, so that relatives count. A trained perturbation is most like itself. One
    that is like none gets the mean effect, is counted in a note and marked in `fallback`. Where all
    conditions are trained singles it would be `additive` over again and is not made.
    """
    control, seen = control_of(training), seen_in(training)
    sets = training.condition_treatments
    perturbed = np.arange(len(sets)) != training.control
    new = perturbed & (training.cells == 0)
    if not has_combinations(training) and not new.any():
        return Inapplicable(
            "every perturbation is a single that is trained on, so that it would be additive over "
            "again"
        )
    likeness = np.eye(sets.shape[1])
    if training.similarity is not None:
        # A treatment without annotation is still like itself.
        likeness = np.maximum(likeness, training.similarity)
    # S b / |b|; the length of what is asked for changes no order.
    raised = summed(sets[seen], likeness)
    keys = raised / np.sqrt((raised * sets[seen]).sum(1, keepdims=True))
    effects = training.means[seen] - control
    rule = rule_of(control, len(training.treatments), shared=for_all(effects.mean(0)))
    lost = perturbed & ~(summed(sets, keys.T) > 0).any(1)
    notes: tuple[str, ...] = ()
    if lost.any():
        names = ", ".join(np.asarray(training.conditions, str)[lost])
        notes = (
            f"baseline nearest_perturbation: {lost.sum()} perturbations are like none that is "
            f"trained, so the mean effect stands in: {names}",
        )
    return baseline(training, rule._replace(keys=keys, profiles=effects), lost, notes)
