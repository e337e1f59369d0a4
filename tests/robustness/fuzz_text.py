"""A campaign against the readers of users' text files: gene sets, annotations, edges, other names
of genes, targets of compounds, lists of conditions, published numbers and pickles, odd or damaged.

A file is read as what it says, or refused with one sentence; a traceback or a wrong reading is a
fault. `python -m robustness.fuzz_text SECONDS SEED` (from tests/) prints what went wrong.
"""

from __future__ import annotations

import gzip
import json
import os
import pickle
import random
import sys
import tempfile
import time
import traceback
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxpert.core.types import InputError
from jaxpert.data.ontology import read_plain_pickle, read_terms
from jaxpert.data.perturbation_splits import custom
from robustness.text_kinds import ABSENT, EITHER, FOLDER, REFUSED, Case, Kind, kinds

AS_TERMS = ("lists of lists", "deep lists", "set of a text")
"""Pickles that hold plain data, but no terms."""
LONGEST = 700
"""Letters of a message that is still one sentence."""
GENES = {
    "ctrl": frozenset(),
    "A+ctrl": frozenset("A"),
    "B+ctrl": frozenset("B"),
    "A+B": frozenset("AB"),
}


def text_cases() -> Iterator[Case]:
    """Every kind of text file in every form, and its wrong lines."""
    for kind in kinds():
        yield from forms(kind)
        yield from spreadsheets(kind)
        for number, text in enumerate(kind.wrong):
            name = f"{kind.name}: wrong text {number} {text[:30]!r}"
            yield Case(name, kind.read, kind.file, text.encode(), REFUSED)


