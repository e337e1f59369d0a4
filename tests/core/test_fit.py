"""Real models in the one loop: seeds trained together and eight devices give what one run gives."""

import functools

import jax
import numpy as np
import pytest

from jaxpert import data
from jaxpert.core import fit, train
from jaxpert.models.cradle import sams_vae
from jaxpert.simulate import simulate
from jaxpert.tasks.screen.feeds import feeds_of
from jaxpert.tasks.screen.keys import TrainKeys
from support import minibatch

SIZES = {
    "latent_dim": 8,
    "hidden_dim": 16,
    "embedding_layers": 2,
    "embedding_hidden_dim": 16,
    "particles": 2,
}
SEED, SEEDS = 3, 5
CLOCK = {"step", "epoch", "seconds", "cells_per_second"}


@functools.cache
def screen():
    cells, _ = simulate("tiny", reference_cells=2)
    screen = data.read(cells, perturbation="perturbation", control="ctrl")
    screen = data.add_quality(screen, doublets="none", multiplier=3)
    return data.add_split(screen, kind="combinations")


@functools.cache
def model():
    return sams_vae.build(data.make_spec(screen()), **SIZES)


def keys_for(devices=1):
    return TrainKeys(epochs=2, batch_size=64, learning_rate=1e-3, patience=0, devices=devices)


@functools.cache
def trained(seed=SEED, seeds=None):
    """A fitted SAMS-VAE and its rows of losses, those of training first."""
    feeds, rows = feeds_of(screen(), 0, model(), keys_for()), []
    loop = fit.Loop(hooks=train.Hooks(report=rows.append))
    fitted = fit.fit(model(), screen(), feeds, keys_for(), seed=seed, seeds=seeds, loop=loop)
    return fitted, sorted(rows, key=lambda row: "val/loss" in row)


@pytest.mark.parametrize("index", [0, SEEDS - 1])
def test_seeds_at_once_are_single_runs(index):
    together, rows = trained(seeds=SEEDS)
    single, single_rows = trained(seed=SEED + index)
    for many, alone in zip(rows, single_rows, strict=True):
        for name in alone.keys() - CLOCK:
            np.testing.assert_allclose(
                many[name][index], alone[name], rtol=1e-5, atol=1e-6, err_msg=name
            )
    picked = fit.pick_seed(together, index)
    for left, right in zip(
        jax.tree.leaves(picked.params), jax.tree.leaves(single.params), strict=True
    ):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)
    assert np.ptp(rows[0]["train/loss"]) > 0, "seeds should differ"


def test_eight_devices_give_the_losses_of_one():
    of_one = [row for row in trained()[1] if "train/loss" in row]
    feed, _ = feeds_of(screen(), 0, model(), keys_for())
    split, _ = feeds_of(screen(), 0, model(), keys_for(devices=8))
    optimizer = fit.make_optimizer(keys_for(), feed.steps)
    # The run's program for the initial values exists already; tests/core/test_train.py makes them
    # on eight devices too.
    state = train.init(model(), optimizer, feed, fit.root_key(SEED))
    eight = []
    hooks = train.Hooks(report=eight.append)
    train.fit(model(), optimizer, state, (split, None), train.Schedule(2), hooks)
    for left, right in zip(eight, of_one, strict=True):
        for name in right.keys() - CLOCK:
            # Adam amplifies the rounding of sums over devices; tests/models/test_contract.py
            # compares the loss itself at 1e-5.
            np.testing.assert_allclose(left[name], right[name], rtol=2e-4, err_msg=name)


def test_a_seeds_gradient_does_not_hear_of_the_others():
    """What a training of several seeds adds to that of one is a vmap over this."""
    model, batch = minibatch.built("cradle_vae"), minibatch.batch()
    shapes, state = jax.eval_shape(model.init, jax.random.key(0), batch)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: rng.normal(0, 0.3, (3, *leaf.shape)).astype(np.float32), shapes
    )
    assert not state, "this test gives the model none"

    @jax.jit
    def both(params, batch):
        keys = jax.random.split(jax.random.key(1), 3)
        gradients = minibatch.gradients(model)
        together = jax.vmap(gradients, (0, None, 0, None))(params, {}, keys, batch)
        one_by_one = jax.lax.map(
            lambda seed: gradients(seed[0], {}, seed[1], batch), (params, keys)
        )
        return together, one_by_one

    together, one_by_one = jax.device_get(both(params, batch))
    for left, right in zip(jax.tree.leaves(together), jax.tree.leaves(one_by_one), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
