"""Batches of pairs of rows, made on the device from the cells' counts and the tables of draws."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.types import Feed, InputError
from jaxpert.data import shards
from jaxpert.data.counts import row_blocks
from jaxpert.data.mapped import is_mapped
from jaxpert.data.shards import Deal
from jaxpert.data.windows import Source, windows_of
from jaxpert.tasks.translation.batch import (
    DIVIDED,
    Layout,
    PairData,
    draw_batch,
    window_order,
)
from jaxpert.tasks.translation.log_scale import log_values
from jaxpert.tasks.translation.matrices import aligned
from jaxpert.tasks.translation.prepare import Prepared
from jaxpert.tasks.translation.rows import BLOCK, drawn_rows

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
    the drawn cells where each is a row. Training has a new order in every epoch and drops the last
    partial batch; other splits pad it under a False mask.

    Args:
      batch_size: pairs of the whole batch, over all devices.
      devices: devices of all processes. Pairs are dealt into shards as by `data.make_feed`, cells
        and draws are on every device.
      unit_scale: largest value per gene (`training_rows_per_gene_scale`): rows are divided by it.
      layout: "dense" keeps log values [cells, genes] in float32, "csr" only the counts, of which it
        takes the logarithm and adds up in every step, "stream" makes the rows of a few steps on the
        host, ahead of them (equal but for rounding); "auto" takes dense while it fits
        `memory_bytes` (by default half a GiB on CPU, a quarter of an accelerator's memory), and
        stream for counts that are kept on disk. On CPU the counts of `load_lines` are used in
        place, without a copy.
      cells: what another feed of the same data holds, to share it (see `make_feeds`).

    Raises InputError for a split without pairs, fewer training pairs than a batch, or a batch that
    the devices do not divide.
    """
    training = split == "train"
    numbers = _row_numbers(prepared, split)
    dealt = shards.deal(numbers, batch_size, devices, drop_last=training)
    _require_rows(prepared, split, len(numbers), batch_size)
    # Feeds of one data set share the cells, which are by far the largest part.
    if _streams(prepared, layout):
        placed = shards.place(_data(prepared, {}, dealt, unit_scale, split), DIVIDED, devices)
        source = _rows_source(prepared, dealt, unit_scale)
        ahead = windows_of(source, dealt, placed, shuffle=training, devices=devices)
        batch = functools.partial(draw_batch, _static(prepared, dealt, {"dense": None}))
        return Feed(placed, window_order, batch, dealt.steps, len(numbers), ahead)
    counts = cells or device_cells(prepared, layout, memory_bytes)
    data = shards.place(_data(prepared, counts, dealt, unit_scale, split), DIVIDED, devices)
    order = functools.partial(shards.draw_order, dealt.rows.shape[1], dealt.drawn, training)
    batch = functools.partial(draw_batch, _static(prepared, dealt, counts))
    return Feed(data, order, batch, dealt.steps, len(numbers))


def _streams(prepared: Prepared, layout: str) -> bool:
    """Whether rows are made on the host, ahead of their steps."""
    return layout == "stream" or layout == "auto" and is_mapped(prepared.dataset.counts)


