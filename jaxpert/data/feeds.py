"""One split of a data set, resident on the device, and the pure functions that draw batches from
it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from jaxpert.core.types import Batch, Dataset, Feed, InputError

SHARDS = 8
"""Cells are dealt into this many shards where the batch size allows, so that 1, 2, 4 and 8 devices
agree."""
CPU_DENSE_BYTES = 2**30
EXACT_FLOAT32 = 2**24
CONTROL_STREAM = np.uint32(2**32 - 1)
"""Less a slot's number, folded into a step's key to draw the slot's control: apart from the numbers
of slots."""


class Cells(NamedTuple):
    """What `Feed.data` holds on one device: Q of the S shards, each of L cells (the last may be
    padding)."""

    counts: dict[str, Array]
    """{"dense": [Q, L, G]} or {"genes": [Q, M], "values": [Q, M], "start": [Q, L + 1]}, unsigned
    integers."""
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


class _Layout(NamedTuple):
    """The static numbers behind a feed."""

    share: int
    """Cells that a batch takes from each shard."""
    length: int
    """Cells per shard, padding included."""
    steps: int
    genes: int
    width: int
    """Most nonzeros in one cell (compressed counts only)."""


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

    Every cell is drawn once per epoch. Cells are dealt in turn into S = lcm(gcd(8, batch_size),
    devices) shards and every batch takes batch_size / S cells of each, so that any number of
    devices dividing S sees the same batches, slot by slot. Rows of padding repeat real cells (so
    that nothing is undefined) under a False mask.

    Args:
        batch_size: cells of the whole batch, over all devices of all processes.
        shuffle: new order in every epoch; False draws the cells in file order (validation).
        tables: whole arrays for `Batch.extras`, the same for every batch (e.g. `treatment_cells
            [T]`).
        devices: devices of all processes; each process loads only the shards of its own.
        layout: "dense" keeps [cells, genes] of the smallest exact unsigned type, "csr" only the
            nonzeros, scattered inside the step (identical batches); "auto" takes dense while it
            fits `memory_bytes` per device (by default 1 GiB on CPU, a quarter of an accelerator's
            memory).
        control_cells: most control cells kept to match with, shared equally by the strata, evenly
            spaced in file order. They come from this split, else from training, else from all
            strata (see `unmatched_strata`).
        pairs: row of the control cell of every cell of the data set (`pairing.pair_controls`), the
            same in every epoch; None draws a new one of `control_cells` in every step.
        drop_last: leave out the incomplete last batch of an epoch (other cells in each, where they
            are shuffled).

    Raises InputError for an empty split, a batch size that the devices do not divide or that no
    batch fills, too few devices, no controls, or counts over 2^24 (not exact in float32).
    """
    rows = dataset.rows(split)
    _check(dataset, split, rows, batch_size, devices, drop_last)
    dealt = _deal(rows, batch_size, devices)
    local = _local_shards(len(dealt))
    dtype = _count_type(dataset)
    pack = _packing(
        layout, dealt.size * len(dataset.genes) * dtype.itemsize // devices, memory_bytes
    )
    counts, width = pack(dataset.counts, dealt[local], dtype)
    if pairs is None:
        pool, pair = _control_pool(dataset, rows, control_cells, dtype), None
    else:
        pool, pair = _paired_pool(dataset, pairs[dealt[local]], dtype)
    cells = _cells(dataset, counts, dealt, local, len(rows), pool, tables or {})._replace(pair=pair)
    steps = len(rows) // batch_size if drop_last else math.ceil(len(rows) / batch_size)
    static = _Layout(batch_size // len(dealt), dealt.shape[1], steps, len(dataset.genes), width)
    functions = functools.partial(_order, static, shuffle), functools.partial(_batch, static)
    return Feed(_place(cells, len(local), devices), *functions, steps, len(rows))


def unmatched_strata(dataset: Dataset, split: str) -> tuple[str, ...]:
    """Strata of the split without control cells in it or in training: `Batch.control` ignores their
    stratum."""
    control = dataset.condition == dataset.control
    rows = np.concatenate([dataset.rows(split), _training_rows(dataset)])
    have = set(dataset.stratum[rows[control[rows]]].tolist())
    return tuple(
        dataset.strata[s] for s in np.unique(dataset.stratum[dataset.rows(split)]) if s not in have
    )


def _check(
    dataset: Dataset, split: str, rows: np.ndarray, batch_size: int, devices: int, drop_last: bool
) -> None:
    if not len(rows):
        raise InputError(
            f"split {split!r} of {dataset.name} holds no cells, expected at least one: change "
            "`split.kind`"
        )
    if batch_size < 1 or batch_size % devices:
        raise InputError(
            f"`train.batch_size` is {batch_size}, expected a positive multiple of the {devices} "
            "devices: "
            f"try {max(devices, batch_size // devices * devices)}"
        )
    if drop_last and len(rows) < batch_size:
        raise InputError(
            f"split {split!r} of {dataset.name} holds {len(rows)} cells, which fill no batch of "
            f"{batch_size}: lower "
            "`train.batch_size` or set `train.drop_last` to False"
        )
    if devices > jax.device_count() or devices % jax.process_count():
        raise InputError(
            f"{devices} devices were asked for, expected a multiple of the {jax.process_count()} "
            "processes and at most "
            f"the {jax.device_count()} that jax sees: lower the number of devices"
        )


def _deal(rows: np.ndarray, batch_size: int, devices: int) -> Int[np.ndarray, "S L"]:
    """Row numbers by shard; padding repeats rows from the start."""
    shards = math.lcm(math.gcd(SHARDS, batch_size), devices)
    length = math.ceil(len(rows) / shards)
    return np.resize(rows, shards * length).reshape(length, shards).T


def _local_shards(shards: int) -> Int[np.ndarray, "Q"]:
    """Numbers of the shards that this process holds: pmap's devices are in the order of the
    processes."""
    mine = shards // jax.process_count()
    return np.arange(mine, dtype=np.int32) + mine * jax.process_index()


def _count_type(dataset: Dataset) -> np.dtype:
    top = int(dataset.counts.data.max(initial=0))
    if top > EXACT_FLOAT32:
        raise InputError(
            f"the largest count of {dataset.name} is {top}, expected at most {EXACT_FLOAT32} "
            "(exact in float32): "
            "give raw counts"
        )
    return np.min_scalar_type(top)


def _packing(layout: str, dense_bytes: int, limit: int | None) -> Callable:
    """Return the function that packs counts in this layout."""
    if layout not in ("auto", "dense", "csr"):
        raise ValueError(f"layout is {layout!r}, expected 'auto', 'dense' or 'csr'")
    if limit is None:
        stats = jax.local_devices()[0].memory_stats() or {}
        limit = stats["bytes_limit"] // 4 if "bytes_limit" in stats else CPU_DENSE_BYTES
    return (
        _dense if layout == "dense" or (layout == "auto" and dense_bytes <= limit) else _compressed
    )


def _dense(
    counts: Any, dealt: Int[np.ndarray, "Q L"], dtype: np.dtype
) -> tuple[dict[str, np.ndarray], int]:
    out = np.zeros((*dealt.shape, counts.shape[1]), dtype)
    for shard, rows in enumerate(dealt):
        counts[rows].astype(dtype, copy=False).toarray(out=out[shard])
    return {"dense": out}, 0


def _compressed(
    counts: Any, dealt: Int[np.ndarray, "Q L"], dtype: np.dtype
) -> tuple[dict[str, np.ndarray], int]:
    """Each shard's nonzeros end to end, with room behind them for a window of the widest cell."""
    nonzeros = np.diff(counts.indptr)[dealt]
    width = max(1, int(nonzeros.max()))
    capacity = int(nonzeros.sum(1, dtype=np.int64).max()) + width
    if capacity > np.iinfo(np.int32).max:
        raise InputError(
            f"a shard holds {capacity} nonzero counts, expected fewer than 2^31: use more devices"
        )
    genes = np.zeros((len(dealt), capacity), np.uint16 if counts.shape[1] <= 2**16 else np.int32)
    values = np.zeros((len(dealt), capacity), dtype)
    for shard, rows in enumerate(dealt):
        part = counts[rows]  # a copy of one shard only
        genes[shard, : part.nnz], values[shard, : part.nnz] = part.indices, part.data
    start = np.pad(np.cumsum(nonzeros, axis=1, dtype=np.int32), ((0, 0), (1, 0)))
    return {"genes": genes, "values": values, "start": start}, width


def _cells(
    dataset: Dataset,
    counts: dict,
    dealt: np.ndarray,
    local: np.ndarray,
    total: int,
    pool: tuple[np.ndarray, ...],
    tables: Mapping[str, Any],
) -> Cells:
    mine = dealt[local]
    failed = dataset.quality.failed[mine] if dataset.quality else np.zeros(mine.shape)
    fields: dict[str, Any] = {
        "counts": counts,
        "shard": local,
        "size": ((total - local + len(dealt) - 1) // len(dealt)).astype(np.int32),
        "condition": dataset.condition[mine].astype(np.int32),
        "stratum": dataset.stratum[mine].astype(np.int32),
        "failed": failed.astype(np.float32),
        "condition_treatments": dataset.condition_treatments.astype(np.float32),
        "pool": pool[0],
        "pool_start": pool[1],
        "pool_size": pool[2],
        "tables": {name: np.asarray(table) for name, table in tables.items()},
    }
    return Cells(**fields)


def _training_rows(dataset: Dataset) -> np.ndarray:
    return dataset.rows("all" if dataset.split is None else "train")


def _control_pool(
    dataset: Dataset, rows: np.ndarray, most: int, dtype: np.dtype
) -> tuple[np.ndarray, Int[np.ndarray, "strata"], Int[np.ndarray, "strata"]]:
    """Dense control cells sorted by stratum, and where each stratum's begin and how many they
    are."""
    here = rows[dataset.condition[rows] == dataset.control]
    training = _training_rows(dataset)
    training = training[dataset.condition[training] == dataset.control]
    anywhere = here if len(here) else training
    chosen = []
    for stratum in range(len(dataset.strata)):
        own = (part[dataset.stratum[part] == stratum] for part in (here, training))
        candidates = next((part for part in own if len(part)), anywhere)
        take = min(len(candidates), max(1, most // len(dataset.strata)))
        chosen.append(
            candidates[np.linspace(0, len(candidates) - 1, take).astype(int)]
            if take
            else candidates
        )
    size = np.array([len(part) for part in chosen], np.int32)
    if not size.any():
        raise InputError(
            f"{dataset.name} holds no control cells ({dataset.conditions[dataset.control]!r}) in "
            "this split or in "
            "training, expected some to match cells with: check `data.control`"
        )
    start = (np.cumsum(size) - size).astype(np.int32)
    return dataset.counts[np.concatenate(chosen)].astype(dtype, copy=False).toarray(), start, size


def _paired_pool(
    dataset: Dataset, pairs: Int[np.ndarray, "Q L"], dtype: np.dtype
) -> tuple[tuple[np.ndarray, ...], Int[np.ndarray, "Q L"]]:
    """The control cells that some cell is paired with, and the place of each cell's own."""
    chosen, place = np.unique(pairs, return_inverse=True)
    unused = np.zeros(len(dataset.strata), np.int32)
    counts = dataset.counts[chosen].astype(dtype, copy=False).toarray()
    return (counts, unused, unused), place.reshape(pairs.shape).astype(np.int32)


def _place(cells: Cells, shards: int, devices: int) -> Cells:
    """Move to the device(s); with several, every leaf gets a leading axis over this process's
    devices."""
    if devices == 1:
        return jax.device_put(cells)
    local = devices // jax.process_count()
    shared = ("condition_treatments", "pool", "pool_start", "pool_size", "tables")

    def repeat(leaf: np.ndarray) -> np.ndarray:
        return np.broadcast_to(leaf, (local, *leaf.shape))

    def divide(leaf: np.ndarray) -> np.ndarray:
        return leaf.reshape(local, shards // local, *leaf.shape[1:])

    parts = {
        name: jax.tree.map(repeat if name in shared else divide, leaf)
        for name, leaf in cells._asdict().items()
    }
    return jax.pmap(lambda leaf: leaf)(Cells(**parts))


def _order(
    static: _Layout, shuffle: bool, data: Cells, key: PRNGKeyArray, epoch: Int[Array, ""]
) -> Int[Array, "Q drawn"]:
    """Positions within each shard in the order of drawing: cells first, padding last."""
    positions = jnp.arange(static.length, dtype=jnp.int32)
    if shuffle:
        key = jax.random.fold_in(key, epoch)
        positions = jax.vmap(lambda s, n: _permutation(jax.random.fold_in(key, s), positions, n))(
            data.shard, data.size
        )
    else:
        positions = jnp.broadcast_to(positions, (data.shard.shape[0], static.length))
    return jnp.pad(positions, ((0, 0), (0, max(0, static.steps * static.share - static.length))))


def _permutation(
    key: PRNGKeyArray, positions: Int[Array, "L"], size: Int[Array, ""]
) -> Int[Array, "L"]:
    bits = jax.random.bits(key, positions.shape, jnp.uint32)
    last = jnp.uint32(2**32 - 1)
    # The sort is stable, so a cell that happens to draw the highest number still comes before the
    # padding.
    return positions[jnp.argsort(jnp.where(positions < size, bits, last), stable=True)]


def _batch(
    static: _Layout,
    data: Cells,
    key: PRNGKeyArray,
    order: Int[Array, "Q drawn"],
    step: Int[Array, ""],
) -> Batch:
    """The cells that step `step` of the epoch takes from the shards on this device."""
    share = static.share
    drawn = jax.lax.dynamic_slice_in_dim(order, step * share, share, axis=1)
    place = jnp.arange(share, dtype=jnp.int32)
    slot = (data.shard[:, None] * share + place).reshape(-1)
    mask = (step * share + place < data.size[:, None]).reshape(-1)

    def pick(leaf: Array) -> Array:
        return jnp.take_along_axis(leaf, drawn, axis=1).reshape(-1)

    condition, stratum = pick(data.condition), pick(data.stratum)
    own_control = _controls(data, key, stratum, slot) if data.pair is None else pick(data.pair)
    return Batch(
        x=_counts(static, data.counts, drawn).astype(jnp.float32),
        control=data.pool[own_control].astype(jnp.float32),
        treatment=data.condition_treatments[condition],
        condition=condition,
        stratum=stratum,
        mask=mask,
        slot=slot,
        extras={"failed": pick(data.failed), **data.tables},
    )


def _counts(
    static: _Layout, counts: dict[str, Array], drawn: Int[Array, "Q share"]
) -> Shaped[Array, "B G"]:
    if "dense" in counts:
        return jax.vmap(lambda cells, row: cells[row])(counts["dense"], drawn).reshape(
            -1, static.genes
        )
    window = jnp.arange(static.width, dtype=jnp.int32)
    begin = jnp.take_along_axis(counts["start"], drawn, axis=1)
    inside = window < (jnp.take_along_axis(counts["start"], drawn + 1, axis=1) - begin)[..., None]
    genes, values = (_windows(counts[name], begin, static.width) for name in ("genes", "values"))
    return _scatter(genes.astype(jnp.int32), values, inside, static.genes)


def _windows(
    flat: Shaped[Array, "Q M"], begin: Int[Array, "Q share"], width: int
) -> Shaped[Array, "Q share width"]:
    def cut(line: Array, at: Array) -> Array:
        return jax.lax.dynamic_slice(line, (at,), (width,))

    return jax.vmap(jax.vmap(cut, (None, 0)))(flat, begin)


def _scatter(
    genes: Int[Array, "Q share width"],
    values: Shaped[Array, "Q share width"],
    inside: Bool[Array, "Q share width"],
    width: int,
) -> Float[Array, "B G"]:
    """Dense counts from nonzeros; what lies behind a cell's own nonzeros goes to column `width`,
    which is dropped."""
    rows = genes.shape[0] * genes.shape[1]
    column = jnp.where(inside, genes, width).reshape(rows, -1)
    value = values.astype(jnp.float32).reshape(rows, -1)
    return (
        jnp.zeros((rows, width), jnp.float32)
        .at[jnp.arange(rows)[:, None], column]
        .add(value, mode="drop")
    )


def _controls(
    data: Cells, key: PRNGKeyArray, stratum: Int[Array, "B"], slot: Int[Array, "B"]
) -> Int[Array, "B"]:
    """Places in the pool, drawn at random among those of each cell's stratum."""

    def draw(place: Array) -> Array:
        return jax.random.bits(
            jax.random.fold_in(key, CONTROL_STREAM - place.astype(jnp.uint32)), (), jnp.uint32
        )

    # The remainder favours the first controls by less than one in 2^32 / size, and costs one random
    # number.
    pick = jax.vmap(draw)(slot) % data.pool_size[stratum].astype(jnp.uint32)
    return data.pool_start[stratum] + pick.astype(jnp.int32)
