"""Cells on their way to the steps: all on the device from the start, or brought there ahead of
them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxtyping import Array, Int, Key, PRNGKeyArray

if TYPE_CHECKING:
    from jaxpert.core.types import Batch

PyTree = Any

WINDOW_BYTES = 2**27
"""Most that one window takes; a few are held at once, on the host and on the device."""


class Span(NamedTuple):
    """Consecutive steps of one epoch."""

    epoch: int
    first: int
    """Within the epoch."""
    steps: int


class Windows(NamedTuple):
    """How a feed brings the cells of a stretch of steps to the device, where all of them have no
    place there."""

    read: Callable[[Key[Array, "*k"], Sequence[Span]], Generator[PyTree]]
    """(key of the order, or one for each seed; spans) -> `Feed.data` of each span, in turn. Later
    ones are made in the background while the device computes."""
    shapes: Callable[[int, int | None], PyTree]
    """(steps, seeds) -> the shapes of such data; None for a run without an axis of seeds."""
    axes: PyTree
    """Which axis of the data is that of the seeds, as `jax.vmap` takes it; None where they share
    their cells."""
    step_bytes: int
    """What the cells of one step take."""

    def longest(self, seeds: int | None) -> int:
        """Most steps of one window."""
        return max(1, WINDOW_BYTES // (self.step_bytes * (seeds or 1)))


class Feed(NamedTuple):
    """One split of the data and the pure functions that draw batches from it.

    `data` is passed as an argument into jit (never closed over). Cells are dealt into shards of
    equal padded length; every batch takes an equal share of each shard, so 1 device holding all
    shards and 8 devices holding one each draw the same batches.
    """

    data: PyTree
    """On D > 1 devices every leaf has a leading device axis, to be consumed by pmap. Of a feed with
    `windows` it is what all of them share."""
    order: Callable[[PyTree, PRNGKeyArray, Int[Array, ""]], Array]
    """(data, key, epoch) -> this device's cell order for that epoch; computed once per compiled
    chunk of steps."""
    batch: Callable[[PyTree, PRNGKeyArray, Array, Int[Array, ""]], Batch]
    """(data, key, order, step in epoch) -> Batch; `key` is this step's, used for matched
    controls."""
    steps: int
    """Batches per epoch; the last one is partial and padded (`mask`)."""
    cells: int
    """Cells in the split."""
    windows: Windows | None = None
    """How the cells come to the device; None where all of them are in `data`."""
