"""What campaigns count, and how they tell of faults."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

COLUMNS = ("cases", "tracebacks", "silent", "refused", "kills", "differences")
KINDS = {"traceback": "tracebacks", "silent": "silent", "differs": "differences"}
"""{kind of a fault: its column}; every other outcome is as it should be."""


@dataclass(frozen=True)
class Faults:
    """Counts of one campaign; a fault is printed when it is met."""

    tally: Counter = field(default_factory=Counter)

    def count(self, name: str, kind: str, detail: str = "") -> None:
        """One case and its outcome."""
        self.tally["cases"] += 1
        if kind == "refused":
            self.tally["refused"] += 1
        if kind in KINDS:
            self.add(name, kind, detail)

    def add(self, name: str, kind: str, detail: str) -> None:
        """A fault beside a case that is counted already."""
        self.tally[KINDS[kind]] += 1
        # On one line, which is how whoever reads the output of a campaign finds it.
        print(f"FAULT {kind}: {name}: {detail}".replace("\n", " | "), flush=True)


def bad(tally: Counter | dict) -> bool:
    """Whether a campaign found something; other campaigns keep lists in place of numbers."""
    return any(number_of(tally, column) for column in KINDS.values())


def number_of(tally: Counter | dict, column: str) -> int:
    """A count, or the length of a list of faults."""
    value = tally.get(column, 0)
    return value if isinstance(value, int) else len(value)
