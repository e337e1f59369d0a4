"""One file of finished rows and one lock file per piece of work, for many processes on one results
folder."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxpert.core import locks
from jaxpert.core.errors import InputError

Row = dict[str, Any]
ROWS = "rows.jsonl"
"""Name of the file in a results folder."""
CHANCE = ("seconds", "date", "run", "versions", "device")
"""Fields in which two rows of the same result may differ."""


class Cell(NamedTuple):
    """What a row is the result of."""

    data: str
    model: str
    multiplier: int
    seed: int

    def __str__(self) -> str:
        return f"{self.model} on {self.data} at {self.multiplier} MAD, seed {self.seed}"


class Ledger(NamedTuple):
    """Rows by cell, and one sentence for each line that was left out."""

    rows: dict[Cell, Row]
    notes: tuple[str, ...]


def append(path: Path, row: Row) -> None:
    """Add a row as one line, in one write under a lock; after a half-written line it starts on a
    new one."""
    text = json.dumps(row, allow_nan=False) + "\n"
    # A file system without locks refuses nobody, and `read` finds what was done twice.
    with locks.hold(path.with_name(f".{path.stem}.lock"), wait=True):
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            # A process that was killed while it wrote leaves a line without its end.
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                text = "\n" + text
            line = text.encode()
            if os.write(descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read(path: Path) -> Ledger:
    """Every row of the file, one for each cell; a result takes the place of a failure of the same
    cell.

    A half-written line is left out and named. Raises InputError for two different results of one
    cell.
    """
    rows: dict[Cell, Row] = {}
    notes: list[str] = []
    content = path.read_bytes() if path.exists() else b""
    for number, line in enumerate(content.splitlines(keepends=True), 1):
        row = _parse(line)
        if row is None:
            notes.append(
                f"line {number} of {path} is half-written and left out: its run is done again"
            )
            continue
        cell = cell_of(row)
        before = rows.get(cell)
        if before is None or "failed" in before:
            rows[cell] = row
        elif "failed" not in row:
            notes.append(_repeated(cell, before, row, number, path))
    return Ledger(rows, tuple(notes))


def cell_of(row: Mapping[str, Any]) -> Cell:
    """The cell that a row belongs to."""
    return Cell(row["data"], row["model"], row["multiplier"], row["seed"])


def _parse(line: bytes) -> Row | None:
    """A whole row, or None."""
    try:
        row = json.loads(line)
        kinds = tuple(type(member) for member in cell_of(row))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return row if kinds == (str, str, int, int) and line.endswith(b"\n") else None


def _repeated(cell: Cell, before: Row, row: Row, number: int, path: Path) -> str:
    """What to say of a second row of a cell."""
    differing = differences(_result(before), _result(row))
    if differing:
        raise InputError(
            f"{path} has two different results of {cell} (line {number}: {shown(differing)}), "
            "expected one: delete the line of the run that you do not want, or give another "
            "folder"
        )
    return f"line {number} of {path} repeats {cell} with the same result and is left out"


def _result(row: Row) -> Row:
    """A row without what chance decides."""
    return {name: value for name, value in row.items() if name not in CHANCE}


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Sentences "train.epochs was 3 and is now 10" for every leaf in which two mappings differ."""
    sentences = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            sentences += differences(old, new, f"{prefix}{name}.")
        elif old != new:
            sentences.append(f"{prefix}{name} was {old!r} and is now {new!r}")
    return sentences


def shown(sentences: Sequence[str], most: int = 5) -> str:
    """The first few of a list."""
    more = f" and {len(sentences) - most} more" if len(sentences) > most else ""
    return "; ".join(sentences[:most]) + more


@contextlib.contextmanager
def claimed(folder: Path, names: Sequence[str]) -> Iterator[list[str]]:
    """Hold the lock files of all `names` that no other process holds, and yield those.

    A lock is the kernel's: it ends with the process, however that dies. Names are taken together
    (two processes that ask for the same names at the same moment do not get some each).
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        # Who holds the gate takes all that is free before the next one may ask.
        with locks.hold(folder / ".claiming.lock", wait=True):
            free = []
            for name in names:
                # Without locks every name is free, and `read` finds what was done twice.
                if stack.enter_context(locks.hold(folder / f"{name}.lock")) is not False:
                    free.append(name)
        yield free
