"""What kind of file a path names, and what anndata or scanpy finds in it.

.h5ad, .zarr and the modality "rna" of .h5mu are groups that anndata reads part by part; the
matrices of 10x (.h5 and folders of .mtx) come from scanpy and lie in memory. Everything else is
refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from jaxpert.core.types import InputError
from jaxpert.data.stored import reading

READABLE = "an .h5ad, .zarr or .h5mu file or the matrix of 10x (.h5 or folder)"
MODALITY = "rna"
"""Which part of a MuData file holds the counts of genes."""
FEATURES = "Gene Expression"
"""Which kind of 10x features are genes."""
FLOAT32_WHOLE = 2**24
"""Below this float32, as which scanpy reads 10x, holds every whole number apart."""
PACKED = {
    b"\x1f\x8b": ("gzip-compressed", "unpack it with gunzip"),
    b"PK\x03\x04": ("a zip archive", "unpack it"),
}
"""First bytes of packed files, and what to do about them."""


class Contents(NamedTuple):
    """What a file holds."""

    adata: Any
    """An AnnData object, or the group on disk that anndata reads one from."""
    obs: Any = None
    """The group of a table of cells beside it (MuData)."""
    notes: tuple[str, ...] = ()


@contextmanager
def contents(path: Path) -> Iterator[Contents]:
    """Open a path of any kind that is read; a file is closed at the end."""
    if path.is_dir():
        yield _folder(path)
        return
    with _opened(path) as file:
        if _is_10x(file):
            yield _tenx(path)
        else:
            yield _annotated(path, file)


def is_zarr(path: Path) -> bool:
    """Whether a folder is a zarr store, of format 2 or 3."""
    return any((path / name).is_file() for name in (".zgroup", "zarr.json"))


def is_tenx_folder(path: Path) -> bool:
    """Whether a folder holds a matrix as Cell Ranger writes it."""
    return any((path / f"matrix.mtx{ending}").is_file() for ending in ("", ".gz"))


def _folder(path: Path) -> Contents:
    if not is_zarr(path):
        return _tenx(path)
    import zarr

    with _reading(path):
        group = zarr.open_group(str(path), mode="r")
    return _annotated(path, group)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        # HDF5 tells the cause in its text; only some causes have a number of their own.
        if "unable to lock" in str(error):
            raise _locked(path) from error
        if "already open for write" in str(error):
            raise InputError(
                f"{path} is marked as open for writing, expected a closed file: close it where it "
                "is written, or run h5clear -s on it if that program was killed"
            ) from error
        if "signature not found" in str(error):
            raise _no_hdf5(path) from error
        with _reading(path):
            raise
    with file:
        yield file


def _no_hdf5(path: Path) -> InputError:
    """Say what a file is instead, by its first bytes."""
    with open(path, "rb") as file:
        start = file.read(8)
    for signature, (kind, fix) in PACKED.items():
        if start.startswith(signature):
            return InputError(f"{path} is {kind}, expected {READABLE}: {fix}")
    kind = "not an HDF5 file" if start else "empty"
    return InputError(f"{path} is {kind}, expected {READABLE}: write it with adata.write_h5ad")


def _locked(path: Path) -> InputError:
    return InputError(
        f"{path} is locked, expected a file that nobody writes: close it in the notebook or script "
        f"that has it open for writing (backed='r+'; lsof {path.name} names the process), or set "
        "HDF5_USE_FILE_LOCKING=FALSE where the file system knows no locks"
    )


def _annotated(path: Path, group: Any) -> Contents:
    """The group of an AnnData object, at the root or as a modality of MuData."""
    with _reading(path):
        inside = sorted(group)
        is_mudata = "mod" in inside and "X" not in inside
        modalities = sorted(group["mod"]) if is_mudata else []
        if MODALITY in modalities:
            # Labels that belong to all modalities stand in the outer table alone.
            return Contents(group["mod"][MODALITY], group["obs"] if "obs" in inside else None)
    if modalities:
        raise InputError(
            f"{path} has the modalities {', '.join(modalities[:8])}, expected one called "
            f"{MODALITY!r}: give that modality as a file of its own (mdata['...'].write_h5ad)"
        )
    if {"row_attrs", "col_attrs"} <= set(inside):
        raise InputError(
            f"{path} is a loom file, expected {READABLE}: read it with anndata.io.read_loom and "
            "write it with adata.write_h5ad"
        )
    # A file without X will do where it has layers.
    needed = ("obs", "var") if "layers" in inside else ("X", "obs", "var")
    missing = [part for part in needed if part not in inside]
    if missing:
        present = ", ".join(inside[:8]) or "nothing"
        raise InputError(
            f"{path} is without {' and '.join(missing)} (it has {present}), expected {READABLE}: "
            "read it with scanpy and write it with adata.write_h5ad"
        )
    return Contents(group)


def _is_10x(file: Any) -> bool:
    """Whether an HDF5 file is of Cell Ranger: one group "matrix", or before 2018 one per genome."""
    with _reading(Path(file.filename)):
        groups = [part for part in file.values() if hasattr(part, "keys")]
        return any({"barcodes", "indptr"} <= set(part) for part in groups)


def _tenx(path: Path) -> Contents:
    """A matrix of 10x in memory: its genes, and notes on what else it holds."""
    import scanpy

    fix = "write it again with Cell Ranger, or read it yourself and write it with adata.write_h5ad"
    with reading(f"{path}, a matrix of 10x,", fix):
        if path.is_dir():
            adata = scanpy.read_10x_mtx(path, make_unique=False, gex_only=False)
        else:
            adata = scanpy.read_10x_h5(path, gex_only=False)
        largest = cast(Any, adata.X).data.max(initial=0)
        if largest >= FLOAT32_WHOLE:
            raise InputError(
                f"{path} holds the value {largest:.0f}, expected counts of molecules below "
                f"{FLOAT32_WHOLE:,}: give the matrix as Cell Ranger wrote it"
            )
        genes, notes = _genes_alone(adata, path)
        repeated = genes.var_names[genes.var_names.duplicated()].unique()
        genes.var_names_make_unique()
    if len(repeated):
        names = ", ".join(map(str, repeated[:8]))
        text = f"{len(repeated)} gene symbols occur more than once and were numbered: {names}"
        notes = (*notes, text)
    return Contents(genes, notes=notes)


def _genes_alone(adata: Any, path: Path) -> tuple[Any, tuple[str, ...]]:
    # Cell Ranger before version 3 knew genes only, and had no such column.
    if "feature_types" not in adata.var:
        return adata, ()
    kinds = np.asarray(adata.var["feature_types"].astype(str))
    names, numbers = np.unique(kinds, return_counts=True)
    counted = ", ".join(f"{n} {name}" for name, n in zip(names, numbers, strict=True))
    if FEATURES not in names:
        raise InputError(
            f"{path} has features of other kinds alone ({counted}), expected some {FEATURES}: give "
            "the matrix of genes"
        )
    if len(names) == 1:
        return adata, ()
    note = f"of the features of 10x only {FEATURES} is read, of {counted}"
    return adata[:, kinds == FEATURES].copy(), (note,)


def _reading(path: Path):
    return reading(
        str(path), "it is damaged or was cut short while being copied, so fetch it again"
    )
