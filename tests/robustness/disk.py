"""Work directories on a disk that fills up at every stage: the run ends in one sentence, and once
there is room the same command goes on to what a run on a large disk leaves.

    python -m robustness.disk SECONDS SEED

A disk of any size is a tmpfs, which needs the rights of root; elsewhere nothing is tried.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from robustness import digests, kills, processes
from robustness.faults import Faults
from robustness.processes import Command

RUNS = ("cradle", "gears", "pretrain", "scgen")
PAGE = 4096


@contextlib.contextmanager
def disk_of(size: int, folder: Path) -> Iterator[None]:
    """Mount a disk of so many bytes at a folder."""
    folder.mkdir(exist_ok=True)
    options = f"size={max(PAGE, size // PAGE * PAGE)}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        # Lazily, since a process may still be ending there.
        subprocess.run(["umount", "-l", folder], check=True)


def resize(size: int, folder: Path) -> None:
    """Make a mounted disk larger."""
    subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)


def why_not() -> str:
    """Why no disk can be made; empty where it can."""
    if os.geteuid() != 0:
        return "a disk of a given size needs the rights of root"
    with tempfile.TemporaryDirectory() as folder:
        try:
            with disk_of(PAGE, Path(folder)):
                return ""
        except (OSError, subprocess.CalledProcessError) as error:
            return f"no disk can be mounted ({error})"


def used(folder: Path) -> int:
    """Bytes that the files of a folder take on a disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def fill_up(subject: kills.Subject, share: float, base: Path, faults: Faults) -> None:
    """One run on a disk of a share of what it needs."""
    need, disk = used(base / subject.name), base / "disk"
    name, log = f"{subject.name} on {share:.0%} of its room", base / "disk.log"
    command = Command((*subject.flags, f"--workdir={disk / 'run'}"), log, base / "cache")
    with disk_of(int(share * need), disk):
        log.unlink(missing_ok=True)
        status = processes.run(command)
        text = processes.said(log)
        lines = [
            line for line in text.splitlines() if line and not line.startswith(processes.PROGRESS)
        ]
        if "Traceback" in text or status == 70:
            faults.add(name, "traceback", text[-1500:])
        # Room for everything is room enough, whatever the share was thought to be.
        elif status != 0 and (status != 2 or len(lines) != 1):
            faults.add(name, "silent", f"status {status}, said {lines}")
        resize(4 * need, disk)
        log.unlink(missing_ok=True)
        again = processes.run(command)
        if again != 0:
            faults.count(name, "differs", f"status {again} with room: {processes.said(log)[-900:]}")
            return
        differing = digests.differences(base / subject.name, disk / "run")
        faults.count(name, "differs" if differing else "refused", differing)


def main(seconds: float, seed: int) -> Counter:
    """Fill disks up at random shares, families in turn, until the time is over."""
    faults, rng, end = Faults(), random.Random(seed), time.monotonic() + seconds
    reason = why_not()
    if reason:
        print(f"disk: nothing was tried, {reason}", flush=True)
        return faults.tally
    processes.prepare()
    with tempfile.TemporaryDirectory(prefix="disk") as scratch:
        base, number = Path(scratch), 0
        subjects: dict[str, kills.Subject | None] = {}
        while time.monotonic() < end:
            name = RUNS[number % len(RUNS)]
            if name not in subjects:
                subjects[name] = kills.reference(name, base, faults)
            subject = subjects[name]
            if subject is not None:
                fill_up(subject, rng.uniform(0.005, 1), base, faults)
            number += 1
    return faults.tally


if __name__ == "__main__":
    print(dict(main(float(sys.argv[1]), int(sys.argv[2]))))
