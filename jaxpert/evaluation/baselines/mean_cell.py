"""The mean of all perturbed training cells."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from jaxpert.evaluation.baselines.rule import for_all, rule_of
from jaxpert.evaluation.baselines.training import (
    Baseline,
    Training,
    baseline,
    control_of,
    seen_in,
)


def mean_cell(training: Training) -> Baseline:
    """Every perturbation looks like the mean of all perturbed training cells, so that perturbations
    count by their cells (the non-control mean of Systema)."""
    effect = cell_effect(training)
    return baseline(
        training, rule_of(control_of(training), len(training.treatments), shared=for_all(effect))
    )


def cell_effect(training: Training) -> Float[np.ndarray, "G"]:
    """Mean over all perturbed training cells minus control."""
    seen = seen_in(training)
    # sum_p n_p m_p / sum_p n_p: the mean of means, weighted by cells, is that of the cells.
    return np.average(training.means[seen], axis=0, weights=training.cells[seen]) - control_of(
        training
    )
