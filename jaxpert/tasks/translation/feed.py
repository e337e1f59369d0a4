"""Batches of pairs of rows, made on the device from the cells' counts and the tables of draws."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.types import Feed, InputError
from jaxpert.data.counts import row_blocks
from jaxpert.tasks.translation.batch import Layout, SpectraData, draw_batch, draw_order
from jaxpert.tasks.translation.lines import aligned
from jaxpert.tasks.translation.log_scale import log_values
from jaxpert.tasks.translation.prepare import Prepared
from jaxpert.tasks.translation.rows import BLOCK, drawn_rows

SHARDS = 8
"""Pairs are dealt into this many shards where the batch size allows, so that 1, 2, 4 and 8 devices
agree."""
WINDOW = 1024
"""Most nonzeros of a cell that are read at a time."""
CPU_DENSE_BYTES = 2**29
CONTROL_BYTES = 2**28
"""Lower rows are made once and kept where they take no more than this."""


def make_feed(
    prepared: Prepared,
    split: str,
    batch_size: int,
    devices: int = 1,
    *,
    shuffle: bool | None = None,
    unit_scale: Float[np.ndarray, "G"] | None = None,
    layout: str = "auto",
    memory_bytes: int | None = None,
    cells: dict[str, Any] | None = None,
) -> Feed:
    """Put the pairs of one split on the device(s) and return the functions that draw batches of
    rows from them.

    `Batch.x` is the perturbed row (the higher dose) and `Batch.control` its control row (the lower
    dose), both on the adjusted log scale; `treatment`, `condition` and `stratum` are the perturbed
    row's. `extras["pair"]` is the pair's number, `extras["dose"]` and `extras["control_dose"]`
    log10 of the higher and the lower dose where there are doses, `extras["cell"]` the place among
    the drawn cells where each is a row. Training drops the last partial batch; other splits pad it
    under a False mask.

    Args:
      batch_size: pairs of the whole batch, over all devices.
      devices: devices of all processes. Pairs are dealt into shards as by `data.make_feed`, cells
        and draws are on every device.
      shuffle: a new order in every epoch; None for training only.
      unit_scale: largest value per gene (`training_rows_per_gene_scale`): rows are divided by it.
      layout: "dense" keeps log values [cells, genes] in float32, "csr" only the counts, of which it
        takes the logarithm and adds up in every step; "auto" takes dense while it fits
        `memory_bytes` (by default half a GiB on CPU, a quarter of an accelerator's memory). On CPU
        the counts of `load_lines` are used in place, without a copy.
      cells: what another feed of the same data holds, to share it (see `make_feeds`).

    Raises InputError for a split without pairs, fewer training pairs than a batch, or a batch that
    the devices do not divide.
    """
    static, items, numbers = _static(prepared, split, batch_size, devices)
    counts, width = (
        (cells, _width(prepared, cells)) if cells else device_cells(prepared, layout, memory_bytes)
    )
    static = static._replace(width=width)
    local = _local_shards(len(items))
    data = _data(prepared, counts, items, local, len(numbers), unit_scale, split)
    shuffled = split == "train" if shuffle is None else shuffle
    functions = (
        functools.partial(draw_order, static, shuffled),
        functools.partial(draw_batch, static),
    )
    return Feed(_place(data, len(local), devices), *functions, static.steps, len(numbers))


def make_feeds(
    prepared: Prepared, batch_size: int, devices: int = 1, **settings: Any
) -> tuple[Feed, Feed | None]:
    """The feeds of training and validation (None where nothing validates), with one copy of the
    cells between them."""
    train = make_feed(prepared, "train", batch_size, devices, **settings)
    if not len(prepared.pair_numbers("val")):
        return train, None
    shared = {k: v for k, v in settings.items() if k not in ("layout", "memory_bytes")}
    cells = train.data.cells if devices == 1 else None
    if cells is None:
        return train, make_feed(prepared, "val", batch_size, devices, **settings)
    return train, make_feed(prepared, "val", batch_size, devices, cells=cells, **shared)


def device_cells(
    prepared: Prepared, layout: str, memory_bytes: int | None
) -> tuple[dict[str, Any], int]:
    """The cells in one of the layouts, on the host still, and the window to read them by (0 for
    dense)."""
    if layout not in ("auto", "dense", "csr"):
        raise ValueError(f"layout is {layout!r}, expected 'auto', 'dense' or 'csr'")
    counts, scale = prepared.dataset.counts, prepared.scale
    if memory_bytes is None:
        stats = jax.local_devices()[0].memory_stats() or {}
        memory_bytes = stats["bytes_limit"] // 4 if "bytes_limit" in stats else CPU_DENSE_BYTES
    if layout == "dense" or (
        layout == "auto" and 4 * counts.shape[0] * counts.shape[1] <= memory_bytes
    ):
        return {"dense": _dense(prepared)}, 0
    if counts.nnz > np.iinfo(np.int32).max:
        raise InputError(
            f"the cells hold {counts.nnz} counts, expected fewer than 2^31: leave out genes or "
            "cells"
        )
    cells = {
        "genes": counts.indices,
        "values": counts.data,
        "start": counts.indptr.astype(np.int32, copy=False),
    }
    cells["factor"] = scale.factor.astype(np.float32)
    if scale.cap is not None:
        cells |= {"file": scale.file, "cap": scale.cap.astype(np.float32)}
    return cells, _width(prepared, cells)


def _width(prepared: Prepared, cells: dict[str, Any]) -> int:
    return (
        0
        if "dense" in cells
        else max(1, min(WINDOW, int(np.diff(prepared.dataset.counts.indptr).max())))
    )


def _dense(prepared: Prepared) -> np.ndarray:
    counts = prepared.dataset.counts
    out = aligned(counts.shape[0] * counts.shape[1], np.dtype(np.float32)).reshape(counts.shape)
    out[:] = 0
    for rows, block in row_blocks(counts):
        cell = np.repeat(np.arange(rows.start, rows.stop), np.diff(block.indptr))
        out[cell, block.indices] = log_values(prepared.scale, block, rows)
    return out


def _static(
    prepared: Prepared, split: str, batch_size: int, devices: int
) -> tuple[Layout, Int[np.ndarray, "S L"], np.ndarray]:
    numbers = prepared.pair_numbers(split)
    deep = prepared.draws.cells.shape[2] if prepared.unit == "cell" else 0
    if deep:
        numbers = (numbers[:, None] * deep + np.arange(deep)).ravel()
    _check(prepared, split, len(numbers), batch_size, devices)
    shards = math.lcm(math.gcd(SHARDS, batch_size), devices)
    length = math.ceil(len(numbers) / shards)
    items = np.resize(numbers, shards * length).reshape(length, shards).T
    steps = len(numbers) // batch_size if split == "train" else math.ceil(len(numbers) / batch_size)
    unit = 0.0 if prepared.scale.kind == "given" else prepared.scale.unit
    return (
        Layout(batch_size // shards, length, steps, len(prepared.dataset.genes), 0, unit, deep),
        items,
        numbers,
    )


def _check(prepared: Prepared, split: str, rows: int, batch_size: int, devices: int) -> None:
    if batch_size < 1 or batch_size % devices:
        raise InputError(
            f"`train.batch_size` is {batch_size}, expected a positive multiple of the {devices} "
            "devices: "
            f"try {max(devices, batch_size // devices * devices)}"
        )
    if rows < (batch_size if split == "train" else 1):
        raise InputError(
            f"split {split!r} of {prepared.dataset.name} has {rows} pairs of rows, expected at "
            "least "
            f"{batch_size if split == 'train' else 1}: lower train.batch_size or change split.kind"
        )
    if devices > jax.device_count() or devices % jax.process_count():
        raise InputError(
            f"{devices} devices were asked for, expected a multiple of the {jax.process_count()} "
            "processes and at most "
            f"the {jax.device_count()} that jax sees: lower the number of devices"
        )


def _local_shards(shards: int) -> Int[np.ndarray, "Q"]:
    """Numbers of the shards that this process holds: pmap's devices are in the order of the
    processes."""
    mine = shards // jax.process_count()
    return np.arange(mine, dtype=np.int32) + mine * jax.process_index()


def _data(
    prepared: Prepared,
    cells: dict[str, Any],
    items: np.ndarray,
    local: np.ndarray,
    total: int,
    unit_scale: np.ndarray | None,
    split: str,
) -> SpectraData:
    pairs, draws = prepared.pairs, prepared.draws
    by_gene = 1.0 if unit_scale is None else np.asarray(unit_scale)
    names = ("upper", "lower", "replicate", "condition", "batch")
    columns = {name: getattr(pairs, name).astype(np.int32) for name in names}
    if pairs.dose is not None:
        columns["dose"], columns["control_dose"] = pairs.dose.astype(np.float32).T
    lower, lower_row = _lower_rows(prepared, split)
    if lower_row is not None:
        columns["lower_row"] = lower_row
    fields: dict[str, Any] = {
        "cells": cells,
        "shard": local,
        "size": ((total - local + len(items) - 1) // len(items)).astype(np.int32),
        "item": items[local].astype(np.int32),
        "pairs": columns,
        "draws": _narrow_first(prepared),
        "pool_batch": prepared.spectra.batch[draws.spectrum].astype(np.int32),
        "scale": (prepared.affine.scale / by_gene).astype(np.float32),
        "shift": (prepared.affine.shift / by_gene).astype(np.float32),
        "lower_rows": (lower / by_gene).astype(np.float32),
        "condition_treatments": prepared.dataset.condition_treatments.astype(np.float32),
    }
    return SpectraData(**fields)


def _narrow_first(prepared: Prepared) -> Int[np.ndarray, "S R D"]:
    """Draws with the cells of few counts first: those read together are then of like length; the
    mean is the same."""
    cells = prepared.draws.cells
    if prepared.unit == "cell":
        return cells
    width, out = np.diff(prepared.dataset.counts.indptr), np.empty_like(cells)
    for pool, rows in enumerate(cells):
        out[pool] = np.take_along_axis(rows, np.argsort(width[rows], axis=1, kind="stable"), axis=1)
    return out


def _lower_rows(prepared: Prepared, split: str) -> tuple[np.ndarray, Int[np.ndarray, "M"] | None]:
    """The distinct lower rows of the split and each pair's, where few enough: a line's controls
    serve all its pairs."""
    pairs, own, genes = prepared.pairs, prepared.pair_numbers(split), len(prepared.dataset.genes)
    replicates = prepared.draws.cells.shape[1]
    key, place = np.unique(
        pairs.lower[own].astype(np.int64) * replicates + pairs.replicate[own], return_inverse=True
    )
    if prepared.unit == "cell" or 4 * len(key) * genes > CONTROL_BYTES:
        return np.zeros((1, genes), np.float32), None
    rows = np.empty((len(key), genes), np.float32)
    for start in range(0, len(key), BLOCK):
        some = key[start : start + BLOCK]
        rows[start : start + BLOCK] = drawn_rows(prepared, some // replicates, some % replicates)
    of_pair = np.zeros(len(pairs.part), np.int32)
    of_pair[own] = place
    return rows, of_pair


def _place(data: SpectraData, shards: int, devices: int) -> SpectraData:
    """Move to the device(s); with several, every leaf gets a leading axis over this process's
    devices."""
    if devices == 1:
        return jax.device_put(data)
    local = devices // jax.process_count()
    divided = ("shard", "size", "item")

    def repeat(leaf: np.ndarray) -> np.ndarray:
        return np.broadcast_to(leaf, (local, *leaf.shape))

    def divide(leaf: np.ndarray) -> np.ndarray:
        return leaf.reshape(local, shards // local, *leaf.shape[1:])

    parts = {
        name: jax.tree.map(divide if name in divided else repeat, leaf)
        for name, leaf in data._asdict().items()
    }
    return jax.pmap(lambda leaf: leaf)(SpectraData(**parts))
