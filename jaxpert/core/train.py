"""The one training loop, for every family of models: many steps per compiled program, on one device
or several."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from jaxpert.core import log
from jaxpert.core.parallel import AXIS, pmean, psum
from jaxpert.core.types import (
    Batch,
    Best,
    Feed,
    InputError,
    Model,
    PyTree,
    TrainState,
    Validation,
    step_key,
)

ORDER, VALIDATION, INIT = 2**32 - 1, 2**32 - 2, 2**32 - 3
"""Streams folded into the root key, out of the way of the step numbers."""

Numbers = dict[str, Any]


class Outcome(NamedTuple):
    """How a call of `fit` ended."""

    reason: str
    """"finished", "patience" (no seed had any left) or "interrupted" (`should_stop` said so)."""
    epochs: int
    """Whole epochs behind the returned state, those of earlier calls included."""
    step: int


class NonFiniteLoss(RuntimeError):
    """The loss or its gradient became NaN or infinite; `step` counts from 1, `terms` are the
    numbers of that step."""

    def __init__(self, phase: str, step: int, terms: Numbers, saved: int) -> None:
        good = (
            f"the last good checkpoint is of step {saved}"
            if saved
            else "no checkpoint was saved yet"
        )
        listed = ", ".join(f"{name} {value:.6g}" for name, value in terms.items())
        super().__init__(
            f"the {phase} loss is not finite at step {step} ({listed}) and {good}: lower "
            "`train.learning_rate`, or "
            "look for extreme counts"
        )
        self.step, self.terms, self.saved = step, terms, saved


class _Hooks(NamedTuple):
    save: Callable[[TrainState, dict[str, int]], None]
    save_seconds: float
    report: Callable[[Numbers], None]
    should_stop: Callable[[], bool]
    show: Callable[..., None] = lambda *_: None


class _Plan(NamedTuple):
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
            within = at % self.epoch
            lengths.append(
                min(self.stretch - within % self.stretch, self.epoch - within, self.last - at)
            )
            at += lengths[-1]
        return lengths

    def validates(self, step: int) -> bool:
        return step == self.last or step % (self.epoch * self.validate_every) == 0

    def exhausted(self, best_epoch: Any, epoch: Any) -> Any:
        """Whether patience had run out at the last validation up to `epoch` (arrays or numbers)."""
        if self.patience is None:
            return epoch < 0
        return epoch // self.validate_every * self.validate_every - best_epoch >= self.patience


def init(
    model: Model,
    optimizer: optax.GradientTransformation,
    feed: Feed,
    key: Key[Array, "*k"],
    *,
    seeds: int | None = None,
) -> TrainState:
    """State before the first step, from the first batch of the feed.

    With `seeds=k`, or with an array of k keys, every leaf has a leading seed axis; seed i equals
    the run whose key is `jax.random.split(key, k)[i]`, or `key[i]`.
    """
    keys = key if seeds is None else jax.random.split(key, seeds)

    def start(data: PyTree, key: PRNGKeyArray) -> TrainState:
        zero, inf = jnp.zeros((), jnp.int32), jnp.full((), jnp.inf, jnp.float32)
        key_init = jax.random.fold_in(key, INIT)
        batch = feed.batch(
            data, key_init, feed.order(data, jax.random.fold_in(key, ORDER), zero), zero
        )
        params, state = jax.tree.map(_strong, model.init(key_init, batch))
        opt_state = jax.tree.map(_strong, optimizer.init(params))
        return TrainState(params, state, opt_state, key, zero, Best(params, state, inf, zero))

    many = jax.vmap(start, (None, 0)) if keys.ndim else start
    if not _is_split(feed):
        return _copy(jax.jit(many)(feed.data, keys))
    return _first(jax.pmap(many, AXIS, in_axes=(0, None))(feed.data, keys))


def fit(
    model: Model,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    train_feed: Feed,
    valid_feed: Feed | None,
    *,
    epochs: int,
    patience: int | None = None,
    log_every: int = 50,
    max_steps: int | None = None,
    validate_every: int = 1,
    save: Callable[[TrainState, dict], None] | None = None,
    save_seconds: float = 60.0,
    report: Callable[[Numbers], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> tuple[TrainState, Outcome]:
    """Train until `epochs` or `max_steps` (both counted from step 0) are done; `state` is left
    untouched.

    Steps run `log_every` at a time in one compiled program, in stretches that start anew with every
    epoch, so a run resumed from a saved state runs the same programs and ends in the same bits.
    Feeds made for several devices run under pmap, a state with a seed axis is vmapped. After every
    `validate_every` epochs and after the last step, the mean loss over all cells of `valid_feed`,
    with fresh noise, or the score that the model has of its own (`Model.validate`), decides on
    `state.best`; a seed without improvement for `patience` epochs keeps its best for good. Without
    `valid_feed` the best is the latest.

    `report` gets a row per stretch (`train/...`, mean over its steps) and per validation
    (`val/...`), with lists where there are seeds, always before the `save` of that step. `save`
    gets the state, without device axis, and {"step", "epoch"} at the end of a stretch, once
    `save_seconds` have passed since the last, and at the end of the run; it must copy what it
    keeps, as the next steps reuse the memory. `should_stop` is asked after every stretch. Raises
    NonFiniteLoss; such a state is never saved.
    """
    if patience is not None and valid_feed is None:
        raise InputError(
            "`train.patience` is set but there are no validation cells to judge by: set it to None"
        )
    first = int(np.ravel(state.step)[0])
    last = epochs * train_feed.steps
    plan = _Plan(
        first, min(last, max_steps or last), train_feed.steps, log_every, validate_every, patience
    )
    if first >= plan.last or np.all(
        plan.exhausted(np.asarray(state.best.epoch), first // plan.epoch)
    ):
        reason = "finished" if first >= plan.last else "patience"
        return _copy(state), Outcome(reason, first // plan.epoch, first)
    split = _is_split(train_feed)
    live = (
        _spread(state, train_feed) if split else _copy(state)
    )  # the steps donate it: the caller's must live on
    chunk, validate = _programs(model, optimizer, plan, train_feed, valid_feed, live)
    hooks = _Hooks(save or _ignore, save_seconds, report or _ignore, should_stop or (lambda: False))
    with log.progress(plan.last, start=first) as show:
        live, step, reason = _loop(plan, hooks._replace(show=show), chunk, validate, live, split)
    return _first(live) if split else live, Outcome(reason, step // plan.epoch, step)


def _loop(
    plan: _Plan, hooks: _Hooks, chunk: Callable, validate: Callable, live: TrainState, split: bool
) -> tuple[TrainState, int, str]:
    record = _recorder(plan, hooks)
    step = saved = plan.first
    saved_at = time.monotonic()
    stop = done = False
    pending: list[
        tuple
    ] = []  # a stretch whose numbers are fetched only once the device is busy with the next one
    for length in plan.stretches():
        live, numbers = chunk(length, live)
        step += length
        pending.append(("train", step, length, numbers))
        check = plan.validates(step)
        stop, due = _agreed(hooks.should_stop(), time.monotonic() - saved_at >= hooks.save_seconds)
        wait = check or stop or due
        while len(pending) > (0 if wait else 1):
            record(*pending.pop(0), saved)
        if check:
            live, numbers = validate(live)
            record("val", step, 1, numbers, saved)
            done = bool(np.all(plan.exhausted(jax.device_get(live.best.epoch), step // plan.epoch)))
        if stop or due or done or step == plan.last:
            hooks.save(_first(live) if split else live, {"step": step, "epoch": step // plan.epoch})
            saved, saved_at = step, time.monotonic()
        if stop or done:
            break
    return live, step, "finished" if step == plan.last else "patience" if done else "interrupted"


def _recorder(plan: _Plan, hooks: _Hooks) -> Callable[..., None]:
    """Return the function that fetches numbers from the device, checks them and passes them on."""
    began = since = time.monotonic()
    said: dict[str, str] = {}

    def record(phase: str, step: int, length: int, numbers: Numbers, saved: int) -> None:
        nonlocal since
        if not numbers:  # nothing to validate on
            return
        numbers = jax.device_get(numbers)
        now = time.monotonic()
        _check_finite(phase, step - length, numbers, saved)
        row: Numbers = {"step": step, "epoch": (step - 1) // plan.epoch + 1}
        cells = numbers.pop("cells")
        row |= {
            f"{phase}/{name}": np.mean(value, -1, dtype=np.float64).tolist()
            for name, value in numbers.items()
        }
        if phase == "train":
            row["cells_per_second"] = round(
                float(cells.sum() / cells.size * length / (now - since)), 1
            )
        hooks.report(row | {"seconds": round(now - began, 3)})
        main = "loss" if "loss" in numbers else "score"
        said[f"{phase} {main}"] = f"{np.mean(row[f'{phase}/{main}']):.5g}"
        hooks.show(
            step,
            f"epoch {row['epoch']}, "
            + ", ".join(f"{name} {value}" for name, value in said.items()),
        )
        since = now

    return record


def _check_finite(phase: str, before: int, numbers: Numbers, saved: int) -> None:
    """Raise for the first step (then the first seed) with a loss or gradient that is not finite."""
    table = {name: np.atleast_2d(value).T for name, value in numbers.items()}  # [steps, seeds]
    bad = ~np.isfinite(table["loss" if "loss" in table else "score"]) | ~np.isfinite(
        table.get("grad_norm", 0.0)
    )
    if bad.any():
        offset, seed = np.argwhere(bad)[0]
        terms = {name: float(value[offset, seed]) for name, value in table.items()}
        phase = {"train": "training", "val": "validation"}[phase]
        raise NonFiniteLoss(phase, int(before + offset + 1), terms, saved)


def _programs(
    model: Model,
    optimizer: optax.GradientTransformation,
    plan: _Plan,
    train_feed: Feed,
    valid_feed: Feed | None,
    live: TrainState,
) -> tuple[Callable, Callable]:
    """Compile what the run needs before its clock starts: a program per length of stretch, and the
    validation."""
    split = _is_split(train_feed)
    seeds = live.step.ndim > split

    def compiled(function: Callable, *arguments: Any) -> Callable:
        many = jax.vmap(function, (0, None)) if seeds else function
        mapped = (
            jax.pmap(many, AXIS, out_axes=(0, None), donate_argnums=0)
            if split
            else jax.jit(many, donate_argnums=0)
        )
        # Over several processes pmap lowers for global shapes but is called with local ones: it
        # compiles when called.
        return mapped if jax.process_count() > 1 else mapped.lower(*arguments).compile()

    bare, data = live._replace(best=None), train_feed.data
    chunks = {
        n: compiled(_stretch(model, optimizer, train_feed, n), bare, data)
        for n in set(plan.stretches())
    }

    def chunk(length: int, live: TrainState) -> tuple[TrainState, Numbers]:
        moved, numbers = chunks[length](live._replace(best=None), data)
        return moved._replace(best=live.best), numbers

    if valid_feed is None:
        return chunk, lambda live: (_latest(live, plan), {})
    validation = compiled(_validation(model, valid_feed, plan), live, valid_feed.data)
    return chunk, lambda live: validation(live, valid_feed.data)


def _stretch(
    model: Model, optimizer: optax.GradientTransformation, feed: Feed, length: int
) -> Callable:
    """Return the function that runs `length` steps of one epoch."""

    def step(
        carry: TrainState, number: Int[Array, ""], data: PyTree, order: Array
    ) -> tuple[TrainState, Numbers]:
        key = step_key(carry.key, number)
        batch = feed.batch(data, key, order, number % feed.steps)
        value = jax.value_and_grad(model.loss, has_aux=True)
        (loss, (state, metrics)), grads = value(carry.params, carry.state, key, batch)
        grads = pmean(grads)
        updates, opt_state = optimizer.update(grads, carry.opt_state, carry.params)
        params = optax.apply_updates(carry.params, updates)
        params = params if model.constrain is None else model.constrain(params)
        numbers = pmean({**metrics, "loss": loss}) | {"grad_norm": optax.tree.norm(grads)}
        moved = carry._replace(params=params, state=state, opt_state=opt_state, step=number + 1)
        return moved, numbers | {"cells": psum(batch.mask.sum())}

    def stretch(state: TrainState, data: PyTree) -> tuple[TrainState, Numbers]:
        order = feed.order(data, jax.random.fold_in(state.key, ORDER), state.step // feed.steps)
        numbers = state.step + jnp.arange(length, dtype=jnp.int32)
        return jax.lax.scan(lambda carry, number: step(carry, number, data, order), state, numbers)

    return stretch


def _validation(model: Model, feed: Feed, plan: _Plan) -> Callable:
    """Return the function that scores all cells of the feed and decides on the best."""
    sums, finish = _mean_loss(model) if model.validate is None else model.validate

    def validate(state: TrainState, data: PyTree) -> tuple[TrainState, Numbers]:
        key = jax.random.fold_in(jax.random.fold_in(state.key, VALIDATION), state.step)
        order = feed.order(data, key, jnp.zeros((), jnp.int32))

        def one(number: Int[Array, ""]) -> PyTree:
            key_batch = jax.random.fold_in(key, number)
            batch = feed.batch(data, key_batch, order, number)
            return sums(state.params, state.state, key_batch, batch), psum(batch.mask.sum())

        zero = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(one, jnp.zeros((), int))
        )
        numbers = jnp.arange(feed.steps, dtype=jnp.int32)
        (total, cells), _ = jax.lax.scan(
            lambda sum_, n: (jax.tree.map(jnp.add, sum_, one(n)), None), zero, numbers
        )
        loss, more = finish(total)
        found = {**more, "loss" if model.validate is None else "score": loss, "cells": cells}
        return state._replace(best=_better(state, loss, plan)), jax.tree.map(jnp.atleast_1d, found)

    return validate


def _mean_loss(model: Model) -> Validation:
    """The mean loss and its terms, each batch counting by its cells."""

    def sums(params: PyTree, state: PyTree, key: PRNGKeyArray, batch: Batch) -> PyTree:
        loss, (_, metrics) = model.loss(params, state, key, batch)
        cells = psum(batch.mask.sum())
        return {
            name: value * cells for name, value in pmean({**metrics, "loss": loss}).items()
        }, cells

    def finish(found: PyTree) -> tuple[Float[Array, ""], Numbers]:
        totals, cells = found
        means = {name: total / cells for name, total in totals.items()}
        return means.pop("loss"), means

    return Validation(sums, finish)


def _better(state: TrainState, loss: Float[Array, ""], plan: _Plan) -> Best:
    best, step = state.best, state.step
    open_ = jnp.logical_not(plan.exhausted(best.epoch, (step - 1) // plan.epoch))
    here = Best(state.params, state.state, loss.astype(jnp.float32), step // plan.epoch)
    return jax.tree.map(
        lambda new, old: jnp.where(open_ & (loss < best.loss), new, old), here, best
    )


def _latest(live: TrainState, plan: _Plan) -> TrainState:
    """Without validation the best is a copy (the next steps donate the original) of what there
    is."""
    best = live.best._replace(
        params=_copy(live.params), state=_copy(live.state), epoch=live.step // plan.epoch
    )
    return live._replace(best=best)


def _agreed(*flags: bool) -> tuple[bool, ...]:
    """Each flag as true on any process, so that all processes stop and save together."""
    if jax.process_count() == 1:
        return flags
    from jax.experimental import multihost_utils

    gathered = np.atleast_2d(multihost_utils.process_allgather(np.array(flags)))
    return tuple(bool(np.any(column)) for column in gathered.T)


def _is_split(feed: Feed) -> bool:
    """Whether the feed was made for several devices."""
    return jax.process_count() > 1 or len(jax.tree.leaves(feed.data)[0].sharding.device_set) > 1


def _spread(state: TrainState, feed: Feed) -> TrainState:
    """A replica of the state on every device of this process."""
    local = jax.tree.leaves(feed.data)[0].shape[0]
    return jax.pmap(lambda _, state: state, in_axes=(0, None))(np.arange(local), state)


def _first(tree: PyTree) -> PyTree:
    """The first device's replica; a copy."""
    return jax.tree.map(lambda leaf: jnp.copy(leaf.addressable_data(0)[0]), tree)


def _copy(tree: PyTree) -> PyTree:
    return jax.tree.map(jnp.copy, tree)


def _strong(leaf: Array) -> Array:
    """Without weak types (`jnp.full(shape, -2.)`), which would change after the first step and
    compile it twice."""
    return jax.lax.convert_element_type(leaf, jnp.asarray(leaf).dtype)


def _ignore(*_: Any) -> None:
    pass
