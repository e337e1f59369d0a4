"""Every metric of the other schools by name: the metric, a point, and the school whose definition
it follows to the letter."""

from __future__ import annotations

from collections.abc import Iterable

from jaxpert.core.errors import InputError
from jaxpert.evaluation.schools import (
    calibrated,
    celleval,
    celleval_differential,
    distances,
    linear_paper,
    perturbench,
    systema,
)
from jaxpert.evaluation.schools.evidence import SchoolMetric

METRICS: dict[str, SchoolMetric] = {
    **celleval.METRICS,
    **celleval_differential.METRICS,
    **perturbench.METRICS,
    **systema.METRICS,
    **linear_paper.METRICS,
    **calibrated.METRICS,
    **distances.METRICS,
}
"""In the order of tables. `needs` says what each is computed from."""


def chosen(metrics: Iterable[str] | None, available: set[str]) -> tuple[list[str], list[str]]:
    """The metrics asked for (all where None) that `available` parts allow, and those of all that
    they do not; one asked for by name that is not allowed is an InputError."""
    if metrics is None:
        allowed = [name for name, metric in METRICS.items() if available.issuperset(metric.needs)]
        return allowed, [name for name in METRICS if name not in allowed]
    names = list(metrics)
    for name in names:
        if name not in METRICS:
            raise InputError(
                f"there is no metric {name!r}, expected some of {', '.join(METRICS)}: correct it"
            )
        missing = [part for part in METRICS[name].needs if part not in available]
        if missing:
            raise InputError(
                f"the metric {name} lacks {', '.join(missing)}, expected it among what is scored: "
                "leave the metric out, or give training perturbations for a reference, control "
                "means for control, and cells for the rest"
            )
    return names, []
