"""Cells of an AnnData on the log scale, a block of cells or of genes at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.errors import InputError
from jaxpert.data.moments import Pseudobulk, add_by_group, log_normalise
from jaxpert.data.stored import reading
from jaxpert.evaluation.metrics import CONSTANT

SCALES = ("log1p", "counts")
ENTRIES = 4_000_000
"""Entries of a block of cells."""
LARGEST_LOG = 15.0
"""log1p values from here on are refused, as by cell-eval: no library is that large."""


class Cells(NamedTuple):
    """The cells of one file."""

    matrix: Any
    """`[N, G]` CSR or array in memory, or anndata's backed CSR or array."""
    names: tuple[str, ...]
    """Labels in the order of sorting, control among them."""
    code: Int[np.ndarray, "N"]
    """Place in `names` of the label of each cell."""
    genes: tuple[str, ...]
    scale: str
    what: str
    """Which file it is, for messages."""
    embedding: Float[np.ndarray, "N D"] | None = None

    @property
    def backed(self) -> bool:
        """Whether the values are still in the file."""
        return not isinstance(self.matrix, np.ndarray) and not hasattr(self.matrix, "tocsr")


def open_cells(
    adata: Any, condition_key: str, control: str, scale: str, embedding: str | None, what: str
) -> Cells:
    """Look at an AnnData; values are checked when they are first read (`moments`)."""
    if scale not in SCALES:
        raise InputError(
            f"scale of the {what} cells is {scale!r}, expected one of {SCALES}: correct it"
        )
    names, code = _labels(adata, condition_key, what)
    if control not in names:
        raise InputError(
            f"no {what} cell is labelled {control!r} in obs[{condition_key!r}], expected control "
            "cells: correct `control`, or add the control cells to that file"
        )
    points = None
    if embedding is not None:
        if embedding not in adata.obsm:
            raise InputError(
                f"obsm of the {what} cells has no {embedding!r}, expected it to take distances in: "
                f"it holds {', '.join(adata.obsm) or 'nothing'}"
            )
        points = np.asarray(adata.obsm[embedding], np.float64)
    matrix = _matrix(adata.X, what)
    return Cells(matrix, names, code, tuple(map(str, adata.var_names)), scale, what, points)


