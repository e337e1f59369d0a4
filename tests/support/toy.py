"""A tiny screen, a tiny model with everything a model may do, and a run that can be started as a
process of its own."""

from __future__ import annotations

import itertools
import json
import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy import sparse

from jaxpert.core import checkpoint, log, optim, train
from jaxpert.core.parallel import psum
from jaxpert.core.types import Batch, Dataset, Model
from jaxpert.data.feeds import make_feed

ADAM = optim.adam(0.2, weight_decay=1e-6)
"""One optimiser for all tests, whose programs can then be compiled once; the rate is high enough
for early bests."""
POISON = 1e6
TRACES = []
"""One entry each time the loss is traced, so that compilations can be counted."""


def dataset(cells: int = 203, genes: int = 12, seed: int = 0) -> Dataset:
    """Two strata, control and three single perturbations; about two thirds of the cells train."""
    rng = np.random.default_rng(seed)
    condition = rng.integers(0, 4, cells)
    condition[:8] = 0
    table = np.vstack([np.zeros(3), np.eye(3)]).astype(np.float32)
    effect = rng.normal(0, 1, (3, genes))
    counts = rng.poisson(np.exp(rng.normal(0, 0.5, genes) + table[condition] @ effect))
    counts[:, 0] += 1  # so that no cell is empty
    return Dataset(
        name="toy",
        counts=sparse.csr_matrix(counts.astype(np.uint16)),
        cells=np.array([f"cell{i}" for i in range(cells)]),
        genes=tuple(f"g{i}" for i in range(genes)),
        conditions=("ctrl", "a", "b", "c"),
        condition=condition,
        control=0,
        treatments=("a", "b", "c"),
        condition_treatments=table,
        strata=("s0", "s1"),
        stratum=np.arange(cells) % 2,
        obs=pd.DataFrame(index=range(cells)),
        split=np.where(np.arange(cells) % 3 == 2, 1, 0),
    )


def model(genes: int = 12, treatments: int = 3) -> Model:
    """Poisson regression with noise, control cells and a running state; NaN once POISON cells were
    seen."""

    def init(key, batch: Batch):
        weights = 0.1 * jax.random.normal(key, (treatments, genes))
        # A weakly typed leaf, as models make by accident.
        return {"rate": {"w": weights, "b": jnp.full((genes,), 0.5)}}, {
            "seen": jnp.zeros((), jnp.float32)
        }

    def loss(params, state, key, batch: Batch):
        TRACES.append(1)
        # One random number generator less is a tenth of a second of compilation less, in every
        # test.
        noise = jax.vmap(lambda slot: jax.random.uniform(jax.random.fold_in(key, slot), (genes,)))(
            batch.slot
        )
        shift = 0.1 * jax.random.uniform(key, (genes,))
        weights = params["rate"]["w"] + shift
        log_rate = (
            params["rate"]["b"]
            + batch.treatment @ weights
            + 0.3 * noise
            + 0.01 * jnp.log1p(batch.control)
        )
        per_cell = (jnp.exp(log_rate) - batch.x * log_rate).sum(1)
        count = psum(batch.mask.sum())
        nll = psum(jnp.where(batch.mask, per_cell, 0.0).sum()) / count
        ridge = 1e-3 * (weights**2).sum()
        seen = state["seen"] + count
        nll = jnp.where(seen > POISON, jnp.nan, nll)
        return nll + ridge, ({"seen": seen}, {"nll": nll, "ridge": ridge})

    return Model(init, loss, lambda params, state, key, request: jnp.zeros((1, genes)))


def feeds(batch_size: int = 32, devices: int = 1, layout: str = "auto"):
    data = dataset()
    return (
        make_feed(data, "train", batch_size=batch_size, devices=devices, layout=layout),
        make_feed(
            data, "val", batch_size=batch_size, devices=devices, layout=layout, shuffle=False
        ),
    )


def run(
    workdir,
    *,
    epochs: int = 20,
    devices: int = 1,
    log_every: int = 3,
    optimizer=ADAM,
    stretches: float = math.inf,
    save_seconds: float = math.inf,
):
    """Train in a work directory, going on from its newest checkpoint; saves at the end, and with
    `save_seconds=0` after every stretch of steps."""
    train_feed, valid_feed = feeds(devices=devices)
    state = train.init(model(), optimizer, train_feed, jax.random.key(3))
    notes: tuple[str, ...] = ()
    with checkpoint.open(workdir) as manager, log.catch_signals() as caught:
        if manager.latest_step() is not None:
            state, _, notes = checkpoint.restore(manager, state)
        with log.metrics_writer(f"{workdir}/metrics.jsonl", step=int(state.step)) as report:
            done = itertools.count(1)
            hooks = train.Hooks(
                save=lambda state, extra: checkpoint.save(manager, state, extra),
                report=report,
                should_stop=lambda: caught() or next(done) >= stretches,
            )
            schedule = train.Schedule(epochs, log_every=log_every, save_seconds=save_seconds)
            state, outcome = train.fit(
                model(), optimizer, state, (train_feed, valid_feed), schedule, hooks
            )
    return state, outcome, notes


def numbers(state) -> dict[str, str]:
    """Every leaf as the hexadecimal digits of its bytes."""
    digits: dict[str, str] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        digits[jax.tree_util.keystr(path)] = np.asarray(leaf).tobytes().hex()
    return digits


if __name__ == "__main__":
    _, outcome, _ = run(sys.argv[1], save_seconds=0.0)
    print(json.dumps(outcome))
