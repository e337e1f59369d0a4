"""Cells asked about a block at a time, outside of training."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxpert.core.stages import track
from jaxpert.core.types import Batch, Dataset, PyTree
from jaxpert.data.mapped import rows_of


def in_blocks(
    dataset: Dataset, rows: np.ndarray, batch_size: int, function: Callable[[int, Batch], PyTree]
) -> PyTree:
    """`function(number, batch)` on blocks of cells, joined in the order of `rows`.

    The last block is filled up with cells that are then cut off, so that all blocks run one
    compiled program.
    """
    answers = []
    starts = range(0, len(rows), batch_size)
    for number, start in enumerate(track(starts, "asking the model about cells")):
        # np.resize repeats cells of the block, so padding is real and nothing is undefined.
        block = np.resize(rows[start : start + batch_size], batch_size)
        answer = function(number, make_batch(dataset, block))
        # To the host at once: the device need not hold the answers for all cells.
        answers.append(jax.tree.map(np.asarray, answer))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(rows)], *answers)


def make_batch(dataset: Dataset, rows: np.ndarray) -> Batch:
    """The given cells as one batch, with themselves in place of matched controls and no tables."""
    x = jnp.asarray(rows_of(dataset.counts, rows).toarray(), jnp.float32)
    failed = np.zeros(len(rows)) if dataset.quality is None else dataset.quality.failed[rows]
    return Batch(
        x=x,
        control=x,
        treatment=jnp.asarray(dataset.condition_treatments[dataset.condition[rows]], jnp.float32),
        condition=jnp.asarray(dataset.condition[rows], jnp.int32),
        stratum=jnp.asarray(dataset.stratum[rows], jnp.int32),
        mask=jnp.ones(len(rows), bool),
        slot=jnp.arange(len(rows), dtype=jnp.int32),
        extras={"failed": jnp.asarray(failed, jnp.float32)},
    )
