"""The baseline that nothing changes."""

from __future__ import annotations

from jaxpert.evaluation.baselines.training import (
    Baseline,
    Training,
    constant,
    control_of,
)


def no_change(training: Training) -> Baseline:
    """Every condition looks like control."""
    return constant(training, control_of(training))
