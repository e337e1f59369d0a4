"""GEARS on a screen of Norman's size, from the file to the first steps of an epoch: host memory by
stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import measure

FILE = measure.ROOT / ".cache" / "bench" / "norman_5000.h5ad"
GENES, NODES, NEIGHBOURS = 5_000, 9_853, 20
STEPS, BATCH = 20, 32
LIMIT = 4.0
"""GB of host memory, asked for."""


def main() -> None:
    rows: list[tuple[str, float, float]] = []
    if not FILE.exists():
        rows += measure.in_child(write_screen)
    stages, facts = measure.in_child(train)
    measure.show(
        f"GEARS on a Norman-sized simulated screen: {facts['cells']:,} cells x {facts['genes']:,} "
        f"genes, {facts['conditions']} conditions, {facts['counts'] / 1e6:,.0f} million nonzero "
        f"counts, {facts['parameters'] / 1e6:.1f} million parameters",
        ("stage", "seconds", "peak MB so far"),
        [(name, f"{seconds:.1f}", f"{peak:,.0f}") for name, seconds, peak in [*rows, *stages]],
        f"{facts['ms']:,.0f} ms per step over {STEPS} steps of {BATCH} cells "
        f"({facts['ms'] / 6e4 * facts['steps']:,.0f} min for an epoch of {facts['steps']:,} "
        f"steps); peak of loading and training {stages[-1][2] / 1e3:.2f} GB, asked for: under "
        f"{LIMIT:.0f} GB",
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
        screen, _ = data.simulate("norman", genes=GENES)
    with _stage(stages, "write .h5ad (own process)"):
        part = FILE.with_suffix(".part")
        screen.write_h5ad(part)
        part.replace(FILE)
    return stages


def train() -> tuple[list[tuple[str, float, float]], dict[str, float]]:
    """Stages with their seconds and peak memory, and numbers about the run."""
    stages: list[tuple[str, float, float]] = []
    with _stage(stages, "import"):
        from dataclasses import replace

        import jax
        import numpy as np
        import optax

        from benchmarks import gears as gears_step
        from benchmarks import gears_problem
        from jaxpert import data
        from jaxpert.core.types import step_key
        from jaxpert.data import gene_graphs as networks
        from jaxpert.models.gears import model as gears
    with _stage(stages, "read"):
        dataset = data.read(FILE, perturbation="perturbation")
    with _stage(stages, "split"):
        dataset = data.add_split(dataset, kind="simulation", seed=1)
    with _stage(stages, "what the model must know"):
        spec = data.make_spec(dataset)
    with _stage(stages, "co-expression graph"):
        linked = networks.coexpression_graph(dataset)
    with _stage(stages, "perturbation graph (made up)"):
        others = tuple(f"other{i}" for i in range(NODES - len(spec.treatments)))
        ontology = gears_problem.random_graph(
            np.random.default_rng(0), spec.treatments + others, NEIGHBOURS
        )
        spec = replace(spec, graphs={"coexpression": linked, "ontology": ontology})
    with _stage(stages, "training and validation cells to the device"):
        expressed = np.ones((len(spec.conditions), len(spec.genes)), bool)
        feeds = [
            data.make_feed(
                dataset, split, batch_size=BATCH, tables={"expressed": expressed}, layout="csr"
            )
            for split in ("train", "val")
        ]
    feed = feeds[0]
    with _stage(stages, "initial state"):
        model = gears.build(spec)
        optimizer = gears_step.optimizer()
        key, zero = jax.random.key(0), np.int32(0)
        order = jax.jit(feed.order)(feed.data, key, zero)
        batch = jax.jit(feed.batch)(feed.data, key, order, zero)
        params, state = jax.jit(model.init)(key, batch)
        carried = params, state, optimizer.init(params)

    def step(cells: object, carried: tuple, step: jax.Array) -> tuple[tuple, jax.Array]:
        params, state, moments = carried
        key_step = step_key(key, step)
        batch = feed.batch(cells, key_step, order, step)
        (value, (state, _)), slopes = jax.value_and_grad(model.loss, has_aux=True)(
            params, state, key_step, batch
        )
        changes, moments = optimizer.update(slopes, moments, params)
        return (gears.cap(optax.apply_updates(params, changes)), state, moments), value

    with _stage(stages, f"compile and {STEPS} steps"):
        run = jax.jit(
            lambda cells, carried, steps: jax.lax.scan(
                lambda c, i: step(cells, c, i), carried, steps
            )
        )
        program = run.lower(feed.data, carried, np.arange(STEPS, dtype=np.int32)).compile()
        began = time.perf_counter()
        carried, losses = program(feed.data, carried, np.arange(STEPS, dtype=np.int32))
        losses.block_until_ready()
        seconds = time.perf_counter() - began
    if not np.isfinite(losses).all():
        raise RuntimeError("a loss is not finite")
    facts = {
        "cells": len(dataset.cells),
        "genes": len(dataset.genes),
        "conditions": len(dataset.conditions),
        "counts": dataset.counts.nnz,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(carried[0])),
        "steps": feed.steps,
        "ms": 1e3 * seconds / STEPS,
    }
    return stages, facts
