"""Opening an .h5ad file or an AnnData object without reading its counts."""

# pyright: reportAttributeAccessIssue=false
# h5py's stubs give every key the union of group, dataset and type.

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from jaxpert.core.types import InputError

GZIP = b"\x1f\x8b"
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


class Table(NamedTuple):
    """An opened source: its annotations in memory, its matrices where they were."""

    name: str
    source: str
    """How messages call it."""
    obs: Any
    var: Any
    matrix: Any
    """The layer that was asked for."""
    layer: str
    layers: tuple[str, ...]
    """All layers; "X" is the main matrix, "raw" the one kept in `adata.raw`."""


@contextmanager
def opened(source: Any, layer: str | None = None) -> Iterator[Table]:
    """Open a path or an AnnData object as a `Table` of one layer; a file is closed at the end.

    Every way in which a file can be unusable (absent, a folder, unreadable, no HDF5, cut short, no
    AnnData) is an `InputError`, also when it shows only while the counts are being read inside the
    `with`.
    """
    # By its parts and not its type, so that a path needs no import of anndata.
    if hasattr(source, "obs") and hasattr(source, "var"):
        yield _from_memory(source, layer)
        return
    path = _usable(Path(os.path.expanduser(os.fspath(source))))
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield _from_file(path, file, layer)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{path} cannot be read to its end ({_reason(error)}), expected a whole .h5ad file: it "
            "is damaged or was cut short while being copied, so fetch it again"
        ) from error


def column(table: Any, name: str, key: str, of: str = "cell") -> Any:
    """Return a column of a table; `InputError` lists the columns there are. `key` is the setting to
    change."""
    if name in table.columns:
        return table[name]
    if not len(table.columns):
        raise InputError(
            f"the {of}s have no column {name!r} nor any other: add it to the file before {key} can "
            "name it"
        )
    close = get_close_matches(name, list(map(str, table.columns)), n=1, cutoff=0.5)
    meant = f" (did you mean {close[0]!r}?)" if close else ""
    raise InputError(
        f"the {of}s have no column {name!r}{meant}: set {key} to one of {shown(table.columns, 40)}"
    )


def shown(names: Any, limit: int = 8) -> str:
    """List names for a message, cut after `limit`."""
    texts = list(map(str, names))
    if len(texts) <= limit:
        return ", ".join(texts)
    return f"{', '.join(texts[:limit])} and {len(texts) - limit} more"


def _usable(path: Path) -> Path:
    if path.is_dir():
        inside = sorted(p.name for p in path.glob("*.h5ad"))
        hint = f"it holds {shown(inside)}" if inside else "it holds no .h5ad file"
        raise InputError(
            f"{path} is a folder, expected an .h5ad file: set data.source to a file ({hint})"
        )
    try:
        # The first bytes tell apart what h5py would refuse with one and the same error.
        with open(path, "rb") as file:
            start = file.read(len(HDF5_SIGNATURE))
    except FileNotFoundError:
        raise InputError(
            f"there is no file {path}, expected an .h5ad file: check data.source{_near(path)}"
        ) from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be opened ({error.strerror}): make it readable for this user"
        ) from error
    if start == HDF5_SIGNATURE:
        return path
    if start.startswith(GZIP):
        raise InputError(
            f"{path} is gzip-compressed, expected an .h5ad file: unpack it with gunzip"
        )
    kind = "not an HDF5 file" if start else "empty"
    raise InputError(
        f"{path} is {kind}, expected an .h5ad file: write the data with adata.write_h5ad"
    )


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f" (there is no folder {path.parent} either)"
    names = [p.name for p in path.parent.glob("*.h5ad")]
    close = get_close_matches(path.name, names, n=1) or names[:3]
    return f" (in that folder: {shown(close)})" if close else ""


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _from_file(path: Path, file: Any, layer: str | None) -> Table:
    # A file without X will do where it has layers.
    needed = ("obs", "var") if "layers" in file else ("X", "obs", "var")
    missing = [part for part in needed if part not in file]
    if missing:
        raise InputError(
            f"{path} is an HDF5 file without {' and '.join(missing)} (it has {shown(file)}), "
            "expected an .h5ad file: read it with scanpy and write it with adata.write_h5ad"
        )
    matrices = {"X": file["X"]} if "X" in file else {}
    matrices |= {name: file["layers"][name] for name in file.get("layers", ())}
    if "raw" in file and "X" in file["raw"]:
        # A layer that is itself called "raw" goes before `adata.raw`.
        matrices.setdefault("raw", file["raw"]["X"])
    chosen = _choose(matrices, layer, str(path))
    # `adata.raw` may hold more genes than X, and so has a table of its own.
    var = file["raw"]["var"] if matrices[chosen].name.startswith("/raw/") else file["var"]
    return Table(
        path.stem,
        str(path),
        _frame(file["obs"], path),
        _frame(var, path),
        matrices[chosen],
        chosen,
        tuple(matrices),
    )


def _frame(group: Any, path: Path) -> Any:
    """Read a cell or gene table."""
    import warnings

    from anndata.io import read_elem

    if not hasattr(group, "keys"):
        raise InputError(
            f"{path} has the form of anndata before 0.7 (2020), expected a newer one: read it with "
            "anndata.read_h5ad and write it again"
        )
    try:
        with warnings.catch_warnings():
            # Of older files anndata says that they are old, which changes nothing.
            warnings.simplefilter("ignore")
            frame = read_elem(group)
    except Exception as error:  # anndata wraps whatever h5py raises in errors of its own
        raise InputError(
            f"the table {group.name!r} of {path} cannot be read ({_reason(error)}): write the file "
            "again with adata.write_h5ad"
        ) from error
    # Names may be stored as numbers, and are compared as text everywhere.
    return frame.set_axis(frame.index.astype(str), axis=0)


def _from_memory(adata: Any, layer: str | None) -> Table:
    matrices = {} if adata.X is None else {"X": adata.X}
    matrices |= {name: adata.layers[name] for name in adata.layers}
    raw = getattr(adata, "raw", None)
    if raw is not None:
        matrices.setdefault("raw", raw.X)
    chosen = _choose(matrices, layer, "the AnnData object")
    # A layer that is itself called "raw" goes before `adata.raw`, and has the genes of all layers.
    var = adata.var
    if raw is not None and chosen == "raw" and "raw" not in adata.layers:
        var = raw.var
    return Table(
        "adata",
        "the AnnData object",
        # Copies: columns that are added later must not appear in the user's object.
        adata.obs.copy(),
        var.copy(),
        matrices[chosen],
        chosen,
        tuple(matrices),
    )


def _choose(matrices: Mapping[str, Any], layer: str | None, source: str) -> str:
    chosen = layer or "X"
    if chosen not in matrices:
        raise InputError(
            f"{source} has no layer {chosen!r}: set data.layer to one of "
            f"{shown(map(repr, matrices))}"
        )
    return chosen
