"""The compiled programs of training: stretches of steps and validations, on one device or
several."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxpert.core import memory
from jaxpert.core.parallel import AXIS, pmean, psum
from jaxpert.core.streams import Stream
from jaxpert.core.types import Batch, Best, Feed, Model, PyTree, TrainState, Validation, step_key

Numbers = dict[str, Any]
"""Loss, terms and counts of steps, by name."""


class Plan(NamedTuple):
    """What is known of a run before it begins."""

    first: int
    last: int
    epoch: int
    """Steps per epoch."""
    stretch: int
    """Steps per logged stretch; the last one of an epoch may be shorter."""
    validate_every: int
    patience: int | None

    def stretches(self) -> list[int]:
        """Lengths of the stretches from `first` to `last`; they start anew with every epoch."""
        lengths, at = [], self.first
        while at < self.last:
            # Bounds count from the epoch's start, so a resumed run meets the same programs.
            within = at % self.epoch
            to_log, to_epoch = self.stretch - within % self.stretch, self.epoch - within
            lengths.append(min(to_log, to_epoch, self.last - at))
            at += lengths[-1]
        return lengths

    def validates(self, step: int) -> bool:
        # The last step too: where training ends must be judged before the best is taken.
        return step == self.last or step % (self.epoch * self.validate_every) == 0

    def exhausted(self, best_epoch: Any, epoch: Any) -> Any:
        """Whether patience had run out at the last validation up to `epoch` (arrays or numbers)."""
        if self.patience is None:
            # False in the form of the argument, be it a number or an array of seeds.
            return epoch < 0
        # Counted at the last validation, since nothing improves in between.
        return epoch // self.validate_every * self.validate_every - best_epoch >= self.patience


def compile_programs(
    model: Model,
    optimizer: optax.GradientTransformation,
    plan: Plan,
    train_feed: Feed,
    valid_feed: Feed | None,
    live: TrainState,
) -> tuple[Callable, Callable]:
    """Compile what the run needs before its clock starts: a program per length of stretch, and the
    validation."""
    split = is_split(train_feed)
    # An axis beside that of the devices is the seeds'.
    seeds = live.step.ndim > split

    def compiled(function: Callable, *arguments: Any) -> Callable:
        many = jax.vmap(function, (0, None)) if seeds else function
        # The old state is donated: the new one takes its memory.
        if split:
            mapped = jax.pmap(many, AXIS, out_axes=(0, None), donate_argnums=0)
        else:
            mapped = jax.jit(many, donate_argnums=0)
        # Over several processes pmap lowers for global shapes but is called with local ones: it
        # compiles when called.
        if jax.process_count() > 1:
            return mapped
        return mapped.lower(*arguments).compile(compiler_options=compiler_options())

    # Steps never touch the best, so it stays out of what they donate and copy.
    bare, data = live._replace(best=None), train_feed.data
    chunks: dict[int, Callable] = {}
    # Nearly all stretches have one length, so two or three programs are compiled.
    for length in set(plan.stretches()):
        chunks[length] = compiled(stretch_of(model, optimizer, train_feed, length), bare, data)

    def chunk(length: int, live: TrainState) -> tuple[TrainState, Numbers]:
        moved, numbers = chunks[length](live._replace(best=None), data)
        return moved._replace(best=live.best), numbers

    if valid_feed is None:
        memory.give_back()
        return chunk, lambda live: (_latest(live, plan), {})
    validation = compiled(validation_of(model, valid_feed, plan), live, valid_feed.data)
    memory.give_back()
    return chunk, lambda live: validation(live, valid_feed.data)


@functools.cache
def compiler_options() -> dict[str, bool] | None:
    """Options that programs of this machine are compiled with; None for the compiler's own."""
    if jax.default_backend() != "cpu":
        return None
    options = {"xla_cpu_copy_insertion_use_region_analysis": True}
    try:
        # Another version of XLA may not know the option, and would refuse every program.
        jax.jit(jnp.negative).lower(np.float32(0)).compile(compiler_options=options)
    except jax.errors.JaxRuntimeError:
        return None
    return options


