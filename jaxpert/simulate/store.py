"""A simulated screen written to a file piece by piece, for one that no memory holds."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jaxpert.core import files
from jaxpert.core.errors import InputError
from jaxpert.core.paths import path_of
from jaxpert.simulate.screen import simulate_chunks
from jaxpert.simulate.truth import Truth

ENDINGS = (".h5ad", ".zarr")
PIECE = 2**20
"""Values that are packed together."""


def write_screen(
    path: str | Path, preset: str = "genome", *, seed: int = 0, **options: Any
) -> Truth:
    """Write a simulated screen as an AnnData file, in memory that does not grow with its cells.

    Args:
        path: ends in .h5ad, or in .zarr for a store of format 3; what is there is replaced.
        preset, seed, **options: as for `simulate_chunks`.

    Returns the truth. The cells are those of `simulate`; nothing is left behind by an error.

    Example:
        from jaxpert.simulate import write_screen
        truth = write_screen("genome.zarr", "genome", cells=1_000_000)
    """
    path = path_of(path)
    if path.suffix not in ENDINGS:
        raise InputError(
            f"the simulated screen is to be written to {path.name}, expected a name that ends in "
            f"{' or '.join(ENDINGS)}: rename it"
        )
    truth, pieces = simulate_chunks(preset, seed=seed, **options)
    write_pieces(path, pieces)
    return truth


def write_pieces(path: Path, pieces: Iterator[Any]) -> None:
    """Write AnnData objects of the same genes one below the other: counts, and tables of cells and
    genes."""
    with _writing(path) as group, warnings.catch_warnings():
        # anndata tells of what its next version will do.
        warnings.simplefilter("ignore")
        _write(group, pieces)


@contextmanager
def _writing(path: Path) -> Iterator[Any]:
    """The root of a new file, which takes its place once it is whole."""
    if path.suffix == ".zarr":
        import zarr

        with files.whole_folder(path) as part:
            yield zarr.open_group(str(part), mode="w", zarr_format=3)
        return
    import h5py

    with files.whole(path) as part, h5py.File(part, "w") as file:
        yield file


def _write(group: Any, pieces: Iterator[Any]) -> None:
    import pandas
    from anndata.io import write_elem

    group.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    matrix = group.create_group("X")
    data, indices = _growing(group, matrix, "data"), _growing(group, matrix, "indices")
    tables, lengths, var = [], [np.zeros(1, np.int64)], None
    for piece in pieces:
        var = piece.var
        tables.append(piece.obs)
        lengths.append(np.diff(piece.X.indptr).astype(np.int64))
        for array, values in ((data, piece.X.data), (indices, piece.X.indices)):
            start = array.shape[0]
            array.resize((start + len(values),))
            array[start:] = values.astype(np.int32, copy=False)
    indptr = np.cumsum(np.concatenate(lengths))
    write_elem(matrix, "indptr", indptr)
    assert var is not None
    shape = [len(indptr) - 1, len(var)]
    described = {"encoding-type": "csr_matrix", "encoding-version": "0.1.0"}
    matrix.attrs.update({**described, "shape": shape})
    write_elem(group, "obs", pandas.concat(tables))
    write_elem(group, "var", var)


def _growing(group: Any, matrix: Any, name: str) -> Any:
    """An empty array to which pieces are added."""
    if hasattr(group, "create_array"):
        return matrix.create_array(name, shape=(0,), chunks=(PIECE,), dtype="int32")
    return matrix.create_dataset(
        name, shape=(0,), maxshape=(None,), chunks=(PIECE // 16,), dtype="int32", compression="lzf"
    )
