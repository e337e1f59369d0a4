"""Count matrices: read block by block, checked to be raw counts, held as CSR of the smallest exact
integer type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxpert.core.types import InputError

BLOCK_ENTRIES = 4_000_000
"""Matrix entries looked at together: bounds the memory that reading takes beside the result."""


class Labelled(NamedTuple):
    """A stored matrix with the names that its error messages need."""

    matrix: Any
    """Dense array, SciPy CSR/CSC, or the h5py dataset or group of one: anything that can be
    sliced."""
    cells: np.ndarray
    genes: np.ndarray
    source: str
    layer: str
    layers: Sequence[str]
    """All layers of the source, "X" included."""


class Where(NamedTuple):
    """Which matrix a block is of, and whether its rows are genes."""

    stored: Labelled
    transposed: bool


class _Stored(NamedTuple):
    kind: str
    """csr, csc or dense."""
    shape: tuple[int, int]
    data: Any
    indices: Any = None
    indptr: Any = None


def read_counts(
    stored: Labelled, rows: np.ndarray | None = None, columns: np.ndarray | None = None
):
    """Return the counts `[N, G]` as `scipy.sparse.csr_matrix`, checked and narrowed; optionally
    some rows and columns.

    Every stored value has to be finite, at least 0 and whole, else `InputError` names the first
    offender. Values are `uint8`, `uint16` or `uint32`, whichever is the smallest exact type; stored
    zeros go, duplicate entries are summed. Rows and columns are boolean masks. Beside the result
    only a few blocks are held, whatever the size (CSC: one copy).
    """
    matrix = _stored(stored)
    if matrix.kind == "csc":
        # Columns of CSC are rows of the transpose, so the same reader serves.
        turned = _gather(
            _sparse_blocks(matrix), Where(stored, transposed=True), matrix.shape[0], None, None
        )
        counts = turned.T.tocsr()
        # A column holds all cells, so rows can be left out only after reading.
        counts = counts if rows is None else counts[rows]
        return counts if columns is None else counts[:, columns]
    blocks = _dense_blocks(matrix) if matrix.kind == "dense" else _sparse_blocks(matrix)
    return _gather(blocks, Where(stored, transposed=False), matrix.shape[1], rows, columns)


def stored_blocks(stored: Labelled) -> Iterator[tuple[slice, Any]]:
    """Go once through a stored dense or CSR matrix in CSR blocks of rows, unchecked: a pass over
    any size of file."""
    matrix = _stored(stored)
    if matrix.kind == "csc":
        raise InputError(
            f"layer {stored.layer!r} of {stored.source} is stored by genes (CSC), expected cells "
            "first (CSR or dense): convert it with adata.X = adata.X.tocsr()"
        )
    start = 0
    for block in _dense_blocks(matrix) if matrix.kind == "dense" else _sparse_blocks(matrix):
        yield slice(start, start + block.shape[0]), block
        start += block.shape[0]


def row_blocks(counts, entries: int = BLOCK_ENTRIES) -> Iterator[tuple[slice, Any]]:
    """Cut a CSR matrix into blocks of rows with about `entries` stored values each, as views."""
    bounds = _bounds(np.asarray(counts.indptr), entries)
    for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
        a, b = counts.indptr[start], counts.indptr[stop]
        yield (
            slice(start, stop),
            _csr(
                counts.data[a:b],
                counts.indices[a:b],
                # Pointers of a block count from its own first value.
                counts.indptr[start : stop + 1] - a,
                (stop - start, counts.shape[1]),
            ),
        )


def smallest_unsigned(largest: int) -> np.dtype:
    """The smallest of uint8, uint16 and uint32 that holds `largest` exactly; None of them:
    `InputError`."""
    if largest > np.iinfo(np.uint32).max:
        raise InputError(
            f"the largest count is {largest}, expected at most 4,294,967,295: these are not counts "
            "of molecules, choose the raw counts with data.layer"
        )
    return np.promote_types(np.min_scalar_type(int(largest)), np.uint8)


def _csr(data, indices, indptr, shape):
    from scipy import sparse

    # Not copied, so that blocks of a matrix in memory are views of it.
    return sparse.csr_matrix((data, indices, indptr), shape=shape, copy=False)


def _stored(labelled: Labelled) -> _Stored:
    """Look at any of the forms in which a matrix comes; nothing is read yet."""
    # anndata's backed sparse data set wraps an h5py group.
    matrix = getattr(labelled.matrix, "group", labelled.matrix)
    attributes: Mapping[str, Any] = getattr(matrix, "attrs", {})
    # The attributes of a file, today's and anndata's before 0.7; SciPy's own; or no format at all.
    form = getattr(matrix, "format", "dense")
    kind = str(attributes.get("encoding-type", attributes.get("h5sparse_format", form)))
    kind = {"csr_matrix": "csr", "csc_matrix": "csc", "array": "dense"}.get(kind, kind)
    if kind in ("csr", "csc"):
        # h5py groups have members by key, SciPy's matrices by attribute.
        on_disk = not hasattr(matrix, "indptr")
        part = matrix.__getitem__ if on_disk else lambda name: getattr(matrix, name)
        shape: Any = (
            attributes.get("shape", attributes.get("h5sparse_shape")) if on_disk else matrix.shape
        )
        stored = _Stored(
            kind,
            (int(shape[0]), int(shape[1])),
            part("data"),
            part("indices"),
            # Pointers are read whole (8 bytes a cell), values and indices block by block.
            np.asarray(part("indptr")[:], np.int64),
        )
    elif kind == "dense" and len(getattr(matrix, "shape", ())) == 2:
        stored = _Stored("dense", tuple(matrix.shape), matrix)
    else:
        raise InputError(
            f"layer {labelled.layer!r} of {labelled.source} is stored as {kind!r}, expected a "
            "two-dimensional dense, CSR or CSC matrix: write it again with adata.write_h5ad"
        )
    return _checked(stored, labelled)


def _checked(stored: _Stored, labelled: Labelled) -> _Stored:
    expected = (len(labelled.cells), len(labelled.genes))
    if stored.shape != expected:
        raise InputError(
            f"layer {labelled.layer!r} of {labelled.source} has shape {stored.shape}, expected "
            f"{expected} (cells, genes): the file is damaged, write it again with adata.write_h5ad"
        )
    if stored.data.dtype.kind not in "buif":
        raise InputError(
            f"layer {labelled.layer!r} of {labelled.source} holds values of type "
            f"{stored.data.dtype}, expected counts: choose the raw counts with data.layer"
        )
    if stored.indptr is not None:
        # CSR has a pointer for every cell, CSC for every gene.
        major = expected[stored.kind == "csc"]
        steps = np.diff(stored.indptr)
        # SciPy trusts its pointers: wrong ones would give the counts of other cells.
        if len(steps) != major or (steps < 0).any() or stored.indptr[-1] != len(stored.data):
            raise InputError(
                f"the row pointers of layer {labelled.layer!r} of {labelled.source} do not match "
                "its values: the file is damaged, write it again with adata.write_h5ad"
            )
    return stored


def _bounds(indptr: np.ndarray, entries: int) -> np.ndarray:
    """Row numbers that cut into blocks of about `entries` stored values, each of one row at
    least."""
    bounds = [0]
    while bounds[-1] < len(indptr) - 1:
        # Pointers ascend, so the last row that fits is found by bisection.
        stop = int(np.searchsorted(indptr, indptr[bounds[-1]] + entries, side="right")) - 1
        # A row larger than a block must not keep the loop where it is.
        bounds.append(max(stop, bounds[-1] + 1))
    return np.asarray(bounds)


def _sparse_blocks(stored: _Stored) -> Iterator[Any]:
    """Blocks of CSR rows (CSC: columns, as rows of the transpose), copied so that the user's array
    stays as it is."""
    width = stored.shape[0] if stored.kind == "csc" else stored.shape[1]
    bounds = _bounds(stored.indptr, BLOCK_ENTRIES)
    for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
        a, b = int(stored.indptr[start]), int(stored.indptr[stop])
        indices = np.array(stored.indices[a:b], np.int32)
        # SciPy's compiled loops do not check indices, and one outside would crash them.
        if indices.size and (indices.min() < 0 or indices.max() >= width):
            raise InputError(
                "the matrix has entries outside its shape: the file is damaged, write it again "
                "with adata.write_h5ad"
            )
        indptr = (stored.indptr[start : stop + 1] - a).astype(np.int32)
        block = _csr(np.array(stored.data[a:b]), indices, indptr, (stop - start, width))
        # A file may hold an entry in two parts; this also sorts the indices.
        block.sum_duplicates()
        yield block


def _dense_blocks(stored: _Stored) -> Iterator[Any]:
    from scipy import sparse

    n, width = stored.shape
    step = max(1, BLOCK_ENTRIES // max(width, 1))
    for start in range(0, n, step):
        yield sparse.csr_matrix(np.asarray(stored.data[start : min(start + step, n)]))


def _gather(blocks, where: Where, width: int, rows, columns):
    """Join checked blocks into one CSR matrix in buffers that grow in place."""
    data, indices, lengths = np.empty(0, np.uint8), np.empty(0, np.int32), [np.zeros(1, np.int64)]
    start = 0
    for block in blocks:
        numbers = np.arange(start, start + block.shape[0])
        start += block.shape[0]
        # Before the check: cells that are left out may hold anything.
        if rows is not None:
            block, numbers = block[rows[numbers]], numbers[rows[numbers]]
        check_counts(block, where, numbers)
        # Genes and cells are counted by stored entries, so a stored zero would count as seen.
        block.eliminate_zeros()
        block = block if columns is None else block[:, columns]
        data, indices = _append(data, block.data), _append(indices, block.indices)
        lengths.append(np.diff(block.indptr).astype(np.int64))
    indptr = np.cumsum(np.concatenate(lengths))
    # SciPy needs one type for pointers and indices; 32 bits spare a copy.
    if indptr[-1] <= np.iinfo(np.int32).max:
        indptr = indptr.astype(np.int32)
    return _csr(
        data, indices, indptr, (len(indptr) - 1, width if columns is None else int(np.sum(columns)))
    )


def _append(buffer: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Lengthen `buffer` by `values`, widening its type where a value needs it."""
    needed = buffer.dtype
    if needed.kind == "u":
        needed = smallest_unsigned(int(values.max(initial=0)))
    # Most screens fit one byte a count, so types are widened only when a count needs it.
    if needed.itemsize > buffer.dtype.itemsize:
        buffer = buffer.astype(needed)
    n = len(buffer)
    # This is realloc: the pages move, no second copy is held.
    buffer.resize(n + len(values), refcheck=False)
    buffer[n:] = values
    return buffer