def _rows_source(prepared: Prepared, dealt: Deal, unit_scale: np.ndarray | None) -> Source:
    """Rows of pairs by their numbers as in `PairData.item`."""
    pairs, deep, genes = prepared.pairs, _deep(prepared), len(prepared.dataset.genes)
    by_gene = 1.0 if unit_scale is None else np.asarray(unit_scale)

    def made(pools: np.ndarray, item: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n G"]:
        rows = np.empty((len(item), genes), np.float32)
        for start in range(0, len(item), BLOCK):
            some = item[start : start + BLOCK]
            pair, place = (some // deep, some % deep) if deep else (some, None)
            drawn = drawn_rows(prepared, pools[pair], pairs.replicate[pair], place)
            rows[start : start + BLOCK] = drawn / by_gene
        return rows

    def cut(item: Int[np.ndarray, "*w"]) -> dict[str, Any]:
        upper, lower = (made(pools, item.ravel()) for pools in (pairs.upper, pairs.lower))
        shape = *item.shape, genes
        cells = {"upper": upper.reshape(shape), "lower": lower.reshape(shape)}
        return {"cells": cells, "item": item.astype(np.int32)}

    def shapes(axes: tuple[int, ...]) -> dict[str, Any]:
        rows = jax.ShapeDtypeStruct((*axes, genes), np.float32)
        return {
            "cells": {"upper": rows, "lower": rows},
            "item": jax.ShapeDtypeStruct(axes, np.int32),
        }

    return Source(cut, shapes, 2 * 4 * genes * len(dealt.local) * dealt.share)


def _require_rows(prepared: Prepared, split: str, rows: int, batch_size: int) -> None:
    """Refuse a split that gives no batch; only training needs a full one."""
    fewest = batch_size if split == "train" else 1
    if rows < fewest:
        raise InputError(
            f"split {split!r} of {prepared.dataset.name} has {rows} pairs of rows, "
            f"expected at least {fewest}: lower train.batch_size or change split.kind"
        )


def _static(prepared: Prepared, dealt: Deal, cells: dict[str, Any]) -> Layout:
    """The numbers that compiled code is made for."""
    # A unit of 0 tells the device that values are not to be logged.
    unit = 0.0 if prepared.scale.kind == "given" else prepared.scale.unit
    width = 0
    if "dense" not in cells:
        # The widest cell decides, up to WINDOW: wider ones are read in several steps.
        widest = int(np.diff(prepared.dataset.counts.indptr).max())
        width = max(1, min(WINDOW, widest))
    return Layout(dealt.share, len(prepared.dataset.genes), width, unit, _deep(prepared))


def make_feeds(
    prepared: Prepared, batch_size: int, devices: int = 1, **settings: Any
) -> tuple[Feed, Feed | None]:
    """The feeds of training and validation (None where nothing validates), with one copy of the
    cells between them."""
    train = make_feed(prepared, "train", batch_size, devices, **settings)
    if not len(prepared.pair_numbers("val")):
        return train, None
    # Over several devices arrays are laid out by the first feed, so they are made anew.
    if devices == 1 and train.windows is None:
        settings["cells"] = train.data.cells
    return train, make_feed(prepared, "val", batch_size, devices, **settings)


def device_cells(prepared: Prepared, layout: str, memory_bytes: int | None) -> dict[str, Any]:
    """The cells in one of the layouts, on the host still."""
    counts, scale = prepared.dataset.counts, prepared.scale
    # float32 takes 4 bytes.
    dense_bytes = 4 * counts.shape[0] * counts.shape[1]
    if shards.is_dense(layout, dense_bytes, memory_bytes, CPU_DENSE_BYTES):
        return {"dense": _dense(prepared)}
    # Positions on the device are int32, which halves the tables of indices.
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
    # The cap is that of clipped z-scores, applied to stored entries alone.
    if scale.cap is not None:
        cells |= {"file": scale.file, "cap": scale.cap.astype(np.float32)}
    return cells


def _dense(prepared: Prepared) -> np.ndarray:
    counts = prepared.dataset.counts
    # Aligned memory is used by JAX on CPU in place, without a second copy.
    out = aligned(counts.shape[0] * counts.shape[1], np.dtype(np.float32)).reshape(counts.shape)
    out[:] = 0
    # Block by block, so that the logarithms need little memory beside the result.
    for rows, block in row_blocks(counts):
        cell = np.repeat(np.arange(rows.start, rows.stop), np.diff(block.indptr))
        out[cell, block.indices] = log_values(prepared.scale, block, rows)
    return out


def _deep(prepared: Prepared) -> int:
    """Drawn cells of a pair that are rows of their own; 0 where their mean is the row."""
    return prepared.draws.cells.shape[2] if prepared.unit == "cell" else 0


def _row_numbers(prepared: Prepared, split: str) -> Int[np.ndarray, "rows"]:
    """Numbers of the rows of a split as in `PairData.item`."""
    pairs, deep = prepared.pair_numbers(split), _deep(prepared)
    if not deep:
        return pairs
    # Each drawn cell of a pair is an item of its own.
    return (pairs[:, None] * deep + np.arange(deep)).ravel()


def _data(
    prepared: Prepared,
    cells: dict[str, Any],
    dealt: Deal,
    unit_scale: np.ndarray | None,
    split: str,
) -> PairData:
    pairs, draws = prepared.pairs, prepared.draws
    # The map and the kept rows are divided alike, which divides every adjusted row.
    by_gene = 1.0 if unit_scale is None else np.asarray(unit_scale)
    columns: dict[str, np.ndarray] = {}
    for name in ("upper", "lower", "replicate", "condition", "batch"):
        columns[name] = getattr(pairs, name).astype(np.int32)
    if pairs.dose is not None:
        columns["dose"], columns["control_dose"] = pairs.dose.astype(np.float32).T
    lower, lower_row = np.zeros((1, len(prepared.dataset.genes)), np.float32), None
    # Windows bring their rows with them.
    if cells:
        lower, lower_row = _lower_rows(prepared, split)
    # Rows of controls are looked up where they fit, and made in every step where they do not.
    if lower_row is not None:
        columns["lower_row"] = lower_row
    fields: dict[str, Any] = {
        "cells": cells,
        "shard": dealt.local,
        "size": dealt.size,
        "item": dealt.rows[dealt.local].astype(np.int32),
        "pairs": columns,
        "draws": _narrow_first(prepared),
        "pool_batch": prepared.pseudobulk.batch[draws.group].astype(np.int32),
        "scale": (prepared.affine.scale / by_gene).astype(np.float32),
        "shift": (prepared.affine.shift / by_gene).astype(np.float32),
        "lower_rows": (lower / by_gene).astype(np.float32),
        "condition_treatments": prepared.dataset.condition_treatments.astype(np.float32),
    }
    return PairData(**fields)


def _narrow_first(prepared: Prepared) -> Int[np.ndarray, "S R D"]:
    """Draws with the cells of few counts first: those read together are then of like length; the
    mean is the same."""
    cells = prepared.draws.cells
    if prepared.unit == "cell":
        return cells
    width, out = np.diff(prepared.dataset.counts.indptr), np.empty_like(cells)
    for pool, rows in enumerate(cells):
        # Stable, so that draws of equal length keep their order and sums their rounding.
        out[pool] = np.take_along_axis(rows, np.argsort(width[rows], axis=1, kind="stable"), axis=1)
    return out


def _lower_rows(prepared: Prepared, split: str) -> tuple[np.ndarray, Int[np.ndarray, "M"] | None]:
    """The distinct lower rows of the split and each pair's, where few enough: a line's controls
    serve all its pairs."""
    pairs, here, genes = prepared.pairs, prepared.pair_numbers(split), len(prepared.dataset.genes)
    # One number for pool and replicate, so that distinct pairs are found by one sort.
    replicates = prepared.draws.cells.shape[1]
    key, place = np.unique(
        pairs.lower[here].astype(np.int64) * replicates + pairs.replicate[here], return_inverse=True
    )
    # Where every cell is a row there are too many lower rows to be kept.
    if prepared.unit == "cell" or 4 * len(key) * genes > CONTROL_BYTES:
        return np.zeros((1, genes), np.float32), None
    rows = np.empty((len(key), genes), np.float32)
    for start in range(0, len(key), BLOCK):
        # The key is taken apart again into pool and replicate.
        some = key[start : start + BLOCK]
        rows[start : start + BLOCK] = drawn_rows(prepared, some // replicates, some % replicates)
    # Rows of other parts are never asked for by this feed; their 0 stands for nothing.
    of_pair = np.zeros(len(pairs.part), np.int32)
    of_pair[here] = place
    return rows, of_pair
