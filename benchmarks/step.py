"""One training step (loss, gradient, clip, Adam) of CRADLE-VAE here and as plain NumPyro, on the
same batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure, problem
from jaxpert.core.types import Batch, Spec

REPEATS, SCANS, SCANNED, DRAWS = 11, 4, 10, 24
TARGET = {1: 2.5, 5: 2.0}
NAMES = ("jaxpert", "plain NumPyro")


def main() -> None:
    spec, batch = measure.in_child(ingredients)
    for particles, target in TARGET.items():
        agreement, single, scanned = measure.in_child(times, spec, batch, particles)
        compiled = {name: measure.in_child(memory, spec, batch, particles, name) for name in NAMES}
        rows = [[name, "1", *single[name].columns(), *compiled[name]] for name in NAMES]
        rows += [
            [name, str(SCANNED), *scanned[name].columns(SCANNED), "", "", ""] for name in NAMES
        ]
        measure.show(
            f"Training step, {particles} particle{'s' * (particles > 1)} ({problem.SIZES})",
            ("code", "steps per call", *measure.TIMES, "GFLOP", "temporary MB", "peak MB"),
            rows,
            f"{REPEATS} calls of one step, {SCANS} of {SCANNED}, in turn. Plain over jaxpert, one "
            f"step per call: {_ratio(single)}; {SCANNED} steps per call: {_ratio(scanned)}; each "
            "as it is used (train.fit runs many steps per call, SVI.update one): median "
            f"{_as_used(single, scanned):.2f}x; asked for: {target}",
            agreement,
        )


def _as_used(single: dict[str, measure.Seconds], scanned: dict[str, measure.Seconds]) -> float:
    ours, plain = NAMES
    return float(np.median(single[plain].wall) / (np.median(scanned[ours].wall) / SCANNED))


def _ratio(seconds: dict[str, measure.Seconds]) -> str:
    ours, plain = (seconds[name] for name in NAMES)
    ratios = {
        "median": np.median(plain.wall) / np.median(ours.wall),
        "min": min(plain.wall) / min(ours.wall),
        "CPU": np.median(plain.cpu) / np.median(ours.cpu),
    }
    return ", ".join(f"{name} {ratio:.2f}x" for name, ratio in ratios.items())


def ingredients() -> tuple[Spec, Batch]:
    """On the host, to be sent to other processes."""
    from jaxpert import data

    screen = problem.dataset()
    return data.make_spec(screen), jax.device_get(problem.first_batch(problem.feed_of(screen)))


def programs(spec: Spec, batch: Batch, particles: int, name: str) -> tuple[Callable, Any]:
    """`(state, batch) -> (state, loss)` and the first state."""
    if name == "jaxpert":
        model, optimizer = problem.ours(spec, particles), problem.our_optimizer()
        return problem.our_update(model, optimizer), problem.our_state(model, optimizer, batch)
    svi = problem.plain_svi(spec, particles)
    return svi.update, jax.jit(svi.init)(jax.random.key(0), batch)


def compiled(update: Callable, state: Any, batch: Batch, steps: int = 1) -> Any:
    def many(state: Any, batch: Batch) -> tuple[Any, jax.Array]:
        # Another order of the cells in every step: what depends on the counts alone must not move
        # out of the loop.
        return jax.lax.scan(
            lambda state, by: update(state, _rolled(batch, by)), state, jnp.arange(steps)
        )

    return jax.jit(update if steps == 1 else many, donate_argnums=0).lower(state, batch).compile()


def _rolled(batch: Batch, by: jax.Array) -> Batch:
    moved = {
        name: jnp.roll(leaf, by, 0) for name, leaf in batch._asdict().items() if name != "extras"
    }
    failed = jnp.roll(batch.extras["failed"], by)
    return batch._replace(**moved, extras={**batch.extras, "failed": failed})


def _runner(spec: Spec, batch: Batch, particles: int, name: str, steps: int) -> Callable[[], None]:
    update, state = programs(spec, batch, particles, name)
    program = compiled(update, state, batch, steps)

    def call() -> None:
        nonlocal state
        state, loss = program(state, batch)
        jax.block_until_ready((state, loss))

    return call


def times(spec: Spec, batch: Batch, particles: int) -> tuple[str, dict, dict]:
    """What both say of one objective, and the times of single and of scanned steps."""
    batch = jax.device_put(batch)
    agreement = _agreement(spec, batch, particles)
    single = measure.interleave(
        {name: _runner(spec, batch, particles, name, 1) for name in NAMES}, REPEATS
    )
    scanned = measure.interleave(
        {name: _runner(spec, batch, particles, name, SCANNED) for name in NAMES}, SCANS
    )
    return agreement, single, scanned


def _agreement(spec: Spec, batch: Batch, particles: int) -> str:
    """Means of both losses over independent noise, at the same parameters."""
    model, svi = problem.ours(spec, particles), problem.plain_svi(spec, particles)
    params, _ = jax.jit(model.init)(jax.random.key(0), batch)
    state = jax.jit(svi.init)(jax.random.key(0), batch)
    state = state._replace(optim_state=svi.optim.init(problem.plain_params(params)))
    our_loss = jax.jit(lambda key: model.loss(params, {}, key, batch)[0])
    plain_loss = jax.jit(
        lambda key: svi.evaluate(state._replace(rng_key=key), batch) / batch.x.shape[0]
    )
    keys = jax.random.split(jax.random.key(2), (2, DRAWS))
    draws = np.array(
        [
            [float(loss(key)) for key in row]
            for loss, row in zip((our_loss, plain_loss), keys, strict=True)
        ]
    )
    means, errors = draws.mean(1), draws.std(1, ddof=1) / np.sqrt(DRAWS)
    apart = abs(means[0] - means[1]) / np.hypot(*errors)
    said = (
        f"{name} {mean:.2f} ± {error:.2f}"
        for name, mean, error in zip(NAMES, means, errors, strict=True)
    )
    return (
        f"Loss per cell at the same parameters, {DRAWS} draws: {', '.join(said)}: {apart:.1f} "
        "standard errors apart"
    )


def memory(spec: Spec, batch: Batch, particles: int, name: str) -> list[str]:
    """GFLOP, temporary memory and the peak of this process after a few steps."""
    batch = jax.device_put(batch)
    update, state = programs(spec, batch, particles, name)
    program = compiled(update, state, batch)
    for _ in range(3):
        state, loss = program(state, batch)
        jax.block_until_ready((state, loss))
    analysis = program.cost_analysis(), program.memory_analysis()
    numbers = analysis[0]["flops"] / 1e9, analysis[1].temp_size_in_bytes / 1e6, measure.peak_mb()
    return [f"{number:,.0f}" for number in numbers]
