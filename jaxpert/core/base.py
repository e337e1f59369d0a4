"""What a model may be given to learn over (docs/models/residual.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float


class Base(NamedTuple):
    """A fitted predictor, over whose predictions a model learns what is left.

    Changes are those of mean ln(1 + 1e4 x / sum x) against the control; that of the empty set is 0.
    """

    name: str
    """As `model.kwargs.base` calls it."""
    state: Any
    """The arrays that it predicts from."""
    predict: Callable[[Any, Float[Array, "R T"]], Float[Array, "R G"]]
    """(state, treatments) -> changes of any sets, as all training cells tell them."""
    trained: Bool[np.ndarray, "C"]
    """Perturbations with training cells."""
    left_out: Float[np.ndarray, "C G"]
    """Changes of these, each predicted by a fit that did not see it; zeros for all others."""
    library: float
    """Median total counts of the training cells, on which the changes were measured."""
