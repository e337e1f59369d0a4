"""The mean of the training perturbations with as many treatments."""

from __future__ import annotations

import numpy as np

from jaxpert.evaluation.baselines.rule import rule_of
from jaxpert.evaluation.baselines.training import (
    Baseline,
    Inapplicable,
    Training,
    baseline,
    control_of,
    seen_in,
    sizes_of,
)


def mean_same_size(training: Training) -> Baseline | Inapplicable:
    """Singles look like the mean of the training singles, pairs like that of the training pairs,
    and so on, each perturbation counted once.

    Where training has no perturbation of a size, the mean over all of them stands in. With one
    trained size alone it would be `mean_perturbation` over again and is not made.
    """
    control, seen, sizes = control_of(training), seen_in(training), sizes_of(training)
    trained = np.unique(sizes[seen])
    if len(trained) < 2:
        return Inapplicable(
            f"all trained perturbations have {trained[0]} treatments, so that it would be "
            "mean_perturbation over again"
        )
    overall = training.means[seen].mean(0) - control
    # One row more than the largest trained size, which stands for all larger sets.
    shared = np.tile(overall, (int(trained[-1]) + 2, 1))
    shared[0] = 0
    for size in trained:
        shared[size] = training.means[seen[sizes[seen] == size]].mean(0) - control
    never = (sizes > 0) & ~np.isin(sizes, trained)
    notes: tuple[str, ...] = ()
    if never.any():
        untrained = ", ".join(map(str, np.unique(sizes[never])))
        notes = (
            f"baseline mean_same_size: {never.sum()} perturbations have numbers of treatments that "
            f"training lacks ({untrained}), so the mean of all sizes stands in",
        )
    rule = rule_of(control, len(training.treatments), shared=shared)
    return baseline(training, rule, never, notes)
