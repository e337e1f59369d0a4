"""Runs of every family killed at random moments until they are done: what they leave is compared
with a run that nobody killed, bit for bit.

    python -m robustness.kills SECONDS SEED

Moments are uniform in the length of a run, or a few milliseconds after a file of interest shows up
(a checkpoint being written, predictions, figures, metrics, the report), or while modules are
imported, or in the first seconds, when the folder is claimed and the last checkpoint read.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from robustness import digests, processes
from robustness.faults import Faults
from robustness.processes import Command
from support.paths import ROOT

OFTEN = (
    "--config.train.save_seconds=0",
    "--config.train.log_every=2",
    "--config.train.patience=0",
    "--config.train.devices=1",
    "--config.quality.doublets=none",
    "--config.evaluation.umap_cells=0",
    "--config.evaluation.particles=20",
    "--config.evaluation.pass_cells=0",
)
"""Many short stretches with a checkpoint after each, and a short evaluation."""
RUNS = {
    "cradle": ("cradle_norman", "--config.train.epochs=4"),
    "gears": ("gears_norman", "--config.train.epochs=2"),
    "pretrain": ("cycseq_pretrain", "--config.train.epochs=4"),
    "finetune": ("cycseq_finetune", "--config.train.epochs=4"),
    "scgen": ("scgen", "--config.train.epochs=4"),
}
ABSENT = {
    "pretrain": ("quality.", "evaluation."),
    "finetune": ("quality.", "evaluation."),
    "scgen": ("quality.",),
}
"""{run: keys of OFTEN that its config has not}."""
WATCHED = (
    ".lock",
    ".config.*",
    "config.json",
    ".truth.*",
    ".metrics.*",
    "metrics.jsonl",
    "checkpoints/*.unsealed*",
    "checkpoints/[0-9]*",
    ".predictions.*",
    "predictions.h5ad",
    ".effects.*",
    ".statistics.*",
    ".rows.*",
    "figures/*.png",
    "metrics.json",
    ".report.*",
)
"""Files that a kill may follow at once."""
AS_IT_SHOULD = {
    signal.SIGKILL: (-signal.SIGKILL, 0),
    # Before Python runs anything of ours, signals do what they do to every process.
    signal.SIGTERM: (0, -signal.SIGTERM),
    signal.SIGINT: (130, 0, -signal.SIGINT),
}
"""{signal: exit statuses}; 0 where the run had ended, or stopped and saved."""
LONGEST_END = 120
MOST_STARTS = 120
KILLS = 10, 40
"""Of a run, at least and at most."""
EARLY, EARLY_SECONDS = 0.45, 3.0
"""Share of kills in the first seconds, which cost little time."""
IMPORTS = 6.0
"""Seconds in which a real start may be killed."""


class Subject(NamedTuple):
    """A run that is killed."""

    name: str
    flags: tuple[str, ...]
    seconds: float
    """How long one takes that nobody kills."""


def flags_of(name: str, base: Path) -> tuple[str, ...]:
    """The command line of a run but for its work directory."""
    config, *rest = RUNS[name]
    absent = ABSENT.get(name, ())
    often = [flag for flag in OFTEN if not any(section in flag for section in absent)]
    start = (f"--config.train.start={base / 'pretrain'}",) if name == "finetune" else ()
    return ("train", f"--config={ROOT}/configs/{config}.py:test", *rest, *often, *start)


def reference(name: str, base: Path, faults: Faults) -> Subject | None:
    """A run that nobody kills, and another one from the cache that it filled, for its time."""
    flags = flags_of(name, base)
    for folder, fill in ((name, True), (f"{name}.again", False)):
        began, log = time.monotonic(), base / f"{folder}.log"
        arguments = (*flags, f"--workdir={base / folder}")
        status = processes.run(Command(arguments, log, base / "cache", fill))
        if status != 0:
            faults.add(name, "traceback", f"status {status} unkilled: {processes.said(log)[-900:]}")
            return None
    differing = digests.differences(base / name, base / f"{name}.again")
    if differing:
        faults.add(name, "differs", f"without any kill: {differing}")
    return Subject(name, flags, time.monotonic() - began)


def kill_until_done(
    subject: Subject, work: Path, end: float, rng: random.Random, faults: Faults
) -> None:
    """Start a run again and again, killed each time but the last, and compare what is left; beyond
    the end of the time with no more kills than the fewest."""
    base, most = work.parent, rng.randint(*KILLS)
    log, left = base / f"{work.name}.log", most
    for _ in range(MOST_STARTS):
        if time.monotonic() > end and most - left >= KILLS[0]:
            left = 0
        killed, status = _attempt(subject, work, log, rng if left else None, faults)
        left -= killed
        if not killed and (work / "metrics.json").exists() and (work / "report.html").exists():
            break
        if not killed and status != 0:
            faults.add(subject.name, "traceback", f"status {status}: {processes.said(log)[-900:]}")
            return
    else:
        faults.add(subject.name, "differs", f"no end in {MOST_STARTS} starts")
        return
    differing = digests.differences(base / subject.name, work)
    faults.count(subject.name, "differs" if differing else "equal", f"{differing} in {work}")
    if not differing:
        shutil.rmtree(work)


def _attempt(
    subject: Subject, work: Path, log: Path, rng: random.Random | None, faults: Faults
) -> tuple[bool, int | None]:
    """One start, killed at a moment of `rng`; whether it was, and its exit status."""
    real = rng is not None and rng.random() < 0.2
    arguments = (*subject.flags, f"--workdir={work}")
    before = processes.size(log)
    number = processes.start(Command(arguments, log, work.parent / "cache", real=real))
    if rng is None:
        return False, processes.ended(number)
    status = _wait(number, work, subject.seconds, real, rng)
    if status is not None:
        return False, status
    chosen = rng.choices(list(AS_IT_SHOULD), [76, 12, 12])[0]
    os.kill(number, chosen)
    # Whoever is in a hurry presses Ctrl-C twice.
    if chosen != signal.SIGKILL and rng.random() < 0.15:
        time.sleep(0.01)
        os.kill(number, chosen)
    status = processes.ended(number, time.monotonic() + LONGEST_END)
    faults.tally["kills"] += 1
    text = processes.said(log, before)
    if status is None:
        faults.add(subject.name, "traceback", f"hangs {LONGEST_END} s after {chosen.name}")
        os.kill(number, signal.SIGKILL)
        processes.ended(number)
    elif "Traceback" in text and not _is_pythons(text):
        faults.add(subject.name, "traceback", f"after {chosen.name}: {text[-1500:]}")
    elif status not in AS_IT_SHOULD[chosen] and not _is_pythons(text):
        faults.add(subject.name, "traceback", f"status {status} after {chosen.name}: {text[-500:]}")
    return True, status


def _is_pythons(text: str) -> bool:
    """Whether a signal met the interpreter before it had run a line of the project."""
    return "Traceback" in text and "jaxpert/app" not in text


def _wait(number: int, work: Path, seconds: float, real: bool, rng: random.Random) -> int | None:
    """Wait for a moment to kill; the exit status where the process ended before."""
    began = time.monotonic()
    if real:
        longest = rng.choice((IMPORTS, seconds + IMPORTS))
        return processes.ended(number, began + rng.uniform(0, longest))
    if rng.random() < EARLY:
        return processes.ended(number, began + rng.uniform(0, EARLY_SECONDS))
    if rng.random() < 0.5:
        return processes.ended(number, began + rng.uniform(0, seconds))
    pattern, times = rng.choice(WATCHED), rng.choice((1, 1, 2, 3, 5))
    # Where it does not show up, at a moment of its own.
    end, before = began + rng.uniform(0.3, 1) * seconds, _seen(work, pattern)
    while times and time.monotonic() < end:
        status = processes.ended(number, time.monotonic())
        if status is not None:
            return status
        now = _seen(work, pattern)
        times -= bool(now - before)
        before = now
    pause = rng.choice((0, 0, 0.001, 0.005, 0.02, 0.08))
    return processes.ended(number, time.monotonic() + pause)


def _seen(work: Path, pattern: str) -> set[tuple[str, int]]:
    """Files of a pattern, each with the time of its last change."""
    seen = set()
    for path in work.glob(pattern):
        # It may be gone by now.
        seen.add((path.name, path.stat().st_mtime_ns if path.exists() else 0))
    return seen


def main(seconds: float, seed: int) -> Counter:
    """Kill runs of each family in turn until the time is over, the last one being finished."""
    faults, rng, end = Faults(), random.Random(seed), time.monotonic() + seconds
    processes.prepare()
    with tempfile.TemporaryDirectory(prefix="kills") as scratch:
        base, number = Path(scratch), 0
        subjects: dict[str, Subject | None] = {}
        # Once in any case, however slow the machine is: a campaign without kills shows nothing.
        while not number or time.monotonic() < end:
            # Another family first with each seed, as a short time is enough for one alone.
            name = list(RUNS)[(seed + number) % len(RUNS)]
            needed = ("pretrain", name) if name == "finetune" else (name,)
            for other in needed:
                if other not in subjects:
                    subjects[other] = reference(other, base, faults)
            subject = subjects[name]
            if subject is not None:
                kill_until_done(subject, base / f"{name}.{number}", end, rng, faults)
            number += 1
            print(f"kills: {faults.tally['kills']} so far", flush=True)
            if len(subjects) == len(RUNS) and not any(subjects.values()):
                break
    return faults.tally


if __name__ == "__main__":
    print(dict(main(float(sys.argv[1]), int(sys.argv[2]))))
