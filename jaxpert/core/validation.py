"""The functions of a validation: sums over all of its cells, and the decision on the best
parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxpert.core.parallel import pmean, psum
from jaxpert.core.plan import Numbers, Plan
from jaxpert.core.streams import Stream
from jaxpert.core.types import Batch, Best, Feed, Model, PyTree, TrainState, Validation


class Totals(NamedTuple):
    """What the batches of a validation have come to so far."""

    sums: PyTree
    """Those of the model, and the number of cells."""
    number: Int[Array, ""]
    """Of the next batch."""


def validation_of(model: Model, feed: Feed, plan: Plan) -> Callable:
    """Return the function that scores all cells of the feed and decides on the best."""
    begin, add = begin_of(model, feed), add_of(model, feed, feed.steps)
    judge = judge_of(model, plan)

    def validate(state: TrainState, data: PyTree) -> tuple[TrainState, Numbers]:
        return judge(state, add(state, data, begin(state, data)))

    return validate


def begin_of(model: Model, feed: Feed) -> Callable:
    """Return the function that makes the totals before the first batch."""

    def begin(state: TrainState, data: PyTree) -> Totals:
        # The scan needs sums of the right shapes before any batch is scored.
        number = jnp.zeros((), jnp.int32)
        shapes = jax.eval_shape(_sums_of(model, feed, state, data), number)
        return Totals(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes), number)

    return begin


def add_of(model: Model, feed: Feed, length: int) -> Callable:
    """Return the function that adds the next `length` batches to the totals."""

    def add(state: TrainState, data: PyTree, totals: Totals) -> Totals:
        sums_of = _sums_of(model, feed, state, data)

        def next_of(sums: PyTree, number: Int[Array, ""]) -> tuple[PyTree, None]:
            return jax.tree.map(jnp.add, sums, sums_of(number)), None

        batches = totals.number + jnp.arange(length, dtype=jnp.int32)
        sums, _ = jax.lax.scan(next_of, totals.sums, batches)
        return Totals(sums, totals.number + length)

    return add


def judge_of(model: Model, plan: Plan) -> Callable:
    """Return the function that takes the score of the totals and keeps the better parameters."""
    # The loss, or a score that the model has of its own.
    judged = "loss" if model.validate is None else "score"

    def judge(state: TrainState, totals: Totals) -> tuple[TrainState, Numbers]:
        total, cells = totals.sums
        loss, more = (model.validate or _mean_loss(model)).finish(total)
        # At least one axis, so that validations are logged like stretches of one step.
        numbers = jax.tree.map(jnp.atleast_1d, {**more, judged: loss, "cells": cells})
        return state._replace(best=_better(state, loss, plan)), numbers

    return judge


def _sums_of(model: Model, feed: Feed, state: TrainState, data: PyTree) -> Callable:
    """The function from the number of a batch to its sums."""
    # Fresh noise at every validation, yet the same in a resumed run.
    key = jax.random.fold_in(jax.random.fold_in(state.key, Stream.VALIDATION), state.step)
    order = feed.order(data, key, jnp.zeros((), jnp.int32))
    sums = (model.validate or _mean_loss(model)).sums

    def sums_of(number: Int[Array, ""]) -> PyTree:
        key_batch = jax.random.fold_in(key, number)
        batch = feed.batch(data, key_batch, order, number)
        return sums(state.params, state.state, key_batch, batch), psum(batch.mask.sum())

    return sums_of


def _mean_loss(model: Model) -> Validation:
    """The mean loss and its terms, each batch counting by its cells."""

    def sums(params: PyTree, state: PyTree, key: PRNGKeyArray, batch: Batch) -> PyTree:
        # The new state is dropped: only training batches may change remembered moments.
        loss, (_, metrics) = model.loss(params, state, key, batch)
        cells = psum(batch.mask.sum())
        means = pmean({**metrics, "loss": loss})
        # A mean of batch means would give the cells of the partial batch more weight.
        return jax.tree.map(lambda mean: mean * cells, means), cells

    def finish(sums: PyTree) -> tuple[Float[Array, ""], Numbers]:
        totals, cells = sums
        means = jax.tree.map(lambda total: total / cells, totals)
        return means.pop("loss"), means

    return Validation(sums, finish)


def _better(state: TrainState, loss: Float[Array, ""], plan: Plan) -> Best:
    best, step = state.best, state.step
    # Judged before this step: a seed out of patience keeps its best while others go on.
    open_ = jnp.logical_not(plan.exhausted(best.epoch, (step - 1) // plan.epoch))
    # float32 whatever the loss, since a carried state may not change its type.
    here = Best(state.params, state.state, loss.astype(jnp.float32), step // plan.epoch)
    return jax.tree.map(
        # A select, so that vmapped seeds decide apart; NaN compares false and never wins.
        lambda new, old: jnp.where(open_ & (loss < best.loss), new, old),
        here,
        best,
    )
