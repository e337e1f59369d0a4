"""Opening a file or an AnnData object without reading its counts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from jaxpert.core.paths import path_of
from jaxpert.core.types import InputError
from jaxpert.data.formats import MODALITY, READABLE, contents, is_tenx_folder, is_zarr
from jaxpert.data.stored import reading


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
    notes: tuple[str, ...] = ()
    """What a user should know of how the file was read."""
    path: Path | None = None
    """Where the matrix is read from; None where it is in memory already."""


@contextmanager
def opened(source: Any, layer: str | None = None) -> Iterator[Table]:
    """Open a path or an AnnData (or MuData) object as a `Table` of one layer; a file is closed at
    the end.

    Files are .h5ad, .zarr (format 2 and 3), .h5mu (the modality "rna"), and the matrices of 10x.
    Every way in which one can be unusable (absent, unreadable, locked, damaged, of another kind)
    is an `InputError`.
    """
    # By its parts and not its type, so that a path needs no import of anndata.
    if hasattr(source, "obs") and hasattr(source, "var"):
        yield _from_memory(source, layer)
        return
    path = _usable(source)
    with contents(path) as inside:
        if hasattr(inside.adata, "obs_names"):
            table = _from_memory(inside.adata, layer, str(path))
        else:
            table = _from_group(str(path), inside.adata, layer)._replace(path=path)
        if inside.obs is not None:
            outer = _frame(inside.obs, str(path))
            table = table._replace(obs=_joined(table.obs, outer))
        yield table._replace(name=path.stem, notes=inside.notes)


def column(table: Any, name: str, key: str, of: str = "cell") -> Any:
    """Return a column of a table; `InputError` lists the columns there are. `key` is the setting to
    change."""
    if not isinstance(name, str):
        raise InputError(
            f"{key} is {name!r}, expected the name of a column of the {of}s as text: correct it"
        )
    if name in table.columns:
        return table[name]
    if not len(table.columns):
        raise InputError(
            f"the {of}s have no column {name!r} nor any other (files of 10x have none), expected "
            f"one that {key} names: add it to adata.obs and write an .h5ad file"
        )
    close = get_close_matches(name, list(map(str, table.columns)), n=1, cutoff=0.5)
    meant = f" (did you mean {close[0]!r}?)" if close else ""
    raise InputError(
        f"the {of}s have no column {name!r}{meant}, expected one of those of the file: set {key} "
        f"to one of {shown(table.columns, 40)}"
    )


def shown(names: Any, limit: int = 8) -> str:
    """List names for a message, cut after `limit`."""
    texts = list(map(str, names))
    if len(texts) <= limit:
        return ", ".join(texts)
    return f"{', '.join(texts[:limit])} and {len(texts) - limit} more"


def _usable(source: Any) -> Path:
    """The path of a file or folder that can be opened."""
    if not isinstance(source, str | os.PathLike):
        raise InputError(
            f"data.source is of type {type(source).__name__}, expected a path or an AnnData "
            "object: give one of these"
        )
    path = path_of(source)
    try:
        if path.is_dir():
            return _usable_folder(path)
        # Anything but a file, such as a pipe, might keep a reader waiting for ever.
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is no regular file, expected {READABLE}: copy it to one")
        with open(path, "rb"):
            return path
    except FileNotFoundError:
        raise InputError(
            f"there is no file {path}, expected {READABLE}: check data.source{_near(path)}"
        ) from None
    except InputError:
        raise
    except (OSError, ValueError) as error:
        # A name with a zero byte in it is a ValueError.
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{str(path)[:200]!r} cannot be opened ({reason}), expected {READABLE}: make it "
            "readable for this user, or check data.source"
        ) from error


def _usable_folder(path: Path) -> Path:
    if is_zarr(path) or is_tenx_folder(path):
        return path
    inside = sorted(p.name for p in path.glob("*.h5ad"))
    hint = f"it holds {shown(inside)}" if inside else "it holds no .h5ad file"
    raise InputError(f"{path} is a folder, expected {READABLE}: set data.source to a file ({hint})")


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f" (there is no folder {path.parent} either)"
    names = [p.name for p in path.parent.glob("*.h5*")]
    close = get_close_matches(path.name, names, n=1) or names[:3]
    return f" (in that folder: {shown(close)})" if close else ""


def _from_group(source: str, group: Any, layer: str | None) -> Table:
    """An AnnData object on disk, of which anndata reads the tables and opens the matrix."""
    with reading(source, "write it again with adata.write_h5ad"):
        matrices = {"X": group["X"]} if "X" in group else {}
        if "layers" in group:
            matrices |= {name: group["layers"][name] for name in group["layers"].keys()}
        raw = group["raw"] if "raw" in group else {}
        # A layer that is itself called "raw" goes before `adata.raw`.
        if hasattr(raw, "keys") and "X" in raw:
            matrices.setdefault("raw", raw["X"])
        chosen = _choose(matrices, layer, source)
        # `adata.raw` may hold more genes than X, and so has a table of its own.
        of_raw = chosen == "raw" and "raw" not in group.get("layers", ())
        var = raw["var"] if of_raw else group["var"]
        matrix = _matrix(matrices[chosen])
        obs = group["obs"]
    return Table(
        "", source, _frame(obs, source), _frame(var, source), matrix, chosen, tuple(matrices)
    )


def _matrix(element: Any) -> Any:
    """A matrix on disk as anndata opens it: nothing of it is read."""
    from anndata.io import sparse_dataset

    return sparse_dataset(element) if hasattr(element, "keys") else element


def _frame(group: Any, source: str) -> Any:
    """Read a cell or gene table."""
    from anndata.io import read_elem

    if not hasattr(group, "keys"):
        raise InputError(
            f"{source} has the form of anndata before 0.7 (2020), expected a newer one: read it "
            "with anndata.read_h5ad and write it again"
        )
    fix = "write the file again with adata.write_h5ad"
    with reading(f"the table {group.name!r} of {source}", fix):
        frame = read_elem(group)
        # Without its attributes a table is read as a mere dictionary.
        if not hasattr(frame, "columns"):
            raise ValueError("it is no table")
    return _plain(frame, source)


def _plain(frame: Any, source: str) -> Any:
    """A copy of a table in the one form that everything behind expects."""
    import pandas as pd

    repeated = frame.columns[frame.columns.duplicated()].unique()
    if len(repeated):
        raise InputError(
            f"{source} has {len(repeated)} columns of cells or genes of the same name "
            f"({shown(repeated)}), expected one of each: rename or drop them in adata.obs and "
            "adata.var"
        )
    # Names may be stored as numbers, and are compared as text everywhere.
    frame = frame.set_axis(frame.index.astype(str).astype(object), axis=0)
    with reading(f"the text of a column of {source}", "write it again with adata.write_h5ad"):
        for name, kind in frame.dtypes.items():
            if isinstance(kind, pd.CategoricalDtype):
                frame[name] = frame[name].cat.rename_categories(_text(kind.categories))
            else:
                frame[name] = _text(frame[name])
    return frame


def _text(values: Any) -> Any:
    """Text as objects, whatever type it has; other values as they are."""
    import pandas as pd

    # pandas 3 has types for text, which anndata does not write.
    if isinstance(values.dtype, pd.StringDtype):
        values = values.astype(object)
        return values.where(values.notna(), float("nan"))
    if values.dtype == object and pd.api.types.infer_dtype(values) == "bytes":
        return values.str.decode("utf-8")
    return values


def _joined(obs: Any, outer: Any) -> Any:
    """The table of cells of a modality with the columns that only the outer one has."""
    new = [name for name in outer.columns if name not in obs.columns]
    return obs.join(outer[new]) if outer.index.is_unique else obs


def _from_memory(adata: Any, layer: str | None, source: str = "the AnnData object") -> Table:
    if hasattr(adata, "mod"):
        return _from_mudata(adata, layer)
    matrices = {} if adata.X is None else {"X": adata.X}
    matrices |= {name: adata.layers[name] for name in adata.layers}
    raw = getattr(adata, "raw", None)
    if raw is not None:
        matrices.setdefault("raw", raw.X)
    chosen = _choose(matrices, layer, source)
    # A layer that is itself called "raw" goes before `adata.raw`, and has the genes of all layers.
    of_raw = chosen == "raw" and "raw" not in adata.layers
    var = raw.var if raw is not None and of_raw else adata.var
    # Copies: columns that are added later must not appear in the user's object.
    obs, var = _plain(adata.obs.copy(), source), _plain(var.copy(), source)
    return Table("adata", source, obs, var, matrices[chosen], chosen, tuple(matrices))


def _from_mudata(mdata: Any, layer: str | None) -> Table:
    if MODALITY not in mdata.mod:
        raise InputError(
            f"the MuData object has the modalities {shown(mdata.mod)}, expected one called "
            f"{MODALITY!r}: give that modality as an AnnData object"
        )
    table = _from_memory(mdata.mod[MODALITY], layer)
    return table._replace(obs=_joined(table.obs, _plain(mdata.obs.copy(), table.source)))


def _choose(matrices: Mapping[str, Any], layer: str | None, source: str) -> str:
    chosen = layer or "X"
    if chosen not in matrices:
        raise InputError(
            f"{source} has no layer {chosen!r}, expected one of its matrices: set data.layer to "
            f"one of {shown(map(repr, matrices))}"
        )
    return chosen