def forms(kind: Kind) -> Iterator[Case]:
    """An example packed, cut, encoded and ended in other ways."""
    plain, packed = kind.text.encode(), gzip.compress(kind.text.encode())
    blank_end = kind.text + "\n\n"
    written = {
        "plain": (plain, kind.right),
        "gzip": (packed, kind.right),
        "two gzip members": (gzip.compress(plain[:9]) + gzip.compress(plain[9:]), kind.right),
        "Windows line ends": (kind.text.replace("\n", "\r\n").encode(), kind.right),
        "old Mac line ends": (kind.text.replace("\n", "\r").encode(), kind.right),
        "byte order mark": (kind.text.encode("utf-8-sig"), kind.right),
        "blank lines at the end": (blank_end.encode(), kind.right),
        "no newline at the end": (plain.rstrip(b"\n"), kind.right),
        "gzip of gzip": (gzip.compress(packed), REFUSED),
        "gzip and rubbish": (packed + b"rubbish", EITHER),
        "UTF-16": (kind.text.encode("utf-16"), REFUSED),
        "Latin-1": ((kind.text + "Ä").encode("latin-1"), REFUSED),
        "nothing": (b"", REFUSED),
        "blank lines": (b"\n\n  \n", REFUSED),
        "all bytes": (bytes(range(256)) * 20, REFUSED),
        "NUL bytes": (plain.replace(b"A", b"A\0"), EITHER),
        "zip": (b"PK\3\4" + b"\0" * 99, REFUSED),
        "web page": (b"<!DOCTYPE html><html><body>404</body></html>", REFUSED),
        "cut in the last line": (plain[:-5], EITHER),
        "line separators in a name": (kind.text.replace("A", "A\u2028x\x0b").encode(), EITHER),
        "a line of 2 MB": (plain.split(b"\n")[0] + b"\n" + b"x" * 2_000_000, REFUSED),
        ABSENT: (ABSENT, REFUSED),
        FOLDER: (FOLDER, REFUSED),
    }
    if kind.separator == ",":
        # One column alone; the words of a GMT or GAF line may stand in any cell.
        written["blanks for commas"] = (plain.replace(b",", b" "), REFUSED)
    for name, (content, right) in written.items():
        yield Case(f"{kind.name}: {name}", kind.read, kind.file, content, right)
    for at in (1, 2, 5, 12, len(packed) // 2, len(packed) - 9, len(packed) - 1):
        yield Case(f"{kind.name}: gzip cut at {at}", kind.read, kind.file, packed[:at], REFUSED)
    for at in (3, 10, len(packed) // 2, len(packed) - 6, len(packed) - 2):
        flipped = bytes(byte ^ 0xFF if i == at else byte for i, byte in enumerate(packed))
        yield Case(f"{kind.name}: gzip byte {at} flipped", kind.read, kind.file, flipped)


def spreadsheets(kind: Kind) -> Iterator[Case]:
    """An example as spreadsheets save it."""
    if kind.name == "GAF":
        return
    semicolons = kind.text.replace(kind.separator, ";")
    # A decimal comma, where the columns are separated by something else.
    decimal = semicolons.replace("0.5", "0,5").replace("0.25", "0,25")
    quoted = '"' + kind.text.partition(kind.separator)[0] + '"'
    texts = {
        "semicolons": semicolons,
        "decimal commas": decimal,
        "Excel": decimal.replace("\n", "\r\n"),
        "the first cell quoted": quoted + kind.text[len(quoted) - 2 :],
    }
    if kind.separator == ",":
        texts["tabs"] = kind.text.replace(",", "\t")
        texts["its separator named"] = f"sep=;\n{semicolons}"
    for name, text in texts.items():
        yield Case(
            f"{kind.name}: {name}", kind.read, kind.file, text.encode("utf-8-sig"), kind.right
        )


class Program:
    """Pickled, it calls a function when it is read."""

    def __init__(self, function: Callable, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable, tuple]:
        return self.call


def pickle_cases(flag: Path) -> Iterator[Case]:
    """Pickles of terms, of other things, and of programs that would make `flag`."""
    file, right = "t.pkl", {"A": frozenset("x")}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        content = pickle.dumps({"A": {"x"}}, protocol)
        yield Case(f"pickle: protocol {protocol}", read_terms, file, content, right)
    values = {
        "os.system": Program(os.system, f"touch {flag}"),
        "eval": Program(eval, f"open({str(flag)!r}, 'w')"),
        "exec": Program(exec, f"open({str(flag)!r}, 'w')"),
        "open": Program(open, str(flag), "w"),
        "getattr": Program(getattr, "", "format"),
        "bytes": {"A": b"x"},
        "array": np.arange(3),
        "OrderedDict": OrderedDict(A={"x"}),
        "defaultdict": defaultdict(set, A={"x"}),
        "class": Counter,
        "path": flag,
        "complex": {"A": {1j}},
        "ellipsis": {"A": ...},
        "terms as text": {"A": "GO:1"},
        "list": [1],
        "None": None,
        "numbers for names": {1: {"x"}},
        "numbers for terms": {"A": {1}},
        "nothing": {},
        "set itself": set,
        "large number": {"A": {10**4000}},
    }
    for name, value in values.items():
        yield Case(f"pickle: {name}", read_terms, file, pickle.dumps(value), REFUSED)
    lists = b"".join(b"0(lp%d\ng%d\nag%d\na" % (i, i - 1, i - 1) for i in range(1, 26))
    raw = {
        "set of a text": b"cbuiltins\nset\n(S'abc'\ntR.",
        "set.__class__": b"\x80\x04\x8c\x08builtins\x8c\x0dset.__class__\x93.",
        "posix.system": b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent name": b"Pabc\n.",
        "state of a set": b"cbuiltins\nset\n)R}S'__dict__'\nI1\nsb.",
        "state of the class": b"cbuiltins\nset\n}S'x'\nI1\nsb.",
        "lists of lists": b"(lp0\n" + lists + b".",
        "deep lists": b"(" * 900 + b"l" * 900 + b".",
        "2^62 bytes follow": b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"x.",
        "cut": pickle.dumps({"A": {"x"}})[:-3],
        "empty": b"",
        "text": b"hello",
    }
    for name, content in raw.items():
        read = read_terms if name in AS_TERMS else read_plain_pickle
        yield Case(f"pickle: {name}", read, file, content, REFUSED)


def split_cases() -> Iterator[Case]:
    """Lists of conditions."""

    def read(path: Path) -> Any:
        parts = custom(GENES, path)
        return {part: sorted(getattr(parts, part)) for part in ("train", "val", "test")}

    good = {"train": ["A+ctrl"], "val": ["B"], "test": ["B+A"]}
    right = {"train": ["A+ctrl", "ctrl"], "val": ["B+ctrl"], "test": ["A+B"]}
    for name, encoding in (("plain", "utf-8"), ("byte order mark", "utf-8-sig")):
        content = json.dumps(good).encode(encoding)
        yield Case(f"split: {name}", read, "s.json", content, right)
    wrong = [
        *([1], None, 3, "x", {}, {"training": []}, {"train": [1]}, {"train": "A"}),
        *({"train": [["A"]]}, {"train": None}, {"test": ["Z"]}, {"train": [""]}),
        *({"train": ["A"], "test": ["A+ctrl"]}, {"train": ["A++B"]}),
    ]
    texts = [*map(json.dumps, wrong), '{"train": [NaN]}', "{", "[" * 100_000, ""]
    texts.append('{"train": ["A+ctrl"], "train": ["B+ctrl"]}')
    for text in texts:
        yield Case(f"split: {text[:40]}", read, "s.json", text.encode(), REFUSED)
    for content in ('{"train": ["Ä"]}'.encode("latin-1"), bytes(range(256)), ABSENT, FOLDER):
        yield Case(f"split: {content[:20]!r}", read, "s.json", content, REFUSED)


def random_cases(seed: int) -> Iterator[Case]:
    """Good files with some bytes changed, cut out, doubled or swapped; without end."""
    rng = random.Random(seed)
    examples = [(kind.name, kind.read, kind.file, kind.text.encode()) for kind in kinds()]
    examples.append(("pickle", read_terms, "t.pkl", pickle.dumps({"A": {"x", "y"}, "B": {"z"}})))
    odd = (b"\0", b'"', b"'", b"=", b";", b",", b"\t", b"\r", b"\n", b"\xff", "\u202e".encode())
    while True:
        name, read, file, content = rng.choice(examples)
        for _ in range(rng.randint(1, 4)):
            at, length = rng.randrange(len(content)), rng.randint(0, 6)
            new = rng.choice([*odd, b"", content[at : at + length], rng.randbytes(1)])
            content = content[:at] + new + content[at + length :] or b"\n"
        yield Case(f"{name}: random {content!r}"[:200], read, file, content)


def judge(case: Case, folder: Path, flag: Path) -> str:
    """ "accepted", "refused", or what is wrong: "silent ..." or "traceback ..."."""
    path = folder / case.file
    if case.content == FOLDER:
        path.mkdir()
    elif case.content != ABSENT:
        path.write_bytes(case.content)
    try:
        value = case.read(path)
    except InputError as error:
        # A sentence that nobody reads to its end helps nobody.
        if "\n" in str(error) or len(str(error)) > LONGEST:
            return f"traceback: a message of {len(str(error))} letters"
        fine = case.right in (REFUSED, EITHER)
        return "refused" if fine else f"silent: refused ({error})"
    except Exception as error:  # whatever it is, a user would see it
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"traceback: {type(error).__name__} {error} in {last.filename}:{last.lineno}"
    if flag.exists():
        return "traceback: a program was run"
    if isinstance(case.right, str):
        return "accepted" if case.right == EITHER else f"silent: read as {str(value)[:150]}"
    return "accepted" if value == case.right else f"silent: read as {str(value)[:150]}"


def main(seconds: float, seed: int) -> dict[str, int]:
    """Run every fixed case, then random ones until the time is over; prints what is wrong and
    returns the numbers of cases, tracebacks, wrong (silent) readings and refused files."""
    end = time.monotonic() + seconds
    counts = Counter(cases=0, tracebacks=0, silent=0, refused=0)
    with tempfile.TemporaryDirectory() as scratch:
        flag = Path(scratch) / "ran"
        fixed = [*text_cases(), *pickle_cases(flag), *split_cases()]
        stream = random_cases(seed)
        while fixed or time.monotonic() < end:
            case = fixed.pop() if fixed else next(stream)
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                verdict = judge(case, Path(folder), flag)
            counts["cases"] += 1
            counts["refused"] += verdict == "refused"
            for fault in ("silent", "traceback"):
                if verdict.startswith(fault):
                    counts["tracebacks" if fault == "traceback" else fault] += 1
                    print(f"FAULT {case.name}: {verdict}".replace("\n", " | "), flush=True)
    return dict(counts)


if __name__ == "__main__":
    print(main(float(sys.argv[1]), int(sys.argv[2])))
