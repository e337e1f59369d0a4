"""The baseline that nothing changes."""

from __future__ import annotations

from jaxpert.evaluation.baselines.rule import rule_of
from jaxpert.evaluation.baselines.training import Baseline, Training, baseline, control_of


def no_change(training: Training) -> Baseline:
    """Every condition looks like control."""
    return baseline(training, rule_of(control_of(training), len(training.treatments)))
