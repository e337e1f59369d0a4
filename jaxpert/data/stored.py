"""A stored matrix of any form, looked at block by block as it is stored.

anndata tells the form of a matrix on disk and where its parts lie; neither it nor SciPy looks at
the indices. Here each of them is checked before anything is cast, so that a damaged file cannot
be read as other counts.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil, prod
from typing import Any, NamedTuple

import numpy as np

from jaxpert.core.stages import track
from jaxpert.core.types import InputError

BLOCK_ENTRIES = 4_000_000
"""Matrix entries looked at together: bounds the memory that reading takes beside the result."""
LONGEST_REASON = 240
"""Characters of what a library says of an error."""


class Labelled(NamedTuple):
    """A stored matrix with the names that its error messages need."""

    matrix: Any
    """Dense array, SciPy CSR/CSC, anndata's backed sparse data set, or an array on disk."""
    cells: np.ndarray
    genes: np.ndarray
    source: str
    layer: str
    layers: Sequence[str]
    """All layers of the source, "X" included."""


class Stored(NamedTuple):
    """A matrix whose shape, types and pointers were checked; its values are still where they were.

    The major axis is that of the pointers: cells in CSR and dense matrices, genes in CSC.
    """

    of: Labelled
    form: str
    """csr, csc or dense."""
    shape: tuple[int, int]
    """Along the major and the other axis."""
    data: Any
    indices: Any = None
    indptr: Any = None


class Block(NamedTuple):
    """The entries of consecutive rows of the major axis, not cast and in the order of the file."""

    values: np.ndarray
    minor: np.ndarray
    """Place along the other axis, int32 and inside the shape."""
    indptr: np.ndarray
    """Where the entries of each row begin, and the end of the last."""
    major: np.ndarray
    """Numbers of the rows in the matrix."""


@contextmanager
def reading(what: str, fix: str) -> Iterator[None]:
    """Turn whatever a library raises while it reads into an `InputError`."""
    try:
        with warnings.catch_warnings():
            # Libraries warn of old forms, which are read all the same.
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except Exception as error:
        # Of every kind: in a damaged file libraries fail wherever they first stumble.
        reason = " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__
        raise InputError(
            f"{what} cannot be read to its end ({reason}), expected a whole one: {fix}"
        ) from error


def open_matrix(labelled: Labelled) -> Stored:
    """Look at any of the forms in which a matrix comes; of its entries nothing is read yet."""
    form = getattr(labelled.matrix, "format", "dense")
    if form not in ("csr", "csc"):
        return _open_dense(labelled, form)
    with _reading(labelled):
        parts = _parts(labelled.matrix)
        arrays = [parts[name] for name in ("data", "indices", "indptr")]
    for array, kinds in zip(arrays, ("buif", "iu", "iu"), strict=True):
        _check_array(labelled, array, kinds, dimensions=1)
    cells_first = (len(labelled.cells), len(labelled.genes))
    _check_shape(labelled, parts.get("shape"), cells_first)
    data, indices, indptr = arrays
    # Pointers are read whole (8 bytes a row), values and indices block by block.
    indptr = _take(labelled, indptr, slice(None))
    shape = cells_first if form == "csr" else (cells_first[1], cells_first[0])
    _check_pointers(labelled, indptr, shape[0], data.shape[0], indices.shape[0])
    return Stored(labelled, form, shape, data, indices, indptr.astype(np.int64))


def blocks(stored: Stored) -> Iterator[Block]:
    """Go once through a matrix, in copies so that the user's arrays stay as they are."""
    return _dense_blocks(stored) if stored.form == "dense" else _sparse_blocks(stored)


def block_bounds(indptr: np.ndarray, entries: int) -> np.ndarray:
    """Row numbers that cut into blocks of about `entries` stored values, each of one row at
    least."""
    bounds = [0]
    while bounds[-1] < len(indptr) - 1:
        # Pointers ascend, so the last row that fits is found by bisection.
        stop = int(np.searchsorted(indptr, indptr[bounds[-1]] + entries, side="right")) - 1
        # A row larger than a block must not keep the loop where it is.
        bounds.append(max(stop, bounds[-1] + 1))
    return np.asarray(bounds)


