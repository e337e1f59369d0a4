"""The one training loop, for every family of models: many steps per compiled program, on one device
or several."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key, PRNGKeyArray

from jaxpert.core import log
from jaxpert.core.feed import Span
from jaxpert.core.parallel import AXIS
from jaxpert.core.plan import Numbers, Plan
from jaxpert.core.programs import (
    Programs,
    cells_of,
    compile_programs,
    copied,
    first_replica,
    is_split,
    spread,
    strongly_typed,
)
from jaxpert.core.streams import Stream
from jaxpert.core.types import (
    Batch,
    Best,
    Feed,
    InputError,
    Model,
    PyTree,
    TrainState,
)


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
        good = "no checkpoint was saved yet"
        if saved:
            good = f"the last good checkpoint is of step {saved}"
        listed = ", ".join(f"{name} {value:.6g}" for name, value in terms.items())
        super().__init__(
            f"the {phase} loss is not finite at step {step} ({listed}) and {good}: lower "
            "`train.learning_rate`, or look for extreme counts"
        )
        self.step, self.terms, self.saved = step, terms, saved


class Schedule(NamedTuple):
    """How long training lasts, and how often it is judged, logged and saved."""

    epochs: int
    """Of the whole training, counted from step 0 as `max_steps` is."""
    max_steps: int | None = None
    patience: int | None = None
    """Epochs without a lower validation score before training stops; None for never."""
    validate_every: int = 1
    log_every: int = 50
    """Steps that run in one compiled program."""
    save_seconds: float = 60.0


def _ignore(*_: Any) -> None:
    pass


def _never() -> bool:
    return False


class Hooks(NamedTuple):
    """What `fit` calls while it trains."""

    save: Callable[[TrainState, dict[str, int]], None] = _ignore
    """Gets the state, without device axis, and {"step", "epoch"}; it must copy what it keeps, as
    the next steps reuse the memory."""
    report: Callable[[Numbers], None] = _ignore
    """Gets a row of numbers for each stretch and each validation."""
    should_stop: Callable[[], bool] = _never
    """Asked after every stretch."""


NO_HOOKS = Hooks()


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
    keys = key
    if seeds is not None:
        keys = jax.random.split(key, seeds)

    def start(data: PyTree, key: PRNGKeyArray) -> TrainState:
        order = feed.order(data, jax.random.fold_in(key, Stream.ORDER), jnp.zeros((), jnp.int32))
        key_init = jax.random.fold_in(key, Stream.INIT)
        batch = feed.batch(data, key_init, order, jnp.zeros((), jnp.int32))
        return _fresh(model, optimizer, key, batch)

    axes = None if feed.windows is None else feed.windows.axes
    many = jax.vmap(start, (axes, 0)) if keys.ndim else start
    with contextlib.closing(cells_of(feed, keys, [Span(0, 0, 1)])) as cells:
        data = next(cells)
    if not is_split(feed):
        return jax.jit(many)(data, keys)
    return first_replica(jax.pmap(many, AXIS, in_axes=(0, None))(data, keys))


def shapes(
    model: Model,
    optimizer: optax.GradientTransformation,
    batch: Batch,
    key: Key[Array, "*k"],
) -> TrainState:
    """Structure, shapes and types of the state that `init` makes, from any batch."""
    start = functools.partial(_fresh, model, optimizer)
    many = jax.vmap(start, (0, None)) if key.ndim else start
    return jax.eval_shape(many, key, batch)


def _fresh(
    model: Model, optimizer: optax.GradientTransformation, key: PRNGKeyArray, batch: Batch
) -> TrainState:
    """The state before the first step."""
    # Infinity makes the first finite validation the best so far.
    zero, inf = jnp.zeros((), jnp.int32), jnp.full((), jnp.inf, jnp.float32)
    params, state = jax.tree.map(
        strongly_typed, model.init(jax.random.fold_in(key, Stream.INIT), batch)
    )
    opt_state = jax.tree.map(strongly_typed, optimizer.init(params))
    return TrainState(params, state, opt_state, key, zero, Best(params, state, inf, zero))


def fit(
    model: Model,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    feeds: tuple[Feed, Feed | None],
    schedule: Schedule,
    hooks: Hooks = NO_HOOKS,
    *,
    keep: bool = True,
) -> tuple[TrainState, Outcome]:
    """Train on the first of both feeds until the schedule is done.

    `state` is left untouched; without `keep` the steps take its memory over instead of copying it,
    and the caller must not read it again.

    Stretches of steps, each one compiled program, start anew with every epoch, so a run resumed
    from a saved state runs the same programs and ends in the same bits. Feeds made for several
    devices run under pmap, a state with a seed axis is vmapped. After every `validate_every` epochs
    and after the last step, the mean loss over all cells of the second feed, with fresh noise, or
    the score that the model has of its own (`Model.validate`), decides on `state.best`; a seed
    without improvement for `patience` epochs keeps its best for good. Without a second feed the
    best is the latest.

    Rows are reported per stretch (`train/...`, mean over its steps) and per validation (`val/...`),
    with lists where there are seeds, always before the save of that step. States are saved at the
    end of a stretch, once `save_seconds` have passed since the last, and at the end of the run.
    Raises NonFiniteLoss; such a state is never saved.
    """
    train_feed, valid_feed = feeds
    # In steps from here on, which is what programs and checkpoints count.
    plan = _plan(schedule, state, train_feed, valid_feed)
    first, epoch = plan.first, plan.first // plan.epoch
    # A finished run that is asked again has nothing to compile.
    own = copied if keep else lambda state: state
    if first >= plan.last:
        return own(state), Outcome("finished", epoch, first)
    if np.all(plan.exhausted(np.asarray(state.best.epoch), epoch)):
        return own(state), Outcome("patience", epoch, first)
    split = is_split(train_feed)
    # Windows of cells ask for it after the steps took the state's.
    key = copied(state.key)
    # A copy, since the steps donate theirs: the caller's must live on where it is kept.
    live = spread(state, train_feed) if split else own(state)
    programs = compile_programs(model, optimizer, plan, feeds, live, key)
    with log.progress(plan.last, start=first) as show, contextlib.closing(programs.cells):
        record = _recorder(plan, hooks.report, show)
        loop = _Loop(plan, hooks, schedule.save_seconds, record, split)
        live, step, reason = _loop(loop, programs, live)
    return _single(live, split), Outcome(reason, step // plan.epoch, step)


def _plan(schedule: Schedule, state: TrainState, train_feed: Feed, valid_feed: Feed | None) -> Plan:
    """The schedule in steps, from the one that the state has reached."""
    if schedule.patience is not None and valid_feed is None:
        raise InputError(
            "`train.patience` is set but there are no validation cells to judge by, expected "
            "some: set it to None"
        )
    last = schedule.epochs * train_feed.steps
    stretch = schedule.log_every
    if train_feed.windows is not None:
        seeds = len(state.key) if state.key.ndim else None
        # A stretch has its cells in one window, which is not to fill the memory.
        stretch = min(stretch, train_feed.windows.longest(seeds))
    return Plan(
        # Seeds that are trained at once are all at the same step.
        first=int(np.ravel(state.step)[0]),
        last=min(last, schedule.max_steps or last),
        epoch=train_feed.steps,
        stretch=stretch,
        validate_every=schedule.validate_every,
        patience=schedule.patience,
    )


def _single(live: TrainState, split: bool) -> TrainState:
    """The state without the axis of devices."""
    return first_replica(live) if split else live


class _Loop(NamedTuple):
    """What stays the same from stretch to stretch."""

    plan: Plan
    hooks: Hooks
    save_seconds: float
    record: Callable[..., None]
    split: bool
    """Whether the state has an axis of devices."""


def _loop(loop: _Loop, programs: Programs, live: TrainState) -> tuple[TrainState, int, str]:
    """The state where training ends, its step, and why it ends there."""
    plan, hooks, record = loop.plan, loop.hooks, loop.record
    step = saved = plan.first
    saved_at = time.monotonic()
    stop = done = False
    # Numbers of a stretch are fetched only once the device is busy with the next one.
    pending: list[tuple] = []
    for length in plan.stretches():
        live, numbers = programs.chunk(length, live)
        step += length
        pending.append(("train", step, length, numbers))
        check = plan.validates(step)
        # Asked together: one exchange between processes per stretch.
        stop, due = _agreed(hooks.should_stop(), time.monotonic() - saved_at >= loop.save_seconds)
        # Numbers are checked before their state is validated or saved; else one stretch behind.
        waiting = 0 if check or stop or due else 1
        while len(pending) > waiting:
            record(*pending.pop(0), saved)
        if check:
            live, numbers = programs.validate(live)
            record("val", step, 1, numbers, saved)
            # Seeds share one program, so training ends when the last has no patience left.
            done = bool(np.all(plan.exhausted(jax.device_get(live.best.epoch), step // plan.epoch)))
        if stop or due or done or step == plan.last:
            place = {"step": step, "epoch": step // plan.epoch}
            hooks.save(_single(live, loop.split), place)
            saved, saved_at = step, time.monotonic()
        if stop or done:
            break
    # First, since whoever stops a run in its last stretch waits for no evaluation either.
    if stop:
        return live, step, "interrupted"
    return live, step, "finished" if step == plan.last else "patience"


def _recorder(
    plan: Plan, report: Callable[[Numbers], None], show: Callable[[int, str], None]
) -> Callable[..., None]:
    """Return the function that fetches numbers from the device, checks them and passes them on."""
    began = since = time.monotonic()
    latest: dict[str, str] = {}

    def record(phase: str, step: int, length: int, numbers: Numbers, saved: int) -> None:
        nonlocal since
        if not numbers:  # nothing to validate on
            return
        numbers = jax.device_get(numbers)
        # Fetching waits for the device, so the clock is read after it.
        now = time.monotonic()
        # First: a loss that is not finite must reach neither the log nor a checkpoint.
        _check_finite(phase, step - length, numbers, saved)
        row: Numbers = {"step": step, "epoch": (step - 1) // plan.epoch + 1}
        cells = numbers.pop("cells")
        for name, value in numbers.items():
            # Steps are the last axis; that of seeds, where there is one, becomes a list.
            row[f"{phase}/{name}"] = np.mean(value, -1, dtype=np.float64).tolist()
        if phase == "train":
            # Cells are counted in every step, and for every seed alike.
            per_step = float(cells.sum() / cells.size)
            row["cells_per_second"] = round(per_step * length / (now - since), 1)
        report(row | {"seconds": round(now - began, 3)})
        criterion = _criterion(numbers)
        latest[f"{phase} {criterion}"] = f"{np.mean(row[f'{phase}/{criterion}']):.5g}"
        shown = ", ".join(f"{name} {value}" for name, value in latest.items())
        show(step, f"epoch {row['epoch']}, {shown}")
        since = now

    return record


def _criterion(numbers: Numbers) -> str:
    """What is judged: the loss, or a model's own validation score."""
    return "loss" if "loss" in numbers else "score"


