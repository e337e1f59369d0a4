"""The device side of feeds of cells: pure functions from the cells of a device to a batch."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from jaxpert.core.types import Batch
from jaxpert.data import shards

CONTROL_STREAM = np.uint32(2**32 - 1)
"""Less a slot's number, folded into a step's key to draw the slot's control: apart from the numbers
of slots."""


class Cells(NamedTuple):
    """What `Feed.data` holds on one device: Q of the S shards, each with places for L cells."""

    counts: dict[str, Array]
    """{"dense": [Q, L, G]} or {"genes": [Q, M], "values": [Q, M], "start": [Q, L + 1]}, unsigned
    integers; in a window of paired cells also "control" [Q, L, G], each cell's own."""
    shard: Int[Array, "Q"]
    size: Int[Array, "Q"]
    condition: Int[Array, "Q L"]
    stratum: Int[Array, "Q L"]
    failed: Float[Array, "Q L"]
    condition_treatments: Float[Array, "C T"]
    pool: Shaped[Array, "P G"]
    """Control cells to match with, sorted by stratum; the same on every device."""
    pool_start: Int[Array, "strata"]
    pool_size: Int[Array, "strata"]
    tables: dict[str, Array]
    pair: Int[Array, "Q L"] | None = None
    """Place in `pool` of each cell's own control; None draws one at random in every step."""
    begin: Int[Array, ""] | None = None
    """Of a window, whose L cells are those of a few steps in the order of drawing: the step of the
    epoch with which it begins. None where all cells of a shard are here."""


DIVIDED = ("counts", "shard", "size", "condition", "stratum", "failed", "pair")
"""Fields of `Cells` that are cut by shard; the others are the same on every device."""


class Layout(NamedTuple):
    """The static numbers behind a feed."""

    share: int
    """Cells that a batch takes from each shard."""
    genes: int
    width: int
    """Most nonzeros in one cell (compressed counts only)."""


def draw_batch(
    static: Layout,
    data: Cells,
    key: PRNGKeyArray,
    order: Int[Array, "Q drawn"],
    step: Int[Array, ""],
) -> Batch:
    """The cells that step `step` of the epoch takes from the shards on this device."""
    taken = shards.take(static.share, data, order, step, data.begin)

    def pick(column: Array) -> Array:
        # Shards first, then places: the order of slots on any number of devices.
        return jnp.take_along_axis(column, taken.place, axis=1).reshape(-1)

    condition, stratum = pick(data.condition), pick(data.stratum)
    if "control" in data.counts:
        control = _dense(static, data.counts["control"], taken.place)
    elif data.pair is None:
        control = data.pool[_draw_controls(data, key, stratum, taken.slot)]
    else:
        control = data.pool[pick(data.pair)]
    return Batch(
        # The device holds the smallest integers; only one batch at a time is float32.
        x=_counts(static, data.counts, taken.place).astype(jnp.float32),
        # XLA drops this gather where a model does not read it.
        control=control.astype(jnp.float32),
        treatment=data.condition_treatments[condition],
        condition=condition,
        stratum=stratum,
        mask=taken.mask,
        slot=taken.slot,
        extras={"failed": pick(data.failed), **data.tables},
    )


def window_order(data: Cells, key: PRNGKeyArray, epoch: Int[Array, ""]) -> Int[Array, "Q L"]:
    """Places of a window, which holds its cells in the order of drawing."""
    return jnp.broadcast_to(
        jnp.arange(data.condition.shape[1], dtype=jnp.int32), data.condition.shape
    )


def _draw_controls(
    data: Cells, key: PRNGKeyArray, stratum: Int[Array, "B"], slot: Int[Array, "B"]
) -> Int[Array, "B"]:
    """Places in the pool, drawn at random among those of each cell's stratum."""

    def draw(slot: Array) -> Array:
        # Counted down from the top, since a cell's own noise folds in its slot.
        stream = CONTROL_STREAM - slot.astype(jnp.uint32)
        # By slot and not by row, so that the number of devices changes no draw.
        return jax.random.bits(jax.random.fold_in(key, stream), (), jnp.uint32)

    # The remainder favours the first controls by less than one in 2^32 / size, and costs one random
    # number.
    pick = jax.vmap(draw)(slot) % data.pool_size[stratum].astype(jnp.uint32)
    # The pool is sorted by stratum, so an offset stays within the stratum.
    return data.pool_start[stratum] + pick.astype(jnp.int32)


def _counts(
    static: Layout, counts: dict[str, Array], place: Int[Array, "Q share"]
) -> Shaped[Array, "B G"]:
    # The layout is part of the data's structure, so this is decided while tracing.
    if "dense" in counts:
        return _dense(static, counts["dense"], place)
    # Windows of one static width, since compiled shapes cannot vary from cell to cell.
    window = jnp.arange(static.width, dtype=jnp.int32)
    begin = jnp.take_along_axis(counts["start"], place, axis=1)
    end = jnp.take_along_axis(counts["start"], place + 1, axis=1)
    inside = window < (end - begin)[..., None]
    genes = _windows(counts["genes"], begin, static.width).astype(jnp.int32)
    values = _windows(counts["values"], begin, static.width).astype(jnp.float32)
    rows = place.size
    empty = jnp.zeros((rows, static.genes), jnp.float32)
    flat = (part.reshape(rows, static.width) for part in (genes, values, inside))
    return add_nonzeros(empty, *flat)


def _dense(
    static: Layout, cells: Shaped[Array, "Q L G"], place: Int[Array, "Q share"]
) -> Shaped[Array, "B G"]:
    return jax.vmap(lambda cells, row: cells[row])(cells, place).reshape(-1, static.genes)


def _windows(
    flat: Shaped[Array, "Q M"], begin: Int[Array, "Q share"], width: int
) -> Shaped[Array, "Q share width"]:
    """The nonzeros of each cell and of those behind it, as many as the widest cell has."""

    def cut(line: Array, at: Array) -> Array:
        return jax.lax.dynamic_slice(line, (at,), (width,))

    return jax.vmap(jax.vmap(cut, (None, 0)))(flat, begin)


def add_nonzeros(
    dense: Float[Array, "B G"],
    genes: Int[Array, "B width"],
    values: Float[Array, "B width"],
    inside: Bool[Array, "B width"],
) -> Float[Array, "B G"]:
    """Dense rows with the nonzeros of a window added; what a window holds of other cells gets a
    column that there is not, which is dropped."""
    column = jnp.where(inside, genes, dense.shape[1])
    return dense.at[jnp.arange(dense.shape[0])[:, None], column].add(values, mode="drop")
