"""What every measurement needs: the machine in words, timed calls, child processes, tables."""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("jaxpert", "jax", "jaxlib", "flax", "numpyro", "optax", "numpy", "anndata")


class Seconds(NamedTuple):
    """Wall and CPU seconds of each repeat; CPU time is that of all threads, and suffers less from
    other processes."""

    wall: list[float]
    cpu: list[float]

    def columns(self, per: int = 1) -> list[str]:
        """Median, least and largest wall time and median CPU time in ms, each for one of `per`
        steps."""
        numbers = np.median(self.wall), min(self.wall), max(self.wall), np.median(self.cpu)
        return [f"{1e3 * number / per:.0f}" for number in numbers]


TIMES = ("median ms", "min", "max", "CPU ms")


def clock(call: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds of one call, which must wait for its own result."""
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def interleave(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, Seconds]:
    """Time the calls in turn, so that all see the same load; a first round is not counted."""
    rounds = [{name: clock(call) for name, call in calls.items()} for _ in range(repeats + 1)][1:]
    return {
        name: Seconds([r[name][0] for r in rounds], [r[name][1] for r in rounds]) for name in calls
    }


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call in a fresh process, so that nothing is warm and peak memory is the function's own."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(function, *arguments).result()


def peak_mb() -> float:
    """Largest resident memory of this process so far."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1e3
    except OSError:
        # Not where /proc can be had: there a child starts with its parent's peak.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
            1e6 if sys.platform == "darwin" else 1e3
        )


def machine() -> str:
    """Cores, devices, load and versions."""
    device = in_child(_device)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
    return (
        f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} "
        f"cores ({platform.machine()}), jax on {device}, load average at start {load}\npython "
        f"{platform.python_version()}, {versions}"
    )


def _device() -> str:
    import jax

    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], *notes: str) -> None:
    """Print a table: the first column to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    print(f"\n{title}")
    for row in (header, ["-" * width for width in widths], *rows):
        first, *others = (
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *others]).rstrip())
    for note in notes:
        print(note)
    sys.stdout.flush()
