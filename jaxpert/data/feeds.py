"""One split of a data set put on the device(s), ready for the functions that draw batches."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from jaxpert.core.types import Dataset, Feed, InputError
from jaxpert.data import shards
from jaxpert.data.batch import DIVIDED, Cells, Layout, draw_batch, window_order
from jaxpert.data.counts import row_blocks
from jaxpert.data.mapped import dense_rows, is_mapped
from jaxpert.data.shards import Deal
from jaxpert.data.windows import COLUMNS, screen_source, windows_of

CPU_DENSE_BYTES = 2**30
EXACT_FLOAT32 = 2**24


def make_feed(
    dataset: Dataset,
    split: str,
    *,
    batch_size: int,
    shuffle: bool = True,
    tables: Mapping[str, Any] | None = None,
    devices: int = 1,
    layout: str = "auto",
    memory_bytes: int | None = None,
    control_cells: int = 2048,
    pairs: Int[np.ndarray, "N"] | None = None,
    drop_last: bool = False,
) -> Feed:
    """Put the cells of one split (or "all") on the device(s) and return the functions that draw
    batches from them.

    Every cell is drawn once per epoch. Cells are dealt into shards (`data.shards`), so that any
    number of devices dividing their number sees the same batches, slot by slot. Rows of padding
    repeat real cells (so that nothing is undefined) under a False mask.

    Args:
        batch_size: cells of the whole batch, over all devices of all processes.
        shuffle: new order in every epoch; False draws the cells in file order (validation).
        tables: whole arrays for `Batch.extras`, the same for every batch (e.g. `treatment_cells
            [T]`).
        devices: devices of all processes; each process loads only the shards of its own.
        layout: "dense" keeps [cells, genes] of the smallest exact unsigned type, "csr" only the
            nonzeros, scattered inside the step, "stream" the cells of a few steps, brought from the
            host ahead of them (identical batches); "auto" takes the first of them that fits
            `memory_bytes` per device (by default 1 GiB on CPU, a quarter of an accelerator's
            memory), and stream for counts that are not in memory.
        control_cells: most control cells kept to match with, shared equally by the strata, evenly
            spaced in file order. They come from this split, else from training, else from all
            strata.
        pairs: row of the control cell of every cell of the data set (`pairing.pair_controls`), the
            same in every epoch; None draws a new one of `control_cells` in every step.
        drop_last: leave out the incomplete last batch of an epoch (other cells in each, where they
            are shuffled).

    Raises InputError for an empty split, a batch size that the devices do not divide or that no
    batch fills, too few devices, no controls, or counts over 2^24 (not exact in float32).
    """
    rows = dataset.rows(split)
    if not len(rows):
        raise InputError(
            f"split {split!r} of {dataset.name} holds no cells, expected at least one: change "
            "`split.kind`"
        )
    dealt = shards.deal(rows, batch_size, devices, drop_last=drop_last)
    if not dealt.steps:
        raise InputError(
            f"split {split!r} of {dataset.name} holds {len(rows)} cells, expected enough to fill a "
            f"batch of {batch_size}: lower `train.batch_size` or set `train.drop_last` to False"
        )
    dtype = np.dtype(np.float32)
    if dataset.scale == "counts":
        dtype = np.min_scalar_type(check_counts(dataset))
    part = _Part(dataset, rows, dealt, dtype, pairs, shuffle, devices)
    kind = _layout(part, layout, memory_bytes)
    if kind == "stream":
        return _streamed(part, control_cells, tables or {})
    return _resident(part, kind, control_cells, tables or {})


class _Part(NamedTuple):
    """The cells of one split, and how they are drawn."""

    dataset: Dataset
    rows: Int[np.ndarray, "n"]
    dealt: Deal
    dtype: np.dtype
    """Of counts on the device."""
    pairs: Int[np.ndarray, "N"] | None
    shuffle: bool
    devices: int

    def held(self) -> Int[np.ndarray, "Q L"]:
        """Rows of the shards of this process."""
        return self.dealt.rows[self.dealt.local]


def _resident(part: _Part, kind: str, control_cells: int, tables: Mapping[str, Any]) -> Feed:
    """The feed of cells that all lie on the device(s), "dense" or "csr"."""
    dataset, dealt, held = part.dataset, part.dealt, part.held()
    make = _dense if kind == "dense" else _compressed
    counts, width = make(dataset.counts, held, part.dtype)
    if part.pairs is None:
        pool = _control_pool(dataset, part.rows, control_cells, part.dtype)
    else:
        pool = _paired_pool(dataset, part.pairs[held], part.dtype)
    columns = {name: column[held] for name, column in _columns(dataset).items()}
    cells = _shared(dataset, dealt, pool, tables)._replace(counts=counts, **columns)
    # Only static numbers are bound: data closed over by jit would become a constant.
    order = functools.partial(shards.draw_order, dealt.rows.shape[1], dealt.drawn, part.shuffle)
    batch = functools.partial(draw_batch, Layout(dealt.share, len(dataset.genes), width))
    placed = shards.place(cells, DIVIDED, part.devices)
    return Feed(placed, order, batch, dealt.steps, len(part.rows))


def _streamed(part: _Part, control_cells: int, tables: Mapping[str, Any]) -> Feed:
    """The feed of cells that are brought to the device(s) ahead of their steps."""
    dataset, dealt, dtype = part.dataset, part.dealt, part.dtype
    if part.pairs is None:
        pool = _control_pool(dataset, part.rows, control_cells, dtype)
    else:
        pool = _no_pool(dataset, dtype)
    placed = shards.place(_shared(dataset, dealt, pool, tables), DIVIDED, part.devices)
    cells_of_a_step = len(dealt.local) * dealt.share
    source = screen_source(dataset.counts, _columns(dataset), dtype, part.pairs, cells_of_a_step)
    ahead = windows_of(source, dealt, placed, shuffle=part.shuffle, devices=part.devices)
    batch = functools.partial(draw_batch, Layout(dealt.share, len(dataset.genes), 0))
    return Feed(placed, window_order, batch, dealt.steps, len(part.rows), ahead)


def _layout(part: _Part, layout: str, memory_bytes: int | None) -> str:
    """Where the counts of a feed are: "dense" or "csr" on the device, "stream" on the host."""
    counts, dealt = part.dataset.counts, part.dealt
    genes, itemsize = len(part.dataset.genes), part.dtype.itemsize
    # Counts that are not in memory would be read into it on the way to the device.
    if layout == "auto" and is_mapped(counts):
        return "stream"
    dense_bytes = dealt.rows.size * genes * itemsize // part.devices
    if shards.is_dense(layout, dense_bytes, memory_bytes, CPU_DENSE_BYTES):
        return "dense"
    if layout != "auto":
        return layout
    nonzeros = int(np.diff(counts.indptr)[dealt.rows].sum(dtype=np.int64))
    csr_bytes = nonzeros * (itemsize + _gene_type(genes).itemsize) // part.devices
    return "csr" if shards.fits(csr_bytes, memory_bytes, CPU_DENSE_BYTES) else "stream"


def _gene_type(genes: int) -> np.dtype:
    """Two bytes an index where the genes allow it halve the larger part of compressed counts."""
    return np.dtype(np.uint16 if genes <= 2**16 else np.int32)


def check_counts(dataset: Dataset) -> int:
    """The largest count, or of mapped counts what their type may hold; InputError where it is too
    large for a batch to hold."""
    kind = dataset.counts.dtype
    # They were written in the smallest type, and looking at each of them reads the whole file.
    if is_mapped(dataset.counts) and kind.kind == "u" and kind.itemsize <= 2:
        return int(np.iinfo(kind).max)
    if is_mapped(dataset.counts):
        largest = (int(block.data.max(initial=0)) for _, block in row_blocks(dataset.counts))
        top = max(largest, default=0)
    else:
        top = int(dataset.counts.data.max(initial=0))
    # Batches are float32, where whole numbers above 2^24 are rounded.
    if top > EXACT_FLOAT32:
        raise InputError(
            f"the largest count of {dataset.name} is {top}, expected at most {EXACT_FLOAT32} "
            "(exact in float32): give raw counts"
        )
    return top


def _dense(
    counts: Any, held: Int[np.ndarray, "Q L"], dtype: np.dtype
) -> tuple[dict[str, np.ndarray], int]:
    dense = np.zeros((*held.shape, counts.shape[1]), dtype)
    for shard, rows in enumerate(held):
        # Into its place, so that no second dense copy is ever held.
        counts[rows].astype(dtype, copy=False).toarray(out=dense[shard])
    return {"dense": dense}, 0


def _compressed(
    counts: Any, held: Int[np.ndarray, "Q L"], dtype: np.dtype
) -> tuple[dict[str, np.ndarray], int]:
    """Each shard's nonzeros end to end, with room behind them for a window of the widest cell."""
    nonzeros = np.diff(counts.indptr)[held]
    width = max(1, int(nonzeros.max()))
    capacity = int(nonzeros.sum(1, dtype=np.int64).max()) + width
    # Places on the device are 32-bit integers.
    if capacity > np.iinfo(np.int32).max:
        # Fewer devices than shards hold several each, so that only more of them help.
        raise InputError(
            f"a shard holds {capacity} nonzero counts, expected fewer than 2^31: leave out genes, "
            f"or use more than {shards.SHARDS} devices"
        )
    genes = np.zeros((len(held), capacity), _gene_type(counts.shape[1]))
    values = np.zeros((len(held), capacity), dtype)
    for shard, rows in enumerate(held):
        part = counts[rows]  # a copy of one shard only
        genes[shard, : part.nnz], values[shard, : part.nnz] = part.indices, part.data
    start = np.pad(np.cumsum(nonzeros, axis=1, dtype=np.int32), ((0, 0), (1, 0)))
    return {"genes": genes, "values": values, "start": start}, width


