"""Seconds from the command to the first row of training and to the report, cold and warm."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import measure
from jaxpert.core import log

CONFIGS = {
    "cradle": "cradle_norman:test",
    "gears": "gears_norman:test",
    "cycseq": "cycseq_pretrain:test",
    "scgen": "scgen:test",
    "set_gp": "set_gp_norman:test",
}
"""One of each family, by the names that `python -m benchmarks startup NAME ...` takes."""
HEADER = ("config", "programs kept", "first row s", "report s", "CPU s")


class Run(NamedTuple):
    """Seconds of a command."""

    first_row: float | None
    """None for a model that is not trained in steps."""
    report: float
    cpu: float


def lines(names: Sequence[str] = ()) -> list[str]:
    """The table in Markdown."""
    made = ["| " + " | ".join(HEADER) + " |", "|---|---" + "|---:" * 3 + "|"]
    for name in names or CONFIGS:
        with tempfile.TemporaryDirectory() as folder:
            for number, kept in enumerate(("no", "yes")):
                one = run(CONFIGS[name], Path(folder), Path(folder, f"run{number}"))
                first = "-" if one.first_row is None else f"{one.first_row:.1f}"
                cells = (CONFIGS[name], kept, first, f"{one.report:.1f}", f"{one.cpu:.1f}")
                made.append("| " + " | ".join(cells) + " |")
    return [
        *made,
        "",
        "Each a process of its own, from the command on; files are in the system's memory in both. "
        "The first row is that of `metrics.jsonl`; scGen and the Gaussian process among them where "
        "they write one.",
    ]


def run(config: str, home: Path, work: Path) -> Run:
    """Train in a new folder, with what is kept of programs below `home`."""
    # A folder of its own, so that nothing of an earlier day makes a cold run warm.
    unset = ("JAX_COMPILATION_CACHE_DIR", "JAXPERT_PROGRAMS")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"XDG_CACHE_HOME": str(home), "PYTHONPATH": str(measure.ROOT)}
    before, began = os.times(), time.perf_counter()
    command = [sys.executable, "experiments/main.py", f"--config=configs/{_file(config)}"]
    process = subprocess.Popen(
        [*command, f"--workdir={work}"],
        cwd=measure.ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    first = None
    while process.poll() is None:
        rows = work / "metrics.jsonl"
        if first is None and rows.exists() and rows.stat().st_size:
            first = time.perf_counter() - began
        time.sleep(0.02)
    if process.returncode:
        raise RuntimeError(f"{config} ended with status {process.returncode}")
    after = os.times()
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    # A run that trains in no steps may still write a row at its end.
    if first is not None and not log.read_metrics(work / "metrics.jsonl"):
        first = None
    return Run(first, time.perf_counter() - began, cpu)


def _file(config: str) -> str:
    name, _, variant = config.partition(":")
    return f"{name}.py:{variant}"
