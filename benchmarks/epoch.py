"""Cells per second over an epoch: `train.fit` against a Python loop over `SVI.update` with batches
from the host."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure, problem
from jaxpert import data
from jaxpert.core import train
from jaxpert.core.types import Dataset

ROUNDS = 3


def main() -> None:
    for particles in (1, 5):
        speeds = measure.in_child(cells_per_second, particles)
        rows = [
            [name, *(f"{f(of):,.0f}" for f in (np.median, min, max))] for name, of in speeds.items()
        ]
        ours, plain = (np.median(of) for of in speeds.values())
        measure.show(
            f"Cells per second over an epoch of {problem.CELLS:,} cells, {particles} "
            f"particle{'s' * (particles > 1)} ({problem.SIZES})",
            ("loop", "median", "min", "max"),
            rows,
            f"{ROUNDS} epochs of each in turn, compilation not counted: {ours / plain:.2f}x",
        )


def cells_per_second(particles: int) -> dict[str, list[float]]:
    screen = problem.dataset()
    loops = {
        "jaxpert train.fit": _our_epoch(screen, particles),
        "Python, SVI.update": _plain_epoch(screen, particles),
    }
    loops["Python, SVI.update"]()  # compiles
    rounds = [{name: loop() for name, loop in loops.items()} for _ in range(ROUNDS)]
    return {name: [problem.CELLS / one[name] for one in rounds] for name in loops}


def _our_epoch(screen: Dataset, particles: int) -> Callable[[], float]:
    """Seconds of one more epoch; `fit` compiles before its clock starts."""
    model, optimizer, feed = (
        problem.ours(data.make_spec(screen), particles),
        problem.our_optimizer(),
        problem.feed_of(screen),
    )
    state = train.init(model, optimizer, feed, jax.random.key(0))

    def epoch() -> float:
        nonlocal state
        rows: list[dict] = []
        schedule = train.Schedule(int(state.step) // feed.steps + 1)
        hooks = train.Hooks(report=rows.append)
        state, _ = train.fit(model, optimizer, state, (feed, None), schedule, hooks)
        return rows[-1]["seconds"]

    return epoch


def _plain_epoch(screen: Dataset, particles: int) -> Callable[[], float]:
    svi = problem.plain_svi(data.make_spec(screen), particles)
    tables = {
        name: jnp.asarray(table) for name, table in data.split_tables(screen, "train").items()
    }
    rng = np.random.default_rng(0)
    size = problem.BATCH
    state = jax.jit(svi.init)(
        jax.random.key(0), problem.host_batch(screen, np.arange(size), tables)
    )
    update = jax.jit(svi.update, donate_argnums=0)

    def run() -> None:
        nonlocal state
        order = rng.permutation(len(screen.cells))
        for start in range(0, len(order), size):
            state, _ = update(
                state, problem.host_batch(screen, order[start : start + size], tables)
            )
        jax.block_until_ready(state)

    return lambda: measure.clock(run)[0]
