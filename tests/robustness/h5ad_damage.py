"""Random damage: bytes of a file, parts of its arrays, pieces of a zarr store. A generator of
random numbers makes the same cases again."""

from __future__ import annotations

import multiprocessing
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import numpy as np
from scipy import sparse

from robustness.h5ad_base import Case, counts, edited, replace, screen, sound_file

FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "CSR": sparse.csr_matrix,
    "CSC": sparse.csc_matrix,
    "dense": np.array,
}
TYPES = "f2 f4 f8 g i1 i2 i4 i8 u1 u2 u4 u8 ? >f4 >i4 >u8".split()
PLACES = ("X/data", "X/indices", "X/indptr", "obs/condition/codes")
STORES: dict[tuple[str, int], dict[str, bytes]] = {}
"""{(form of the matrix, version of zarr): files of a sound store}, once `prepare` was called."""
ENTRIES = (0, 1, -1, 2, 8, 9, 24, 255, 256, 2**16, 2**31, 2**32, -(2**32), 2**63, 0.5, np.nan)


def prepare() -> None:
    """Write the sound files once, where the process of a case would write them for itself alone."""
    for packed in (False, True):
        _whole(packed)
    kinds = [(form, version) for form in FORMS for version in (2, 3)]
    # In a process of its own, since those forked from this one must not have zarr's threads.
    with multiprocessing.get_context("fork").Pool(1) as pool:
        STORES.update(zip(kinds, pool.starmap(_sound_store, kinds), strict=True))


def damaged_cases(rng: random.Random) -> Iterator[Case]:
    """Randomly damaged files without end."""
    kinds = (_cut, _bytes, _bytes, _bytes, _arrays, _arrays, _arrays, _zarr)
    while True:
        yield rng.choice(kinds)(random.Random(rng.getrandbits(64)))


def _cut(rng: random.Random) -> Case:
    packed, share = rng.random() < 0.5, rng.random()
    return Case(f"cut to {share:.4f}, packed: {packed}", partial(_write_cut, packed, share))


def _write_cut(packed: bool, share: float, path: Path) -> None:
    whole = _whole(packed)
    path.write_bytes(whole[: int(share * len(whole))])


def _bytes(rng: random.Random) -> Case:
    packed, share, kind = rng.random() < 0.5, rng.random(), rng.choice(("bit", "byte", "ff", "run"))
    number = rng.randrange(256)
    name = f"{kind} {number} at {share:.6f}, packed: {packed}"
    return Case(name, partial(_write_bytes, packed, share, kind, number))


def _write_bytes(packed: bool, share: float, kind: str, number: int, path: Path) -> None:
    wrong = bytearray(_whole(packed))
    _spoil(wrong, int(share * len(wrong)), kind, number)
    path.write_bytes(wrong)


def _spoil(content: bytearray, place: int, kind: str, number: int) -> None:
    if kind == "bit":
        content[place] ^= 1 << number % 8
    elif kind == "byte":
        content[place] = number
    elif kind == "ff":
        content[place : place + 8] = b"\xff" * len(content[place : place + 8])
    else:
        width = len(content[place : place + 64])
        content[place : place + 64] = bytes((number + i) % 256 for i in range(width))


def _whole(packed: bool) -> bytes:
    return sound_file("gzip" if packed else None)


def _arrays(rng: random.Random) -> Case:
    """One to three edits of arrays, each valid HDF5."""
    form = rng.choice(list(FORMS))
    edits = []
    for _ in range(rng.randint(1, 3)):
        place = "X" if form == "dense" else rng.choice(PLACES)
        edits.append((place, rng.choice(EDITS), rng.getrandbits(32)))
    told = ", ".join(f"{place} {edit.__name__[1:]} {seed}" for place, edit, seed in edits)

    def apply(file: Any) -> None:
        for place, edit, seed in edits:
            array = file[place][:]
            # What NumPy says of casts that lose numbers is what the case is about.
            with np.errstate(all="ignore"):
                changed = edit(array, random.Random(seed))
            replace(file, place, changed)

    return edited(f"{form}: {told}", apply, matrix=FORMS[form](counts().astype(np.float32)))


def _other_type(array: np.ndarray, rng: random.Random) -> np.ndarray:
    return array.astype(rng.choice(TYPES))


def _other_entry(array: np.ndarray, rng: random.Random) -> np.ndarray:
    array = array.copy()
    entry = rng.choice(ENTRIES)
    array.flat[rng.randrange(array.size)] = np.array(entry).astype(array.dtype)
    return array


def _wide_entry(array: np.ndarray, rng: random.Random) -> np.ndarray:
    return _other_entry(array.astype(rng.choice(("i8", "u8", "f8"))), rng)


def _swapped(array: np.ndarray, rng: random.Random) -> np.ndarray:
    array = array.copy()
    first, second = rng.randrange(array.size), rng.randrange(array.size)
    array.flat[[first, second]] = array.flat[[second, first]]
    return array


def _repeated(array: np.ndarray, rng: random.Random) -> np.ndarray:
    place = rng.randrange(1, len(array))
    array = array.copy()
    array[place] = array[place - 1]
    return array


def _longer(array: np.ndarray, rng: random.Random) -> np.ndarray:
    return np.insert(array, rng.randrange(len(array)), array[0], axis=0)


def _shorter(array: np.ndarray, rng: random.Random) -> np.ndarray:
    return np.delete(array, rng.randrange(len(array)), axis=0)


def _shifted(array: np.ndarray, rng: random.Random) -> np.ndarray:
    step = np.array(rng.choice(ENTRIES)).astype(array.dtype)
    return (array + step).astype(array.dtype)


EDITS = (
    _other_type,
    _other_entry,
    _wide_entry,
    _swapped,
    _repeated,
    _longer,
    _shorter,
    _shifted,
)


def _zarr(rng: random.Random) -> Case:
    form, version, seed = rng.choice(list(FORMS)), rng.choice((2, 3)), rng.getrandbits(32)
    return Case(f"zarr {version}, {form}, {seed}", partial(_write_zarr, form, version, seed))


def _write_zarr(form: str, version: int, seed: int, path: Path) -> None:
    """A zarr store of which one file is gone or wrong."""
    rng = random.Random(seed)
    store = STORES.get((form, version)) or _sound_store(form, version)
    for name, content in store.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    # Only of what is read: the matrix, the tables and what describes them.
    names = [name for name in store if not name.startswith("uns")]
    chosen = path / rng.choice(names)
    content = bytearray(chosen.read_bytes())
    if not content or rng.random() < 0.3:
        chosen.unlink()
        return
    _spoil(
        content, rng.randrange(len(content)), rng.choice(("bit", "byte", "ff")), rng.randrange(9)
    )
    chosen.write_bytes(content)


def _sound_store(form: str, version: int) -> dict[str, bytes]:
    """The files of a sound store by their names; writing one takes longer than reading it."""
    cells = screen(FORMS[form](counts().astype(np.float32)))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # What later versions of zarr will do by themselves is asked for here.
        warnings.simplefilter("ignore")
        with anndata.settings.override(zarr_write_format=version):
            cells.write_zarr(folder)
        parts = [part for part in sorted(Path(folder).rglob("*")) if part.is_file()]
        return {str(part.relative_to(folder)): part.read_bytes() for part in parts}
