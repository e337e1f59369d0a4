"""Five seeds trained at once (vmap) against one: the time of an epoch at the sizes of the test and
demo variants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks import measure
from jaxpert import data
from jaxpert.core import optim, programs, train
from jaxpert.core.types import Dataset, Model
from jaxpert.models.cradle import model as cradle_vae
from jaxpert.models.cradle import sams_vae, settings

SEEDS, ROUNDS = 5, 7
BATCH = {"test": 64, "demo": 128}
CASES = [
    (size, name, particles)
    for size in BATCH
    for name in ("CRADLE-VAE", "SAMS-VAE")
    for particles in (1, 5)
]


def main() -> None:
    rows, notes = [], []
    for case in CASES:
        found = measure.in_child(seconds, *case)
        one, many = (np.median(of.wall) for of in found.values())
        label = "{}, {}, {} particle(s)".format(*case)
        rows += [[f"{label}: {which}", *of.columns()] for which, of in found.items()]
        notes.append(f"{label}: {many / one:.2f}x the time of one seed")
    title = f"{SEEDS} seeds at once against one (screen and sizes of the variants test and demo)"
    measure.show(title, ("an epoch of", *measure.TIMES), rows, *notes)


def seconds(size: str, name: str, particles: int) -> dict[str, measure.Seconds]:
    screen = _screen({"test": "tiny", "demo": "demo"}[size])
    module = {"CRADLE-VAE": "cradle_vae", "SAMS-VAE": "sams_vae"}[name]
    chosen = settings.defaults(module, size)["model"]["kwargs"] | {"particles": particles}
    build = {"cradle_vae": cradle_vae.build, "sams_vae": sams_vae.build}[module]
    model = build(data.make_spec(screen), **chosen)
    calls = {
        which: _epoch(model, screen, BATCH[size], seeds)
        for which, seeds in (("one", None), ("five", SEEDS))
    }
    return measure.interleave(calls, ROUNDS)


def _screen(preset: str) -> Dataset:
    screen, _ = data.simulate(preset)
    labelled = data.add_quality(data.read(screen, perturbation="perturbation"), doublets="none")
    return data.add_split(labelled, kind="combinations")


def _epoch(model: Model, screen: Dataset, batch: int, seeds: int | None) -> Callable[[], Any]:
    """One more epoch in one compiled program of all its steps, compiled before the first call."""
    feed = data.make_feed(
        screen, "train", batch_size=batch, tables=data.split_tables(screen, "train")
    )
    optimizer = optim.adam(1e-3, weight_decay=1e-6, clip=100.0)
    stretch = programs.stretch_of(model, optimizer, feed, feed.steps)
    step = jax.jit(jax.vmap(stretch, (0, None)) if seeds else stretch)
    state = train.init(model, optimizer, feed, jax.random.key(0), seeds=seeds)._replace(best=None)
    compiled = step.lower(state, feed.data).compile()

    def call() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(compiled(state, feed.data))

    return call
