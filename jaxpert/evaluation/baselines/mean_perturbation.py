"""The mean of the training perturbations."""

from __future__ import annotations

from jaxpert.evaluation.baselines.rule import for_all, rule_of
from jaxpert.evaluation.baselines.training import (
    Baseline,
    Training,
    baseline,
    control_of,
    seen_in,
)


def mean_perturbation(training: Training) -> Baseline:
    """Every perturbation looks like the unweighted mean of the training perturbations' profiles."""
    control, seen = control_of(training), seen_in(training)
    # Unweighted, so that well-measured perturbations count no more than others.
    effect = training.means[seen].mean(0) - control
    return baseline(training, rule_of(control, len(training.treatments), shared=for_all(effect)))
