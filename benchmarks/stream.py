"""Memory and speed of screens that stay on disk: one size after the other, each in a process of its
own, and streamed against resident cells in turn in one process.

python -m benchmarks.stream FOLDER [CELLS ...] writes stores of so many cells into a folder (2.6 GB
for 1,000,000, and 2.8 GB for the counts that are mapped) and leaves them there.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import cradle, measure
from jaxpert import data
from jaxpert.core import train
from jaxpert.core.types import Dataset
from jaxpert.evaluation import pseudobulk
from jaxpert.simulate import simulate, store

SIZES = (10_000, 100_000, 1_000_000)
GENES, SINGLES, PIECE, UMIS = 8_000, 200, 10_000, 600.0
STEPS, ROUNDS, RATIO_CELLS = 60, 3, 20_000
KEPT = 0.95
"""Share of the entries of a simulated piece that each copy of it keeps, so that copies differ."""


def main(folder: str = "", sizes: tuple[int, ...] = SIZES) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(folder or temporary)
        rows = []
        for cells in sizes:
            path = written(place, cells)
            # The first reading makes the mapped file, the second finds it.
            seconds = measure.in_child(read, path, place)
            rows.append([f"{cells:,}", f"{seconds:.0f}", *measure.in_child(streamed, path, place)])
        measure.show(
            f"A zarr store of {GENES:,} genes, streamed: CRADLE-VAE, {STEPS} steps of "
            f"{cradle.BATCH} cells",
            ("cells", "first reading s", "read s", "labels, split, spec s", "cells/s", "peak MB"),
            rows,
            "peak: of the process that reads, labels, splits, trains and takes pseudo-bulk",
        )
        path = written(place, RATIO_CELLS)
        speeds = measure.in_child(in_turn, path, place)
        table = [
            [name, *(f"{f(of):,.0f}" for f in (np.median, min, max))] for name, of in speeds.items()
        ]
        resident, stream = (np.median(of) for of in speeds.values())
        measure.show(
            f"Cells per second, {RATIO_CELLS:,} cells, {STEPS} steps of each in turn",
            ("cells are", "median", "min", "max"),
            table,
            f"streamed over resident: {stream / resident:.2f}x",
        )


def written(folder: Path, cells: int) -> Path:
    """A store of simulated cells; beyond PIECE, thinned copies of the first ones."""
    path = folder / f"screen{cells}.zarr"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        store.write_pieces(path, pieces(cells))
    return path


def pieces(cells: int) -> Iterator[Any]:
    piece, _ = simulate(
        "genome", cells=min(cells, PIECE), genes=GENES, singles=SINGLES, umis=UMIS, batches=8
    )
    rng = np.random.default_rng(0)
    for number, start in enumerate(range(0, cells, PIECE)):
        copy = piece[: min(PIECE, cells - start)].copy()
        copy.X.data[rng.random(copy.X.nnz) > KEPT] = 0
        copy.X.eliminate_zeros()
        copy.obs_names = [f"copy{number}_{name}" for name in copy.obs_names]
        yield copy


def read(path: Path, folder: Path, counts: str = "disk") -> float:
    start = time.perf_counter()
    opened(path, folder, counts)
    return time.perf_counter() - start


def opened(path: Path, folder: Path, counts: str) -> Dataset:
    return data.read(path, perturbation="perturbation", counts=counts, folder=folder)


def labelled(screen: Dataset) -> Dataset:
    screen = data.add_quality(screen, doublets="none")
    return data.add_split(screen, kind="cells")


def streamed(path: Path, folder: Path) -> list[str]:
    """Seconds of reading and labelling, cells per second, peak memory."""
    start = time.perf_counter()
    screen = opened(path, folder, "disk")
    opening = time.perf_counter() - start
    screen = labelled(screen)
    spec = data.make_spec(screen)
    preparing = time.perf_counter() - start - opening
    speed = speed_of(screen, spec, "stream")()
    pseudobulk.observed_means(screen, "train")
    return [f"{opening:.0f}", f"{preparing:.0f}", f"{speed:,.0f}", f"{measure.peak_mb():,.0f}"]


def speed_of(screen: Dataset, spec: Any, layout: str) -> Callable[[], float]:
    """A run that goes on whenever it is asked: cells per second over STEPS more steps, compilation
    not counted."""
    model, optimizer = cradle.ours(spec, 1), cradle.our_optimizer()
    tables = data.split_tables(screen, "train")
    feed = data.make_feed(screen, "train", batch_size=cradle.BATCH, tables=tables, layout=layout)
    state = train.init(model, optimizer, feed, jax.random.key(0))

    def speed() -> float:
        nonlocal state
        rows: list[dict] = []
        last = int(state.step) + STEPS
        schedule = train.Schedule(10**6, max_steps=last, log_every=20)
        hooks = train.Hooks(report=rows.append)
        state, _ = train.fit(model, optimizer, state, (feed, None), schedule, hooks)
        return STEPS * cradle.BATCH / rows[-1]["seconds"]

    return speed


def in_turn(path: Path, folder: Path) -> dict[str, list[float]]:
    """Speeds of resident and of streamed cells, one after the other."""
    runs = {}
    for name, layout, counts in (("resident", "dense", "memory"), ("streamed", "stream", "disk")):
        screen = labelled(opened(path, folder, counts))
        runs[name] = speed_of(screen, data.make_spec(screen), layout)
    rounds = [{name: run() for name, run in runs.items()} for _ in range(ROUNDS + 1)]
    # The first round warms caches up.
    return {name: [one[name] for one in rounds[1:]] for name in runs}


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "", tuple(map(int, sys.argv[2:])) or SIZES)
