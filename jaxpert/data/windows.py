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
from jaxpert.data.mapped import dense_rows
from jaxpert.data.shards import Deal

MOST_AHEAD = 8
COLUMNS = ("condition", "stratum", "failed")
SEED_AXIS = 1
"""The axis of seeds in what windows hold, behind that of the shards."""


class Source(NamedTuple):
    """What windows are cut from."""

    cut: Callable[[Int[np.ndarray, "*w"]], dict[str, Any]]
    """(numbers of rows as they were dealt `[Q, W]`, with seeds `[Q, k, W]`) -> the fields of the
    data that are a window's own, each with these axes first."""
    shapes: Callable[[tuple[int, ...]], dict[str, Any]]
    """(those axes) -> the shapes of the same fields."""
    step_bytes: int
    """What the rows of one step take."""


class _Shards(NamedTuple):
    """What the order of drawing depends on."""

    shard: Int[np.ndarray, "Q"]
    size: Int[np.ndarray, "Q"]


class _Reader(NamedTuple):
    """What the functions of `Windows` share."""

    source: Source
    dealt: Deal
    shared: Any
    shuffle: bool
    devices: int


def windows_of(source: Source, dealt: Deal, shared: Any, *, shuffle: bool, devices: int) -> Windows:
    """Windows over the rows that were dealt to this process.

    Args:
        source: of the rows.
        dealt: rows by shard.
        shared: a NamedTuple on the device(s), what all windows share; its field `begin` becomes the
            step with which a window begins.
        shuffle: as in `shards.draw_order`; without it seeds share their windows.
        devices: of all processes.
    """
    reader = _Reader(source, dealt, shared, shuffle, devices)
    axes = None
    if shuffle:
        own = dict.fromkeys(source.shapes((1, 1)), SEED_AXIS)
        axes = type(shared)(**(dict.fromkeys(shared._fields) | own))
    return Windows(
        read=functools.partial(_read, reader),
        shapes=functools.partial(_shapes, reader),
        axes=axes,
        step_bytes=source.step_bytes,
    )


def screen_source(
    counts: Any,
    columns: dict[str, Shaped[np.ndarray, "N"]],
    dtype: np.dtype,
    pairs: Int[np.ndarray, "N"] | None,
    cells: int,
) -> Source:
    """Cells of a screen as `batch.Cells` holds them.

    Args:
        counts: CSR `[N, G]`, in memory or mapped.
        columns: of each cell, by the names of COLUMNS.
        dtype: of counts on the device.
        pairs: row of each cell's own control; None where controls are drawn.
        cells: of one step, in this process.
    """

    def cut(rows: Int[np.ndarray, "*w"]) -> dict[str, Any]:
        dense = {"dense": dense_rows(counts, rows, dtype)}
        if pairs is not None:
            dense["control"] = dense_rows(counts, pairs[rows], dtype)
        return {"counts": dense, **{name: column[rows] for name, column in columns.items()}}

    def shapes(axes: tuple[int, ...]) -> dict[str, Any]:
        table = jax.ShapeDtypeStruct((*axes, counts.shape[1]), dtype)
        own: dict[str, Any] = {"counts": dict.fromkeys(tables, table)}
        for name, column in columns.items():
            own[name] = jax.ShapeDtypeStruct(axes, column.dtype)
        return own

    tables = ("dense",) if pairs is None else ("dense", "control")
    return Source(cut, shapes, cells * len(tables) * counts.shape[1] * dtype.itemsize)


@dataclass(frozen=True)
class _Numbered:
    """The windows of consecutive stretches of a run, each made when it is asked for by number."""

    spans: Sequence[Span]
    window: Callable[[Span], Any]

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, number: int) -> Any:
        return self.window(self.spans[number])


