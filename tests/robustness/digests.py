"""Two finished work directories compared bit by bit, but for dates and speeds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from robustness import processes

BY_CHANCE = ("date", "command", "cells per second (median)")
"""Parts of `run` in metrics.json that differ between equal runs."""
LOOKED_INTO = ("metrics.json", "metrics.jsonl", "report.html")
"""Files that hold such parts."""
SMALLEST_REPORT = 10_000


def digest(work: Path) -> dict[str, Any]:
    """{what: its checksum}."""
    parts: dict[str, Any] = {"last checkpoint": _last_checkpoint(work)}
    metrics = json.loads((work / "metrics.json").read_text())
    for name in BY_CHANCE:
        metrics["run"].pop(name, None)
    parts["metrics.json"] = _of_json(metrics)
    rows = [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("cells_per_second", None)
        row.pop("seconds", None)
    parts["metrics.jsonl"] = [len(rows), _of_json(rows)]
    parts["report.html"] = (work / "report.html").stat().st_size > SMALLEST_REPORT
    for path in sorted(work.rglob("*")):
        name = path.relative_to(work).as_posix()
        if path.is_file() and not name.startswith("checkpoints/") and name not in LOOKED_INTO:
            parts[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    # Whatever a kill left behind is there in one of the two alone.
    parts["unfinished"] = sorted(path.name for path in work.glob("checkpoints/*[!0-9]*"))
    return parts


def _last_checkpoint(work: Path) -> list[Any]:
    """Its step, and a checksum of every array with its name."""
    import jax
    import orbax.checkpoint as ocp

    with ocp.CheckpointManager(work.absolute() / "checkpoints") as manager:
        step = max(manager.all_steps())
        wanted = ocp.args.Composite(state=ocp.args.StandardRestore())
        state = manager.restore(step, args=wanted)["state"]
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        total.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}".encode())
        total.update(leaf.tobytes())
    return [step, total.hexdigest()]


def _of_json(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def differences(reference: Path, work: Path) -> str:
    """Names of what differs, empty for nothing; in a forked process, since it starts JAX."""

    def compare() -> str:
        ours, theirs = digest(reference), digest(work)
        names = sorted(ours.keys() | theirs.keys())
        return ", ".join(name for name in names if ours.get(name) != theirs.get(name))

    return processes.apart(compare)
