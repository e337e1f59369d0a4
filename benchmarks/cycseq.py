"""One training step of CycSeq (both generators, both critics, Adam) here and as plain dense JAX, on
the same rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import measure, plain_cycseq
from jaxpert.core import optim
from jaxpert.core.types import Batch, Spec, step_key
from jaxpert.models.cycseq import model as cycseq
from jaxpert.models.cycseq.game import objective, rows_of
from jaxpert.models.cycseq.noise import draw
from jaxpert.models.cycseq.setup import CycSeq, make

GENES, PERTURBED, LINES = 6_742, 2_000, 218
"""With two placeholders there are 220 batch columns; the perturbation columns are the genes."""
BATCHES = {64: (9, 3), 512: (3, 1)}
"""Rows per step, and how often single and scanned steps are timed."""
SCANNED = 5
PUBLISHED_MS = {64: 878, 512: 3_691}
"""The public code's step, host metric included, measured on two cores of such a machine."""
TARGET = 3.0
WIDTH = 1024
"""Of the first hidden layer."""
NAMES = ("jaxpert", "plain JAX")


def main() -> None:
    for rows, repeats in BATCHES.items():
        agreement, single, scanned = measure.in_child(times, rows, repeats)
        compiled = {name: measure.in_child(memory, rows, name) for name in NAMES}
        speed = measure.in_child(product_speed, rows)
        table = [[name, "1", *single[name].columns(), *compiled[name]] for name in NAMES]
        table += [
            [name, str(SCANNED), *scanned[name].columns(SCANNED), "", "", ""] for name in NAMES
        ]
        products = float(compiled["jaxpert"][0]) / speed
        measure.show(
            f"CycSeq training step (batch {rows}, {GENES:,} genes and perturbation columns, "
            f"{LINES + 2} batch columns)",
            ("code", "steps per call", *measure.TIMES, "GFLOP", "temporary MB", "peak MB"),
            table,
            f"{repeats[0]} calls of one step, {repeats[1]} of {SCANNED}, in turn. One step per "
            f"call: {_ratios(rows, single)}; {SCANNED} steps per call, as train.fit runs: "
            f"{_ratios(rows, scanned, SCANNED)}; asked for: {TARGET}",
            f"A product as of the first layer runs at {speed:,.0f} GFLOP/s here: at that rate "
            f"jaxpert's products alone take {1e3 * products:,.0f} ms",
            agreement,
        )


def _ratios(rows: int, seconds: dict[str, measure.Seconds], steps: int = 1) -> str:
    ours, plain = (np.median(seconds[name].wall) / steps for name in NAMES)
    published = PUBLISHED_MS[rows]
    return (
        f"plain over jaxpert {plain / ours:.2f}x, the public code's {published:,} ms (measured "
        f"elsewhere, on two such cores) over jaxpert {published / 1e3 / ours:.2f}x"
    )


def product_speed(rows: int) -> float:
    """GFLOP per second of rows times the first layer's kernel, the best of several."""
    x, kernel = jnp.ones((rows, GENES)), jnp.ones((GENES, WIDTH))
    product = jax.jit(jnp.matmul)
    seconds = min(
        measure.clock(lambda: jax.block_until_ready(product(x, kernel)))[0] for _ in range(20)
    )
    return 2e-9 * rows * GENES * WIDTH / seconds


def net_of() -> CycSeq:
    genes = tuple(f"g{i}" for i in range(GENES))
    zeros = np.zeros(GENES)
    spec = Spec(
        genes=genes,
        treatments=genes[:PERTURBED],
        conditions=("control", *genes[:PERTURBED]),
        strata=tuple(f"line{i}" for i in range(LINES)),
        control=0,
        condition_treatments=np.eye(PERTURBED + 1, PERTURBED, -1, np.float32),
        log_mean=zeros,
        log_std=zeros,
        control_mean=zeros,
        treatment_cells=np.ones(PERTURBED, int),
        condition_cells=np.ones(PERTURBED + 1, int),
    )
    return make(spec)


def batch_of(rows: int) -> Batch:
    """Log expression of pairs, and one perturbation and line for each."""
    rng = np.random.default_rng(0)
    level = rng.gamma(1.0, 1.0, GENES)
    x, y = (
        np.abs(level + 0.3 * rng.normal(size=(rows, GENES))).astype(np.float32) for _ in range(2)
    )
    condition = rng.integers(1, PERTURBED + 1, rows).astype(np.int32)
    treatment = np.zeros((rows, PERTURBED), np.float32)
    treatment[np.arange(rows), condition - 1] = 1
    stratum, slot = rng.integers(0, LINES, rows).astype(np.int32), np.arange(rows, dtype=np.int32)
    whole = Batch(x, y, treatment, condition, stratum, slot >= 0, slot, {})  # pyright: ignore
    return jax.tree.map(jnp.asarray, whole)


