"""The mean of the training perturbations."""

from __future__ import annotations

from jaxpert.evaluation.baselines.training import (
    Baseline,
    Training,
    constant,
    seen_in,
)


def mean_perturbation(training: Training) -> Baseline:
    """Every perturbation looks like the unweighted mean of the training perturbations' profiles."""
    seen = seen_in(training)
    # Unweighted, so that well-measured perturbations count no more than others.
    return constant(training, training.means[seen].mean(0))
