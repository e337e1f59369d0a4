"""A small screen written to disk, and the edits that its files are damaged with."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import anndata
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

CELLS, GENES = 24, 9
LABELS = ["ctrl"] * 10 + ["A+ctrl"] * 5 + ["B"] * 5 + ["A+B"] * 4
CELL_NAMES = [f"c{i}" for i in range(CELLS)]
GENE_NAMES = [f"G{j}" for j in range(GENES)]


class Case(NamedTuple):
    """A file that is written for `read`, and what is asked of it."""

    name: str
    write: Callable[[Path], Any]
    good: bool = False
    """Whether the file is sound, and has to be read."""
    options: Mapping[str, Any] = {}


def counts() -> np.ndarray:
    """Counts of the screen as int64; no cell and no gene is empty."""
    table = np.random.default_rng(5).poisson(1.2, (CELLS, GENES))
    table[0, 0], table[5, 2] = 3, 0
    return table


def csr() -> sparse.csr_matrix:
    """The same as it is mostly stored."""
    return sparse.csr_matrix(counts().astype(np.float32))


def screen(matrix: Any = None) -> anndata.AnnData:
    """The screen with a layer and `raw`, its counts in another form where one is given."""
    obs = pd.DataFrame(
        {"condition": pd.Categorical(LABELS), "depth": np.arange(CELLS, dtype=float)},
        index=CELL_NAMES,
    )
    var = pd.DataFrame({"flag": [True] * GENES}, index=GENE_NAMES)
    cells = anndata.AnnData(csr() if matrix is None else matrix, obs=obs, var=var)
    cells.layers["counts"] = sparse.csr_matrix(counts().astype(np.int32))
    cells.raw = cells.copy()
    return cells


@functools.cache
def sound_file(compression: str | None = None) -> bytes:
    """The bytes of a sound file: writing one takes longer than reading it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "screen.h5ad"
        screen().write_h5ad(path, compression=compression)
        return path.read_bytes()


def edited(
    name: str, edit: Callable[[Any], Any], *, matrix: Any = None, good: bool = False, **options: Any
) -> Case:
    """A case whose .h5ad file is whole but for `edit(file)`."""

    def write(path: Path) -> None:
        if matrix is None:
            path.write_bytes(sound_file())
        else:
            screen(matrix).write_h5ad(path)
        with h5py.File(path, "r+") as file:
            edit(file)

    return Case(name, write, good, options)


def replace(file: Any, name: str, values: Any) -> None:
    """Store other values under a name, with the attributes that were there."""
    attributes = dict(file[name].attrs) if name in file else {}
    if name in file:
        del file[name]
    file.create_dataset(name, data=values)
    for key, value in attributes.items():
        file[name].attrs[key] = value


def with_values(name: str, values: Any) -> Callable[[Any], None]:
    """Store an array in the place of another."""
    return lambda file: replace(file, name, values)


def with_type(name: str, dtype: Any) -> Callable[[Any], None]:
    """Store an array in another type."""
    return lambda file: replace(file, name, file[name][:].astype(dtype))


def with_entry(name: str, place: int, value: Any, dtype: Any) -> Callable[[Any], None]:
    """Store an array in another type with one other entry."""

    def edit(file: Any) -> None:
        array = file[name][:].astype(dtype)
        array[place] = np.asarray(value).astype(dtype)
        replace(file, name, array)

    return edit


def with_parts(first: Any, second: Any, dtype: Any) -> Callable[[Any], None]:
    """Store the first entry of the first cell in two parts."""

    def edit(file: Any) -> None:
        group = file["X"]
        values = group["data"][:].astype(dtype)
        values[0] = np.array(first, dtype)
        replace(file, "X/data", np.insert(values, 1, np.array(second, dtype)))
        replace(file, "X/indices", np.insert(group["indices"][:], 1, group["indices"][0]))
        pointers = group["indptr"][:]
        pointers[1:] += 1
        replace(file, "X/indptr", pointers)

    return edit


def without(name: str) -> Callable[[Any], None]:
    """Take a part out."""
    return lambda file: file.__delitem__(name)


def instead(name: str, other: Any) -> Callable[[Any], None]:
    """Put another kind of object in the place of a part: a link, a group, a type."""

    def edit(file: Any) -> None:
        del file[name]
        if other is h5py.Group:
            file.create_group(name)
        else:
            file[name] = other

    return edit


def with_attribute(name: str, key: str, value: Any) -> Callable[[Any], None]:
    """Set an attribute of a part; None takes it out."""

    def edit(file: Any) -> None:
        if value is None:
            del file[name].attrs[key]
        else:
            file[name].attrs[key] = value

    return edit
