"""What a core's worth of products can reach at best here and now."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from benchmarks.sides import Work

SIZE = 4_096


def work() -> Work:
    """One product of square float32 matrices, which are large enough for no overhead to show."""
    matrix = jax.random.normal(jax.random.key(0), (SIZE, SIZE))
    product = jax.jit(jnp.matmul)
    return Work(lambda: product(matrix, matrix).block_until_ready(), 1, 2.0 * SIZE**3)