def _read(reader: _Reader, key: Key[Array, "*k"], spans: Sequence[Span]) -> Generator[Any]:
    """`Windows.read`; closing the generator stops the threads that read ahead."""
    # Of two epochs, since windows of the next one are made while this one ends.
    order_of = functools.lru_cache(maxsize=2)(functools.partial(_order, reader, key))
    numbered: Any = _Numbered(spans, lambda span: _window(reader, order_of(span.epoch), span))
    # Imported here: it takes seconds, and most runs hold their cells.
    import grain

    # By number and in order: whoever goes on from a step makes the list of spans from there.
    ahead = max(2, min(MOST_AHEAD, (os.cpu_count() or 2) // 2))
    options = grain.ReadOptions(num_threads=ahead, prefetch_buffer_size=ahead)
    windows = iter(grain.MapDataset.source(numbered).to_iter_dataset(options))
    divided = tuple(reader.source.shapes((1, 1)))
    try:
        for window in windows:
            placed = shards.place(window, divided, reader.devices)
            yield _joined(reader, placed)
    finally:
        windows.close()


def _joined(reader: _Reader, window: Any) -> Any:
    """A window with what all windows share."""
    own = (*reader.source.shapes((1, 1)), "begin")
    return reader.shared._replace(**{name: getattr(window, name) for name in own})


def _alone(reader: _Reader, own: dict[str, Any], begin: Any) -> Any:
    """The data of which all that windows share is missing."""
    nothing = dict.fromkeys(reader.shared._fields)
    return type(reader.shared)(**{**nothing, **own, "begin": begin})


def _window(reader: _Reader, order: Int[np.ndarray, "*k Q drawn"], span: Span) -> Any:
    """The rows of a span in the order of drawing."""
    dealt = reader.dealt
    places = order[..., span.first * dealt.share : (span.first + span.steps) * dealt.share]
    if places.ndim == 3:
        # Shards stay the first axis, which is cut for the devices.
        places = np.moveaxis(places, 0, SEED_AXIS)
    held = dealt.rows[dealt.local]
    held = held.reshape(len(held), *[1] * (places.ndim - 2), -1)
    own = reader.source.cut(np.take_along_axis(held, places, -1))
    return _alone(reader, own, np.array(span.first, np.int32))


def _order(reader: _Reader, key: Key[Array, "*k"], epoch: int) -> Int[np.ndarray, "*k Q drawn"]:
    """The order of one epoch in the shards of this process, on the host."""
    dealt, shuffle = reader.dealt, reader.shuffle
    keys = key if shuffle else jax.random.key(0)
    sizes = dealt.rows.shape[1], dealt.drawn, shuffle
    return np.asarray(_orders(*sizes, _Shards(dealt.local, dealt.size), keys, epoch))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _orders(
    length: int, drawn: int, shuffle: bool, held: _Shards, keys: Key[Array, "*k"], epoch: Any
) -> Int[Array, "*k Q drawn"]:
    draw = functools.partial(shards.draw_order, length, drawn, shuffle, held)
    return jax.vmap(draw, (0, None))(keys, epoch) if keys.ndim else draw(keys, epoch)


def _shapes(reader: _Reader, steps: int, seeds: int | None) -> Any:
    """`Windows.shapes`."""
    axes: tuple[int, ...] = (len(reader.dealt.local), steps * reader.dealt.share)
    if seeds is not None and reader.shuffle:
        axes = (axes[0], seeds, axes[1])
    own: dict[str, Any] = reader.source.shapes(axes)
    one: tuple[int, ...] = ()
    if reader.devices > 1:
        local = reader.devices // jax.process_count()
        own, one = jax.tree.map(functools.partial(_cut, local), own), (local,)
    window = _alone(reader, own, jax.ShapeDtypeStruct(one, jnp.int32))
    shared = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), reader.shared)
    return _joined(reader._replace(shared=shared), window)


def _cut(devices: int, leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    shards, *rest = leaf.shape
    return jax.ShapeDtypeStruct((devices, shards // devices, *rest), leaf.dtype)
