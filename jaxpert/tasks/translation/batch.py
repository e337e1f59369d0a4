"""The device side of feeds of paired rows: pure functions from tables of draws to batches."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxpert.core.types import Batch
from jaxpert.data import shards
from jaxpert.data.batch import add_nonzeros


class PairData(NamedTuple):
    """What `Feed.data` holds on one device: Q of the S shards of the pairs; everything else is
    whole."""

    cells: dict[str, Array]
    """Log values {"dense": [N, G]}, or {"genes": [nnz], "values": [nnz], "start": [N + 1],
    "factor": [N]} and for clipped scales {"file": [N], "cap": [F, G]}; in a window the rows
    themselves, {"upper": [Q, L, G], "lower": [Q, L, G]}."""
    shard: Int[Array, "Q"]
    size: Int[Array, "Q"]
    item: Int[Array, "Q L"]
    """Rows by number: the pair, or with unit "cell" the pair x D + the drawn cell."""
    pairs: dict[str, Array]
    """`upper`, `lower`, `replicate`, `condition`, `batch` [M]; where lower rows are kept `lower_row
    [M]`, where there are doses `dose [M]` and `control_dose [M]`."""
    draws: Int[Array, "S R D"]
    pool_batch: Int[Array, "S"]
    scale: Float[Array, "batches G"]
    shift: Float[Array, "batches G"]
    lower_rows: Float[Array, "rows G"]
    """Lower rows made once; none where they are made in every batch."""
    condition_treatments: Float[Array, "C T"]
    begin: Int[Array, ""] | None = None
    """Of a window, whose L rows are those of a few steps in the order of drawing: the step of the
    epoch with which it begins. None where all cells are here."""


DIVIDED = ("shard", "size", "item")
"""Fields of `PairData` that are cut by shard; the others are the same on every device."""


class Layout(NamedTuple):
    """The static numbers behind a feed."""

    share: int
    """Pairs that a batch takes from each shard."""
    genes: int
    width: int
    """Nonzeros read of a cell at a time; 0 for dense cells."""
    unit: float
    """The logarithm is divided by it; 0 for values taken as they are."""
    deep: int
    """Drawn cells, where each is a row; 0 where their mean is."""


def draw_batch(
    static: Layout,
    data: PairData,
    key: PRNGKeyArray,
    order: Int[Array, "Q drawn"],
    step: Int[Array, ""],
) -> Batch:
    """The pairs that step `step` of the epoch takes from the shards on this device; nothing random
    is left."""
    # The order of rows was drawn for the epoch; a step only reads its part of it.
    del key
    taken = shards.take(static.share, data, order, step, data.begin)
    item = jnp.take_along_axis(data.item, taken.place, axis=1).reshape(-1)
    # With unit "cell" an item's number holds the pair and the drawn cell.
    pair, cell = item, None
    if static.deep:
        pair, cell = item // static.deep, item % static.deep
    columns = {name: column[pair] for name, column in data.pairs.items()}
    x, control = _both_rows(static, data, taken.place, columns, cell)
    return Batch(
        x=x,
        control=control,
        treatment=data.condition_treatments[columns["condition"]],
        condition=columns["condition"],
        stratum=columns["batch"],
        mask=taken.mask,
        slot=taken.slot,
        extras=_extras(pair, cell, columns),
    )


def window_order(data: PairData, key: PRNGKeyArray, epoch: Int[Array, ""]) -> Int[Array, "Q L"]:
    """Places of a window, which holds its rows in the order of drawing."""
    return jnp.broadcast_to(jnp.arange(data.item.shape[1], dtype=jnp.int32), data.item.shape)


def _both_rows(
    static: Layout,
    data: PairData,
    place: Int[Array, "Q share"],
    columns: dict[str, Array],
    cell: Int[Array, "B"] | None,
) -> tuple[Float[Array, "B G"], Float[Array, "B G"]]:
    """The upper and the lower row of each pair."""
    # Rows of a window were made on the host.
    if "upper" in data.cells:
        pick = jax.vmap(lambda rows, place: rows[place])
        both = (pick(data.cells[name], place) for name in ("upper", "lower"))
        upper, lower = (rows.reshape(-1, static.genes) for rows in both)
        return upper, lower
    upper = _rows(static, data, columns["upper"], columns["replicate"], cell)
    # Controls that serve many pairs were made once and are looked up.
    if "lower_row" in columns:
        return upper, data.lower_rows[columns["lower_row"]]
    return upper, _rows(static, data, columns["lower"], columns["replicate"], cell)


def _extras(
    pair: Int[Array, "B"], cell: Int[Array, "B"] | None, columns: dict[str, Array]
) -> dict[str, Array]:
    """What a family may read beside: the number of the pair, and where there are such the doses
    and the place among the drawn cells."""
    extras = {"pair": pair}
    for name in ("dose", "control_dose"):
        if name in columns:
            extras[name] = columns[name]
    if cell is not None:
        extras["cell"] = cell
    return extras


def _rows(
    static: Layout,
    data: PairData,
    pool: Int[Array, "B"],
    replicate: Int[Array, "B"],
    cell: Int[Array, "B"] | None,
) -> Float[Array, "B G"]:
    """Means over the drawn cells (or the `cell`-th drawn cell), adjusted for batch."""
    # One cell is handled as a draw of one, so that both units share the code below.
    if cell is None:
        drawn = data.draws[pool, replicate]
    else:
        drawn = data.draws[pool, replicate, cell][:, None]
    batch = data.pool_batch[pool]
    # The map is affine, so it may follow the mean over cells (docs/models/cycseq.md, ComBat).
    return data.scale[batch] * _means(static, data.cells, drawn) + data.shift[batch]


def _means(
    static: Layout, cells: dict[str, Array], drawn: Int[Array, "B D"]
) -> Float[Array, "B G"]:
    """Mean log values, one drawn cell of every row at a time, so that only [B, G] and one cell per
    row are held."""
    add = _add_dense if "dense" in cells else _add_sparse
    total = jnp.zeros((drawn.shape[0], static.genes), jnp.float32)
    # A loop, not a gather of [B, D, G]: memory holds one cell of each row.
    whole = jax.lax.fori_loop(
        0, drawn.shape[1], lambda i, total: add(static, cells, drawn[:, i], total), total
    )
    return whole / drawn.shape[1]


def _add_dense(
    static: Layout, cells: dict[str, Array], cell: Int[Array, "B"], total: Float[Array, "B G"]
) -> Float[Array, "B G"]:
    del static
    return total + cells["dense"][cell]


def _add_sparse(
    static: Layout, cells: dict[str, Array], cell: Int[Array, "B"], total: Float[Array, "B G"]
) -> Float[Array, "B G"]:
    """Add one cell to each row, a window of its counts at a time, until the widest of them is
    through."""
    begin, end = cells["start"][cell], cells["start"][cell + 1]
    # The widest cell of this step decides how many windows are read.
    windows = (jnp.max(end - begin) + static.width - 1) // static.width
    add = functools.partial(_add_window, static, cells, cell, end)
    return jax.lax.fori_loop(
        0, windows, lambda k, total: add(begin + k * static.width, total), total
    )


def _add_window(
    static: Layout,
    cells: dict[str, Array],
    cell: Int[Array, "B"],
    end: Int[Array, "B"],
    begin: Int[Array, "B"],
    total: Float[Array, "B G"],
) -> Float[Array, "B G"]:
    """Add the counts from `begin` on."""
    # Near the end the window starts earlier instead of reading beyond: so the counts need no
    # padding, hence no copy.
    at = jnp.minimum(begin, cells["genes"].shape[0] - static.width)
    window = at[:, None] + jnp.arange(static.width, dtype=jnp.int32)
    inside = (window >= begin[:, None]) & (window < end[:, None])
    # Slices of fixed width, since compiled code has no arrays of varying length.
    cut = jax.vmap(lambda flat, at: jax.lax.dynamic_slice(flat, (at,), (static.width,)), (None, 0))
    gene, value = cut(cells["genes"], at), cut(cells["values"], at).astype(jnp.float32)
    # A unit of 0 stands for values that are taken as they are.
    if static.unit:
        value = jnp.log1p(value * cells["factor"][cell][:, None]) / static.unit
    if "cap" in cells:
        # The cap is on stored entries only: a gene that is not stored lies below every cap.
        value = jnp.minimum(value, cells["cap"][cells["file"][cell][:, None], gene])
    return add_nonzeros(total, gene, value, inside)
