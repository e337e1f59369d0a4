"""Count matrices: read block by block, checked to be raw counts, held as CSR of the smallest exact
integer type."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from jaxpert.core.types import InputError
from jaxpert.data.mapped import release
from jaxpert.data.stored import (
    BLOCK_ENTRIES,
    Block,
    Labelled,
    Stored,
    block_bounds,
    blocks,
    cumulated,
    open_matrix,
)

LARGEST = int(np.iinfo(np.uint32).max)


def read_counts(
    stored: Labelled, rows: np.ndarray | None = None, columns: np.ndarray | None = None
):
    """Return the counts `[N, G]` as `scipy.sparse.csr_matrix`, checked and narrowed; optionally
    some rows and columns.

    Every stored value has to be finite, at least 0, whole and at most 4,294,967,295, else
    `InputError` names the first offender. Values are `uint8`, `uint16` or `uint32`, whichever is
    the smallest exact type; stored zeros go, entries stored in several parts are summed. Rows and
    columns are boolean masks; cells that are left out may hold anything. Beside the result only a
    few blocks are held, whatever the size (CSC: one copy).
    """
    matrix = open_matrix(stored)
    parts = (counts_of(chosen, matrix) for chosen in of_cells(matrix, rows))
    if matrix.form != "csc":
        return _gather(parts, matrix.shape[1], columns)
    # Columns of CSC are rows of the transpose, so the same reader serves.
    counts = _gather(parts, matrix.shape[1], None).T.tocsr()
    # A column holds all cells, so rows can be left out only after reading.
    counts = counts if rows is None else counts[rows]
    return counts if columns is None else counts[:, columns]


def count_blocks(stored: Labelled) -> Iterator[tuple[slice, Any]]:
    """Go once through a dense or CSR matrix in checked CSR blocks of cells: a pass over any size
    of file."""
    matrix = _by_cells(stored)
    for block in blocks(matrix):
        yield slice(block.major[0], block.major[-1] + 1), counts_of(block, matrix)


def value_blocks(stored: Labelled) -> Iterator[Any]:
    """The same for values that are no counts: float64, unchecked, negative ones and fractions
    included."""
    matrix = _by_cells(stored)
    for block in blocks(matrix):
        with np.errstate(over="ignore"):
            # Quadruple precision may not fit; the caller sees the infinity.
            values = block.values.astype(np.float64)
        whole = _csr(values, block, matrix.shape[1])
        whole.sum_duplicates()
        yield whole


def row_blocks(counts, entries: int = BLOCK_ENTRIES) -> Iterator[tuple[slice, Any]]:
    """Cut a CSR matrix into blocks of rows with about `entries` stored values each; of mapped
    counts one block is held at a time."""
    from scipy import sparse

    bounds = block_bounds(np.asarray(counts.indptr), entries)
    for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
        a, b = counts.indptr[start], counts.indptr[stop]
        # Pointers of a block count from its own first value.
        parts = counts.data[a:b], counts.indices[a:b], counts.indptr[start : stop + 1] - a
        yield (
            slice(start, stop),
            sparse.csr_matrix(parts, shape=(stop - start, counts.shape[1]), copy=False),
        )
        release(counts)


def smallest_unsigned(largest: int) -> np.dtype:
    """The smallest of uint8, uint16 and uint32 that holds `largest` exactly; None of them:
    `InputError`."""
    if largest > LARGEST:
        raise InputError(
            f"the largest count is {largest}, expected at most {LARGEST:,}: these are not counts "
            "of molecules, choose the raw counts with data.layer"
        )
    return np.promote_types(np.min_scalar_type(int(largest)), np.uint8)


def counts_of(block: Block, matrix: Stored):
    """A block of stored entries as a CSR matrix of counts: checked one by one, then summed where
    an entry has several parts, without zeros."""
    counts = _csr(_exact(block, matrix), block, matrix.shape[1])
    if not counts.has_canonical_format:
        # A sum can outgrow the type of its parts; even 2**32 of the largest fit 64 bits.
        counts.data = counts.data.astype(np.uint64)
        counts.sum_duplicates()
        if block.values.dtype.kind == "b" and counts.nnz < len(block.values):
            # SciPy makes one True of them, a count would be 2: the file does not tell.
            raise InputError(
                f"layer {matrix.of.layer!r} of {matrix.of.source} holds True twice at one place, "
                "expected raw counts: choose them with data.layer"
            )
        counts.data = counts.data.astype(smallest_unsigned(int(counts.data.max(initial=0))))
    # Genes and cells are counted by stored entries, so a stored zero would count as seen.
    counts.eliminate_zeros()
    return counts


def _csr(values: np.ndarray, block: Block, width: int):
    from scipy import sparse

    # SciPy needs one type for pointers and indices; only one row of 2**31 entries needs 64 bits.
    indptr = block.indptr.astype(np.int32) if len(values) < 2**31 else block.indptr
    return sparse.csr_matrix(
        (values, block.minor, indptr), shape=(len(block.major), width), copy=False
    )


def _by_cells(stored: Labelled) -> Stored:
    matrix = open_matrix(stored)
    if matrix.form == "csc":
        raise InputError(
            f"layer {stored.layer!r} of {stored.source} is stored by genes (CSC), expected cells "
            "first (CSR or dense): convert it with adata.X = adata.X.tocsr()"
        )
    return matrix


def of_cells(matrix: Stored, rows: np.ndarray | None) -> Iterator[Block]:
    """The blocks of a matrix, of chosen cells alone."""
    for block in blocks(matrix):
        if rows is None:
            yield block
        elif matrix.form == "csc":
            keep = rows[block.minor]
            indptr = cumulated(keep)[block.indptr]
            yield Block(block.values[keep], block.minor[keep], indptr, block.major)
        else:
            chosen = rows[block.major]
            lengths = np.diff(block.indptr)
            keep = np.repeat(chosen, lengths)
            indptr = cumulated(lengths[chosen])
            yield Block(block.values[keep], block.minor[keep], indptr, block.major[chosen])


def _gather(parts: Iterable[Any], width: int, columns: np.ndarray | None):
    """Join checked blocks into one CSR matrix in buffers that grow in place."""
    from scipy import sparse

    data, indices, lengths = np.empty(0, np.uint8), np.empty(0, np.int32), [np.zeros(0, np.int64)]
    for part in parts:
        part = part if columns is None else part[:, columns]
        data, indices = _append(data, part.data), _append(indices, part.indices)
        lengths.append(np.diff(part.indptr).astype(np.int64))
    indptr = cumulated(np.concatenate(lengths))
    # SciPy needs one type for pointers and indices; 32 bits spare a copy.
    if indptr[-1] <= np.iinfo(np.int32).max:
        indptr = indptr.astype(np.int32)
    shape = (len(indptr) - 1, width if columns is None else int(np.sum(columns)))
    return sparse.csr_matrix((data, indices, indptr), shape=shape, copy=False)


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


def _exact(block: Block, matrix: Stored) -> np.ndarray:
    """The values of a block in the smallest unsigned type; `InputError` names the first that is no
    count."""
    values = block.values
    if not values.size:
        return values.astype(np.uint8)
    # As Python's numbers: in half precision the largest count would be compared as infinity.
    least, largest = values.min().item(), values.max().item()
    # NaN fails both comparisons, so two passes tell whether all may be counts.
    if least >= 0 and largest <= LARGEST:
        narrow = values.astype(smallest_unsigned(int(largest)))
        if values.dtype.kind != "f" or (narrow == values).all():
            return narrow
    raise _complaint(block, matrix)


def _complaint(block: Block, matrix: Stored) -> InputError:
    """Say what the first value is that is no count: of the problems first what hides another."""
    values = block.values
    problems = {
        "NaN": np.isnan(values),
        "an infinite value": np.isinf(values),
        "the negative value {} (scaled or centred data?)": values < 0,
        "the fraction {}{}": values != np.floor(values),
        f"the value {{}}, which is above {LARGEST:,},": values > np.float64(LARGEST),
    }
    problem, bad = next(item for item in problems.items() if item[1].any())
    explanation = _explain_fraction(block, bad) if "fraction" in problem else ""
    return _no_count(problem.format(values[bad][0], explanation), bad, block, matrix)


def _no_count(problem: str, bad: np.ndarray, block: Block, matrix: Stored) -> InputError:
    stored, first = matrix.of, int(np.argmax(bad))
    # The row of an entry is the last one whose pointer does not lie beyond it.
    cell = int(block.major[np.searchsorted(block.indptr, first, side="right") - 1])
    gene = int(block.minor[first])
    if matrix.form == "csc":
        cell, gene = gene, cell
    return InputError(
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


def _explain_fraction(block: Block, bad: np.ndarray) -> str:
    """Tell log-normalised and library-scaled cells by their values, which are multiples of one unit
    per cell."""
    # The cell with the most values is the surest sign.
    longest = int(np.argmax(np.diff(block.indptr)))
    values = block.values[block.indptr[longest] : block.indptr[longest + 1]].astype(np.float64)
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
