"""GEARS of the published size: steps of both sides, and predictions of a set for 300 control
cells."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import gears_problem as problem
from benchmarks import plain_gears, training
from benchmarks.sides import Work
from jaxpert.core import optim
from jaxpert.core.fit import Fitted
from jaxpert.core.types import Batch
from jaxpert.models.gears import model as gears
from jaxpert.models.gears.predict_sets import predictor

RATE, DECAY, CLIP = 1e-3, 5e-4, 1.0
"""Published: clip by value, weight decay, Adam."""
CONTROLS, CHUNK, SETS = 300, 30, 20
"""Control cells that a published prediction is the mean over, how many the plain side takes at a
time, and sets that ours predicts in a call."""


class Side(NamedTuple):
    """Loss, the state after it and the gradient."""

    loss: Any
    state: Any
    slopes: Any


def optimizer() -> optax.GradientTransformation:
    return optim.build("adam", RATE, weight_decay=DECAY, clip=CLIP, clip_kind="value")


def ours_work(steps: int) -> Work:
    sizes = problem.Sizes()
    spec = problem.spec_of(sizes)
    model, batch = gears.build(spec, hidden_dim=sizes.hidden), problem.batch_of(spec, sizes)
    return training.ours(model, optimizer(), batch, steps, sizes.cells)


def plain_work() -> Work:
    sizes = problem.Sizes()
    spec = problem.spec_of(sizes)
    batch = problem.batch_of(spec, sizes)
    net = gears.make(spec, hidden_dim=sizes.hidden)
    loss = plain_gears.loss_of(spec, net.node)
    steps = optax.chain(optax.clip(CLIP), optax.add_decayed_weights(DECAY), optax.adam(RATE))

    def update(carried: tuple, batch: Batch) -> tuple[tuple, jax.Array]:
        params, state, moments = carried
        params = plain_gears.projected(params)
        (value, state), slopes = jax.value_and_grad(loss, has_aux=True)(params, state, batch)
        changes, moments = steps.update(slopes, moments, params)
        return (optax.apply_updates(params, changes), state, moments), value

    params, state = _start(net, batch)
    return training.plain(update, (params, state, steps.init(params)), batch)


def _start(net: gears.Gears, batch: Batch | None = None) -> tuple[Any, Any]:
    return jax.jit(lambda key: gears.init(net, key, batch))(jax.random.key(0))  # pyright: ignore


def both(net: gears.Gears, batch: Batch) -> tuple[Side, Side]:
    """Ours and the plain side at the same parameters, which lie on the tables' caps."""
    params, state = jax.tree.map(lambda leaf: leaf.astype(batch.x.dtype), _start(net, batch))

    def ours(params: Any, state: Any, batch: Batch) -> tuple[jax.Array, Any]:
        value, (after, _) = gears.loss(net, params, state, jax.random.key(0), batch)
        return value, after

    found = []
    for loss in (ours, plain_gears.loss_of(net.spec, net.node)):
        value = jax.jit(jax.value_and_grad(loss, has_aux=True))
        (value, after), slopes = value(params, state, batch)
        found.append(Side(value, after, slopes))
    return found[0], found[1]


def _pairs(net: gears.Gears) -> np.ndarray:
    """Pairs of treatments, as nodes."""
    return net.node[np.stack([np.arange(SETS), np.arange(SETS) + 1], 1)]


def ours_prediction() -> Work:
    """One set after the other, each a question of its own."""
    sizes = problem.Sizes()
    spec = problem.spec_of(sizes)
    model = gears.build(spec, hidden_dim=sizes.hidden)
    net = gears.details_of(model)
    predict, pairs = predictor(Fitted(model, *_start(net)), 1), _pairs(net)
    predicted = np.zeros((SETS, sizes.genes))

    def call() -> None:
        for row, pair in zip(predicted, pairs, strict=True):
            # The mean over control cells is that of their profiles plus the change.
            row[:] = spec.control_mean + predict(pair[None], np.ones((1, 2))).effect[0]

    return Work(call, SETS)


def plain_prediction() -> Work:
    """The network for every one of the control cells, some at a time, and the mean over them."""
    sizes = problem.Sizes()
    spec = problem.spec_of(sizes)
    net = gears.make(spec, hidden_dim=sizes.hidden)
    params, state = _start(net)
    profiles = jnp.asarray(np.random.default_rng(1).uniform(0, 2, (CONTROLS, sizes.genes)), "f4")
    treatment = np.zeros((CHUNK, len(spec.treatments)), np.float32)
    treatment[:, :2] = 1
    predict = jax.jit(plain_gears.prediction_of(spec, net.node))

    def call() -> None:
        total = np.zeros(sizes.genes)
        for start in range(0, CONTROLS, CHUNK):
            cells = profiles[start : start + CHUNK]
            total += np.asarray(predict(params, state, cells, treatment).sum(0))

    return Work(call)
