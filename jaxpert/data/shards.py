"""Rows of a split dealt to the devices, and the order in which they are drawn.

Rows are dealt in turn, like cards, into S = lcm(gcd(8, batch size), devices) shards, and every
batch takes the same number of rows from each shard. What a shard draws depends on its number alone,
so 1, 2, 4 and 8 devices see the same batches. The feeds of both tasks are made this way.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from jaxpert.core.types import InputError

SHARDS = 8
"""Rows are dealt into this many shards where the batch size allows."""
LAYOUTS = ("auto", "dense", "csr", "stream")


class Deal(NamedTuple):
    """The rows of a split by shard, and how batches take from them."""

    rows: Int[np.ndarray, "S L"]
    """Row numbers of every shard; padding repeats rows from the start."""
    local: Int[np.ndarray, "Q"]
    """Numbers of the shards that this process holds."""
    size: Int[np.ndarray, "Q"]
    """Rows in each of these before the padding."""
    share: int
    """Rows that a batch takes from each shard."""
    steps: int
    """Batches of an epoch."""

    @property
    def drawn(self) -> int:
        """Places of a shard that an epoch reads, those behind its end included."""
        return self.steps * self.share


class Taken(NamedTuple):
    """What one batch takes from the shards on this device."""

    place: Int[Array, "Q share"]
    """Places within each shard."""
    slot: Int[Array, "B"]
    """Places in the whole batch, over all devices."""
    mask: Bool[Array, "B"]
    """False for padding."""


def deal(
    rows: Int[np.ndarray, "N"], batch_size: int, devices: int, *, drop_last: bool = False
) -> Deal:
    """Deal rows into shards; `drop_last` leaves out the incomplete last batch of an epoch.

    Raises InputError where the devices do not divide the batch or are more than jax sees.
    """
    _check_devices(batch_size, devices)
    # 8 where the batch allows, whatever the devices, so that up to 8 share one dealing.
    shards = math.lcm(math.gcd(SHARDS, batch_size), devices)
    length = math.ceil(len(rows) / shards)
    # In turn, so that shards differ by one row at most and each spans the whole file.
    dealt = np.resize(rows, shards * length).reshape(length, shards).T
    # pmap's devices are in the order of the processes, so each process holds a run of shards.
    held = shards // jax.process_count()
    local = np.arange(held, dtype=np.int32) + held * jax.process_index()
    # Shard s gets rows s, s + S, ..., which are ceil((N - s) / S).
    size = ((len(rows) - local + shards - 1) // shards).astype(np.int32)
    whole, rest = divmod(len(rows), batch_size)
    steps = whole if drop_last or not rest else whole + 1
    return Deal(dealt, local, size, batch_size // shards, steps)


def _check_devices(batch_size: int, devices: int) -> None:
    if batch_size < 1 or batch_size % devices:
        raise InputError(
            f"`train.batch_size` is {batch_size}, expected a positive multiple of the {devices} "
            f"devices: try {max(devices, batch_size // devices * devices)}"
        )
    if devices > jax.device_count() or devices % jax.process_count():
        raise InputError(
            f"{devices} devices were asked for, expected a multiple of the {jax.process_count()} "
            f"processes and at most the {jax.device_count()} that jax sees: lower the number of "
            "devices"
        )


def is_dense(layout: str, dense_bytes: int, memory_bytes: int | None, cpu_bytes: int) -> bool:
    """Whether counts are kept as a dense table; "auto" asks whether that fits a device.

    Args:
        layout: one of LAYOUTS.
        dense_bytes: size of the dense table on one device.
        memory_bytes: what it may take; None for a quarter of an accelerator's memory.
        cpu_bytes: what it may take where the device does not tell its memory.
    """
    if layout not in LAYOUTS:
        raise InputError(
            f"layout is {layout!r}, expected 'auto', 'dense', 'csr' or 'stream': correct "
            "train.layout"
        )
    if layout != "auto":
        return layout == "dense"
    return fits(dense_bytes, memory_bytes, cpu_bytes)


def fits(needed: int, memory_bytes: int | None, cpu_bytes: int) -> bool:
    """Whether cells that take so many bytes may stay on a device; the rest as in `is_dense`."""
    # Parameters, moments and activations need the rest of the memory.
    if memory_bytes is None:
        stats = jax.local_devices()[0].memory_stats() or {}
        memory_bytes = stats["bytes_limit"] // 4 if "bytes_limit" in stats else cpu_bytes
    return needed <= memory_bytes


def place(data: Any, divided: Collection[str], devices: int) -> Any:
    """Move a NamedTuple of arrays to the devices.

    With several devices every leaf gets a leading axis over those of this process: the fields
    `divided` `[Q, ...]` are cut by shard, all others are repeated.
    """
    if devices == 1:
        return jax.device_put(data)
    local = devices // jax.process_count()

    def divide(leaf: np.ndarray) -> np.ndarray:
        return leaf.reshape(local, len(leaf) // local, *leaf.shape[1:])

    def repeat(leaf: np.ndarray) -> np.ndarray:
        # A view: the copies exist on the devices alone.
        return np.broadcast_to(leaf, (local, *leaf.shape))

    parts = {}
    for name, field in data._asdict().items():
        parts[name] = jax.tree.map(divide if name in divided else repeat, field)
    # pmap takes the first devices where there are more than `devices`.
    return jax.pmap(lambda leaf: leaf)(type(data)(**parts))


def draw_order(
    length: int, drawn: int, shuffle: bool, data: Any, key: PRNGKeyArray, epoch: Int[Array, ""]
) -> Int[Array, "Q drawn"]:
    """Places within each shard in the order of drawing: rows first, padding last.

    Args:
        length: places of a shard, L.
        drawn: places that an epoch reads (`Deal.drawn`); behind the end of the shard it reads
            place 0.
        shuffle: whether every epoch has an order of its own.
        data: what the feed holds on this device, with the fields `shard [Q]` and `size [Q]`.
        key: of the run; the order is a function of it, of the epoch and of the shard's number.
    """
    places = jnp.arange(length, dtype=jnp.int32)
    if shuffle:
        # By the number of the epoch, so that a resumed run goes on in the same order.
        key = jax.random.fold_in(key, epoch)
        # By the number of the shard, so that it draws the same on whichever device it lies.
        places = jax.vmap(lambda s, n: _permutation(jax.random.fold_in(key, s), places, n))(
            data.shard, data.size
        )
    else:
        places = jnp.broadcast_to(places, (data.shard.shape[0], length))
    # Place 0 holds a real row, which the mask of `take` hides.
    return jnp.pad(places, ((0, 0), (0, max(0, drawn - length))))


def _permutation(
    key: PRNGKeyArray, places: Int[Array, "L"], size: Int[Array, ""]
) -> Int[Array, "L"]:
    # Sorting by random numbers is a permutation; padding gets the highest number and so comes last.
    bits = jax.random.bits(key, places.shape, jnp.uint32)
    last = jnp.uint32(2**32 - 1)
    # The sort is stable, so a row that happens to draw the highest number still comes before the
    # padding.
    return places[jnp.argsort(jnp.where(places < size, bits, last), stable=True)]


def take(
    share: int,
    data: Any,
    order: Int[Array, "Q drawn"],
    step: Int[Array, ""],
    begin: Int[Array, ""] | None = None,
) -> Taken:
    """What step `step` of an epoch takes: `share` places of each shard, in the epoch's order; with
    `begin` the order is that of a window which begins with that step."""
    first = step * share
    at = first if begin is None else first - begin * share
    place = jax.lax.dynamic_slice_in_dim(order, at, share, axis=1)
    number = jnp.arange(share, dtype=jnp.int32)
    slot = (data.shard[:, None] * share + number).reshape(-1)
    # The first `size` places of the order are rows, so the mask goes by number and not by place.
    mask = (first + number < data.size[:, None]).reshape(-1)
    return Taken(place, slot, mask)
