"""The cells of a few steps brought to the device just ahead of them, for data larger than its
memory.

The order of an epoch is the same function of key and epoch as where all cells lie on the device
(`shards.draw_order`), so that a streamed run sees the same batches and one that goes on after a
kill needs no state of a reader.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, Shaped

from jaxpert.core.feed import Span, Windows
from jaxpert.data import shards
from jaxpert.data.batch import DIVIDED, Cells
from jaxpert.data.mapped import dense_rows
from jaxpert.data.shards import Deal

MOST_AHEAD = 8
COLUMNS = ("condition", "stratum", "failed")
SEED_AXIS = 1
"""The axis of seeds in what windows hold, behind that of the shards."""


class Screen(NamedTuple):
    """What windows are cut from, on the host or in a file that is mapped into memory."""

    counts: Any
    """CSR `[N, G]`."""
    columns: dict[str, Shaped[np.ndarray, "N"]]
    """By the names of COLUMNS."""
    dtype: np.dtype
    """Of counts on the device."""
    pairs: Int[np.ndarray, "N"] | None
    """Row of each cell's own control; None where controls are drawn."""


class _Shards(NamedTuple):
    """What the order of drawing depends on."""

    shard: Int[np.ndarray, "Q"]
    size: Int[np.ndarray, "Q"]


def windows_of(
    screen: Screen, dealt: Deal, shared: Cells, *, shuffle: bool, devices: int
) -> Windows:
    """Windows over the rows that were dealt to this process.

    Args:
        screen: counts and labels of all cells.
        dealt: rows by shard.
        shared: what all windows share, on the device(s).
        shuffle: as in `shards.draw_order`; without it seeds share their windows.
        devices: of all processes.
    """
    divided = ("counts", *COLUMNS)
    of_seeds: dict[str, Any] = dict.fromkeys(Cells._fields) | dict.fromkeys(divided, SEED_AXIS)
    ordered = functools.partial(_order, dealt, shuffle)
    cells = len(dealt.local) * dealt.share
    tables = 1 if screen.pairs is None else 2
    return Windows(
        read=functools.partial(_read, screen, dealt, shared, ordered, devices),
        shapes=functools.partial(_shapes, screen, dealt, shared, shuffle, devices),
        axes=Cells(**of_seeds) if shuffle else None,
        step_bytes=cells * tables * screen.counts.shape[1] * screen.dtype.itemsize,
    )


def _order(
    dealt: Deal, shuffle: bool, key: Key[Array, "*k"], epoch: int
) -> Int[np.ndarray, "*k Q drawn"]:
    """The order of one epoch in the shards of this process, on the host."""
    keys = key if shuffle else jax.random.key(0)
    return np.asarray(
        _orders(dealt.rows.shape[1], dealt.drawn, shuffle, dealt.local, dealt.size, keys, epoch)
    )


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _orders(length, drawn, shuffle, shard, size, keys, epoch):
    draw = functools.partial(shards.draw_order, length, drawn, shuffle, _Shards(shard, size))
    return jax.vmap(draw, (0, None))(keys, epoch) if keys.ndim else draw(keys, epoch)


@dataclass(frozen=True)
class _Source:
    """The windows of consecutive stretches of a run, each made when it is asked for by number."""

    spans: Sequence[Span]
    window: Callable[[Span], Cells]

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, number: int) -> Cells:
        return self.window(self.spans[number])


def _read(
    screen: Screen,
    dealt: Deal,
    shared: Cells,
    ordered: Callable[[Any, int], np.ndarray],
    devices: int,
    key: Key[Array, "*k"],
    spans: Sequence[Span],
) -> Generator[Cells]:
    """`Windows.read`; closing the iterator stops the threads that read ahead."""
    # Of two epochs, since windows of the next one are made while this one ends.
    orders = functools.lru_cache(maxsize=2)(functools.partial(ordered, key))
    source: Any = _Source(spans, lambda span: _window(screen, dealt, orders(span.epoch), span))
    # Imported here: it takes seconds, and most runs hold their cells.
    import grain

    # By number and in order: whoever goes on from a step makes the list of spans from there.
    ahead = max(2, min(MOST_AHEAD, (os.cpu_count() or 2) // 2))
    options = grain.ReadOptions(num_threads=ahead, prefetch_buffer_size=ahead)
    windows = iter(grain.MapDataset.source(source).to_iter_dataset(options))
    try:
        for window in windows:
            placed = shards.place(window, DIVIDED, devices)
            yield _joined(placed, shared)
    finally:
        windows.close()


def _joined(window: Cells, shared: Cells) -> Cells:
    """A window with what all windows share."""
    parts = {name: getattr(window, name) for name in ("counts", *COLUMNS, "begin")}
    return shared._replace(**parts)


def _window(screen: Screen, dealt: Deal, order: Int[np.ndarray, "*k Q drawn"], span: Span) -> Cells:
    """The cells of a span in the order of drawing: `[Q, W]`, with seeds `[Q, k, W]`."""
    first, last = span.first * dealt.share, (span.first + span.steps) * dealt.share
    places = order[..., first:last]
    if places.ndim == 3:
        # Shards stay the first axis, which is cut for the devices.
        places = np.moveaxis(places, 0, SEED_AXIS)
    held = dealt.rows[dealt.local]
    rows = np.take_along_axis(held.reshape(len(held), *[1] * (places.ndim - 2), -1), places, -1)
    counts = {"dense": dense_rows(screen.counts, rows, screen.dtype)}
    if screen.pairs is not None:
        counts["control"] = dense_rows(screen.counts, screen.pairs[rows], screen.dtype)
    columns = {name: column[rows] for name, column in screen.columns.items()}
    return _empty(counts, columns, np.array(span.first, np.int32))


def _empty(counts: dict[str, Any], columns: dict[str, Any], begin: Any) -> Cells:
    """Cells of which all that windows share is missing."""
    nothing: dict[str, Any] = dict.fromkeys(Cells._fields)
    return Cells(**{**nothing, **columns, "counts": counts, "begin": begin})


def _shapes(
    screen: Screen,
    dealt: Deal,
    shared: Cells,
    shuffle: bool,
    devices: int,
    steps: int,
    seeds: int | None,
) -> Cells:
    """`Windows.shapes`."""
    shape: tuple[int, ...] = (len(dealt.local), steps * dealt.share)
    if seeds is not None and shuffle:
        shape = (shape[0], seeds, shape[1])
    one: tuple[int, ...] = ()
    if devices > 1:
        local = devices // jax.process_count()
        shape, one = (local, shape[0] // local, *shape[1:]), (local,)
    dense = jax.ShapeDtypeStruct((*shape, screen.counts.shape[1]), screen.dtype)
    tables = ("dense",) if screen.pairs is None else ("dense", "control")
    columns = {
        name: jax.ShapeDtypeStruct(shape, column.dtype) for name, column in screen.columns.items()
    }
    window = _empty(dict.fromkeys(tables, dense), columns, jax.ShapeDtypeStruct(one, jnp.int32))
    return _joined(window, jax.tree.map(_shape_of, shared))


def _shape_of(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
