"""Two processes share the results folder of a study, one or both killed again and again: in the end
the rows and the tables are those of a study that nobody killed.

    python -m robustness.tables SECONDS SEED
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from robustness import processes
from robustness.faults import Faults
from robustness.processes import Command

STUDY = (
    "study",
    "--family=cradle",
    "--data=simulated:preset=tiny",
    "--models=cradle_vae,sams_vae",
    "--multipliers=5",
    "--seeds=0,1",
    # Seeds that are trained together have other last digits than those trained apart.
    "--at_once=1",
    "--variant=test",
    "--set=train.epochs=2",
    "--set=train.save_seconds=0",
    "--set=train.log_every=2",
    "--set=train.devices=1",
    "--set=quality.doublets=none",
    "--set=evaluation.umap_cells=0",
    "--set=evaluation.particles=20",
    "--set=evaluation.pass_cells=0",
    "--set=evaluation.likelihood=",
)
TABLES = ("tables.csv", "tables.md", "tables.html", "advantage.csv")
BY_CHANCE = ("seconds", "date", "run", "versions", "device")
LONGEST_END = 400
KILLS = 3, 9
"""Of a study, at least and at most, where the time is enough."""
EXITS = {0, 130, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}


class Place(NamedTuple):
    """Where a study is made."""

    results: Path
    log: Path
    cache: Path

    def command(self, fill: bool = False) -> Command:
        return Command((*STUDY, f"--results={self.results}"), self.log, self.cache, fill)


def rows(results: Path) -> dict[tuple, list[str]]:
    """{cell: its rows, but for what chance decides}; half-written lines are none."""
    found: dict[tuple, list[str]] = {}
    for line in (results / "rows.jsonl").read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        cell = row["data"], row["model"], row["multiplier"], row["seed"]
        kept = {name: value for name, value in row.items() if name not in BY_CHANCE}
        found.setdefault(cell, []).append(json.dumps(kept, sort_keys=True))
    return found


def kill_until_done(
    place: Place, seconds: float, end: float, rng: random.Random, faults: Faults
) -> None:
    """Two processes at a time, killed a few times, beyond the end of the time no more; then the
    command once more, to its end."""
    running: dict[str, int] = {}
    left, longest = rng.randint(*KILLS), 0.6 * seconds
    while left > 0 and time.monotonic() < end:
        began = time.monotonic()
        for name in ("a", "b"):
            if name not in running:
                running[name] = processes.start(place.command())
        _wait(running, rng.uniform(0.1, longest), place, faults)
        # Of a study that is done only the tables are written again, which takes a moment.
        if not running:
            longest = time.monotonic() - began
            continue
        chosen = list(running)
        # Both at once now and then, as where a machine goes down.
        if rng.random() < 0.7:
            chosen = [rng.choice(chosen)]
        for name in chosen:
            _kill(running.pop(name), rng, place, faults)
        left -= len(chosen)
    ends = [processes.ended(number, time.monotonic() + LONGEST_END) for number in running.values()]
    ends.append(processes.run(place.command()))
    for status in filter(None, ends):
        faults.add("tables", "traceback", f"status {status}: {processes.said(place.log)[-900:]}")


def _wait(running: dict[str, int], seconds: float, place: Place, faults: Faults) -> None:
    """For a while, or until none is left; processes that end meanwhile are taken out."""
    end = time.monotonic() + seconds
    while running and time.monotonic() < end:
        for name, number in list(running.items()):
            status = processes.ended(number, time.monotonic())
            if status is None:
                continue
            del running[name]
            if status != 0:
                text = processes.said(place.log)[-900:]
                faults.add("tables", "traceback", f"status {status} unkilled: {text}")
        time.sleep(0.01)


def _kill(number: int, rng: random.Random, place: Place, faults: Faults) -> None:
    chosen = rng.choice([signal.SIGKILL] * 4 + [signal.SIGTERM, signal.SIGINT])
    os.kill(number, chosen)
    status = processes.ended(number, time.monotonic() + 120)
    faults.tally["kills"] += 1
    if status not in EXITS:
        text = processes.said(place.log)[-900:]
        faults.add("tables", "traceback", f"status {status} after {chosen.name}: {text}")


def differences(reference: Path, results: Path) -> str:
    """Names of what differs, empty for nothing."""
    differing = [
        name for name in TABLES if (reference / name).read_bytes() != (results / name).read_bytes()
    ]
    ours, theirs = rows(reference), rows(results)
    same_cells = ours.keys() == theirs.keys()
    # A row may be there twice, as long as both say the same.
    if not same_cells or any(set(ours[cell]) != set(theirs[cell]) for cell in ours):
        differing.append("rows.jsonl")
    return ", ".join(differing)


def main(seconds: float, seed: int) -> Counter:
    """Make studies until the time is over, the last one to its end."""
    faults, rng = Faults(), random.Random(seed)
    processes.prepare()
    with tempfile.TemporaryDirectory(prefix="tables") as scratch:
        base = Path(scratch)
        reference = Place(base / "reference", base / "reference.log", base / "cache")
        began = time.monotonic()
        status = processes.run(reference.command(fill=True))
        length = time.monotonic() - began
        if status != 0:
            text = processes.said(reference.log)[-900:]
            faults.add("tables", "traceback", f"status {status} unkilled: {text}")
            return faults.tally
        number, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            place = Place(base / f"study{number}", base / f"study{number}.log", base / "cache")
            kill_until_done(place, length, end, rng, faults)
            differing = differences(reference.results, place.results)
            if "Traceback" in processes.said(place.log):
                faults.add("tables", "traceback", processes.said(place.log)[-1500:])
            faults.count("tables", "differs" if differing else "equal", differing)
            number += 1
    return faults.tally


if __name__ == "__main__":
    print(dict(main(float(sys.argv[1]), int(sys.argv[2]))))
