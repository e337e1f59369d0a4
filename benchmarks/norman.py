"""A screen of Norman's size, from the file to the first 50 steps of an epoch with the paper's
settings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import measure

FILE = measure.ROOT / ".cache" / "bench" / "norman.h5ad"
STEPS, BATCH = 50, 512


def main() -> None:
    rows: list[tuple[str, float, float]] = []
    if not FILE.exists():
        rows += measure.in_child(write_screen)
    stages, facts = measure.in_child(train)
    measure.show(
        f"Norman-sized simulated screen: {facts['cells']:,} cells x {facts['genes']:,} genes, "
        f"{facts['conditions']} conditions, {facts['counts'] / 1e6:,.0f} million nonzero counts; "
        f"{facts['particles']} particles, {facts['parameters'] / 1e6:.1f} million parameters",
        ("stage", "seconds", "peak MB so far"),
        [(name, f"{seconds:.1f}", f"{peak:,.0f}") for name, seconds, peak in [*rows, *stages]],
        f"{facts['ms']:,.0f} ms per step over the last {STEPS - 10} of {STEPS} steps of {BATCH} "
        f"cells ({facts['ms'] / 1e3 * facts['steps']:,.0f} s for an epoch of {facts['steps']} "
        f"steps); peak of loading and training {stages[-1][2] / 1e3:.2f} GB, asked for: under 8 GB",
    )


@contextmanager
def _stage(stages: list[tuple[str, float, float]], name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    stages.append((name, time.perf_counter() - began, measure.peak_mb()))


def write_screen() -> list[tuple[str, float, float]]:
    """Simulate and write the file, which later calls find."""
    from jaxpert import data

    stages: list[tuple[str, float, float]] = []
    FILE.parent.mkdir(parents=True, exist_ok=True)
    with _stage(stages, "simulate (own process)"):
        screen, _ = data.simulate("norman")
    with _stage(stages, "write .h5ad (own process)"):
        part = FILE.with_suffix(".part")
        screen.write_h5ad(part)
        part.replace(FILE)
    return stages


def train() -> tuple[list[tuple[str, float, float]], dict[str, float]]:
    """Stages with their seconds and peak memory, and numbers about the run."""
    stages: list[tuple[str, float, float]] = []
    with _stage(stages, "import"):
        import jax

        from jaxpert import data
        from jaxpert.core import optim
        from jaxpert.core import train as loop
        from jaxpert.models.cradle import model as cradle_vae
        from jaxpert.tasks.screen import feeds
        from jaxpert.tasks.screen.keys import TrainKeys
    with _stage(stages, "read"):
        dataset = data.read(FILE, perturbation="perturbation")
    with _stage(stages, "quality labels, without doublets"):
        dataset = data.add_quality(dataset, doublets="none")
    with _stage(stages, "split"):
        dataset = data.add_split(dataset, kind="combinations")
    with _stage(stages, "what the model must know"):
        model = cradle_vae.build(data.make_spec(dataset))
    with _stage(stages, "both splits to the device"):
        feed, _valid = feeds.feeds_of(dataset, 0, model, TrainKeys(batch_size=BATCH))
    with _stage(stages, "initial state"):
        optimizer = optim.adam(3e-4, weight_decay=1e-6, clip=100.0)
        state = loop.init(model, optimizer, feed, jax.random.key(0))
    rows: list[dict] = []
    with _stage(stages, f"compile and {STEPS} steps"):
        schedule = loop.Schedule(epochs=1, max_steps=STEPS, log_every=10)
        hooks = loop.Hooks(report=rows.append)
        loop.fit(model, optimizer, state, (feed, None), schedule, hooks)
    seconds = [row["seconds"] for row in rows if "train/loss" in row]
    facts = {
        "cells": len(dataset.cells),
        "genes": len(dataset.genes),
        "conditions": len(dataset.conditions),
        "counts": dataset.counts.nnz,
        "particles": model.settings.particles,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "steps": feed.steps,
        "ms": 1e3 * (seconds[-1] - seconds[0]) / (STEPS - 10),
    }
    return stages, facts
