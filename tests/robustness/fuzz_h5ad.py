"""Damaged files into `jaxpert.read`: every one is refused in one sentence, or read exactly as a
plain reading of the same file says.

From the folder tests/, with the seed of the random damage and the number of randomly damaged files:

    python -m robustness.fuzz_h5ad [SEED] [FILES]
"""

from __future__ import annotations

import os
import pickle
import random
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from robustness.h5ad_base import Case
from robustness.h5ad_cases import named_cases
from robustness.h5ad_damage import damaged_cases, prepare
from robustness.h5ad_plain import Screen, Unreadable, plain_reading

LONGEST_MESSAGE = 800
SECONDS, LONGEST = 20, 600
"""After so many seconds of a core, or so many by the clock where others are at the cores, a file
counts as one that hangs."""
MEMORY = 6 << 30
FAULTS = ("traceback", "silent", "refused though sound")


class Verdict(NamedTuple):
    """refused, read, or one of FAULTS; and the message or the difference."""

    kind: str
    detail: str = ""


def judge(case: Case, folder: Path) -> Verdict:
    """Write the file of a case, read it, and compare with what it says."""
    from jaxpert.core.types import InputError
    from jaxpert.data.read import read

    path = folder / "screen.h5ad"
    case.write(path)
    try:
        dataset = read(path, **case.options)
    except InputError as error:
        message = str(error)
        if "\n" in message or len(message) > LONGEST_MESSAGE or "Traceback" in message:
            return Verdict("traceback", f"in the sentence: {message[:LONGEST_MESSAGE]!r}")
        return Verdict("refused though sound" if case.good else "refused", message)
    except BaseException as error:
        return Verdict("traceback", f"{type(error).__name__}: {error}")
    try:
        expected = plain_reading(path, case.options.get("layer"))
    except Unreadable as error:
        return Verdict("silent", f"read, though the file has {error}")
    difference = differs(dataset, expected)
    return Verdict("silent", difference) if difference else Verdict("read")


def differs(dataset, expected: Screen) -> str:
    """What of a data set is not as the file says; empty where all is."""
    labels = [str(label) for label in dataset.obs["condition"]]
    # The same label always means the same condition, whatever the condition is called.
    conditions = {(label, int(c)) for label, c in zip(labels, dataset.condition, strict=True)}
    same = {
        "counts": dataset.counts.toarray().tolist() == expected.counts,
        "cells": list(dataset.cells) == expected.cells,
        "genes": list(dataset.genes) == expected.genes,
        "labels": labels == expected.labels and len(conditions) == len(set(labels)),
    }
    return ", ".join(name for name, is_same in same.items() if not is_same)


def judge_apart(case: Case) -> Verdict:
    """The verdict of a process of its own, so that a crash or a hang is seen as one."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # JAX warns of its threads, none of which the child uses.
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        os.close(reader)
        _answer(case, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if answer:
        return Verdict(*pickle.loads(answer))
    return Verdict("traceback", f"the process ended with {os.waitstatus_to_exitcode(status)}")


def _answer(case: Case, writer: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(LONGEST)
    # HDF5 writes its own account of every damaged file.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        with tempfile.TemporaryDirectory() as folder:
            verdict = judge(case, Path(folder))
    except BaseException as error:
        verdict = Verdict("traceback", f"of the campaign: {type(error).__name__}: {error}")
    with os.fdopen(writer, "wb") as pipe:
        pickle.dump(tuple(verdict), pipe)
        pipe.flush()
        # Not sys.exit, which would run what the parent has yet to finish.
        os._exit(0)


def until(seconds: float, cases: Iterable[Case]) -> Iterator[Case]:
    """Cases until the time is over."""
    end = time.monotonic() + seconds
    for case in cases:
        if time.monotonic() > end:
            return
        yield case


def campaign(cases: Iterable[Case]) -> dict[str, int]:
    """Judge cases one after the other, print the faults, and count."""
    # Once here, not in every child: imports take longer than a case.
    import zarr  # noqa: F401

    import jaxpert.data.read  # noqa: F401

    prepare()
    counted: Counter[str] = Counter()
    for case in cases:
        verdict = judge_apart(case)
        counted[verdict.kind] += 1
        if verdict.kind in FAULTS:
            print(f"FAULT {verdict.kind}: {case.name}: {verdict.detail[:400]}", flush=True)
    return {
        "cases": counted.total(),
        "tracebacks": counted["traceback"],
        "silent": counted["silent"],
        "refused": counted["refused"],
        "differences": counted["refused though sound"],
    }


def main(seconds: float = 60, seed: int = 0) -> dict[str, int]:
    """The named cases and then random damage, for so many seconds."""

    def cases() -> Iterator[Case]:
        yield from named_cases()
        yield from damaged_cases(random.Random(seed))

    return campaign(until(seconds, cases()))


def _command(seed: int = 0, files: int = 300) -> int:
    damaged = damaged_cases(random.Random(seed))
    chosen = [next(damaged) for _ in range(files)]
    counted = campaign([*named_cases(), *chosen])
    print(f"seed {seed}:", ", ".join(f"{number} {name}" for name, number in counted.items()))
    return int(any(counted[name] for name in ("tracebacks", "silent", "differences")))


if __name__ == "__main__":
    sys.exit(_command(*map(int, sys.argv[1:])))
