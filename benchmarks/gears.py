"""One training step (loss, gradient, clip, decay, Adam) of GEARS here and as plain tiled JAX, on
the same batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import gears_problem as problem
from benchmarks import measure
from jaxpert.core.types import Batch, Spec
from jaxpert.models.gears import model as gears

REPEATS, SCANS, SCANNED = 7, 3, 5
TARGET = 2.5
NAMES = ("jaxpert", "plain JAX")


def main() -> None:
    sizes = problem.Sizes()
    spec, batch = measure.in_child(ingredients, sizes)
    agreement, single, scanned = measure.in_child(times, spec, batch, sizes)
    compiled = {name: measure.in_child(memory, spec, batch, sizes, name) for name in NAMES}
    rows = [[name, "1", *single[name].columns(), *compiled[name]] for name in NAMES]
    rows += [[name, str(SCANNED), *scanned[name].columns(SCANNED), "", "", ""] for name in NAMES]
    measure.show(
        f"GEARS training step ({sizes}; {len(np.unique(batch.condition))} of them in the batch)",
        ("code", "steps per call", *measure.TIMES, "GFLOP", "temporary MB", "peak MB"),
        rows,
        f"{REPEATS} calls of one step, {SCANS} of {SCANNED}, in turn. Plain over jaxpert, one step "
        f"per call: {_ratio(single)}; {SCANNED} steps per call, as train.fit runs: "
        f"{_ratio(scanned)}; asked for: {TARGET}",
        agreement,
    )


def _ratio(seconds: dict[str, measure.Seconds]) -> str:
    ours, plain = (seconds[name] for name in NAMES)
    ratios = {
        "median": np.median(plain.wall) / np.median(ours.wall),
        "min": min(plain.wall) / min(ours.wall),
        "CPU": np.median(plain.cpu) / np.median(ours.cpu),
    }
    return ", ".join(f"{name} {ratio:.2f}x" for name, ratio in ratios.items())


def ingredients(sizes: problem.Sizes) -> tuple[Spec, Batch]:
    """On the host, to be sent to other processes."""
    spec = problem.spec_of(sizes)
    return spec, problem.batch_of(spec, sizes)


def compiled(update: Callable, carried: tuple, batch: Batch, steps: int = 1) -> Any:
    def many(carried: tuple, batch: Batch) -> tuple[tuple, jax.Array]:
        # Another order of the cells in every step: what depends on the counts alone must not move
        # out of the loop.
        step = jnp.arange(steps)
        return jax.lax.scan(
            lambda carried, by: update(carried, problem.rolled(batch, by)), carried, step
        )

    return jax.jit(update if steps == 1 else many, donate_argnums=0).lower(carried, batch).compile()


def _runner(net: gears.Gears, batch: Batch, name: str, steps: int) -> Callable[[], None]:
    code = problem.codes(net)[name]
    carried = problem.start(net, code, batch)
    program = compiled(problem.update_of(code), carried, batch, steps)

    def call() -> None:
        nonlocal carried
        carried, loss = program(carried, batch)
        jax.block_until_ready((carried, loss))

    return call


def times(spec: Spec, batch: Batch, sizes: problem.Sizes) -> tuple[str, dict, dict]:
    """What both say of one batch, and the times of single and of scanned steps."""
    net, batch = gears.make(spec, hidden_dim=sizes.hidden), jax.device_put(batch)
    said = agreement(net, batch)
    single = measure.interleave({name: _runner(net, batch, name, 1) for name in NAMES}, REPEATS)
    scanned = measure.interleave(
        {name: _runner(net, batch, name, SCANNED) for name in NAMES}, SCANS
    )
    return said, single, scanned


def both(net: gears.Gears, batch: Batch) -> list[tuple[Any, Any, Any]]:
    """(loss, state after it, gradient) of both codes at the same parameters, which lie on the
    tables' caps."""
    start = jax.jit(lambda key: gears.init(net, key, batch))(jax.random.key(0))
    params, state = jax.tree.map(lambda leaf: leaf.astype(batch.x.dtype), start)
    found = []
    for code in problem.codes(net).values():
        (value, after), slopes = jax.jit(jax.value_and_grad(code.loss, has_aux=True))(
            params, state, batch
        )
        found.append((value, after, slopes))
    return found


def agreement(net: gears.Gears, batch: Batch) -> str:
    (ours, _, our_slopes), (plain, _, plain_slopes) = both(net, batch)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(plain_slopes))
    apart = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), our_slopes, plain_slopes)
    return (
        f"Loss at the same parameters: jaxpert {ours:.6f}, plain {plain:.6f}; largest difference "
        f"of a gradient's entry {max(jax.tree.leaves(apart)):.1e}, where the largest entry is "
        f"{largest:.1e}"
    )


def memory(spec: Spec, batch: Batch, sizes: problem.Sizes, name: str) -> list[str]:
    """GFLOP of all products, temporary memory and the peak of this process after a few steps."""
    net, batch = gears.make(spec, hidden_dim=sizes.hidden), jax.device_put(batch)
    code = problem.codes(net)[name]
    carried = problem.start(net, code, batch)
    work = product_flops(jax.make_jaxpr(problem.update_of(code))(carried, batch).jaxpr)
    program = compiled(problem.update_of(code), carried, batch)
    for _ in range(3):
        carried, loss = program(carried, batch)
        jax.block_until_ready((carried, loss))
    numbers = work / 1e9, program.memory_analysis().temp_size_in_bytes / 1e6, measure.peak_mb()
    return [f"{number:,.0f}" for number in numbers]


def product_flops(jaxpr: Any) -> float:
    """Operations of the matrix products; XLA's own count takes the body of a loop once.

    The larger branch of a conditional counts, so that rows without cells count as if they were
    computed.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        leaves = jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")
        )
        inner = [
            product_flops(getattr(leaf, "jaxpr", leaf)) for leaf in leaves if hasattr(leaf, "eqns")
        ]
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            summed = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            total += 2 * summed * equation.outvars[0].aval.size
        elif inner:
            total += (
                max(inner)
                if equation.primitive.name == "cond"
                else sum(inner) * equation.params.get("length", 1)
            )
    return total
