"""Counts of a file that are too large for memory: checked block by block on their way into files
that are mapped (`data.mapped`)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxpert.core.errors import InputError
from jaxpert.core.paths import data_folder
from jaxpert.data.counts import counts_of, of_cells, smallest_unsigned
from jaxpert.data.mapped import Store, finish, kept, key_of, release_map, source_of, write
from jaxpert.data.stored import Labelled, Stored, cumulated, open_matrix

PLACES = ("auto", "memory", "disk")
ENTRY_BYTES = 5
"""Of a count in memory: its gene, and itself in the usual type."""
SHARE = 4
"""Counts that would take more than this part of the memory are kept in files."""
SCATTERED = 2**16
"""Entries written to places all over a file at a time: each may touch a page of its own."""


def store_of(counts: str, folder: str | Path | None) -> Store | None:
    """Where counts are to be kept; None for in memory."""
    if counts not in PLACES:
        raise InputError(
            f"data.counts is {counts!r}, expected one of {', '.join(PLACES)}: correct it"
        )
    if counts == "memory":
        return None
    return Store(data_folder(folder) / "counts", counts == "disk")


def is_large(labelled: Labelled) -> bool:
    """Whether a matrix would take more than a quarter of the memory, by its stored entries."""
    matrix = open_matrix(labelled)
    entries = int(np.prod(matrix.shape)) if matrix.form == "dense" else matrix.data.shape[0]
    return entries * ENTRY_BYTES > memory_bytes() // SHARE


def memory_bytes() -> int:
    """What this process may have: the machine's memory, or less where a container says so."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text()
    except OSError:
        return pages
    return min(pages, int(limit)) if limit.strip().isdigit() else pages


def keep_counts(
    labelled: Labelled,
    path: Path,
    folder: Path,
    rows: np.ndarray | None = None,
    columns: np.ndarray | None = None,
) -> Any:
    """The counts of a file as `read_counts` gives them, in files of `folder` that are mapped; those
    of an earlier reading where neither file nor choice has changed since."""
    key = key_of(*source_of(path), labelled.layer, rows, columns)

    def make(part: Path) -> None:
        matrix = open_matrix(labelled)
        if matrix.form == "csc":
            _write_by_genes(part, matrix, rows, columns)
            return
        counts = (counts_of(block, matrix) for block in of_cells(matrix, rows))
        width = matrix.shape[1] if columns is None else int(columns.sum())
        chosen = counts if columns is None else (block[:, columns] for block in counts)
        write(part, chosen, width)

    return kept(folder, key, make)


def _write_by_genes(
    folder: Path, matrix: Stored, rows: np.ndarray | None, columns: np.ndarray | None
) -> None:
    """Transpose a matrix that is stored gene by gene: one pass for the lengths of its cells, one in
    which every entry goes to its place."""
    cells = np.ones(matrix.shape[1], bool) if rows is None else rows
    genes = np.ones(matrix.shape[0], bool) if columns is None else columns
    lengths, largest = np.zeros(matrix.shape[1], np.int64), 0
    for block in of_cells(matrix, rows):
        part = counts_of(block, matrix)[genes[block.major]]
        lengths += np.bincount(part.indices, minlength=len(lengths))
        largest = max(largest, int(part.data.max(initial=0)))
    indptr, dtype = cumulated(lengths), smallest_unsigned(largest)
    if indptr[-1]:
        _scatter(folder, matrix, rows, genes, indptr, dtype)
    else:
        for name in ("data", "indices"):
            (folder / name).touch()
    finish(folder, indptr[np.append(cells, True)], int(genes.sum()), dtype)


def _scatter(
    folder: Path,
    matrix: Stored,
    rows: np.ndarray | None,
    genes: np.ndarray,
    indptr: np.ndarray,
    dtype: np.dtype,
) -> None:
    shape = (int(indptr[-1]),)
    data = np.memmap(folder / "data", dtype, "w+", shape=shape)
    indices = np.memmap(folder / "indices", np.int32, "w+", shape=shape)
    number = (np.cumsum(genes) - 1).astype(np.int32)
    # Where the next entry of each cell goes; genes ascend, so that entries of a cell do.
    free = indptr[:-1].copy()
    for block in of_cells(matrix, rows):
        kept_genes = block.major[genes[block.major]]
        part = counts_of(block, matrix)[genes[block.major]].tocsc()
        lengths = np.diff(part.indptr)
        places = np.repeat(free - part.indptr[:-1], lengths) + np.arange(part.nnz)
        free += lengths
        for start in range(0, part.nnz, SCATTERED):
            some = slice(start, start + SCATTERED)
            data[places[some]] = part.data[some]
            indices[places[some]] = number[kept_genes[part.indices[some]]]
            release_map(data)
            release_map(indices)
    data.flush()
    indices.flush()