def _labels(adata: Any, condition_key: str, what: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Sorted labels, and the place of each cell's among them."""
    if condition_key not in adata.obs:
        raise InputError(
            f"obs of the {what} cells has no column {condition_key!r}, expected the label of each "
            f"cell in it: it holds {', '.join(map(str, adata.obs)) or 'nothing'}"
        )
    column = adata.obs[condition_key]
    missing = int(column.isna().sum())
    if missing:
        raise InputError(
            f"obs[{condition_key!r}] of the {what} cells lacks {missing} labels, expected one for "
            "each cell: leave those cells out"
        )
    names, code = np.unique(column.to_numpy(str), return_inverse=True)
    return tuple(map(str, names)), code.ravel()


def _matrix(matrix: Any, what: str) -> Any:
    """CSR in memory, an array, or the backed form of either."""
    from scipy import sparse

    if sparse.issparse(matrix):
        return matrix.tocsr()
    if getattr(matrix, "format", "csr") == "csc":
        raise InputError(
            f"the backed file of the {what} cells is stored by genes (CSC), expected cells first: "
            "read it into memory, or store it with adata.X = adata.X.tocsr()"
        )
    return matrix


def blocks(cells: Cells) -> Iterator[tuple[slice, Any]]:
    """Blocks of cells on the log scale, CSR or dense."""
    rows, width = cells.matrix.shape
    step = max(1, ENTRIES // max(width, 1))
    for start in range(0, rows, step):
        where = slice(start, min(start + step, rows))
        yield where, on_log_scale(cells, _read(cells, where))


def dense_rows(cells: Cells, rows: np.ndarray) -> Float[np.ndarray, "n D"]:
    """Some cells as a dense array in the space of distances."""
    if cells.embedding is not None:
        return cells.embedding[rows]
    values = on_log_scale(cells, _read(cells, rows))
    return np.asarray(values if isinstance(values, np.ndarray) else values.toarray(), np.float64)


def _read(cells: Cells, rows: Any) -> Any:
    """Rows of the matrix, as stored."""
    if not cells.backed:
        return cells.matrix[rows]
    with reading(f"X of the {cells.what} cells", "copy the file again"):
        return cells.matrix[rows]


def on_log_scale(cells: Cells, values: Any) -> Any:
    """Stored values as they are, counts as ln(1 + 1e4 x / sum x) in single precision."""
    from scipy import sparse

    if cells.scale == "counts":
        normalised, _ = log_normalise(sparse.csr_matrix(values))
        # Ratios that are equal but for rounding must tie in rank tests.
        return normalised.astype(np.float32)
    single = values.dtype in (np.float32, np.float64)
    return values if single else values.astype(np.float32)


def _stored(values: Any) -> np.ndarray:
    """Every value that is stored."""
    return values if isinstance(values, np.ndarray) else values.data


def moments(cells: Cells, variance: bool) -> Pseudobulk:
    """Means (and sample variances) by label on the log scale, in the order of `names`; checks
    every value on the way."""
    groups = len(cells.names)
    sums = np.zeros((groups, len(cells.genes)))
    squares = np.zeros_like(sums) if variance else None
    fractions = False
    step = max(1, ENTRIES // max(len(cells.genes), 1))
    for start in range(0, len(cells.code), step):
        where = slice(start, min(start + step, len(cells.code)))
        raw = _read(cells, where)
        fractions |= _check(cells, raw, where)
        values, code = on_log_scale(cells, raw).astype(np.float64), cells.code[where]
        _add(sums, values, code)
        if squares is not None:
            _add(squares, _squared(values), code)
    if cells.scale == "log1p" and not fractions and sums.any():
        raise InputError(
            f"the {cells.what} cells hold whole numbers alone, expected ln(1 + x) of normalised "
            "counts: say that their scale is 'counts'"
        )
    number = np.bincount(cells.code, minlength=groups)
    mean = sums / number[:, None]
    if squares is None:
        return Pseudobulk(mean, number, np.zeros_like(number))
    free = np.where(number > 1, number - 1, np.nan)[:, None]
    spread = (squares - number[:, None] * mean**2) / free
    # Rounding of a constant gene is no spread; NaN stays.
    spread = np.where(spread <= CONSTANT * mean**2, 0.0, spread)
    return Pseudobulk(mean, number, np.zeros_like(number), spread)


def _squared(values: Any) -> Any:
    return values**2 if isinstance(values, np.ndarray) else values.multiply(values).tocsr()


def _add(sums: np.ndarray, values: Any, code: np.ndarray) -> None:
    """Add every cell to the row of its label."""
    if not isinstance(values, np.ndarray):
        add_by_group(sums, values, code)
        return
    # Cells of one label lie together in most files: one sum for each run of them.
    starts = np.flatnonzero(np.diff(code, prepend=-1))
    np.add.at(sums, code[starts], np.add.reduceat(values, starts, axis=0))


def _check(cells: Cells, raw: Any, where: slice) -> bool:
    """Refuse values that are not on the scale that was declared; whether there are fractions."""
    stored = _stored(raw)
    if not stored.size:
        low, high = 0.0, 0.0
    else:
        low, high = float(stored.min()), float(stored.max())
    if not np.isfinite([low, high]).all() or low < 0:
        raise InputError(
            f"the {cells.what} cells {where.start} to {where.stop - 1} hold {low:g} to {high:g}, "
            "expected finite values of at least 0: give log-normalised values or counts"
        )
    whole = bool((stored == np.floor(stored)).all())
    if cells.scale == "counts":
        _check_counts(cells, raw, whole)
    elif high >= LARGEST_LOG:
        raise InputError(
            f"the {cells.what} cells hold up to {high:g}, expected ln(1 + x) below "
            f"{LARGEST_LOG:g}: say that their scale is 'counts', or bring all cells to one scale"
        )
    return not whole


def _check_counts(cells: Cells, raw: Any, whole: bool) -> None:
    """Counts are whole numbers, and every cell has some."""
    if not whole:
        raise InputError(
            f"the {cells.what} cells hold fractions, expected counts: say that their scale is "
            "'log1p'"
        )
    empty = int((np.asarray(raw.sum(axis=1)).ravel() == 0).sum())
    if empty:
        raise InputError(
            f"{empty} of the {cells.what} cells hold no counts, expected some in each to normalise "
            "by: leave those cells out"
        )