def check_counts(block, where: Where, numbers: np.ndarray) -> None:
    """Raise `InputError` at the first value of a CSR block that is no count; `numbers` are its
    rows' in the matrix."""
    values = block.data
    if values.dtype.kind == "f":
        # First, since NaN would be called a fraction below, and infinity would pass.
        for bad, problem in ((np.isnan(values), "NaN"), (np.isinf(values), "an infinite value")):
            if bad.any():
                _complain(problem, bad, block, where, numbers)
    if values.dtype.kind in "if" and (bad := values < 0).any():
        _complain(
            f"the negative value {values[bad][0]:g} (scaled or centred data?)",
            bad,
            block,
            where,
            numbers,
        )
    if values.dtype.kind == "f" and (bad := values != np.floor(values)).any():
        _complain(
            f"the fraction {values[bad][0]:g}{_explain_fraction(block, bad)}",
            bad,
            block,
            where,
            numbers,
        )


def _complain(problem: str, bad: np.ndarray, block, where: Where, numbers: np.ndarray) -> None:
    stored, first = where.stored, int(np.argmax(bad))
    # The row of an entry is the last one whose pointer does not lie beyond it.
    cell = int(numbers[np.searchsorted(block.indptr, first, side="right") - 1])
    gene = int(block.indices[first])
    if where.transposed:
        cell, gene = gene, cell
    raise InputError(
        f"layer {stored.layer!r} of {stored.source} holds {problem} at cell "
        f"{str(stored.cells[cell])!r} and gene {str(stored.genes[gene])!r}, expected raw counts "
        f"(whole numbers from 0): {_fix(stored)}"
    )