def stretch_of(
    model: Model, optimizer: optax.GradientTransformation, feed: Feed, length: int
) -> Callable:
    """Return the function that runs `length` steps of one epoch."""

    def step(
        carry: TrainState, number: Int[Array, ""], data: PyTree, order: Array
    ) -> tuple[TrainState, Numbers]:
        # A function of root key and step, so that a resumed run draws the same noise.
        key = step_key(carry.key, number)
        batch = feed.batch(data, key, order, number % feed.steps)
        value = jax.value_and_grad(model.loss, has_aux=True)
        (loss, (state, metrics)), grads = value(carry.params, carry.state, key, batch)
        # Before the optimiser: all replicas clip and step alike and never drift apart.
        grads = pmean(grads)
        updates, opt_state = optimizer.update(grads, carry.opt_state, carry.params)
        params = optax.apply_updates(carry.params, updates)
        # After the step, so that stored parameters are always within their bounds.
        if model.constrain is not None:
            params = model.constrain(params)
        numbers = pmean({**metrics, "loss": loss}) | {"grad_norm": optax.tree.norm(grads)}
        moved = carry._replace(params=params, state=state, opt_state=opt_state, step=number + 1)
        return moved, numbers | {"cells": psum(batch.mask.sum())}

    def stretch(state: TrainState, data: PyTree) -> tuple[TrainState, Numbers]:
        # Sorted once, and not in every step, as a stretch never crosses an epoch.
        order = feed.order(
            data, jax.random.fold_in(state.key, Stream.ORDER), state.step // feed.steps
        )
        numbers = state.step + jnp.arange(length, dtype=jnp.int32)
        # One compiled loop: the host is asked once per stretch instead of per step.
        return jax.lax.scan(lambda carry, number: step(carry, number, data, order), state, numbers)

    return stretch


def validation_of(model: Model, feed: Feed, plan: Plan) -> Callable:
    """Return the function that scores all cells of the feed and decides on the best."""
    # The loss, or a score that the model has of its own.
    sums, finish = model.validate or _mean_loss(model)
    judged = "loss" if model.validate is None else "score"

    def validate(state: TrainState, data: PyTree) -> tuple[TrainState, Numbers]:
        # Fresh noise at every validation, yet the same in a resumed run.
        key = jax.random.fold_in(jax.random.fold_in(state.key, Stream.VALIDATION), state.step)
        order = feed.order(data, key, jnp.zeros((), jnp.int32))

        def sums_of(number: Int[Array, ""]) -> PyTree:
            key_batch = jax.random.fold_in(key, number)
            batch = feed.batch(data, key_batch, order, number)
            return sums(state.params, state.state, key_batch, batch), psum(batch.mask.sum())

        # The scan needs sums of the right shapes before any batch is scored.
        shapes = jax.eval_shape(sums_of, jnp.zeros((), int))
        zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

        def add(total: PyTree, number: Int[Array, ""]) -> tuple[PyTree, None]:
            return jax.tree.map(jnp.add, total, sums_of(number)), None

        batches = jnp.arange(feed.steps, dtype=jnp.int32)
        (total, cells), _ = jax.lax.scan(add, zero, batches)
        loss, more = finish(total)
        # At least one axis, so that validations are logged like stretches of one step.
        numbers = jax.tree.map(jnp.atleast_1d, {**more, judged: loss, "cells": cells})
        return state._replace(best=_better(state, loss, plan)), numbers

    return validate


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


def _latest(live: TrainState, plan: Plan) -> TrainState:
    """Without validation the best is a copy (the next steps donate the original) of what there
    is."""
    best = live.best._replace(
        params=copied(live.params), state=copied(live.state), epoch=live.step // plan.epoch
    )
    return live._replace(best=best)


def is_split(feed: Feed) -> bool:
    """Whether the feed was made for several devices."""
    # One of several processes may hold a single device, and its feed is split too.
    return jax.process_count() > 1 or len(jax.tree.leaves(feed.data)[0].sharding.device_set) > 1


def spread(state: TrainState, feed: Feed) -> TrainState:
    """A replica of the state on every device of this process."""
    local = jax.tree.leaves(feed.data)[0].shape[0]
    # pmap repeats the state; the unused argument tells it the number of devices.
    return jax.pmap(lambda _, state: state, in_axes=(0, None))(np.arange(local), state)


def first_replica(tree: PyTree) -> PyTree:
    """The first device's replica; a copy."""
    # Replicas are equal, and a process can always read its own first device.
    return jax.tree.map(lambda leaf: jnp.copy(leaf.addressable_data(0)[0]), tree)


def copied(tree: PyTree) -> PyTree:
    return jax.tree.map(jnp.copy, tree)


def strongly_typed(leaf: Array) -> Array:
    """Without weak types (`jnp.full(shape, -2.)`), which would change after the first step and
    compile it twice."""
    return jax.lax.convert_element_type(leaf, jnp.asarray(leaf).dtype)
