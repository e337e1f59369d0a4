"""The counts of several files in one matrix, aligned so that JAX on CPU uses it in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxpert.core.types import InputError
from jaxpert.data.counts import smallest_unsigned, value_blocks
from jaxpert.data.files import Table
from jaxpert.data.mapped import Store, select
from jaxpert.data.read import labelled, load_counts

ALIGNMENT = 64
"""Bytes; JAX on CPU uses arrays so aligned without copying them."""


def read_matrix(
    table: Table, genes: tuple[str, ...], normalised: bool, store: Store | None = None
) -> Any:
    """The matrix of one source, its genes in the common order."""
    names = np.asarray(table.var.index, dtype=str)
    wanted = np.isin(names, genes)
    if normalised:
        counts = _read_values(table)[:, wanted]
    else:
        counts = load_counts(table, None, wanted, store)
    order = np.argsort(names[wanted])
    # Genes that are in order already are not moved, which would copy the matrix.
    if (order != np.arange(len(order))).any():
        counts = select(counts, columns=order)
    counts.sort_indices()
    return counts


def _read_values(table: Table) -> Any:
    """Normalised values as float32; they may be negative but not missing."""
    from scipy import sparse

    blocks = []
    for block in value_blocks(labelled(table)):
        with np.errstate(over="ignore"):
            # Before the check, so that what float32 cannot hold is seen as well.
            block = block.astype(np.float32)
        if not np.isfinite(block.data).all():
            raise InputError(
                f"layer {table.layer!r} of {table.source} holds NaN or infinite values, expected "
                "normalised expression: fill them in or leave those genes out"
            )
        blocks.append(block)
    return sparse.vstack(blocks, format="csr")


def stack(matrices: Sequence[Any]) -> Any:
    """All cells in one CSR matrix of the smallest type, aligned so that JAX on CPU can use it in
    place."""
    from scipy import sparse

    entries = sum(matrix.nnz for matrix in matrices)
    kind = np.dtype(np.float32)
    if all(matrix.dtype.kind == "u" for matrix in matrices):
        kind = smallest_unsigned(max(int(matrix.data.max(initial=0)) for matrix in matrices))
    # Written into one array part by part, so that counts are never held twice for long.
    data = aligned(entries, kind)
    indices = aligned(entries, np.dtype(np.int32))
    start, stops = 0, [np.zeros(1, np.int64)]
    for matrix in matrices:
        stop = start + matrix.nnz
        data[start:stop], indices[start:stop] = matrix.data, matrix.indices
        stops.append(matrix.indptr[1:].astype(np.int64) + start)
        start = stop
    indptr = np.concatenate(stops)
    # 32-bit pointers where they suffice, as JAX reads them.
    if entries <= np.iinfo(np.int32).max:
        indptr = indptr.astype(np.int32)
    shape = (len(indptr) - 1, matrices[0].shape[1])
    return sparse.csr_matrix((data, indices, indptr), shape=shape, copy=False)


def aligned(size: int, dtype: np.dtype) -> np.ndarray:
    """Uninitialised array that starts at a multiple of 64 bytes."""
    # Of the type itself, not of bytes: SciPy copies an array that has less than half the elements
    # of its base.
    raw = np.empty(size + ALIGNMENT // dtype.itemsize, dtype)
    offset = -raw.ctypes.data % ALIGNMENT // dtype.itemsize
    return raw[offset : offset + size]