def _fix(stored: Labelled) -> str:
    others = [layer for layer in stored.layers if layer != stored.layer]
    if others:
        return (
            "set data.layer to the layer with raw counts (others in the file: "
            f"{', '.join(map(repr, others))})"
        )
    return "give the file as it was before normalisation (it has no other layer)"


def _explain_fraction(block, bad: np.ndarray) -> str:
    """Tell log-normalised and library-scaled cells by their values, which are multiples of one unit
    per cell."""
    # The cell with the most values is the surest sign.
    longest = int(np.argmax(np.diff(block.indptr)))
    values = block.data[block.indptr[longest] : block.indptr[longest + 1]].astype(np.float64)
    # exp(30) is 1e13, more than any cell counts: larger values are on no log scale.
    if values.max(initial=0) < 30 and _whole_multiples(np.expm1(values)):
        return " (it looks log-normalised: ln(1 + scaled counts))"
    if _whole_multiples(values):
        return " (it looks scaled to a common total per cell)"
    return f" ({bad.sum()} of the {bad.size} values looked at are fractions)"


def _whole_multiples(values: np.ndarray) -> bool:
    if len(values) < 2 or values.min() <= 0:
        return False
    # The smallest value of a cell is nearly always a single count.
    ratio = values / values.min()
    return bool(
        ratio.max() > 1.5
        and (np.abs(ratio - np.round(ratio)) < 1e-2 * np.maximum(1, ratio / 10)).all()
    )
