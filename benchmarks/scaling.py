"""CRADLE-VAE on 1, 2, 4 and 8 virtual devices of one machine: the same losses, and the time of a
step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import measure

DEVICES = (1, 2, 4, 8)
EPOCHS, BATCH = 4, 64


def lines(names: Sequence[str] = ()) -> list[str]:
    """The table in Markdown; `names` are numbers of devices."""
    made = ["| devices | ms per step | last loss | largest difference |", "|---:|---:|---:|---:|"]
    of_one = None
    for devices in map(int, names or DEVICES):
        losses, seconds, steps = measure.in_child(train, devices)
        of_one = losses if of_one is None else of_one
        apart = np.max(np.abs(np.subtract(losses, of_one)) / np.abs(of_one))
        made.append(f"| {devices} | {1e3 * seconds / steps:.1f} | {losses[-1]:.5f} | {apart:.0e} |")
    return [
        *made,
        "",
        f"{EPOCHS} epochs of CRADLE-VAE at the sizes of `cradle_norman:test`, batch {BATCH}; the "
        "difference is relative, of any row of training from that of the first line. Devices are "
        "virtual and share the cores, so that the time says what splitting costs and not what it "
        "saves.",
    ]


def train(devices: int) -> tuple[list[float], float, int]:
    """Losses of every row, seconds and steps of the last epoch."""
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    import jax

    from jaxpert import data
    from jaxpert.core import optim
    from jaxpert.core import train as loop
    from jaxpert.models.cradle import model as cradle_vae
    from jaxpert.models.cradle.settings import defaults

    screen, _ = data.simulate("tiny")
    dataset = data.add_quality(data.read(screen, perturbation="perturbation"), doublets="none")
    dataset = data.add_split(dataset, kind="none")
    settings: dict[str, Any] = defaults("cradle_vae", "test")["model"]["kwargs"]
    model = cradle_vae.build(data.make_spec(dataset), **settings)
    tables = data.split_tables(dataset, "train")
    feed = data.make_feed(dataset, "train", batch_size=BATCH, devices=devices, tables=tables)
    optimizer = optim.adam(3e-4, weight_decay=1e-6)
    rows: list[dict] = []
    state = loop.init(model, optimizer, feed, jax.random.key(0))
    hooks = loop.Hooks(report=rows.append)
    loop.fit(model, optimizer, state, (feed, None), loop.Schedule(epochs=EPOCHS), hooks)
    of_training = [row for row in rows if "train/loss" in row]
    # The first epochs warm up; all but the last row of them mark where the last one begins.
    last = [row["seconds"] for row in of_training if row["epoch"] == EPOCHS]
    began = max(row["seconds"] for row in of_training if row["epoch"] < EPOCHS)
    return [row["train/loss"] for row in of_training], last[-1] - began, feed.steps
