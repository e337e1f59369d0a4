"""Counts in files that are mapped into memory: read where they are looked at, never all at once."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

ROWS = 2048
"""Cells made dense at a time."""
PARTS = ("data", "indices")
"""The arrays of a CSR matrix that grow with its counts; its pointers are always in memory."""


def is_mapped(counts: Any) -> bool:
    """Whether the counts of a CSR matrix lie in a file."""
    return _map_of(counts.data) is not None


def release(counts: Any) -> None:
    """Give back the memory that reading mapped counts has taken; they are read again from the file
    where they are looked at again. Does nothing for counts that are in memory."""
    for part in PARTS:
        mapped = _map_of(getattr(counts, part))
        # Without this every page that was once read would stay with the process, up to the whole
        # file.
        if mapped is not None and hasattr(mapped, "madvise"):
            mapped.madvise(mmap.MADV_DONTNEED)


def dense_rows(
    counts: Any, rows: Int[np.ndarray, "*n"], dtype: np.dtype
) -> Shaped[np.ndarray, "*n G"]:
    """Rows of a CSR matrix, dense; beside the answer only a few are held at once."""
    flat = rows.ravel()
    dense = np.empty((len(flat), counts.shape[1]), dtype)
    # In the order of the file, so that a disk is read in one direction.
    order = np.argsort(flat, kind="stable")
    for start in range(0, len(flat), ROWS):
        some = order[start : start + ROWS]
        dense[some] = counts[flat[some]].astype(dtype, copy=False).toarray()
        release(counts)
    return dense.reshape(*rows.shape, counts.shape[1])


def _map_of(array: Any) -> mmap.mmap | None:
    """The mapped file behind an array, if there is one."""
    while array is not None and not isinstance(array, mmap.mmap):
        array = getattr(array, "base", None)
    return array