def _ours(net: CycSeq, batch: Batch) -> tuple[Callable, Any]:
    model = cycseq.model_of(net)
    steps = optim.build("adam", 2e-4, betas=(0.5, 0.9), clip=1.0, clip_parts=("generators",))

    def update(carried: tuple, batch: Batch) -> tuple[tuple, jax.Array]:
        params, state, moments, number = carried
        key = step_key(jax.random.key(1), number)
        (loss, (state, _)), slopes = jax.value_and_grad(model.loss, has_aux=True)(
            params, state, key, batch
        )
        updates, moments = steps.update(slopes, moments, params)
        return (optax.apply_updates(params, updates), state, moments, number + 1), loss

    params, state = jax.jit(model.init)(jax.random.key(0), batch)
    return update, (params, state, steps.init(params), jnp.zeros((), jnp.int32))


def _plain(net: CycSeq, batch: Batch) -> tuple[Callable, Any]:
    sizes, shape = net.generator.sizes, net.generator.shape

    def update(carried: tuple, batch: Batch) -> tuple[tuple, jax.Array]:
        params, state, moments, number = carried
        key = step_key(jax.random.key(1), number)
        noise = plain_cycseq.draw(key, len(batch.x), sizes.hidden, shape.blocks, shape.latent)
        stepped = plain_cycseq.step(
            params, state, moments, noise, batch.x, batch.control, *_dense(net, batch)
        )
        return (*stepped[:3], number + 1), stepped[3]

    params, state = jax.jit(cycseq.model_of(net).init)(jax.random.key(0), batch)
    params = plain_cycseq.joined(params)
    return update, (params, state, plain_cycseq.start(params), jnp.zeros((), jnp.int32))


def _dense(net: CycSeq, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """One-hot rows of perturbation and batch columns."""
    return (
        jax.nn.one_hot(jnp.asarray(net.column)[batch.condition - 1], len(net.targets)),
        jax.nn.one_hot(jnp.asarray(net.line)[batch.stratum], net.generator.sizes.strata),
    )


CODES = dict(zip(NAMES, (_ours, _plain), strict=True))


def _program(name: str, net: CycSeq, batch: Batch, steps: int = 1) -> tuple[Any, Any]:
    """A compiled program of one or several steps, and what it carries at the start."""
    update, carried = CODES[name](net, batch)

    def many(carried: tuple, batch: Batch) -> tuple[tuple, jax.Array]:
        # Other rows first in every step: what depends on the batch alone must not move out of the
        # loop.
        def one(carried: tuple, by: jax.Array) -> tuple[tuple, jax.Array]:
            return update(carried, jax.tree.map(lambda leaf: jnp.roll(leaf, by, 0), batch))

        return jax.lax.scan(one, carried, jnp.arange(steps))

    return jax.jit(update if steps == 1 else many, donate_argnums=0).lower(
        carried, batch
    ).compile(), carried


def _runner(rows: int, name: str, steps: int) -> Callable[[], None]:
    batch = batch_of(rows)
    program, carried = _program(name, net_of(), batch, steps)

    def call() -> None:
        nonlocal carried
        carried, loss = program(carried, batch)
        jax.block_until_ready((carried, loss))

    return call


def times(rows: int, repeats: tuple[int, int]) -> tuple[str, dict, dict]:
    """What both say of one batch, and the times of single and of scanned steps."""
    said = agreement(rows)
    single, scanned = (
        measure.interleave({name: _runner(rows, name, steps) for name in NAMES}, often)
        for steps, often in zip((1, SCANNED), repeats, strict=True)
    )
    return said, single, scanned


def agreement(rows: int) -> str:
    """Losses of both at the same parameters and noise."""
    net, batch = net_of(), batch_of(rows)
    params, state = jax.jit(cycseq.model_of(net).init)(jax.random.key(0), batch)
    noise = jax.jit(
        lambda key: draw(key, batch.slot, net.generator.sizes, net.generator.shape, jnp.float32)
    )(jax.random.key(2))
    ours = jax.jit(lambda *given: objective(net, *given)[0])(
        params, state, noise, rows_of(net, batch)
    )
    plain = jax.jit(partial(_plain_loss, net))(plain_cycseq.joined(params), state, noise, batch)
    return f"Loss at the same parameters and noise: jaxpert {ours:.6f}, plain {plain:.6f}"


def _plain_loss(net: CycSeq, params: Any, state: Any, noise: Any, batch: Batch) -> jax.Array:
    given = batch.x, batch.control, *_dense(net, batch)
    total, (fakes, _) = plain_cycseq.generator_loss(
        params["generators"], params["critics"], state, noise, *given
    )
    for name, real, fake in (("x", batch.x, fakes[0]), ("y", batch.control, fakes[1])):
        total += plain_cycseq.critic_loss(
            params["critics"][name], getattr(noise, name), real, fake, *given[2:]
        )
    return total


def memory(rows: int, name: str) -> list[str]:
    """GFLOP, temporary memory and the peak of this process after a few steps."""
    batch = batch_of(rows)
    program, carried = _program(name, net_of(), batch)
    for _ in range(2):
        carried, loss = program(carried, batch)
        jax.block_until_ready((carried, loss))
    analysis = program.cost_analysis(), program.memory_analysis()
    numbers = analysis[0]["flops"] / 1e9, analysis[1].temp_size_in_bytes / 1e6, measure.peak_mb()
    return [f"{number:,.0f}" for number in numbers]


if __name__ == "__main__":
    main()
