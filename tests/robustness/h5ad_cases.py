"""Edits of a sound .h5ad file, each by its name: types, values, indices, pointers, tables."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy import sparse

from robustness.h5ad_base import (
    CELL_NAMES,
    CELLS,
    GENE_NAMES,
    GENES,
    LABELS,
    Case,
    counts,
    csr,
    edited,
    instead,
    replace,
    sound_file,
    with_attribute,
    with_entry,
    with_parts,
    with_type,
    with_values,
    without,
)

SPARSE = ("data", "indices", "indptr")
NNZ = csr().nnz
POINTERS = csr().indptr


def named_cases() -> list[Case]:
    """Every case of this file, in a fixed order."""
    groups = (parts, attributes, types, values, indices, pointers, duplicates, columns_first, dense)
    places = (layers, tables, texts, categories, files)
    return [case for group in (*groups, *places) for case in group()]


def parts() -> Iterator[Case]:
    """Arrays of the sparse matrix that are missing, of another kind or length."""
    for part in SPARSE:
        name = f"X/{part}"
        yield edited(f"{name} missing", without(name))
        yield edited(f"{name} is a group", instead(name, h5py.Group))
        yield edited(f"{name} is a number", instead(name, np.float32(1)))
        yield edited(f"{name} of text", instead(name, ["x"] * NNZ))
        yield edited(f"{name} of bytes", instead(name, np.array([b"1"] * NNZ)))
        yield edited(f"{name} links nowhere", instead(name, h5py.SoftLink("/nowhere")))
        yield edited(f"{name} is empty space", instead(name, h5py.Empty("f4")))
        yield edited(f"{name} of records", instead(name, np.zeros(NNZ, [("a", "i4")])))
        yield edited(f"{name} complex", with_type(name, np.complex64))
        yield edited(f"{name} two-dimensional", _changed(name, lambda x: x[:, None]))
        yield edited(f"{name} without entries", _changed(name, lambda x: x[:0]))
        yield edited(f"{name} shorter", _changed(name, lambda x: x[:-1]))
        yield edited(f"{name} longer", _changed(name, lambda x: np.append(x, x[-1])))
        yield edited(f"{name} unwritten", _unwritten(name))


def attributes() -> Iterator[Case]:
    """What the matrix says of itself."""
    for key in ("shape", "encoding-type", "encoding-version"):
        yield edited(f"X without {key}", with_attribute("X", key, None))
    for told in ("csc_matrix", "array", "dataframe", "coo_matrix", "", 5, b"\xff\xfe"):
        yield edited(f"X called {told!r}", with_attribute("X", "encoding-type", told))
    wrong = ([CELLS + 1, GENES], [CELLS, GENES + 1], [CELLS, GENES - 1], [GENES, CELLS], [-24, 9])
    odd = ([CELLS], [CELLS, GENES, 1], CELLS, "24,9", [b"24", b"9"], [24.5, 9.5], [np.nan] * 2)
    for shape in (*wrong, *odd, [24.0, 9.0], [2**40, 2**40]):
        yield edited(f"X of shape {shape!r}", with_attribute("X", "shape", shape))


def types() -> Iterator[Case]:
    """Types that hold the same counts."""
    for dtype in "f8 f4 f2 i1 i2 i4 i8 u1 u2 u4 u8 >f8 >f4 >f2 >i4 >u2 g".split():
        yield edited(f"values as {dtype}", with_type("X/data", dtype), good=True)
        if dtype != "g":
            table = counts().astype(dtype)
            yield edited(f"dense as {dtype}", lambda _: None, matrix=table, good=True)
    yield edited("values as flags", with_type("X/data", bool), good=True)
    for dtype in "i8 u8 u1 i2 >i4".split():
        yield edited(f"indices as {dtype}", with_type("X/indices", dtype), good=True)
        yield edited(f"pointers as {dtype}", with_type("X/indptr", dtype), good=True)
    for dtype in ("f4", "f8", bool):
        yield edited(f"indices as {dtype}", with_type("X/indices", dtype))
        yield edited(f"pointers as {dtype}", with_type("X/indptr", dtype))


def values() -> Iterator[Case]:
    """One value that is none, or only just one."""
    nan, inf = np.nan, np.inf
    bad = (("f2", nan), ("f4", nan), ("f8", nan), ("f2", inf), ("f4", inf), ("f8", -inf))
    bad += (("f4", -1), ("i4", -1), ("i8", -(2**63)), ("i1", -128), ("f8", -1e-300), ("f8", 5e-324))
    bad += (("f4", 0.5), ("f8", np.nextafter(1, 2)), ("f8", np.nextafter(1, 0)), ("f8", 1e300))
    bad += (("i8", 2**63 - 1), ("u8", 2**64 - 1), ("i8", 2**32), ("f8", 2.0**32))
    for dtype, value in bad:
        yield edited(f"value {value!r} as {dtype}", with_entry("X/data", 4, value, dtype))
    largest = (("u4", 2**32 - 1), ("i8", 2**32 - 1), ("f8", 2**32 - 1), ("f8", 2**24 + 1))
    largest += (("u2", 65535), ("f2", 65504), ("f4", 2**24), ("f8", -0.0), ("i4", 2**31 - 1))
    for dtype, value in largest:
        edit = with_entry("X/data", 4, value, dtype)
        yield edited(f"value {value!r} as {dtype}", edit, good=True)


def indices() -> Iterator[Case]:
    """Columns outside the matrix, between two columns, or beyond 32 bits."""
    outside = (("i4", GENES), ("i4", -1), ("i4", 2**31 - 1), ("i4", -(2**31)), ("u1", 255))
    wrapping = (("i8", 2**32), ("i8", 2**32 + 1), ("i8", -(2**32)), ("u8", 2**64 - 1))
    between = (("f8", 0.5), ("f8", 1.9), ("f8", -0.5), ("f8", np.nan), ("f8", 1e300))
    for dtype, value in (*outside, *wrapping, *between):
        yield edited(f"index {value!r} as {dtype}", with_entry("X/indices", 3, value, dtype))
    yield edited("indices in another order", _reversed_rows, good=True)


def pointers() -> Iterator[Case]:
    """Pointers that do not ascend from 0 to the number of values."""
    first = ((0, 1), (0, 5), (0, -1), (0, 2**40))
    last = ((CELLS, NNZ + 1), (CELLS, NNZ - 1), (CELLS, 2**31), (CELLS, -1))
    for place, value in (*first, *last, (3, -7), (3, 10**6), (5, int(POINTERS[4]) - 1)):
        edit = with_entry("X/indptr", place, value, "i8")
        yield edited(f"pointer {place} is {value}", edit)
    yield edited("pointer 2**63 - 1", with_entry("X/indptr", 2, 2**63 - 1, "i8"))
    yield edited("pointer 2**64 - 3", with_entry("X/indptr", 0, 2**64 - 3, "u8"))
    yield edited("pointer between", with_entry("X/indptr", 3, POINTERS[3] + 0.5, "f8"))
    yield edited("pointers all 0", _changed("X/indptr", np.zeros_like))
    yield edited("pointers reversed", _changed("X/indptr", lambda x: x[::-1]))
    yield edited("three values before the first pointer", _in_front)


def duplicates() -> Iterator[Case]:
    """An entry in two parts, whose sum outgrows their type or hides what they are."""
    exact = (("f4", 1, 2), ("u1", 200, 100), ("u2", 65535, 1), ("i1", 100, 100), ("i2", 32767, 2))
    exact += (("f4", 2**24, 1), ("f2", 2048, 1), ("f2", 65504, 65504), ("i4", 2**31 - 1, 1))
    for dtype, first, second in exact:
        name = f"parts {first} and {second} as {dtype}"
        yield edited(name, with_parts(first, second, dtype), good=True)
    hiding = (("i4", -1, 3), ("f4", 0.5, 0.5), ("f4", np.inf, -np.inf), ("i8", -1, 1))
    hiding += (("u4", 2**32 - 1, 5), ("f8", 1.25, 0.75), ("u8", 2**63, 2**63), ("i8", 2**63 - 1, 2))
    for dtype, first, second in (*hiding, (bool, True, True)):
        yield edited(f"parts {first} and {second} as {dtype}", with_parts(first, second, dtype))


def columns_first() -> Iterator[Case]:
    """The same faults in CSC, where the indices are those of cells."""
    by_gene = sparse.csc_matrix(counts().astype(np.float32))
    yield edited("CSC", lambda _: None, matrix=by_gene, good=True)
    for value in (CELLS, -1, 2**32, -(2**32)):
        edit = with_entry("X/indices", 2, value, "i8")
        yield edited(f"CSC index {value}", edit, matrix=by_gene)
    yield edited("CSC pointer", with_entry("X/indptr", 0, 2, "i8"), matrix=by_gene)
    yield edited("CSC not a number", with_entry("X/data", 2, np.nan, "f4"), matrix=by_gene)
    called = with_attribute("X", "encoding-type", "csr_matrix")
    yield edited("CSC called CSR", called, matrix=by_gene)


def dense() -> Iterator[Case]:
    """Dense matrices of other shapes and contents."""
    table = counts().astype(np.float32)
    for value in (np.nan, np.inf, -1, 0.5, 2.0**32):
        wrong = counts().astype(np.float64)
        wrong[3, 2] = value
        yield edited(f"dense with {value}", lambda _: None, matrix=wrong)
    others = {
        "one-dimensional": np.zeros(CELLS),
        "three-dimensional": table[:, :, None],
        "transposed": table.T,
        "shorter": table[:-1],
        "of text": table.astype("S4"),
        "complex": table.astype(complex),
        "only zeros": np.zeros_like(table),
    }
    for name, other in others.items():
        yield edited(f"dense {name}", with_values("X", other), matrix=table)
    flags = counts() > 0
    yield edited("dense flags", with_values("X", flags), matrix=table, good=True)
    called = with_attribute("X", "encoding-type", "csr_matrix")
    yield edited("dense called CSR", called, matrix=table)
    yield edited(
        "dense without attributes", lambda f: f["X"].attrs.clear(), matrix=table, good=True
    )


def layers() -> Iterator[Case]:
    """Where the matrix is."""
    yield edited("X missing", without("X"))
    yield edited("X missing, a layer asked for", without("X"), good=True, layer="counts")
    yield edited("raw", lambda _: None, good=True, layer="raw")
    yield edited("raw without genes", without("raw/var"), layer="raw")
    yield edited("raw without X", without("raw/X"), layer="raw")
    yield edited("raw without genes, X asked for", without("raw/var"), good=True)
    yield edited("raw is an array", instead("raw", np.zeros(3)))
    yield edited("layers are an array", instead("layers", np.zeros(3)))
    for layer in ("nothing", "counts/data", "../obs", 3):
        yield edited(f"layer {layer!r}", lambda _: None, layer=layer)
    for odd in (3, "text", h5py.Group):
        edit = instead("layers/counts", odd)
        yield edited(f"layer is {odd!r}", edit, layer="counts")
    for link in ("/X", "/", "/obs"):
        yield edited(f"X links to {link}", instead("X", h5py.SoftLink(link)))
    yield edited("X in no file", instead("X", h5py.ExternalLink("nowhere.h5", "/X")))
    yield edited("X is a type", instead("X", np.dtype("f8")))


def tables() -> Iterator[Case]:
    """Tables of cells and genes whose form is broken."""
    for table, names in (("obs", CELL_NAMES), ("var", GENE_NAMES)):
        yield edited(f"{table} missing", without(table))
        yield edited(f"{table} an empty group", instead(table, h5py.Group))
        yield edited(f"{table} a text", instead(table, "hello"))
        yield edited(f"{table} called dict", with_attribute(table, "encoding-type", "dict"))
        for key in ("_index", "column-order", "encoding-type"):
            yield edited(f"{table} without {key}", with_attribute(table, key, None))
        for index in ("nothing", 3, "condition"):
            yield edited(f"{table} indexed by {index}", with_attribute(table, "_index", index))
        yield edited(f"{table} without names", without(f"{table}/_index"))
        others = {
            "shorter": names[:-1],
            "longer": [*names, "x"],
            "repeated": [names[1], *names[1:]],
            "empty": [""] * len(names),
            "numbers": np.arange(len(names)),
            "not numbers": np.full(len(names), np.nan),
            "bytes": np.array(names, "S4"),
            "unicode": ["\u202eαβ", *names[1:]],
        }
        for kind, other in others.items():
            yield edited(f"names of {table} {kind}", with_values(f"{table}/_index", other))
    for order in (["condition", "ghost"], ["condition", "condition"], [1, 2]):
        edit = with_attribute("obs", "column-order", order)
        yield edited(f"columns {order}", edit)
    yield edited("another column shorter", with_values("obs/depth", np.zeros(3)))
    unknown = with_attribute("obs/depth", "encoding-type", "martian")
    yield edited("another column unknown", unknown)


def texts() -> Iterator[Case]:
    """Labels as they are stored."""
    yield edited("labels as text", _labels(LABELS), good=True)
    yield edited("labels as bytes", _labels(np.array(LABELS, "S8")))
    yield edited("labels as numbers", _labels(np.arange(CELLS) % 3))
    yield edited("labels as decimals", _labels(np.where(np.arange(CELLS) < 5, np.nan, 1.0)))
    for label in ("", "nan", "A++B", "+", " ", "A+A", "Ω+β", "A\tB", "<b>", "=1", "a" * 5000):
        yield edited(f"label {label[:9]!r}", _labels([*LABELS[:-1], label]))
    foreign = np.array([label.encode() for label in LABELS], h5py.string_dtype())
    foreign[3] = b"\xff"
    yield edited("label in no UTF-8", _labels(foreign))
    yield edited("labels that may be missing", _nullable(np.zeros(CELLS, bool)), good=True)
    yield edited("a label that is missing", _nullable(np.arange(CELLS) == 3))


def categories() -> Iterator[Case]:
    """Labels as categories, the usual form."""
    for code, dtype in ((4, "i1"), (-1, "i1"), (-2, "i1"), (127, "i1"), (256, "i8"), (2**32, "i8")):
        edit = with_entry("obs/condition/codes", 3, code, dtype)
        yield edited(f"code {code} of 4 categories", edit)
    for code in (0.5, np.nan):
        yield edited(f"code {code}", with_entry("obs/condition/codes", 3, code, "f4"))
    for part in ("codes", "categories"):
        name = f"obs/condition/{part}"
        yield edited(f"{part} missing", without(name))
        yield edited(f"{part} shorter", _changed(name, lambda x: x[:-1]))
        yield edited(f"{part} of bytes", instead(name, np.array([b"1"] * CELLS)))
    for names in (["A", "A", "B", "ctrl"], ["", "A", "B", "ctrl"], [0.5, 1.5, 2.5, 3.5]):
        yield edited(f"categories {names}", with_values("obs/condition/categories", names))


def files() -> Iterator[Case]:
    """Files that are none, or whose storage is damaged."""
    for compression in ("gzip", "lzf"):
        yield Case(f"packed by {compression}", partial(_copied, compression), good=True)
    starts = (b"", b"hello\n" * 99, b"\x89HDF\r\n\x1a\n", b"\x1f\x8b" + bytes(99), b"PK\3\4")
    for start in (*starts, b"\x89HDF\r\n\x1a\n" + bytes(4096)):
        yield Case(f"file of {start[:9]!r}", lambda path, x=start: path.write_bytes(x))
    yield Case("file packed whole", lambda p: p.write_bytes(gzip.compress(sound_file())))
    yield Case("file behind a block", lambda p: p.write_bytes(bytes(512) + sound_file()))
    yield Case("a folder", Path.mkdir)
    yield Case("no file", lambda _: None)
    yield Case("a link to itself", lambda path: path.symlink_to(path))
    yield Case("a pipe without writer", os.mkfifo)
    yield Case("nothing in it", lambda path: h5py.File(path, "w").close())
    yield edited("a sum that does not fit", _wrong_sum)
    yield edited("packed values damaged", _wrong_gzip)
    yield edited("packed by what is not there", _unknown_filter)


def _copied(compression: str, path: Path) -> None:
    path.write_bytes(sound_file(compression))


def _changed(name: str, change: Any) -> Any:
    return lambda file: replace(file, name, change(file[name][:]))


def _unwritten(name: str) -> Any:
    """An array in pieces none of which was written, which HDF5 reads as zeros."""

    def edit(file: Any) -> None:
        size, dtype = file[name].shape, file[name].dtype
        del file[name]
        file.create_dataset(name, size, dtype, chunks=(8,))

    return edit


def _reversed_rows(file: Any) -> None:
    for part in ("data", "indices"):
        rows = np.split(file[f"X/{part}"][:], POINTERS[1:-1])
        replace(file, f"X/{part}", np.concatenate([row[::-1] for row in rows]))


def _in_front(file: Any) -> None:
    replace(file, "X/indptr", file["X/indptr"][:] + 3)
    replace(file, "X/data", np.append([9, 9, 9], file["X/data"][:]))
    replace(file, "X/indices", np.append([0, 1, 2], file["X/indices"][:]))


def _labels(labels: Any) -> Any:
    def edit(file: Any) -> None:
        del file["obs/condition"]
        file["obs"].create_dataset("condition", data=labels)
        kind = "array" if isinstance(labels, np.ndarray) else "string-array"
        told = {"encoding-type": kind, "encoding-version": "0.2.0"}
        file["obs/condition"].attrs.update(told)

    return edit


def _nullable(missing: np.ndarray) -> Any:
    """Labels in the form that pandas 3 writes."""

    def edit(file: Any) -> None:
        _labels(LABELS)(file)
        file.move("obs/condition", "values")
        group = file["obs"].create_group("condition")
        told = {"encoding-type": "nullable-string-array", "encoding-version": "0.1.0"}
        group.attrs.update(told)
        file.move("values", "obs/condition/values")
        group["mask"] = missing

    return edit


def _damage_piece(file: Any, place: int, **storage: Any) -> None:
    """Store the values in one piece and write a wrong byte into it as it lies on disk."""
    data = file["X/data"][:]
    del file["X/data"]
    values = file["X"].create_dataset("data", data=data, chunks=data.shape, **storage)
    _, piece = values.id.read_direct_chunk((0,))
    wrong = bytearray(piece)
    wrong[place] ^= 0xFF
    values.id.write_direct_chunk((0,), bytes(wrong))


def _wrong_sum(file: Any) -> None:
    _damage_piece(file, 5, fletcher32=True)


def _wrong_gzip(file: Any) -> None:
    _damage_piece(file, 9, compression="gzip")


def _unknown_filter(file: Any) -> None:
    data = file["X/data"][:]
    del file["X/data"]
    storage = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    storage.set_chunk(data.shape)
    # Number 32015 is Zstandard, which h5py does not bring.
    storage.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
    space = h5py.h5s.create_simple(data.shape)
    values = h5py.h5d.create(file["X"].id, b"data", h5py.h5t.NATIVE_FLOAT, space, storage)
    values.write_direct_chunk((0,), data.tobytes(), 0)
