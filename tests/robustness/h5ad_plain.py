"""A file read the plain way: number by number in Python's own integers, by nothing of jaxpert.

What it says is what reading has to give, to the last count. It knows the forms that anndata
writes, and raises `Unreadable` at everything that is not one of them.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

LARGEST = 2**32 - 1


class Unreadable(Exception):
    """The file does not hold counts with labels."""


class Screen(NamedTuple):
    """What a file says, as plain lists."""

    counts: list[list[int]]
    cells: list[str]
    genes: list[str]
    labels: list[str]


def plain_reading(path: Path, layer: str | None = None) -> Screen:
    """The counts, names and labels of a file."""
    try:
        with _root(path) as root:
            return _screen(root, layer or "X")
    except Unreadable:
        raise
    except Exception as error:  # whatever h5py and zarr stumble over
        raise Unreadable(str(error)) from error


@contextmanager
def _root(path: Path):
    if path.is_dir():
        import zarr

        yield zarr.open_group(str(path), mode="r")
        return
    with h5py.File(path, "r") as file:
        yield file


def _screen(root: Any, layer: str) -> Screen:
    place = {"X": "X", "raw": "raw/X"}.get(layer, f"layers/{layer}")
    cells = _texts(root["obs"][root["obs"].attrs["_index"]])
    var = root["raw/var" if layer == "raw" else "var"]
    genes = _texts(var[var.attrs["_index"]])
    labels = _texts(root["obs"]["condition"])
    if len(labels) != len(cells):
        raise Unreadable("a label for each cell")
    return Screen(_matrix(root[place], len(cells), len(genes)), cells, genes, labels)


def _matrix(stored: Any, cells: int, genes: int) -> list[list[int]]:
    told = str(stored.attrs.get("encoding-type", stored.attrs.get("h5sparse_format", "array")))
    if told == "array":
        if stored.shape != (cells, genes):
            raise Unreadable(f"shape {stored.shape}")
        return [[_count(value) for value in row] for row in stored[:]]
    if told not in ("csr_matrix", "csc_matrix", "csr", "csc"):
        raise Unreadable(f"a matrix called {told}")
    shape = stored.attrs.get("shape", stored.attrs.get("h5sparse_shape"))
    if len(shape) != 2 or any(isinstance(size, str | bytes) for size in shape):
        raise Unreadable(f"shape {shape}")
    if shape[0] != cells or shape[1] != genes:
        raise Unreadable(f"shape {shape}")
    if told.startswith("csr"):
        return _compressed(stored, cells, genes)
    return [list(row) for row in zip(*_compressed(stored, genes, cells), strict=True)]


def _compressed(stored: Any, rows: int, columns: int) -> list[list[int]]:
    values, indices = stored["data"][:], stored["indices"][:]
    pointers = [_whole(pointer) for pointer in stored["indptr"][:]]
    ends = len(pointers) == rows + 1 and pointers[0] == 0 and pointers[-1] == len(values)
    if not ends or pointers != sorted(pointers) or len(values) != len(indices):
        raise Unreadable("pointers")
    table = [[0] * columns for _ in range(rows)]
    for row in range(rows):
        for entry in range(pointers[row], pointers[row + 1]):
            column = _whole(indices[entry])
            if not 0 <= column < columns:
                raise Unreadable(f"column {column}")
            table[row][column] += _count(values[entry])
    if max(max(row) for row in table) > LARGEST:
        raise Unreadable("the sum of an entry")
    return table


def _whole(value: Any) -> int:
    if not isinstance(value, np.integer):
        raise Unreadable(f"the index {value!r}")
    return int(value)


def _count(value: Any) -> int:
    if not isinstance(value, np.integer | np.floating | np.bool_):
        raise Unreadable(f"the value {value!r}")
    if not np.isfinite(value) or int(value) != value or not 0 <= value <= np.float64(LARGEST):
        raise Unreadable(f"the value {value!r}")
    return int(value)


def _texts(stored: Any) -> list[str]:
    """Text as it is stored: plain, as categories, or with a mask of what is missing."""
    if not hasattr(stored, "keys"):
        if isinstance(stored.attrs.get("categories"), h5py.Reference):
            return _chosen(stored[:], _texts(stored.file[stored.attrs["categories"]]))
        return [_text(value) for value in stored[:]]
    if "codes" in stored:
        return _chosen(stored["codes"][:], _texts(stored["categories"]))
    if np.any(stored["mask"][:]):
        raise Unreadable("a missing text")
    return _texts(stored["values"])


def _chosen(codes: np.ndarray, categories: list[str]) -> list[str]:
    numbers = [_whole(code) for code in codes]
    if any(not 0 <= number < len(categories) for number in numbers):
        raise Unreadable("a code of no category")
    return [categories[number] for number in numbers]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
