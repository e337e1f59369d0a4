"""What the processes and the blend have learned, as tables for people
(docs/models/set_gp.md, "The report")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxpert.core.types import LEVELS
from jaxpert.models.set_gp.fitting import PREDICTORS, Fitting
from jaxpert.models.set_gp.marginal import Hyper
from jaxpert.models.set_gp.sets import GROUPS

Table = dict[str, dict[str, float]]
READING = (
    "A prediction is a blend: the weights say how much of it comes from the process and how much "
    "from each baseline, for each kind of perturbation that training never saw. Intervals of the "
    "process are made wider or narrower by the factors of the second table. Directions are the "
    "main axes along which effects differ; the rest is what remains of each effect beside them. "
    "In combinations an effect counts by the factor of the last table."
)


def tables(of: Fitting, kernels: Sequence[str], runs: Sequence[str] = ()) -> dict[str, Any]:
    """Weights of the blend, widths of the intervals and where the variance comes from.

    Args:
        of: the fit.
        kernels: names of the kernels between genes, in order.
        runs: finished runs that are stacked on the blend.
    """
    stacked = {}
    if runs:
        stacked["weights of finished runs"] = _by_group(of.runs.weights, ["the blend", *runs])
    hyper: Hyper = of.process.posterior.hyper
    # Directions count by the variance along them; the last process is that of the rest.
    scale = np.asarray(of.process.scale, float) ** 2
    directions = np.append(scale / scale.sum(), 0)
    rest = np.append(0 * scale, 1)
    rho = np.asarray(hyper.rho, float)
    return {
        "how to read it": READING,
        "weights in the blend": _by_group(of.weights, [PREDICTORS[int(p)] for p in of.stacked]),
        **stacked,
        "widths of intervals, of those of the process": _by_group(
            of.widths, [f"{100 * level:.0f} %" for level in LEVELS]
        ),
        "where the variance of a measured effect comes from, %": {
            "singles, along the directions": _shares(hyper, directions, kernels, size=1),
            "singles, the rest": _shares(hyper, rest, kernels, size=1),
            "pairs, along the directions": _shares(hyper, directions, kernels, size=2),
            "pairs, the rest": _shares(hyper, rest, kernels, size=2),
        },
        "effects of genes in combinations, of those alone": {
            "along the directions": round(float(directions @ rho), 3),
            "the rest": round(float(rest @ rho), 3),
        },
    }


def _by_group(values: Float[Any, "K N"], names: Sequence[str]) -> Table:
    """A row for every group that sets never trained can be in."""
    rows = np.asarray(values, float)[: len(GROUPS)]
    return {
        group: dict(zip(names, np.round(row, 3).tolist(), strict=True))
        for group, row in zip(GROUPS, rows, strict=True)
    }


def _shares(
    hyper: Hyper, counted: Float[np.ndarray, "P"], kernels: Sequence[str], size: int
) -> Mapping[str, float]:
    """Percent of the prior variance of a set's score, and of the learned noise beside it."""
    of_class = min(size, 2) - 1
    rho = np.asarray(hyper.rho, float) if size > 1 else np.ones(len(counted))
    # The genes of a set are taken as unlike each other, so that their variances add up.
    genes = size * rho[:, None] ** 2 * np.asarray(hyper.genes, float)
    parts = {"mean effect": np.asarray(hyper.mean, float)[:, of_class]}
    parts |= {f"genes: {name}": genes[:, j] for j, name in enumerate(kernels)}
    if size > 1:
        parts["of the pair itself"] = np.asarray(hyper.pair, float)
    parts["noise beside the known"] = np.asarray(hyper.noise, float)[:, of_class]
    sums = {name: float(counted @ part) for name, part in parts.items()}
    whole = sum(sums.values())
    return {name: round(100 * part / whole, 1) for name, part in sums.items()}
