"""What the uncertainty head of GEARS says of mean effects (docs/models/gears.md, "Uncertainty")."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpert.core.types import PyTree, Request
from jaxpert.models.gears.changes import changes_of_treatments
from jaxpert.models.gears.setup import Gears

LN2 = float(np.log(2))


def effect_deviation_of(net: Gears) -> Callable | None:
    """`Model.effect_deviation` of a network whose head is trained as a likelihood; None for others:
    the published form has no scale, and its values are no variances."""
    if net.settings.uncertainty != "gaussian":
        return None
    return partial(effect_deviation, net)


def effect_deviation(
    net: Gears, params: PyTree, state: PyTree, key: PRNGKeyArray, request: Request
) -> Float[Array, "R G"]:
    """`Model.effect_deviation`."""
    del key
    change = changes_of_treatments(net, params, state, request.treatment)
    return of_means(net, change.log_variance)


def of_means(net: Gears, log_variance: Float[Any, "R G"]) -> Float[Any, "R G"]:
    """Standard deviations of log2 effects; works on arrays of NumPy and of JAX alike.

    The head tells the variance of single cells around the prediction; a mean over n cells has
    variance / n, with the n that is usual in training (the median).
    """
    cells = np.delete(net.spec.condition_cells, net.spec.control)
    usual = float(np.median(cells[cells > 0])) if (cells > 0).any() else 1.0
    # exp(s / 2) by a power, which arrays of both libraries have.
    return np.e ** (log_variance / 2) / (LN2 * np.sqrt(usual))
