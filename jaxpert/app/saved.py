"""Fitted models with their data as files, without pickle: arrays in one .npz, structure in one
JSON file.

What can be saved are plain values, arrays, sparse matrices, tables, and the NamedTuples and
dataclasses of this package. Reading makes nothing else, so a file from elsewhere cannot run code.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxpert.core import files, sealed
from jaxpert.core.errors import InputError

FORMAT = 1
STRUCTURE, ARRAYS = "saved.json", "arrays.npz"
TRUSTED = ("jaxpert.", "jraph.")
"""Packages whose NamedTuples and dataclasses are made when a file is read."""


def write(folder: Path, content: Any) -> None:
    """Write a tree of values to a folder."""
    arrays: dict[str, np.ndarray] = {}
    encoded = _encode(content, arrays)
    # Arrays stand in one file, so that each is compressed and none is text.
    folder.mkdir(parents=True, exist_ok=True)
    with files.whole(folder / ARRAYS) as part, part.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    # Last, as the sign that all is there, and with a checksum: a save that is killed over an
    # earlier one leaves new arrays beside the structure of the old ones.
    structure = {"format": FORMAT, "arrays": sealed.crc(folder / ARRAYS), "content": encoded}
    files.write_text(folder / STRUCTURE, json.dumps(structure))


def read(folder: Path) -> Any:
    """Read what `write` wrote; InputError where it cannot be read."""
    try:
        structure = json.loads((folder / STRUCTURE).read_text(encoding="utf-8"))
        # Files of before have no checksum.
        if "arrays" in structure and structure["arrays"] != sealed.crc(folder / ARRAYS):
            raise InputError(
                f"{folder / ARRAYS} is damaged or of another save than {STRUCTURE}, expected the "
                "files of one jaxpert.save: save it again"
            )
        # Without pickle no object can be made, and so no code run, while arrays are read.
        with np.load(folder / ARRAYS, allow_pickle=False) as stored:
            arrays = dict(stored)
        if structure["format"] != FORMAT:
            raise InputError(
                f"{folder} was saved in format {structure['format']}, expected {FORMAT}: save it "
                "again with this version"
            )
        return _decode(structure["content"], arrays)
    # Our own messages say more than the general one below.
    except InputError:
        raise
    except Exception as error:  # zip, json, numpy and our own classes each have their own
        raise InputError(
            f"{folder} cannot be read ({type(error).__name__}: {error}), expected what "
            "jaxpert.save wrote: save it again"
        ) from error


def _encode(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    # A truth value and a number are what JSON has itself.
    if value is None or isinstance(value, bool | int | float | str):
        return value
    # Keys look like arrays but hold a type of their own: their words are stored.
    if isinstance(value, jax.Array) and jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key):
        return {"key": _encode(np.asarray(jax.random.key_data(value)), arrays)}
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return _encode_array(value, arrays)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        members = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return _encode_class(value, members, arrays)
    # NamedTuples are tuples, so they are asked for before these.
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _encode_class(value, value._asdict(), arrays)  # pyright: ignore
    if isinstance(value, dict):
        # Pairs, since JSON allows only texts as keys.
        pairs = [[_encode(k, arrays), _encode(v, arrays)] for k, v in value.items()]
        return {"dict": pairs}
    if isinstance(value, list | tuple | frozenset):
        return {type(value).__name__: [_encode(member, arrays) for member in value]}
    return _encode_table(value, arrays)


def _encode_array(value: Any, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    array = np.asarray(value)
    # Texts of any length are stored as fixed-width ones, which need no pickle.
    texts = array.dtype == object
    name = f"a{len(arrays)}"
    arrays[name] = array.astype(str) if texts else array
    kind = "device" if isinstance(value, jax.Array) else "array"
    return {kind: name} | ({"texts": True} if texts else {})


def _encode_class(value: Any, members: dict, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    cls = type(value)
    # Only classes of known packages are written, as only these are read.
    if not cls.__module__.startswith(TRUSTED):
        raise InputError(
            f"a {cls.__name__} cannot be saved, expected data of jaxpert: save what jaxpert "
            "returned"
        )
    encoded = {name: _encode(member, arrays) for name, member in members.items()}
    return {"class": [cls.__module__, cls.__qualname__], "members": encoded}


def _encode_table(value: Any, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    import pandas
    from scipy import sparse

    if sparse.issparse(value):
        matrix = sparse.csr_matrix(value)
        parts = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr}
        encoded = {name: _encode_array(part, arrays) for name, part in parts.items()}
        return {"csr": encoded, "shape": list(value.shape)}
    if isinstance(value, pandas.DataFrame):
        table: Any = value
        columns = []
        for name in table.columns:
            columns.append([str(name), _encode_array(_column(table[name]), arrays)])
        return {"table": columns, "index": _encode_array(np.asarray(table.index), arrays)}
    raise InputError(
        f"a {type(value).__name__} cannot be saved, expected data of jaxpert: save what jaxpert "
        "returned"
    )


def _column(column: Any) -> np.ndarray:
    """A column without types that only pandas knows."""
    values = np.asarray(column)
    return values.astype(str) if values.dtype == object else values


def _decode(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if not isinstance(value, dict):
        return value
    if "key" in value:
        return jax.random.wrap_key_data(jax.numpy.asarray(_decode(value["key"], arrays)))
    if "array" in value:
        array = arrays[value["array"]]
        return array.astype(object) if value.get("texts") else array
    if "device" in value:
        return jax.numpy.asarray(arrays[value["device"]])
    if "class" in value:
        return _decode_class(value, arrays)
    if "dict" in value:
        return {_decode(k, arrays): _decode(v, arrays) for k, v in value["dict"]}
    for kind in (list, tuple, frozenset):
        if kind.__name__ in value:
            return kind(_decode(member, arrays) for member in value[kind.__name__])
    return _decode_table(value, arrays)


def _decode_class(value: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    module, name = value["class"]
    # The name is checked before anything is imported, since importing runs code.
    if not module.startswith(TRUSTED):
        raise InputError(
            f"the file holds a {module}.{name}, expected data of jaxpert alone: do not open files "
            "of strangers, save it again"
        )
    cls = importlib.import_module(module)
    for part in name.split("."):
        cls = getattr(cls, part)
    # Only records are made: calling anything else could do harm.
    is_record = dataclasses.is_dataclass(cls) or (
        isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields")
    )
    if not is_record:
        raise InputError(
            f"the file holds a {module}.{name}, expected data of jaxpert alone: do not open files "
            "of strangers, save it again"
        )
    members = {key: _decode(member, arrays) for key, member in value["members"].items()}
    return cls(**members)  # pyright: ignore


def _decode_table(value: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    import pandas
    from scipy import sparse

    if "csr" in value:
        parts = {name: _decode(part, arrays) for name, part in value["csr"].items()}
        shape = tuple(value["shape"])
        return sparse.csr_matrix((parts["data"], parts["indices"], parts["indptr"]), shape=shape)
    columns = {name: _decode(column, arrays) for name, column in value["table"]}
    return pandas.DataFrame(columns, index=pandas.Index(_decode(value["index"], arrays)))
