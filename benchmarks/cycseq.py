"""CycSeq of the published size: rows, and the steps of both sides (generators, critics, Adam)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import plain_cycseq, training
from benchmarks.sides import Work
from jaxpert.core import optim
from jaxpert.core.types import Batch, Spec, step_key
from jaxpert.models.cycseq import model as cycseq
from jaxpert.models.cycseq.game import objective, rows_of
from jaxpert.models.cycseq.noise import draw
from jaxpert.models.cycseq.setup import CycSeq, make


class Sizes(NamedTuple):
    """Of the public code's data. The perturbation columns are the genes."""

    rows: int
    genes: int = 6_742
    perturbed: int = 2_000
    lines: int = 218
    """With two placeholders there are 220 batch columns."""
    settings: tuple[tuple[str, Any], ...] = ()
    """Of the networks, where they are not the published ones."""


def net_of(sizes: Sizes) -> CycSeq:
    genes = tuple(f"g{i}" for i in range(sizes.genes))
    zeros = np.zeros(sizes.genes)
    treatments = genes[: sizes.perturbed]
    spec = Spec(
        genes=genes,
        treatments=treatments,
        conditions=("control", *treatments),
        strata=tuple(f"line{i}" for i in range(sizes.lines)),
        control=0,
        condition_treatments=np.eye(sizes.perturbed + 1, sizes.perturbed, -1, np.float32),
        log_mean=zeros,
        log_std=zeros,
        control_mean=zeros,
        treatment_cells=np.ones(sizes.perturbed, int),
        condition_cells=np.ones(sizes.perturbed + 1, int),
    )
    return make(spec, **dict(sizes.settings))


def batch_of(sizes: Sizes) -> Batch:
    """Log expression of pairs, and one perturbation and line for each."""
    rng, rows = np.random.default_rng(0), sizes.rows
    level = rng.gamma(1.0, 1.0, sizes.genes)
    x, y = (
        np.abs(level + 0.3 * rng.normal(size=(rows, sizes.genes))).astype(np.float32)
        for _ in range(2)
    )
    condition = rng.integers(1, sizes.perturbed + 1, rows).astype(np.int32)
    treatment = np.zeros((rows, sizes.perturbed), np.float32)
    treatment[np.arange(rows), condition - 1] = 1
    stratum = rng.integers(0, sizes.lines, rows).astype(np.int32)
    slot = np.arange(rows, dtype=np.int32)
    whole = Batch(x, y, treatment, condition, stratum, slot >= 0, slot, {})  # pyright: ignore
    return jax.tree.map(jnp.asarray, whole)


def ours_work(rows: int, steps: int) -> Work:
    sizes = Sizes(rows)
    model = cycseq.model_of(net_of(sizes))
    optimizer = optim.build("adam", 2e-4, betas=(0.5, 0.9), clip=1.0, clip_parts=("generators",))
    return training.ours(model, optimizer, batch_of(sizes), steps, rows)


def plain_work(rows: int) -> Work:
    batch = batch_of(Sizes(rows))
    return training.plain(*_plain(net_of(Sizes(rows)), batch), batch)


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


def losses(net: CycSeq, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Losses of both sides at the same parameters and noise."""
    params, state = jax.jit(cycseq.model_of(net).init)(jax.random.key(0), batch)
    noise = jax.jit(
        lambda key: draw(key, batch.slot, net.generator.sizes, net.generator.shape, jnp.float32)
    )(jax.random.key(2))
    ours = jax.jit(lambda *given: objective(net, *given)[0])(
        params, state, noise, rows_of(net, batch)
    )
    plain = jax.jit(partial(_plain_loss, net))(plain_cycseq.joined(params), state, noise, batch)
    return ours, plain


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