class _Pool(NamedTuple):
    """Dense control cells, and where those of each stratum begin and how many they are."""

    counts: Shaped[np.ndarray, "P G"]
    start: Int[np.ndarray, "strata"]
    size: Int[np.ndarray, "strata"]
    pair: Int[np.ndarray, "Q L"] | None = None
    """Place of each cell's own control; None where it is drawn."""


def _control_pool(dataset: Dataset, rows: np.ndarray, most: int, dtype: np.dtype) -> _Pool:
    """Control cells sorted by stratum: of the split, else of training, else of all strata."""
    here = rows[dataset.condition[rows] == dataset.control]
    # Without a split every cell is one of training.
    training = dataset.rows("all" if dataset.split is None else "train")
    training = training[dataset.condition[training] == dataset.control]
    anywhere = here if len(here) else training
    chosen = []
    for stratum in range(len(dataset.strata)):
        candidates = here[dataset.stratum[here] == stratum]
        if not len(candidates):
            candidates = training[dataset.stratum[training] == stratum]
        if not len(candidates):
            candidates = anywhere
        # Equal shares, so that a large stratum does not crowd out a small one.
        number = min(len(candidates), max(1, most // len(dataset.strata)))
        # Nothing is drawn: the pool is the same in every process and every run.
        evenly = np.linspace(0, len(candidates) - 1, number).astype(int)
        chosen.append(candidates[evenly])
    size = np.array([len(part) for part in chosen], np.int32)
    if not size.any():
        raise InputError(
            f"{dataset.name} holds no control cells ({dataset.conditions[dataset.control]!r}) in "
            "this split or in training, expected some to match cells with: check `data.control`"
        )
    start = (np.cumsum(size) - size).astype(np.int32)
    counts = dense_rows(dataset.counts, np.concatenate(chosen), dtype)
    return _Pool(counts, start, size)


def _paired_pool(dataset: Dataset, pairs: Int[np.ndarray, "Q L"], dtype: np.dtype) -> _Pool:
    """The control cells that some cell is paired with; nothing is drawn by stratum."""
    # A control cell that serves several cells is held once.
    chosen, place = np.unique(pairs, return_inverse=True)
    unused = np.zeros(len(dataset.strata), np.int32)
    counts = dense_rows(dataset.counts, chosen, dtype)
    return _Pool(counts, unused, unused, place.reshape(pairs.shape).astype(np.int32))


def _no_pool(dataset: Dataset, dtype: np.dtype) -> _Pool:
    """Of paired cells in windows, which bring each cell's control with it."""
    unused = np.zeros(len(dataset.strata), np.int32)
    return _Pool(np.zeros((1, len(dataset.genes)), dtype), unused, unused)


def _columns(dataset: Dataset) -> dict[str, Shaped[np.ndarray, "N"]]:
    """What batches tell of each cell beside its counts."""
    failed = np.zeros(len(dataset.cells)) if dataset.quality is None else dataset.quality.failed
    return {
        "condition": dataset.condition.astype(np.int32),
        "stratum": dataset.stratum.astype(np.int32),
        "failed": failed.astype(np.float32),
    }


def _shared(dataset: Dataset, dealt: Deal, pool: _Pool, tables: Mapping[str, Any]) -> Cells:
    """All of `Cells` but the cells themselves."""
    fields: dict[str, Any] = {
        "counts": {},
        **dict.fromkeys(COLUMNS),
        "shard": dealt.local,
        "size": dealt.size,
        "condition_treatments": dataset.condition_treatments.astype(np.float32),
        "pool": pool.counts,
        "pool_start": pool.start,
        "pool_size": pool.size,
        "tables": {name: np.asarray(table) for name, table in tables.items()},
        "pair": pool.pair,
    }
    return Cells(**fields)