def cumulated(lengths: np.ndarray) -> np.ndarray:
    """Pointers of rows with these lengths, from 0 to their sum."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _parts(matrix: Any) -> Mapping[str, Any]:
    """The arrays of a sparse matrix and, on disk, the shape that its attributes tell."""
    if not hasattr(matrix, "group"):
        return {name: getattr(matrix, name) for name in ("data", "indices", "indptr", "shape")}
    group = matrix.group
    # The second name is that of files of before 2019, which anndata reads too.
    shape = group.attrs.get("shape", group.attrs.get("h5sparse_shape"))
    return {name: group[name] for name in ("data", "indices", "indptr")} | {"shape": shape}


def _open_dense(labelled: Labelled, form: str) -> Stored:
    matrix = labelled.matrix
    # A dense array that calls itself otherwise (sparse, a table) has lost its form.
    told = str(getattr(matrix, "attrs", {}).get("encoding-type", form))
    if told not in ("dense", "array"):
        raise InputError(
            f"{_named(labelled)} is stored as {told!r}, expected a dense, CSR or CSC matrix: write "
            "it again with adata.write_h5ad"
        )
    _check_array(labelled, matrix, "buif", dimensions=2)
    shape = (len(labelled.cells), len(labelled.genes))
    _check_shape(labelled, matrix.shape, shape)
    return Stored(labelled, "dense", shape, matrix)


def _check_array(labelled: Labelled, array: Any, kinds: str, dimensions: int) -> None:
    # Groups have no shape, and an array without a place on disk has None.
    shape = getattr(array, "shape", None) or ()
    if len(shape) != dimensions:
        raise _damaged(labelled, f"has a part of {len(shape)} dimensions", f"{dimensions}")
    if array.dtype.kind in kinds:
        if hasattr(array, "attrs") and dimensions == 1:
            _check_chunks(labelled, array)
        return
    if kinds == "iu":
        raise _damaged(labelled, f"has indices of type {array.dtype}", "whole numbers")
    raise InputError(
        f"{_named(labelled)} holds values of type {array.dtype}, expected counts: choose the raw "
        "counts with data.layer"
    )


def _check_chunks(labelled: Labelled, array: Any) -> None:
    """Refuse arrays on disk with pieces that were never written, which would be read as zeros."""
    if not getattr(array, "chunks", None):
        return
    with _reading(labelled):
        # h5py's arrays have an identifier that counts, zarr's count themselves.
        if hasattr(array, "nchunks_initialized"):
            expected, present = array.nchunks, array.nchunks_initialized
        else:
            lengths = zip(array.shape, array.chunks, strict=True)
            expected = prod(ceil(size / chunk) for size, chunk in lengths)
            present = array.id.get_num_chunks()
    if present < expected:
        raise _damaged(
            labelled, f"lacks {expected - present} of the {expected} pieces of a part", "all"
        )


def _check_shape(labelled: Labelled, shape: Any, expected: tuple[int, int]) -> None:
    # Compared as stored, since int() would make 24 of 24.5 and of the text "24".
    told = np.asarray(() if shape is None else shape)
    if told.dtype.kind in "iuf" and told.shape == (2,) and (told == expected).all():
        return
    raise InputError(
        f"{_named(labelled)} has shape {shape if shape is None else told.tolist()}, expected "
        f"{expected} (cells, genes): the file is damaged, write it again with adata.write_h5ad"
    )


def _check_pointers(labelled: Labelled, indptr, rows: int, values: int, indices: int) -> None:
    # SciPy trusts its pointers: wrong ones would give the counts of other cells, or none.
    if len(indptr) != rows + 1:
        raise _damaged(labelled, f"has {len(indptr)} row pointers", f"{rows + 1}")
    if values != indices:
        raise _damaged(labelled, f"has {values} values and {indices} indices", "as many")
    # Compared as stored: a difference of unsigned numbers would never be negative.
    if indptr[0] != 0 or indptr[-1] != values or (indptr[1:] < indptr[:-1]).any():
        raise _damaged(
            labelled,
            f"has row pointers that do not ascend from 0 to its {values} values",
            "ascending ones",
        )


def _sparse_blocks(stored: Stored) -> Iterator[Block]:
    bounds = block_bounds(stored.indptr, BLOCK_ENTRIES)
    parts = list(zip(bounds[:-1], bounds[1:], strict=True))
    for start, stop in track(parts, f"reading {stored.of.source}"):
        part = slice(int(stored.indptr[start]), int(stored.indptr[stop]))
        minor = _take(stored.of, stored.indices, part)
        # Before the cast, in which an index beyond 32 bits would become another one.
        if minor.size and (minor.min() < 0 or minor.max() >= stored.shape[1]):
            raise _damaged(stored.of, "has entries outside its shape", "none")
        yield Block(
            _take(stored.of, stored.data, part),
            minor.astype(np.int32),
            stored.indptr[start : stop + 1] - part.start,
            np.arange(start, stop),
        )


def _dense_blocks(stored: Stored) -> Iterator[Block]:
    rows, width = stored.shape
    step = max(1, BLOCK_ENTRIES // max(width, 1))
    for start in track(range(0, rows, step), f"reading {stored.of.source}"):
        stop = min(start + step, rows)
        values = _take(stored.of, stored.data, slice(start, stop))
        if values.shape != (stop - start, width):
            raise _damaged(
                stored.of, f"has a part of shape {values.shape}", f"{(stop - start, width)}"
            )
        # By NumPy and not SciPy, which knows neither half precision nor foreign byte orders.
        row, minor = np.nonzero(values)
        yield Block(
            values[row, minor],
            minor.astype(np.int32),
            cumulated(np.bincount(row, minlength=stop - start)),
            np.arange(start, stop),
        )


def _take(labelled: Labelled, array: Any, part: slice) -> np.ndarray:
    with _reading(labelled):
        return np.asarray(array[part])


def _reading(labelled: Labelled):
    return reading(
        _named(labelled), "the file is damaged or was cut short while being copied, fetch it again"
    )


def _named(labelled: Labelled) -> str:
    return f"layer {labelled.layer!r} of {labelled.source}"


def _damaged(labelled: Labelled, problem: str, expected: str) -> InputError:
    return InputError(
        f"{_named(labelled)} {problem}, expected {expected}: the file is damaged, write it again "
        "with adata.write_h5ad"
    )
