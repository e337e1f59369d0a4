"""One small batch with everything in it (padding, a pair, two strata, failed cells), and every
model built for it."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpert
from jaxpert.app import families
from jaxpert.core.parallel import AXIS, pmean
from jaxpert.core.types import Batch, Model, Request, Spec
from jaxpert.nn import graphs

CELLS, PADDED, GENES = 16, 3, 6
PER_CELL = {"failed"}
"""Extras with a row per cell; the others are tables."""
TREATMENTS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]], np.float32)
SMALL_VAE = {"latent_dim": 4, "hidden_dim": 8, "particles": 2, "score_particles": 4}
SMALL_MASKS = {**SMALL_VAE, "embedding_layers": 2, "embedding_hidden_dim": 8, "mask_prior": 0.3}
SMALL = {
    "cradle_vae": SMALL_MASKS,
    "sams_vae": SMALL_MASKS,
    "cpa_vae": SMALL_VAE,
    "svae_plus": {**SMALL_VAE, "combinations": "own"},
    "conditional_vae": SMALL_VAE,
    "gears": {"hidden_dim": 4},
    "cycseq": {"hidden": (8, 8), "latent_dim": 4, "embedding_dim": 4, "blocks": 1},
    "scgen": {"latent_dim": 4, "hidden_dim": 8},
}
"""Hyperparameters that make a model small."""
SILENT_AT_START = {"cycseq": ("['attention']['value']",)}
"""Parameters without gradient at the initial values, by parts of their path: here they are
multiplied by a 0."""


def models_that_build() -> list[str]:
    """Every model of the project that learns; those that are computed at once have tests of their
    own."""
    # Those learn from tables of effects too, which have no cells.
    return [
        name
        for name in families.models()
        if not families.load(families.family_name_of(name)).effects
    ]


def few_layers(patch: pytest.MonkeyPatch) -> None:
    """CycSeq as documents build it, with few small layers: compiling many takes longer than all
    else."""
    small = functools.partial(jaxpert.cycseq.build, **SMALL["cycseq"])
    patch.setattr(jaxpert.cycseq, "build", small)


@functools.cache
def built(name: str) -> Model:
    return families.module_of(name).build(spec(), **SMALL.get(name, {}))


def counts() -> np.ndarray:
    return (
        np.random.default_rng(0)
        .poisson(np.linspace(1, 9, GENES), (CELLS, GENES))
        .astype(np.float32)
        + 1
    )


def spec() -> Spec:
    logs = np.log1p(counts())
    return Spec(
        genes=tuple(f"g{i}" for i in range(GENES)),
        treatments=("g0", "g1", "c"),
        conditions=("control", "g0", "g1", "c", "g0+g1"),
        strata=("s0", "s1"),
        control=0,
        condition_treatments=TREATMENTS,
        log_mean=logs.mean(0),
        log_std=logs.std(0, ddof=1),
        control_mean=logs.mean(0),
        treatment_cells=np.array([50, 40, 20]),
        condition_cells=np.array([20, 30, 20, 20, 20]),
        graphs={
            "coexpression": graphs.from_edges([("g0", "g1", 0.7), ("g2", "g0", 0.5)]),
            "ontology": graphs.from_edges([("g0", "g1", 0.4), ("c", "c", 1.0), ("far", "c", 0.3)]),
        },
    )


def batch() -> Batch:
    condition = np.arange(CELLS) % 5
    extras = {
        "failed": (np.arange(CELLS) % 3 == 1).astype(np.float32),
        "treatment_cells": np.array([50, 40, 20], np.int32),
        "condition_cells": np.array([20, 30, 20, 20, 20], np.int32),
        "failed_cells": np.array(33, np.int32),
        "reference": counts()[:5] // 2,
        "has_reference": np.array([1, 1, 0, 1, 1], bool),
        "expressed": np.arange(5 * GENES).reshape(5, GENES) % 7 != 0,
    }
    whole = Batch(
        x=counts(),
        control=counts()[::-1].copy(),
        treatment=TREATMENTS[condition],
        condition=condition.astype(np.int32),
        stratum=(np.arange(CELLS) % 2).astype(np.int32),
        mask=np.arange(CELLS) < CELLS - PADDED,
        slot=np.arange(CELLS, dtype=np.int32),
        extras=extras,
    )
    return jax.device_put(whole)


def rows(whole: Batch, index) -> Batch:
    """Those rows of the batch."""
    extras = {
        name: leaf[index] if name in PER_CELL else leaf for name, leaf in whole.extras.items()
    }
    return Batch(*(leaf[index] for leaf in whole[:-1]), extras)


def request(treatment=TREATMENTS, library=1e3) -> Request:
    count = len(treatment)
    return Request(
        treatment=jnp.asarray(treatment),
        library=jnp.broadcast_to(jnp.asarray(library, jnp.float32), (count,)),
        stratum=jnp.zeros(count, jnp.int32),
        failed=jnp.zeros(count, jnp.float32),
        control=jnp.asarray(counts()[:1].repeat(count, 0)),
    )


def gradients(model: Model):
    """(params, state, key, batch) -> ((loss, (state, metrics)), gradients), as the loop takes
    them."""

    def step(*arguments):
        value, slopes = jax.value_and_grad(model.loss, has_aux=True)(*arguments)
        return value, pmean(slopes)

    return step


def numbers(tree) -> np.ndarray:
    """All leaves in a row."""
    leaves = jax.tree.leaves(jax.device_get(tree))
    return np.concatenate([np.ravel(leaf) for leaf in leaves])


def on_all_devices(model: Model, params, state):
    """The step of every device, each of which has a share of the cells: a leading axis."""
    devices = jax.device_count()
    on_host = jax.tree.map(np.asarray, batch())
    shares = []
    for device in range(devices):
        start = device * CELLS // devices
        shares.append(rows(on_host, slice(start, start + CELLS // devices)))
    dealt = jax.tree.map(lambda *leaves: np.stack(leaves), *shares)
    step = jax.pmap(gradients(model), AXIS, in_axes=(None, None, None, 0))
    # Waited for: eight devices that meet need every thread, and other work beside them may leave
    # one without, which ends the process.
    return jax.device_get(jax.block_until_ready(step(params, state, jax.random.key(1), dealt)))
