"""The files of a work directory as a report reads them: whatever is missing or damaged is said, and
costs nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxpert.report.numbers import finite


def mapping(path: Path, problems: list[str]) -> dict[str, Any]:
    """A JSON file's content, empty if there is none; says what is wrong with one that cannot be
    read."""
    if not path.exists():
        return {}
    try:
        # A run that was killed may leave a broken file; the report says so and goes on.
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        problems.append(f"{path.name} could not be read ({error}) and is left out.")
        return {}
    if isinstance(content, dict):
        return content
    problems.append(f"{path.name} holds no mapping and is left out.")
    return {}


def rows(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl; lines that a killed run left unfinished are counted."""
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    bad = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = dict(json.loads(line))
            rows.append({name: _over_seeds(value) for name, value in row.items()})
        # A killed run may end in the middle of a line.
        except (ValueError, TypeError):
            bad += 1
    if bad:
        problems.append(
            f"{bad} of the {bad + len(rows)} lines of {path.name} could not be read and are left "
            "out."
        )
    return rows


def _over_seeds(value: Any) -> Any:
    """Of several seeds the mean is shown."""
    if isinstance(value, list):
        return sum(value) / len(value)
    return value


def training(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The training log in a few numbers."""
    if not rows:
        return {}
    # The criterion that chose the epoch is the one to report.
    criterion = "val/score" if any("val/score" in row for row in rows) else "val/loss"
    steps, last_loss, val = 0, None, []
    for row in rows:
        steps = max(steps, row.get("step", 0))
        if finite(row.get("train/loss")):
            last_loss = row["train/loss"]
        # Rows without a finite value cannot have been the best epoch.
        if finite(row.get(criterion)):
            val.append(row)
    best = min(val, key=lambda row: row[criterion], default={})
    return {
        "steps": steps,
        "epochs with validation": len(val),
        "last training loss": last_loss,
        f"best {criterion.replace('val/', 'validation ')}": best.get(criterion),
        "best epoch": best.get("epoch"),
    }
