"""What models have in common that are computed from the means of the training conditions and learn
nothing by gradients: no parameters, a loss that stands still, and what stands behind a row."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpert.core.parallel import psum
from jaxpert.core.types import Batch, PyTree, Spec
from jaxpert.nn.transforms import log1p_normalize


def init(key: PRNGKeyArray, batch: Batch) -> tuple[PyTree, PyTree]:
    """`Model.init`: no parameters, and no state before the training cells were seen."""
    del key, batch
    return {}, {}


def loss(
    spec: Spec, params: PyTree, state: PyTree, key: PRNGKeyArray, batch: Batch
) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
    """Mean squared distance of the cells from the training control, which no parameter lowers."""
    del params, key
    y, filled = batch.x, batch.mask
    if spec.scale == "counts":
        # Padding may be empty, whose normalisation would be 0 / 0.
        filled = batch.mask & (batch.x.sum(1) > 0)
        y = log1p_normalize(jnp.where(filled[:, None], batch.x, 1))
    control = jnp.asarray(spec.control_mean, jnp.float32)
    error = jnp.where(filled, ((y - control) ** 2).mean(1), 0).sum()
    return psum(error) / jnp.maximum(psum(filled.sum()), 1), (state, {})


def support(spec: Spec, treatment: Float[np.ndarray, "R T"]) -> tuple[str, ...]:
    """`Model.support`: whether a row has training cells of its own, or which of its treatments
    training never gave alone."""
    table = np.asarray(spec.condition_treatments) != 0
    has_cells = np.asarray(spec.condition_cells) > 0
    trained = set(map(tuple, table[has_cells]))
    alone = table[has_cells & (table.sum(1) == 1)].any(0)
    words = []
    for row in np.asarray(treatment) != 0:
        new = np.asarray(spec.treatments, object)[row & ~alone].tolist()
        if tuple(row) in trained:
            words.append("trained")
        elif new:
            words.append(f"never given alone in training: {', '.join(new)}")
        else:
            words.append("treatments trained alone")
    return tuple(words)
