"""Seconds before anything useful happens: imports, flags, the first training step."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np

from benchmarks import measure

REPEATS = 3
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import jaxpert": ["-c", "import jaxpert"],
    "from jaxpert import fit (JAX, NumPyro, Optax)": ["-c", "from jaxpert import fit"],
    "experiments/main.py --help": ["experiments/main.py", "--help"],
    "flags parsed, bad key refused": [
        "experiments/main.py",
        "--config=configs/cradle_norman.py:test",
        "--config.no=1",
    ],
}
STAGES = (
    "imports",
    "simulate and read 600 cells",
    "put them on the device (make_feed)",
    "initial state: compile and run",
    "first training step: compile and run",
)


def main() -> None:
    rounds = [
        {name: _command(arguments) for name, arguments in COMMANDS.items()} for _ in range(REPEATS)
    ]
    stages = [measure.in_child(first_step) for _ in range(REPEATS)]
    measure.show(
        "Start-up",
        (
            "command, or stage of a fresh process that trains configs/cradle_norman.py:test",
            "median s",
            "min",
            "max",
        ),
        [_row(name, [one[name] for one in rounds]) for name in COMMANDS]
        + [_row(name, [one[i] for one in stages]) for i, name in enumerate(STAGES)]
        + [_row("all stages", [sum(one) for one in stages])],
        f"{REPEATS} fresh processes each, with warm file caches and no compilation cache",
    )


def _row(name: str, seconds: list[float]) -> list[str]:
    return [name, *(f"{f(seconds):.2f}" for f in (np.median, min, max))]


def _command(arguments: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=measure.ROOT, capture_output=True, check=False)
    return time.perf_counter() - began


def first_step() -> list[float]:
    """Seconds of each of `STAGES`."""
    marks = [time.perf_counter()]
    import jax

    from jaxpert import data
    from jaxpert.core import optim
    from jaxpert.core import train as loop
    from jaxpert.models.cradle import model as cradle_vae
    from jaxpert.models.cradle.settings import defaults

    marks.append(time.perf_counter())
    screen, _ = data.simulate("tiny")
    dataset = data.add_quality(data.read(screen, perturbation="perturbation"), doublets="none")
    dataset = data.add_split(dataset, kind="none")
    settings = defaults("cradle_vae", "test")["model"]["kwargs"]
    model = cradle_vae.build(data.make_spec(dataset), **settings)
    marks.append(time.perf_counter())
    feed = data.make_feed(
        dataset, "train", batch_size=64, tables=data.split_tables(dataset, "train")
    )
    marks.append(time.perf_counter())
    optimizer = optim.adam(3e-4, weight_decay=1e-6)
    state = jax.block_until_ready(loop.init(model, optimizer, feed, jax.random.key(0)))
    marks.append(time.perf_counter())
    schedule = loop.Schedule(epochs=1, max_steps=1)
    state, _ = loop.fit(model, optimizer, state, (feed, None), schedule)
    jax.block_until_ready(state.params)
    marks.append(time.perf_counter())
    return list(np.diff(marks))
