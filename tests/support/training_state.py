"""A training state with arrays of every kind; nothing is computed on the device."""

import jax
import numpy as np
import optax

from jaxpert.core.types import Best, TrainState

SEED = 7


def state(step: int = 0, dtype=np.float32, width: int = 300) -> TrainState:
    """The state of a step, which tells itself by its numbers."""
    kernel = (np.arange(width * 4).reshape(width, 4) + step).astype(dtype)
    params = {"net": {"kernel": kernel}}
    moments = jax.eval_shape(optax.adam(1e-3).init, params)
    opt_state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), moments)
    best = Best(params, {}, np.float32(1.5), np.int32(2))
    key = jax.random.key(SEED)
    arrays = TrainState(
        params, {"counts": np.arange(3, dtype=np.uint16)}, opt_state, key, np.int32(step), best
    )
    return jax.device_put(arrays)
