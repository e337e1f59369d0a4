"""Tables of numbers with named rows and columns, in any of the forms that a user may have."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxpert.core.paths import path_of
from jaxpert.core.spreadsheets import decimal_sign, number, read_sheet
from jaxpert.core.texts import read_text
from jaxpert.core.types import InputError
from jaxpert.data import files

FORMS = ".csv, .csv.gz, .tsv, .parquet, .npz or .h5ad"
DAMAGED = (OSError, KeyError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile)
"""In these ways libraries say that a file is none of theirs."""


class Columns(NamedTuple):
    """Numbers with names of both axes, as the file has them."""

    rows: list[str]
    columns: list[str]
    values: Float[np.ndarray, "R C"]


def read_columns(path: str | Path, kind: str) -> Columns:
    """Read a table: `kind` is "effects" (conditions x genes) or "profile" (genes x numbers), which
    says where an .npz or .h5ad file holds it."""
    suffixes = [suffix.lower() for suffix in path_of(path).suffixes]
    last = suffixes[-1] if suffixes else ""
    if last in (".csv", ".tsv", ".txt") or suffixes[-2:-1] in ([".csv"], [".tsv"], [".txt"]):
        return _from_sheet(path)
    readers = {".parquet": _from_parquet, ".npz": _from_npz, ".h5ad": _from_h5ad}
    if last not in readers:
        raise InputError(
            f"{path} is no table by its name, expected {FORMS}: rename it or save it so"
        )
    if not path_of(path).is_file():
        raise InputError(f"there is no file {path}, expected {FORMS}: check the path")
    return readers[last](path, kind)


def _from_sheet(path: str | Path) -> Columns:
    expected = "a table with names in its first row and column"
    sheet = read_sheet(read_text(path, expected), path)
    # A first header cell names the column of names, or was left out as R does.
    header = sheet.header
    if sheet.rows and len(sheet.rows[0][1]) == len(header) + 1:
        header = ["", *header]
    rows, values = [], np.empty((len(sheet.rows), len(header) - 1 if header else 0))
    for k, (line, cells) in enumerate(sheet.rows):
        if len(cells) != len(header):
            raise InputError(
                f"line {line} of {path} has {len(cells)} cells, expected {len(header)} as the "
                "header: correct the line"
            )
        rows.append(cells[0])
        sign = decimal_sign(cells[1:], sheet.separator)
        for j, cell in enumerate(cells[1:]):
            value = number(cell, sign)
            if value is None:
                raise InputError(
                    f"line {line} of {path} has {cell!r} under {header[j + 1]!r}, expected a "
                    "number: correct it"
                )
            values[k, j] = value
    return Columns(rows, list(header[1:]), values)


def _from_parquet(path: str | Path, kind: str) -> Columns:
    del kind  # the form is that of a sheet
    import pandas as pd

    try:
        frame = pd.read_parquet(path_of(path))
    except ImportError as error:
        raise InputError(
            f"{path} cannot be read without pyarrow, expected that package: install it, or save "
            "the table as .csv.gz"
        ) from error
    except DAMAGED as error:
        raise _unreadable(path, error, "a table") from error
    # Names that were a column come back as one, those that were an index as the index.
    texts = [name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
    if texts[:1] == list(frame.columns[:1]):
        frame = frame.set_index(texts[0])
    return _of_frame(path, frame)


def _from_npz(path: str | Path, kind: str) -> Columns:
    try:
        with np.load(path_of(path), allow_pickle=False) as stored:
            arrays = {name: np.asarray(stored[name]) for name in stored.files}
        if kind == "effects":
            return _columns(path, arrays["conditions"], arrays["genes"], arrays["effects"])
        names = [name for name in ("mean", "inverse_dispersion") if name in arrays]
        values = np.stack([arrays[name] for name in names], 1)
        return _columns(path, arrays["genes"], names, values)
    except DAMAGED as error:
        arrays_of = {
            "effects": "the arrays conditions, genes and effects",
            "profile": "the arrays genes and mean",
        }
        raise _unreadable(path, error, arrays_of[kind]) from error


def _from_h5ad(path: str | Path, kind: str) -> Columns:
    with files.opened(path_of(path)) as table:
        if kind == "profile":
            wanted = [n for n in ("mean", "inverse_dispersion") if n in table.var.columns]
            return _of_frame(path, table.var[wanted])
        named = "condition" in table.obs.columns
        rows = table.obs["condition"] if named else table.obs.index
        return _columns(path, rows, table.var.index, _dense(table.matrix))


def _dense(matrix: Any) -> np.ndarray:
    # A sparse matrix on disk comes into memory first; a dense one is read as a whole.
    if hasattr(matrix, "to_memory"):
        matrix = matrix.to_memory()
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix[...])


def _of_frame(path: str | Path, frame: Any) -> Columns:
    try:
        values = frame.to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise _unreadable(path, error, "numbers alone beside the names") from error
    return _columns(path, frame.index, frame.columns, values)


def _columns(path: str | Path, rows: Iterable[Any], columns: Iterable[Any], values: Any) -> Columns:
    names = [str(name) for name in rows], [str(name) for name in columns]
    values = np.asarray(values, np.float64)
    if values.shape != (len(names[0]), len(names[1])):
        raise InputError(
            f"{path} has values of shape {values.shape} for {len(names[0])} and {len(names[1])} "
            "names, expected one for each: write the file again"
        )
    return Columns(*names, values)


def _unreadable(path: str | Path, error: Exception, expected: str) -> InputError:
    return InputError(f"{path} cannot be read ({error}), expected {expected}: write it again")
