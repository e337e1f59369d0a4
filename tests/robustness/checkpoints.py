"""Checkpoints damaged in every way: restoring gives exact numbers, of the newest or of an older
step that is whole, or is refused in one sentence; and the run goes on from there.

    python -m robustness.checkpoints SECONDS SEED
"""

from __future__ import annotations

import itertools
import logging
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from jaxpert.core import checkpoint
from jaxpert.core.errors import InputError
from robustness.faults import Faults
from support import older_checkpoints, toy
from support.training_state import state

STEPS = 10, 20
FLIPS = 6
"""Bits flipped in each file, one at a time."""
LONGEST_NOTE = 400


class Case(NamedTuple):
    """A damage to a folder of checkpoints."""

    name: str
    older: bool
    """Whether the checkpoints are of form 1."""
    damage: Callable[[Path], object]
    """(folder of checkpoints) -> None."""
    refusable: bool = False
    """Whether nothing whole is left."""
    replaced: bool = False
    """Whether the newest step is gone without a trace."""


DAMAGES: dict[str, Callable[[Path], object]] = {
    "deleted": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b""),
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "all zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "a byte longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "made a folder": lambda path: (path.unlink(), path.mkdir()),
    "made a link to itself": lambda path: (path.unlink(), path.symlink_to(path)),
}
SIDE_FILES = {
    "a list": b"[]",
    "null": b"null",
    "a number": b"3",
    "a word for a step": b'{"x": {}}',
    "a list for a step": b'{"20": []}',
    "a number for a step": b'{"20": 3}',
    "null for a step": b'{"20": null}',
    "an empty object": b"{}",
    "cut": b'{"20": {"a',
    "bytes": bytes(range(256)),
    "not a number": b'{"20": {"x": NaN}}',
    "deep": b"[" * 100_000,
}
STRANGE: dict[str, Callable[[Path], object]] = {
    "a file named 30": lambda folder: (folder / "30").write_text("x"),
    "an empty folder 30": lambda folder: (folder / "30").mkdir(),
    "a folder abc": lambda folder: (folder / "abc").mkdir(),
    "a folder -5": lambda folder: (folder / "-5").mkdir(),
    "a folder of 23 nines": lambda folder: (folder / ("9" * 23)).mkdir(),
    "a folder 030": lambda folder: (folder / "030").mkdir(),
    "a folder in another script": lambda folder: (folder / "٣٠").mkdir(),
    "20 a link to itself": lambda folder: (
        shutil.rmtree(folder / "20"),
        (folder / "20").symlink_to(folder / "20"),
    ),
    "20 a link to 10": lambda folder: (
        shutil.rmtree(folder / "20"),
        (folder / "20").symlink_to(folder / "10"),
    ),
    "20 a copy of 10": lambda folder: (
        shutil.rmtree(folder / "20"),
        shutil.copytree(folder / "10", folder / "20"),
    ),
    "20 renamed to 25": lambda folder: (folder / "20").rename(folder / "25"),
    "20 gone": lambda folder: shutil.rmtree(folder / "20"),
    "what a killed save left": lambda folder: shutil.copytree(
        folder / "20", folder / "30.unsealed.orbax-checkpoint-tmp"
    ),
    "a file named as if": lambda folder: (folder / "30.orbax-checkpoint-tmp-5").write_text("x"),
    "a link named as if": lambda folder: (folder / "30.orbax-checkpoint-tmp-5").symlink_to("/no"),
    "a half-written list of sums": lambda folder: (folder / "checksums.json.new").write_text("{"),
}


def cases(base: Path, rng: random.Random) -> Iterator[Case]:
    """Every case, from what whole checkpoints look like."""
    for older in (False, True):
        folder = base / str(older) / "checkpoints"
        names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        for name in names:
            for kind, damage in DAMAGES.items():
                yield Case(f"{name} {kind}", older, _of_file(name, damage))
            bits = 8 * (folder / name).stat().st_size
            for _ in range(FLIPS if bits else 0):
                bit = rng.randrange(bits)
                yield Case(f"bit {bit} of {name}", older, _of_file(name, _flip(bit)))
        for kind, damage in STRANGE.items():
            replaced = kind in ("20 gone", "20 a copy of 10")
            yield Case(kind, older, damage, replaced=replaced)
        yield Case("both gone", older, shutil.rmtree, refusable=True)
    for kind, content in SIDE_FILES.items():
        for older in (False, True):
            write = _of_file("checksums.json", _write(content))
            yield Case(f"checksums.json {kind}", older, write)


def _of_file(name: str, damage: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: damage(folder / name)


def _flip(bit: int) -> Callable[[Path], object]:
    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)

    return damage


def _write(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def judge(case: Case, work: Path) -> tuple[str, str]:
    """What became of a damaged folder: "restored", "refused", "silent" or "traceback", and how."""
    try:
        with checkpoint.open(work) as manager:
            before, meta, notes = checkpoint.restore(manager, state())
            step = meta["at"]
            if toy.numbers(before) != toy.numbers(state(step)):
                return "silent", f"other numbers of step {step}"
            if step != max(STEPS) and not notes and not case.replaced:
                return "silent", f"step {step} without a note"
            if any("\n" in note or len(note) > LONGEST_NOTE for note in notes):
                return "silent", f"long notes {notes}"
            checkpoint.save(manager, state(step + 5), {"at": step + 5})
        # As the next start of the same command.
        with checkpoint.open(work) as manager:
            again, meta, _ = checkpoint.restore(manager, state())
    except InputError as error:
        return ("refused" if case.refusable else "silent"), f"refused: {error}"
    except BaseException as error:
        return "traceback", repr(error)
    if toy.numbers(again) != toy.numbers(state(step + 5)):
        return "silent", f"step {meta['at']} is restored after {step + 5} was saved"
    return "restored", f"step {step}"


def main(seconds: float, seed: int) -> Counter:
    """Try cases in a random order until all were tried or the time is over."""
    faults, rng = Faults(), random.Random(seed)
    # Its threads log what it raises, which is judged here.
    logging.getLogger("absl").disabled = True
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        with checkpoint.open(base / "False") as manager:
            for step in STEPS:
                checkpoint.save(manager, state(step), {"at": step})
        older_checkpoints.write(base / "True", *STEPS)
        chosen = list(cases(base, rng))
        rng.shuffle(chosen)
        # Preparing takes as long as the machine is slow, and is not counted.
        end = time.monotonic() + seconds
        for number, case in zip(itertools.count(), chosen, strict=False):
            if time.monotonic() > end:
                break
            work = base / f"case{number}"
            shutil.copytree(base / str(case.older), work, symlinks=True)
            case.damage(work / "checkpoints")
            faults.count(case.name, *judge(case, work))
            shutil.rmtree(work)
    return faults.tally


if __name__ == "__main__":
    print(dict(main(float(sys.argv[1]), int(sys.argv[2]))))
