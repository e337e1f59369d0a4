"""Every campaign against the product, one after the other, and a table of what they found.

    make campaign [SECONDS=2400] [SEED=0]

Each is a process of its own: what it imports, or how it ends, touches no other. The exit status is
1 where something was found.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
from typing import Any

from robustness.faults import COLUMNS, bad, number_of
from robustness.processes import environment

CAMPAIGNS = {
    "checkpoints": 2,
    "command_line": 2,
    "fuzz_h5ad": 2,
    "fuzz_text": 1,
    "fuzz_config": 1,
    "kills": 20,
    "tables": 6,
    "disk": 4,
    "together": 2,
}
"""{module: its part of the time}."""
GRACE = 900
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
            if line.startswith("FAULT"):
                print(line, end="", flush=True)
            last = line
        limit.cancel()
    try:
        return json.loads(last)
    except ValueError:
        return {"cases": 0, "tracebacks": [f"{name} ended with {process.returncode}: {last}"]}


def main(seconds: float, seed: int) -> int:
    """Share the time out, and print the table; the exit status."""
    there = [n for n in CAMPAIGNS if importlib.util.find_spec(f"robustness.{n}") is not None]
    whole = sum(CAMPAIGNS[name] for name in there)
    table = {}
    for name in there:
        print(f"{name} ...", flush=True)
        table[name] = run(name, seconds * CAMPAIGNS[name] / whole, seed)
    print(f"\n{'campaign':<14}" + "".join(f"{column:>13}" for column in COLUMNS))
    for name, tally in table.items():
        numbers = "".join(f"{number_of(tally, column):>13}" for column in COLUMNS)
        print(f"{name:<14}{numbers}")
    return int(any(bad(tally) for tally in table.values()))


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2])))
