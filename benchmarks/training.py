"""Steps as each code runs them: ours many in one program, as `train.fit` does, plain ones a call
each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks import flops
from benchmarks.sides import Work
from jaxpert.core import memory, programs, train
from jaxpert.core.types import Batch, Feed, Model


def ours(
    model: Model, optimizer: optax.GradientTransformation, batch: Batch, steps: int, cells: int
) -> Work:
    """The program of so many steps that `train.fit` runs, on one batch in other orders of its
    rows."""

    def draw(data: Batch, key: Any, order: Any, step: Any) -> Batch:
        # Other rows first in every step: what depends on the batch alone must not move out of the
        # loop.
        del key, order
        return rolled(data, step, cells)

    feed = Feed(
        jax.device_put(batch), lambda *_: jnp.zeros((), jnp.int32), draw, steps, steps * cells
    )
    state = train.init(model, optimizer, feed, jax.random.key(0))._replace(best=None)
    # One step's operations, since the program holds them in a loop.
    work = flops.of_program(
        programs.stretch_of(model, optimizer, feed, 1),
        state,
        feed.data,
    )
    program = (
        jax.jit(programs.stretch_of(model, optimizer, feed, steps), donate_argnums=0)
        .lower(state, feed.data)
        .compile(compiler_options=programs.compiler_options())
    )
    memory.give_back()

    def call() -> None:
        nonlocal state
        state, numbers = program(state, feed.data)
        jax.block_until_ready((state, numbers))

    return Work(call, steps, work)


def plain(update: Callable, carried: Any, batch: Batch) -> Work:
    """One step in a call: `(carried, batch) -> (carried, loss)`."""
    batch = jax.device_put(batch)
    work = flops.of_program(update, carried, batch)
    program = jax.jit(update, donate_argnums=0).lower(carried, batch).compile()
    # Both sides alike, so that peaks compare the steps and not the compiler's leavings.
    memory.give_back()

    def call() -> None:
        nonlocal carried
        carried, loss = program(carried, batch)
        jax.block_until_ready((carried, loss))

    return Work(call, 1, work)


def rolled(batch: Batch, by: Any, cells: int) -> Batch:
    """The cells in another order; tables, which have other lengths, stay."""

    def moved(leaf: jax.Array) -> jax.Array:
        return jnp.roll(leaf, by, 0) if leaf.ndim and len(leaf) == cells else leaf

    return jax.tree.map(moved, batch)
