"""CycSeq's pre-training table at its published size, 231,672 rows, made from draws instead of being
stored."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure
from jaxpert.core.types import Dataset

GENES, BATCHES, REPLICATES, DRAWN = 6_742, 19, 50, 50
SPECTRA = 4_728
LARGE = 1_990
"""Perturbations in each of the two large batches; the others share the rest."""
CONTROLS, NONZEROS = 500, 800
BATCH, STEPS, CALLS = 512, 8, 3
LIMIT_MB = 1_000


def main() -> None:
    stages, facts = measure.in_child(run)
    beyond = max(peak for _, _, peak in stages)
    dense = facts["rows"] * GENES * 4 / 1e9
    measure.show(
        f"CycSeq pre-training table: {SPECTRA:,} spectra x {REPLICATES - 1} training replicates of "
        f"{DRAWN} cells, {facts['rows']:,} pairs of rows; {facts['cells']:,} simulated cells x "
        f"{GENES:,} genes, {facts['nonzeros'] / 1e6:,.0f} million nonzero counts "
        f"({facts['counts_mb']:,.0f} MB)",
        ("stage", "seconds", "peak MB beyond the counts"),
        [(name, f"{seconds:.1f}", f"{peak:,.0f}") for name, seconds, peak in stages],
        f"{facts['pairs_per_second']:,.0f} pairs of rows per second in scans of {STEPS} batches of "
        f"{BATCH}; stored, the rows would take {dense:.1f} GB for each of the two domains",
        f"peak {beyond:,.0f} MB beyond the counts, asked for: under {LIMIT_MB:,} MB",
    )


def simulate(seed: int = 0) -> Dataset:
    """Sparse counts of about 60 cells per spectrum (long-tailed) and 500 controls per batch,
    without structure."""
    import pandas as pd
    from scipy import sparse

    rng = np.random.default_rng(seed)
    small = np.full(BATCHES - 2, (SPECTRA - 2 * LARGE) // (BATCHES - 2))
    small[: SPECTRA - 2 * LARGE - small.sum()] += 1
    per_batch = np.concatenate([[LARGE, LARGE], small])
    batch = np.repeat(np.arange(BATCHES), per_batch + 1)
    condition = np.concatenate([np.arange(n + 1) for n in per_batch])  # condition 0 is control
    size = np.where(
        condition == 0, CONTROLS, np.maximum(5, rng.lognormal(3.9, 0.6, len(condition)))
    ).astype(int)
    stratum, own = (
        np.repeat(batch, size).astype(np.int32),
        np.repeat(condition, size).astype(np.int32),
    )
    names = tuple(f"line{b}" for b in range(BATCHES))
    line = pd.Categorical.from_codes(stratum, categories=list(names))
    obs = pd.DataFrame(
        {"line": line, "batch": line, "file": pd.Categorical(["simulated"]).repeat(len(own))}
    )
    genes = tuple(f"G{g:05d}" for g in range(GENES))
    table = np.eye(LARGE + 1, dtype=np.float32)[:, 1:]
    data, indices, indptr = _counts(rng, len(own))
    counts = sparse.csr_matrix((data, indices, indptr), shape=(len(own), GENES), copy=False)
    conditions = ("ctrl", *genes[:LARGE])
    return Dataset(
        name="simulated",
        counts=counts,
        cells=np.arange(len(own)).astype(str),
        genes=genes,
        conditions=conditions,
        condition=own,
        control=0,
        treatments=genes[:LARGE],
        condition_treatments=table,
        strata=names,
        stratum=stratum,
        obs=obs,
    )


def _counts(
    rng: np.random.Generator, cells: int, block: int = 4_096
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """CSR parts in the alignment of `load_lines`; genes are met at geometric gaps."""
    from jaxpert.tasks.translation.matrices import aligned

    room = int(cells * NONZEROS * 1.1)
    data, indices = aligned(room, np.dtype(np.uint8)), aligned(room, np.dtype(np.int32))
    indptr = np.zeros(cells + 1, np.int64)
    for start in range(0, cells, block):
        n = min(block, cells - start)
        gene = np.cumsum(rng.geometric(NONZEROS / GENES, (n, 2 * NONZEROS)), axis=1) - 1
        inside = gene < GENES
        indptr[start + 1 : start + n + 1] = indptr[start] + np.cumsum(inside.sum(1))
        a, b = indptr[start], indptr[start + n]
        indices[a:b] = gene[inside]
        data[a:b] = rng.geometric(0.6, b - a)
    return data[: indptr[-1]], indices[: indptr[-1]], indptr.astype(np.int32)


def run() -> tuple[list[tuple[str, float, float]], dict[str, float]]:
    """Seconds and peak memory beyond the counts of each stage, and numbers about the table."""
    import jax

    from jaxpert.tasks.translation.feed import make_feeds
    from jaxpert.tasks.translation.prepare import prepare

    dataset = simulate()
    jax.device_put(np.zeros(1)).block_until_ready()
    stages: list[tuple[str, float, float]] = []
    before = _resident_mb()
    stage = functools.partial(_stage, stages, before)
    with stage("draws, pairs, moments and ComBat"):
        prepared = prepare(dataset, replicates=REPLICATES, cells_per_draw=DRAWN)
    with stage("both feeds"):
        feed, _valid = make_feeds(prepared, BATCH)
    with stage(f"compile and {STEPS * (CALLS + 1)} batches of {BATCH}"):
        many = jax.jit(functools.partial(_scan, feed))
        jax.block_until_ready(many(feed.data, 0))
        seconds = [
            measure.clock(lambda i=i: jax.block_until_ready(many(feed.data, i)))[0]
            for i in range(1, CALLS + 1)
        ]
    facts = {
        "rows": feed.cells,
        "cells": len(dataset.cells),
        "nonzeros": dataset.counts.nnz,
        "counts_mb": (dataset.counts.data.nbytes + dataset.counts.indices.nbytes) / 1e6,
        "pairs_per_second": STEPS * BATCH / float(np.median(seconds)),
    }
    return stages, facts


def _scan(feed: Any, data: Any, start: Any) -> Any:
    """What a training loop does between two logging points, with a sum in the place of a model."""
    import jax
    import jax.numpy as jnp

    key = jax.random.key(0)
    order = feed.order(data, key, 0)

    def step(total: Any, number: Any) -> tuple[Any, None]:
        batch = feed.batch(data, key, order, start * STEPS + number)
        return total + batch.x.sum() - batch.control.sum(), None

    return jax.lax.scan(step, jnp.zeros(()), jnp.arange(STEPS))[0]


@contextmanager
def _stage(stages: list[tuple[str, float, float]], before: float, name: str) -> Iterator[None]:
    _forget_peak()
    began = time.perf_counter()
    yield
    stages.append((name, time.perf_counter() - began, measure.peak_mb() - before))


def _resident_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1e3


def _forget_peak() -> None:
    """Let the peak start again from what is resident now: making the counts took more than they
    do."""
    Path("/proc/self/clear_refs").write_text("5")
