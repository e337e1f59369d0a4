"""Every campaign against the product, and a table of what they found.

    make campaign [SECONDS=3600] [SEED=0]

Kills, which take the longest, have one core to themselves; all others follow each other on a second
one. Each is a process of its own: what it imports, or how it ends, touches no other. What one takes
beyond its part of the time is taken from those that follow. The exit status is 1 where something
was found, and where a campaign did nothing.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from robustness.faults import COLUMNS, KINDS, bad, number_of
from robustness.processes import environment

LANES = (
    {"kills": 1},
    {
        "fuzz_h5ad": 4,
        "fuzz_text": 1,
        "fuzz_config": 1,
        "checkpoints": 3,
        "disk_checkpoints": 1,
        "command_line": 2,
        "tables": 8,
        "together": 3,
        "disk": 5,
    },
)
"""{module: its part of the time}, for each of the lanes that go on at once."""
KILLING = ("kills", "tables", "together")
"""Campaigns that have done nothing where nothing was killed."""
LEAST = 10.0
"""Seconds of a campaign whose part was taken by those before it."""
GRACE = 420
"""Seconds to finish what was begun when the time was over."""
ONE = (
    "import json, sys; from robustness import {name} as campaign; "
    "print(json.dumps(campaign.main(float(sys.argv[1]), int(sys.argv[2])), default=list))"
)


def run(name: str, seconds: float, seed: int) -> dict[str, Any]:
    """One campaign, whose faults are shown as they come; its counts are its last line."""
    command = [sys.executable, "-u", "-c", ONE.format(name=name), str(seconds), str(seed)]
    last = ""
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        # Whatever it waits for, the others have their turn.
        limit = threading.Timer(seconds + GRACE, process.kill)
        limit.start()
        for line in process.stdout:
            if line.startswith(("FAULT", f"{name}:")):
                print(line, end="", flush=True)
            last = line
        limit.cancel()
    try:
        return json.loads(last)
    except ValueError:
        return {"cases": 0, "tracebacks": [f"{name} ended with {process.returncode}: {last}"]}


def is_idle(name: str, tally: dict[str, Any]) -> bool:
    """Whether a campaign did nothing, which finds nothing either."""
    return not number_of(tally, "cases") or (name in KILLING and not number_of(tally, "kills"))


def share_out(parts: dict[str, int], seconds: float, seed: int) -> dict[str, dict[str, Any]]:
    """The tallies of campaigns that share the time, each with the seconds that it took."""
    end, tallies, left = time.monotonic() + seconds, {}, sum(parts.values())
    for name, share in parts.items():
        began, part = time.monotonic(), share / left
        left -= share
        print(f"{name} ...", flush=True)
        tallies[name] = run(name, max(LEAST, (end - began) * part), seed)
        tallies[name]["seconds"] = round(time.monotonic() - began)
        # Campaigns that keep lists of their faults have not shown them.
        for kind in KINDS.values():
            listed = tallies[name].get(kind, 0)
            for text in listed if isinstance(listed, list) else ():
                print(f"FAULT {kind}: {text}")
    return tallies


def is_there(name: str) -> bool:
    """Whether this checkout has a campaign."""
    return importlib.util.find_spec(f"robustness.{name}") is not None


def main(seconds: float, seed: int) -> int:
    """Run every campaign, and print the table; the exit status."""
    lanes = [{name: lane[name] for name in lane if is_there(name)} for lane in LANES]
    tallies: dict[str, dict[str, Any]] = {}
    # Threads only wait for the processes of the campaigns.
    with ThreadPoolExecutor(len(lanes)) as pool:
        for shared in pool.map(lambda lane: share_out(lane, seconds, seed), lanes):
            tallies |= shared
    columns = (*COLUMNS, "seconds")
    print(f"\nseed {seed}\n{'campaign':<18}" + "".join(f"{column:>12}" for column in columns))
    for name, tally in tallies.items():
        numbers = "".join(f"{number_of(tally, column):>12}" for column in columns)
        print(f"{name:<18}{numbers}" + "  did nothing" * is_idle(name, tally))
    return int(any(bad(tally) or is_idle(name, tally) for name, tally in tallies.items()))


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2])))
