"""Rows that any tool wrote: cells or means with a label each, from .h5ad, AnnData or a table."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jaxpert.core.paths import path_of
from jaxpert.core.spreadsheets import decimal_sign, number, read_sheet
from jaxpert.core.texts import read_text
from jaxpert.core.types import InputError
from jaxpert.data.counts import value_blocks
from jaxpert.data.files import opened, shown
from jaxpert.data.labels import text_labels
from jaxpert.data.read import check_names, labelled

SHEETS = (".csv", ".tsv", ".txt")
TABLE = "a CSV file with a condition in the first cell of each row and genes in the first row"


class Rows(NamedTuple):
    """What one file holds, as it holds it."""

    source: str
    """How messages call it."""
    values: Any
    """CSR `[N, G]`, float64."""
    names: np.ndarray
    """Of the rows."""
    genes: tuple[str, ...]
    obs: Any
    var: Any
    notes: tuple[str, ...] = ()
    scale: str = ""
    """As the file itself says it; empty where it does not."""

    @property
    def name(self) -> str:
        """Short form of `source`."""
        return path_of(self.source).stem


def read_rows(
    source: Any, perturbation: str, layer: str | None = None, called: str = "the table"
) -> Rows:
    """Read an .h5ad, .zarr or .h5mu file, an AnnData, a CSV file or a DataFrame (conditions by
    genes); messages call what is no file as `called` says.

    Raises:
        InputError: for what cannot be read, is empty, or has names that are not unique.
    """
    if hasattr(source, "columns") and hasattr(source, "index"):
        return _from_frame(source, called, perturbation)
    if not hasattr(source, "obs") and path_of(source).suffix.lower() in SHEETS:
        return _from_sheet(source, perturbation)
    with opened(source, layer) as table:
        check_names(table)
        values = _stacked(value_blocks(labelled(table)))
        told = "log2" if "log2(" in _said_scale(source) else ""
        return Rows(
            source=called if hasattr(source, "obs") else table.source,
            values=values,
            names=np.asarray(table.obs.index, str),
            genes=tuple(map(str, table.var.index)),
            obs=table.obs,
            var=table.var,
            notes=table.notes,
            scale=told if layer is None else "",
        )


def labels_of(rows: Rows, column: str, flag: str) -> np.ndarray:
    """The label of every row as text; InputError for missing ones."""
    fix = "label them or leave them out"
    return text_labels(rows.obs, column, flag, fix).astype(str)


def _said_scale(source: Any) -> str:
    """What jaxpert itself wrote of the scale of its predictions."""
    if hasattr(source, "uns"):
        return str(source.uns.get("scale", ""))
    import h5py

    path = path_of(source)
    if path.suffix.lower() not in (".h5ad", ".h5"):
        return ""
    with h5py.File(path, "r") as file:
        said: Any = file.get("uns/scale")
        # Other tools may keep a number or a whole table under this name.
        text = getattr(said, "shape", None) == () and h5py.check_string_dtype(said.dtype)
        return str(said.asstr()[()]) if text else ""


def _stacked(blocks: Any) -> Any:
    from scipy import sparse

    values = sparse.csr_matrix(sparse.vstack(list(blocks), format="csr"))
    values.eliminate_zeros()
    values.sort_indices()
    return values


def _from_sheet(source: Any, perturbation: str) -> Rows:
    import pandas

    path = path_of(source)
    header, rows, separator = read_sheet(read_text(path, TABLE), path)
    if len(header) < 2 or not rows:
        raise InputError(
            f"{path} has {len(rows)} rows and {max(len(header) - 1, 0)} columns of numbers, "
            f"expected {TABLE}: check the file"
        )
    wrong = [line for line, cells in rows if len(cells) != len(header)]
    if wrong:
        raise InputError(
            f"line {wrong[0]} of {path} has another number of cells than the first line "
            f"({len(header)}), expected {TABLE}: correct the line"
        )
    sign = decimal_sign((cell for _, cells in rows for cell in cells[1:]), separator)
    table = np.empty((len(rows), len(header) - 1))
    for place, (line, cells) in enumerate(rows):
        for column, cell in enumerate(cells[1:]):
            value = number(cell, sign)
            if value is None:
                raise InputError(
                    f"line {line} of {path} holds {cell[:40]!r} for {header[column + 1]!r}, "
                    f"expected a number, in {TABLE}: correct the line"
                )
            table[place, column] = value
    names = [cells[0] for _, cells in rows]
    frame = pandas.DataFrame(table, index=pandas.Index(names), columns=pandas.Index(header[1:]))
    return _from_frame(frame, str(path), perturbation)


def _from_frame(frame: Any, source: str, perturbation: str) -> Rows:
    import pandas
    from scipy import sparse

    for what, names in (("rows", frame.index), ("genes", frame.columns)):
        if not len(names):
            raise InputError(f"{source} has no {what}, expected {TABLE}: check the file")
        twice = names[names.duplicated()].unique()
        if len(twice):
            raise InputError(
                f"{source} has {len(twice)} {what} of the same name ({shown(twice, 5)}), expected "
                "unique ones: leave the repeated ones out"
            )
    genes = tuple(map(str, frame.columns))
    names = np.asarray(frame.index.astype(str), str)
    try:
        values = sparse.csr_matrix(frame.to_numpy(np.float64))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{source} holds what is no number ({error}), expected numbers alone, conditions in "
            "the index and genes in the columns: correct it"
        ) from error
    obs = pandas.DataFrame({perturbation: names}, index=pandas.Index(names))
    return Rows(source, values, names, genes, obs, pandas.DataFrame(index=pandas.Index(genes)))
