"""Counts in files that are mapped into memory: read where they are looked at, never all at once.

A CSR matrix whose values and indices are such files is used like any other. What differs is that
no copy of all of it may be made: code that goes through cells takes `counts.row_blocks`, one that
chooses some takes `select`.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from jaxpert.core import files, sealed
from jaxpert.core.errors import InputError

ROWS = 2048
"""Cells made dense at a time."""
PIECE = 2**22
"""Values moved at a time."""
LARGEST_INDEX = int(np.iinfo(np.int32).max)
FORMAT = 1
SMALLEST = np.dtype(np.uint8)
PARTS = ("data", "indices")
"""The arrays of a CSR matrix that grow with its counts; its pointers are always in memory."""
POINTERS, FORM = "indptr", "form.json"


class Store(NamedTuple):
    """Where counts are kept in files."""

    folder: Path
    always: bool = False
    """Otherwise only counts that would take much of the memory."""


def is_mapped(counts: Any) -> bool:
    """Whether the counts of a CSR matrix lie in a file."""
    return _mapped(counts.data) is not None


def release(counts: Any) -> None:
    """Give back the memory that reading mapped counts has taken; they are read again from the file
    where they are looked at again. Does nothing for counts that are in memory."""
    for part in PARTS:
        array = _mapped(getattr(counts, part))
        if array is not None:
            release_map(array)


def expect(counts: Any, rows: Int[np.ndarray, "n"]) -> None:
    """Ask the system to read these rows of mapped counts, which are to be looked at next."""
    for part in PARTS:
        array = _mapped(getattr(counts, part))
        mapped: Any = None if array is None else array.base
        if array is None or not hasattr(mapped, "madvise"):
            continue
        # From the start of a page, as the system asks for.
        begin = counts.indptr[rows] * array.itemsize // mmap.PAGESIZE * mmap.PAGESIZE
        length = counts.indptr[rows + 1] * array.itemsize - begin
        # Many at a time: one page after the other would wait for the disk, four times as long.
        for at, size in zip(begin.tolist(), length.tolist(), strict=True):
            if size:
                mapped.madvise(mmap.MADV_WILLNEED, at, size)


def dense_rows(
    counts: Any, rows: Int[np.ndarray, "*n"], dtype: np.dtype
) -> Shaped[np.ndarray, "*n G"]:
    """Rows of a CSR matrix, dense; beside the answer only a few are held at once."""
    flat = rows.ravel()
    dense = np.empty((len(flat), counts.shape[1]), dtype)
    # In the order of the file, so that a disk is read in one direction.
    order = np.argsort(flat, kind="stable")
    expect(counts, flat[order])
    for start in range(0, len(flat), ROWS):
        some = order[start : start + ROWS]
        dense[some] = rows_of(counts, flat[some]).astype(dtype, copy=False).toarray()
    return dense.reshape(*rows.shape, counts.shape[1])


def rows_of(counts: Any, rows: np.ndarray | slice) -> Any:
    """A few rows of a CSR matrix, in memory."""
    chosen = counts[rows]
    release(counts)
    return chosen


def totals(counts: Any, rows: Int[np.ndarray, "n"] | None = None) -> Shaped[np.ndarray, "n"]:
    """Sums of the rows of a CSR matrix, all or some of them."""
    number = counts.shape[0] if rows is None else len(rows)
    sums = [np.asarray(counts[:0].sum(1)).ravel()]
    for start in range(0, number, ROWS):
        some = slice(start, start + ROWS)
        block = rows_of(counts, some if rows is None else rows[some])
        sums.append(np.asarray(block.sum(1)).ravel())
    return np.concatenate(sums)


def select(counts: Any, rows: np.ndarray | None = None, columns: np.ndarray | None = None) -> Any:
    """Some rows and columns (masks or numbers) of a CSR matrix; of mapped counts as another file
    beside theirs."""
    if not is_mapped(counts):
        chosen = counts if rows is None else counts[rows]
        if columns is not None:
            chosen = chosen[:, columns]
            chosen.sort_indices()
        return chosen
    array = _mapped(counts.data)
    assert array is not None and array.filename is not None
    place = Path(array.filename).parent
    key = key_of(place.name, rows, columns)
    chosen_rows = np.arange(counts.shape[0]) if rows is None else _numbers(rows)
    width = counts.shape[1] if columns is None else len(_numbers(columns))

    def parts() -> Iterable[Any]:
        for start in range(0, len(chosen_rows), ROWS):
            part = rows_of(counts, chosen_rows[start : start + ROWS])
            yield part if columns is None else part[:, columns].sorted_indices()

    return kept(place.parent, key, lambda folder: write(folder, parts(), width, counts.dtype))


def stacked(matrices: Sequence[Any]) -> Any:
    """CSR matrices one below the other, of which some are mapped, as one file."""
    if len(matrices) == 1:
        return matrices[0]
    places = {}
    for number, counts in enumerate(matrices):
        array = _mapped(counts.data)
        if array is not None and array.filename is not None:
            places[number] = Path(array.filename).parent
    named = [
        place.name if (place := places.get(number)) else _digest(counts)
        for number, counts in enumerate(matrices)
    ]

    def parts() -> Iterable[Any]:
        for counts in matrices:
            for start in range(0, counts.shape[0], ROWS):
                yield rows_of(counts, slice(start, start + ROWS))

    folder = next(iter(places.values())).parent
    return kept(
        folder, key_of("stacked", *named), lambda part: write(part, parts(), matrices[0].shape[1])
    )


def _digest(counts: Any) -> str:
    return key_of(counts.data, counts.indices, counts.indptr)


def key_of(*what: Any) -> str:
    """The name of the counts that come of a source, chosen rows, chosen columns and so on."""
    digest = hashlib.sha256(str(FORMAT).encode())
    for item in what:
        digest.update(b"\0")
        if isinstance(item, np.ndarray):
            digest.update(np.ascontiguousarray(item).tobytes())
        else:
            digest.update(repr(item).encode())
    return digest.hexdigest()[:24]


def source_of(path: Path) -> tuple[Any, ...]:
    """What tells a file, or the files of a folder, from what it was before it was changed."""
    inside = [path, *sorted(path.rglob("*"))] if path.is_dir() else [path]
    listed = []
    for file in inside:
        state = file.stat()
        listed.append((file.relative_to(path).as_posix(), state.st_size, state.st_mtime_ns))
    return str(path.resolve()), *listed


def kept(folder: Path, key: str, make: Callable[[Path], None]) -> Any:
    """The counts that a folder keeps under a key; made where they are not there or damaged.

    Raises:
        InputError: where the folder cannot be written, or has no room.
    """
    place = folder / key
    try:
        counts = _opened(place)
        if counts is None:
            with files.whole_folder(place) as part:
                make(part)
                sealed.seal(part)
            counts = _opened(place)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(
            f"counts cannot be kept in {folder} ({reason}), expected a folder that can be written, "
            "with room for them: choose one with data.folder, or set data.counts=memory and "
            "another train.layout than stream"
        ) from error
    assert counts is not None
    return counts


def write(folder: Path, parts: Iterable[Any], width: int, dtype: np.dtype = SMALLEST) -> None:
    """Write CSR matrices one below the other, in the smallest type from `dtype` on that holds their
    values."""
    lengths = [np.zeros(1, np.int64)]
    data = (folder / "data").open("w+b")
    try:
        with (folder / "indices").open("wb") as indices:
            for part in parts:
                needed = _needed(part.data, dtype)
                if needed != dtype:
                    data, dtype = _widened(data, folder / "data", dtype, needed), needed
                data.write(part.data.astype(dtype, copy=False).tobytes())
                indices.write(part.indices.astype(np.int32, copy=False).tobytes())
                lengths.append(np.diff(part.indptr).astype(np.int64))
    finally:
        data.close()
    finish(folder, np.cumsum(np.concatenate(lengths)), width, dtype)


def _needed(values: np.ndarray, dtype: np.dtype) -> np.dtype:
    """The type for these values beside those that `dtype` holds."""
    if values.dtype.kind != "u":
        return values.dtype
    return np.promote_types(np.min_scalar_type(int(values.max(initial=0))), dtype)


def finish(folder: Path, indptr: Int[np.ndarray, "n"], width: int, dtype: np.dtype) -> None:
    """Write what belongs to values and indices that are written."""
    index = np.dtype(np.int32)
    # SciPy takes one type for pointers and indices alike.
    if indptr[-1] > LARGEST_INDEX:
        narrow, index = index, np.dtype(np.int64)
        with (folder / "indices").open("r+b") as file:
            _widened(file, folder / "indices", narrow, index).close()
    (folder / POINTERS).write_bytes(indptr.tobytes())
    form = {"format": FORMAT, "rows": len(indptr) - 1, "columns": width}
    files.write_json(folder / FORM, form | {"data": dtype.name, "indices": index.name})


def _widened(file: Any, path: Path, narrow: np.dtype, wide: np.dtype) -> Any:
    """The file with its values in a wider type, open at its end."""
    wider = path.with_suffix(".wider")
    file.flush()
    file.seek(0)
    out = wider.open("w+b")
    while len(piece := file.read(PIECE * narrow.itemsize)):
        out.write(np.frombuffer(piece, narrow).astype(wide).tobytes())
    file.close()
    wider.replace(path)
    return out


def _opened(place: Path) -> Any:
    """The counts in a folder of `kept`; None where there are none, or others than were written."""
    from scipy import sparse

    try:
        # Read once as a whole: a damaged file would else be other counts.
        if not sealed.check(place):
            return None
        form = json.loads((place / FORM).read_text())
        if form["format"] != FORMAT:
            return None
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return None
    indptr = np.fromfile(place / POINTERS, np.int64)
    arrays = []
    for part in PARTS:
        dtype = np.dtype(form[part])
        # A file of no bytes cannot be mapped.
        empty = not indptr[-1]
        arrays.append(np.empty(0, dtype) if empty else np.memmap(place / part, dtype, mode="r"))
    shape = (form["rows"], form["columns"])
    counts = sparse.csr_matrix((*arrays, indptr), shape=shape, copy=False)
    # Written so, which SciPy would read the whole file to find out.
    counts.has_sorted_indices = counts.has_canonical_format = True
    return counts


def _numbers(chosen: np.ndarray) -> np.ndarray:
    return np.flatnonzero(chosen) if chosen.dtype == bool else chosen


def _mapped(array: Any) -> np.memmap | None:
    """The mapped file behind an array, if there is one."""
    while array is not None:
        if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap):
            return array
        array = getattr(array, "base", None)
    return None


def release_map(array: np.memmap) -> None:
    """The same for one mapped file; what was written to it is kept."""
    mapped: Any = array.base
    # Without this every page that was once touched would stay with the process, up to the whole
    # file.
    if hasattr(mapped, "madvise"):
        mapped.madvise(mmap.MADV_DONTNEED)