def _check_finite(phase: str, before: int, numbers: Numbers, saved: int) -> None:
    """Raise for the first step (then the first seed) with a loss or gradient that is not finite."""
    # [steps, seeds], whether there are several seeds or not.
    table = {name: np.atleast_2d(value).T for name, value in numbers.items()}
    # The gradient can overflow a step before the loss does; validation has no gradient.
    bad = ~np.isfinite(table[_criterion(table)]) | ~np.isfinite(table.get("grad_norm", 0.0))
    if bad.any():
        # argwhere goes row by row, so its first hit is the earliest step.
        offset, seed = np.argwhere(bad)[0]
        terms = {name: float(value[offset, seed]) for name, value in table.items()}
        phase = {"train": "training", "val": "validation"}[phase]
        raise NonFiniteLoss(phase, int(before + offset + 1), terms, saved)


def _agreed(*flags: bool) -> tuple[bool, ...]:
    """Each flag as true on any process, so that all processes stop and save together."""
    if jax.process_count() == 1:
        return flags
    from jax.experimental import multihost_utils

    # A process that stopped alone would leave the others waiting in a collective.
    gathered = np.atleast_2d(multihost_utils.process_allgather(np.array(flags)))
    return tuple(np.asarray(gathered.any(axis=0)).tolist())
