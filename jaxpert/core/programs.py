"""The compiled programs of training: stretches of steps and validations, on one device or several,
over cells that lie on the device or are brought there ahead of their steps."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, Key

from jaxpert.core import memory, validation
from jaxpert.core.feed import Span
from jaxpert.core.parallel import AXIS, pmean, psum
from jaxpert.core.plan import Numbers, Plan, spans_of
from jaxpert.core.streams import Stream
from jaxpert.core.types import Feed, Model, PyTree, TrainState, step_key


class Programs(NamedTuple):
    """What a run calls, compiled; the old state is donated, so that the new one takes its
    memory."""

    chunk: Callable[[int, TrainState], tuple[TrainState, Numbers]]
    """(steps, state) -> the state after the next stretch of so many, and its numbers."""
    validate: Callable[[TrainState], tuple[TrainState, Numbers]]
    cells: Generator[PyTree]
    """The data of each stretch in turn; closing it stops whatever reads ahead."""


class Compiler(NamedTuple):
    """How a function of a state, of data and of more that belongs to the state becomes a
    program."""

    split: bool
    """Whether arguments have an axis of devices."""
    seeds: int | None
    """How many, where the state has an axis of seeds."""

    def __call__(self, function: Callable, *arguments: Any, **how: Any) -> Callable:
        """The program for arguments of these shapes; `how` as in `later`."""
        return self.later(function, *arguments, **how)()

    def later(
        self,
        function: Callable,
        *arguments: Any,
        axes: tuple[Any, ...] = (0, None),
        donated: tuple[int, ...] = (0,),
        out: Any = (0, None),
    ) -> Callable[[], Callable]:
        """What compiles the program for arguments of these shapes, which is traced already.

        Args:
            axes: of the seeds in each argument, as `jax.vmap` takes them.
            donated: numbers of the arguments whose memory the answer takes.
            out: axes of the devices in the answer; None for numbers that are the same on all.
        """
        many = function if self.seeds is None else jax.vmap(function, axes)
        if self.split:
            mapped = jax.pmap(many, AXIS, out_axes=out, donate_argnums=donated)
        else:
            mapped = jax.jit(many, donate_argnums=donated)
        # Over several processes pmap lowers for global shapes but is called with local ones: it
        # compiles when called.
        if jax.process_count() > 1:
            return lambda: mapped
        lowered = mapped.lower(*arguments)
        return lambda: lowered.compile(compiler_options=compiler_options())


def compile_programs(
    model: Model,
    optimizer: optax.GradientTransformation,
    plan: Plan,
    feeds: tuple[Feed, Feed | None],
    live: TrainState,
    key: Key[Array, "*k"],
) -> Programs:
    """Compile what the run needs: a program per length of stretch before its clock starts, and the
    validation beside.

    Args:
        feeds: of training and of validation.
        live: the state, with an axis of devices where there are several.
        key: of the run, without that axis; one for each of several seeds.
    """
    train_feed, valid_feed = feeds
    compiled = Compiler(is_split(train_feed), len(key) if key.ndim else None)
    programs: dict[int, Callable] = {}
    # Steps never touch the best, so it stays out of what they donate and copy.
    bare = live._replace(best=None)
    # First, since it is compiled beside the steps.
    validate = _validation(compiled, model, plan, valid_feed, live)
    # Nearly all stretches have one length, so two or three programs are compiled.
    for length in set(plan.stretches()):
        data, axes = _data_of(train_feed, length, compiled.seeds)
        stretch = stretch_of(model, optimizer, train_feed, length)
        programs[length] = compiled(stretch, bare, data, axes=(0, axes))
    cells = cells_of(train_feed, key, plan.spans())

    def chunk(length: int, live: TrainState) -> tuple[TrainState, Numbers]:
        moved, numbers = programs[length](live._replace(best=None), next(cells))
        return moved._replace(best=live.best), numbers

    # Compiling leaves much behind that training never needs.
    memory.give_back()
    return Programs(chunk, validate, cells)


def _data_of(feed: Feed, length: int, seeds: int | None) -> tuple[PyTree, Any]:
    """Data of a feed, or their shapes, for a program of so many steps; the axes of seeds in
    them."""
    if feed.windows is None:
        return feed.data, None
    return feed.windows.shapes(length, seeds), feed.windows.axes


def cells_of(feed: Feed, key: Key[Array, "*k"], spans: Sequence[Span]) -> Generator[PyTree]:
    """The data of each span of steps; `key` is the run's, or one for each of several seeds."""
    if feed.windows is None:
        yield from itertools.repeat(feed.data, len(spans))
        return
    fold = functools.partial(jax.random.fold_in, data=Stream.ORDER)
    yield from feed.windows.read(jax.vmap(fold)(key) if key.ndim else fold(key), spans)


def _validation(
    compiled: Compiler, model: Model, plan: Plan, feed: Feed | None, live: TrainState
) -> Callable:
    """`Programs.validate`."""
    if feed is None:
        return lambda live: (_latest(live, plan), {})
    if feed.windows is not None:
        return _validation_in_windows(compiled, model, plan, feed, live)
    compile_it = compiled.later(validation.validation_of(model, feed, plan), live, feed.data)
    # XLA lets go of the interpreter while it compiles, and the first validation comes an epoch
    # after the first step: training begins meanwhile.
    pool = ThreadPoolExecutor(1)
    program = pool.submit(compile_it)
    program.add_done_callback(lambda _: memory.give_back())
    pool.shutdown(wait=False)
    return lambda live: program.result()(live, feed.data)


def _validation_in_windows(
    compiled: Compiler, model: Model, plan: Plan, feed: Feed, live: TrainState
) -> Callable:
    """The same validation in several programs, each of which adds the batches of a window."""
    windows = feed.windows
    assert windows is not None
    # The order of validation is that of the file, so that any key and epoch will do.
    key = jax.random.key(0)
    spans = spans_of(0, feed.steps, feed.steps, min(plan.stretch, windows.longest(compiled.seeds)))
    data, axes = _data_of(feed, spans[0].steps, compiled.seeds)
    begin = compiled(
        validation.begin_of(model, feed), live, data, axes=(0, axes), donated=(), out=0
    )
    # Known where programs are compiled ahead; elsewhere nobody asks for it.
    totals = getattr(begin, "out_info", None)
    adding: dict[int, Callable] = {}
    for length in {span.steps for span in spans}:
        data, axes = _data_of(feed, length, compiled.seeds)
        function = validation.add_of(model, feed, length)
        axes = (0, axes, 0)
        adding[length] = compiled(function, live, data, totals, axes=axes, donated=(2,), out=0)
    judge = compiled(validation.judge_of(model, plan), live, totals, axes=(0, 0))

    def validate(live: TrainState) -> tuple[TrainState, Numbers]:
        totals = None
        for span, cells in zip(spans, windows.read(key, spans), strict=True):
            totals = begin(live, cells) if totals is None else totals
            totals = adding[span.steps](live, cells, totals)
        return judge(live, totals)

    return validate


@functools.cache
def compiler_options() -> dict[str, bool | str] | None:
    """Options that programs of this machine are compiled with; None for the compiler's own."""
    if jax.default_backend() != "cpu":
        return None
    options: dict[str, bool | str] = {"xla_cpu_copy_insertion_use_region_analysis": True}
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
