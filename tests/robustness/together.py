"""Two processes at one piece of work: two commands in one work directory, and a training over two
processes of which one is killed.

    python -m robustness.together SECONDS SEED
"""

from __future__ import annotations

import functools
import itertools
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from robustness import digests, kills, processes
from robustness.faults import Faults
from robustness.processes import Command

REFUSED = "another process is writing to"
LONGEST_END = 180
"""Seconds in which the process that is left has ended."""


def two_commands(subject: kills.Subject, base: Path, rng: random.Random, faults: Faults) -> None:
    """The same command twice, one soon after the other: one of them does the work."""
    work = base / f"two{time.monotonic_ns()}"
    logs = [base / f"{work.name}.{side}.log" for side in "ab"]
    running = []
    for log in logs:
        arguments = (*subject.flags, f"--workdir={work}")
        running.append(processes.start(Command(arguments, log, base / "cache")))
        time.sleep(rng.choice((0, 0.05, rng.uniform(0, subject.seconds))))
    statuses = [processes.ended(number, time.monotonic() + 600) for number in running]
    texts = [processes.said(log) for log in logs]
    refused = [REFUSED in text for text in texts]
    # Where the second comes late it finds a finished run.
    good = sorted(statuses) in ([0, 0], [0, 2]) and sum(refused) == statuses.count(2)
    if not good or any("Traceback" in text for text in texts):
        faults.count("two commands", "traceback", f"statuses {statuses}: {texts}"[-1500:])
        return
    differing = digests.differences(base / subject.name, work)
    faults.count("two commands", "differs" if differing else "refused", differing)


def two_processes(base: Path, rng: random.Random, faults: Faults) -> None:
    """A training over two processes: one is killed, the other ends in a sentence, and both started
    again go on."""
    work, flags = base / f"over{time.monotonic_ns()}", kills.flags_of("gears", base)
    for turn in itertools.count():
        address = f"localhost:{_free_port()}"
        logs = [base / f"{work.name}.{turn}.{index}.log" for index in range(2)]
        running = []
        for index, log in enumerate(logs):
            # One device of each; the later of two flags counts.
            both = ("--config.train.devices=2", "--config.train.multi_process=True")
            arguments = (*flags, *both, f"--workdir={work}")
            join = _joining(address, index)
            running.append(processes.start(Command(arguments, log, base / "cache", before=join)))
        if turn:
            break
        _wait_for_checkpoint(work, running)
        killed = rng.randrange(2)
        os.kill(running[killed], signal.SIGKILL)
        processes.ended(running[killed])
        faults.tally["kills"] += 1
        status = processes.ended(running[1 - killed], time.monotonic() + LONGEST_END)
        text = processes.said(logs[1 - killed])
        if status is None or "Traceback" in text or "error: " not in text:
            faults.add("two processes", "traceback", f"status {status}: {text[-1500:]}")
            if status is None:
                os.kill(running[1 - killed], signal.SIGKILL)
                processes.ended(running[1 - killed])
    statuses = [processes.ended(number, time.monotonic() + 600) for number in running]
    done = (work / "metrics.json").exists() and statuses == [0, 0]
    text = "" if done else f"{statuses}: {[processes.said(log)[-700:] for log in logs]}"
    faults.count("two processes", "refused" if done else "differs", text)


def _joining(address: str, index: int):
    """What tells a process of the other one, as a cluster would."""

    def join() -> None:
        import jax

        initialize = jax.distributed.initialize
        jax.distributed.initialize = functools.partial(initialize, address, 2, index)

    return join


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def _wait_for_checkpoint(work: Path, running: list[int]) -> None:
    end = time.monotonic() + 300
    while time.monotonic() < end and not list(work.glob("checkpoints/[1-9]*[0-9]")):
        time.sleep(0.01)


def main(seconds: float, seed: int) -> Counter:
    """Both kinds in turn until the time is over."""
    faults, rng = Faults(), random.Random(seed)
    processes.prepare()
    with tempfile.TemporaryDirectory(prefix="together") as scratch:
        base = Path(scratch)
        subject = kills.reference("gears", base, faults)
        end = time.monotonic() + seconds
        while subject is not None and time.monotonic() < end:
            two_commands(subject, base, rng, faults)
            two_processes(base, rng, faults)
    return faults.tally


if __name__ == "__main__":
    print(dict(main(float(sys.argv[1]), int(sys.argv[2]))))
