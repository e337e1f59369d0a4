"""The contract of `jaxpert.types.Model`, over every model in jaxpert.models."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert.app import families
from support import minibatch

KEYS = 300

pytestmark = pytest.mark.parametrize("name", minibatch.models_that_build())


@functools.cache
def starter(name):
    return jax.jit(minibatch.built(name).init)


@functools.cache
def started(name):
    return starter(name)(jax.random.key(0), minibatch.batch())


@functools.cache
def stepper(name):
    return jax.jit(minibatch.gradients(minibatch.built(name)))


def step(name, batch, key=1):
    return stepper(name)(*started(name), jax.random.key(key), batch)


@functools.cache
def predictor(name):
    """Predictions for many keys at once, `[K, R, G]`."""
    predict = jax.jit(jax.vmap(minibatch.built(name).predict, (None, None, 0, None)))
    return lambda request, key=2: predict(
        *started(name), jax.random.split(jax.random.key(key), KEYS), request
    )


def same(got, expected, rtol=0.0, atol=0.0):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), got, expected)


def assert_plain(tree):
    """No weak types (they compile everything twice) and 32 bits at most."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        where = jax.tree_util.keystr(path)
        assert not leaf.weak_type, where
        assert leaf.dtype in (jnp.float32, jnp.int32, jnp.uint32, bool), where


def test_init_gives_named_parts_that_repeat_with_the_key(name):
    params, state = started(name)
    assert isinstance(params, dict) and all(isinstance(part, str) for part in params)
    assert_plain((params, state))
    same(starter(name)(jax.random.key(0), minibatch.batch()), (params, state))
    other, _ = starter(name)(jax.random.key(1), minibatch.batch())
    assert any(
        not np.array_equal(a, b)
        for a, b in zip(*map(jax.tree.leaves, (params, other)), strict=True)
    )


def test_loss_is_a_scalar_with_scalar_metrics_and_full_gradients(name):
    params, state = started(name)
    (loss, (after, metrics)), slopes = step(name, minibatch.batch())
    assert loss.shape == () and np.isfinite(loss)
    assert all(isinstance(key, str) and value.shape == () for key, value in metrics.items())
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert jax.tree.structure(slopes) == jax.tree.structure(params)
    assert jax.tree.map(jnp.shape, slopes) == jax.tree.map(jnp.shape, params)
    assert_plain((loss, after, metrics, slopes))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    dead = {
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(slopes)
        if not leaf.any()
    }
    silent = {
        path
        for path in dead
        if any(part in path for part in minibatch.SILENT_AT_START.get(name, ()))
    }
    assert not dead - silent, "parameters that the loss does not hear of"
    assert bool(silent) == (name in minibatch.SILENT_AT_START)


def test_noise_comes_from_the_key_alone(name):
    batch = minibatch.batch()
    same(step(name, batch), step(name, batch))
    if minibatch.built(name).stochastic:
        assert step(name, batch)[0][0] != step(name, batch, key=3)[0][0]


def test_padding_changes_nothing(name):
    batch, rng = minibatch.batch(), np.random.default_rng(1)
    padded = ~np.asarray(batch.mask)
    expected = step(name, batch)
    changes = (
        {"x": rng.poisson(500, batch.x.shape), "control": rng.poisson(500, batch.x.shape)},
        {"x": np.zeros(batch.x.shape), "control": np.zeros(batch.x.shape)},
        {"condition": np.full(len(padded), 4), "treatment": np.ones(batch.treatment.shape)},
        {"stratum": 1 - batch.stratum, "slot": batch.slot + 100},
    )
    for change in changes:
        new = {
            field: jnp.where(
                padded.reshape(-1, *[1] * (old.ndim - 1)), jnp.asarray(value, old.dtype), old
            )
            for field, value in change.items()
            for old in [getattr(batch, field)]
        }
        same(step(name, batch._replace(**new)), expected, rtol=1e-6, atol=1e-7)
    flipped = jnp.where(padded, 1 - batch.extras["failed"], batch.extras["failed"])
    same(
        step(name, batch._replace(extras=batch.extras | {"failed": flipped})),
        expected,
        rtol=1e-6,
        atol=1e-7,
    )


def test_padding_is_as_good_as_absent(name):
    batch = minibatch.batch()
    without = minibatch.rows(batch, np.flatnonzero(batch.mask))
    same(step(name, without), step(name, batch), rtol=1e-4, atol=1e-5)


def test_the_order_of_cells_does_not_matter(name):
    batch = minibatch.batch()
    shuffled = minibatch.rows(batch, np.random.default_rng(2).permutation(minibatch.CELLS))
    same(step(name, shuffled), step(name, batch), rtol=1e-4, atol=1e-5)


def test_predictions_have_the_stated_form(name):
    model, request = minibatch.built(name), minibatch.request()
    drawn = predictor(name)(request)
    assert drawn.shape == (KEYS, len(request.library), minibatch.GENES)
    assert_plain(drawn)
    assert model.scale in ("counts", "lognorm", "log2") and np.isfinite(drawn).all()
    if model.scale == "counts" and model.stochastic:
        assert (drawn >= 0).all() and (drawn == jnp.round(drawn)).all()


def test_predictions_repeat_with_the_key(name):
    predict, request = predictor(name), minibatch.request()
    same(predict(request), predict(request))
    differs = not np.array_equal(predict(request), predict(request, key=3))
    assert differs == minibatch.built(name).stochastic


def test_rows_are_predicted_each_for_itself(name):
    """A zero row is control whatever the other rows ask for, and the others are not."""
    treatment = np.zeros_like(minibatch.TREATMENTS)
    control = predictor(name)(minibatch.request(treatment))
    treatment[2:] = minibatch.TREATMENTS[2:]
    mixed = predictor(name)(minibatch.request(treatment))
    same(mixed[:, :2], control[:, :2])
    assert all(not np.array_equal(mixed[:, row], control[:, row]) for row in (2, 3, 4))


def test_generated_cells_have_the_library_asked_for(name):
    model = minibatch.built(name)
    if model.scale != "counts" or not model.stochastic:
        pytest.skip("predicts means")
    library = np.array([200, 1000, 5000, 20_000, 1e5])
    total = np.asarray(predictor(name)(minibatch.request(library=library))).sum(-1, dtype=float)
    error = total.std(0, ddof=1) / KEYS**0.5
    assert (error < 0.1 * library).all() and (abs(total.mean(0) - library) < 5 * error).all()


def test_scores_are_one_number_per_cell_and_repeat(name):
    model, batch = minibatch.built(name), minibatch.batch()
    if model.score is None:
        pytest.skip("has no likelihood")
    score = jax.jit(model.score)
    got = score(*started(name), jax.random.key(4), batch)
    assert got.shape == (minibatch.CELLS,) and np.isfinite(got[batch.mask]).all()
    assert_plain(got)
    same(score(*started(name), jax.random.key(4), batch), got)
    order = np.random.default_rng(2).permutation(minibatch.CELLS)
    shuffled = score(*started(name), jax.random.key(4), minibatch.rows(batch, order))
    same(shuffled, got[order], rtol=1e-5)


def test_embeddings_are_named_rows_per_cell(name):
    model, batch = minibatch.built(name), minibatch.batch()
    if model.embed is None:
        pytest.skip("embeds nothing")
    got = jax.jit(model.embed)(*started(name), jax.random.key(5), batch)
    assert got and all(
        latent.ndim == 2 and len(latent) == minibatch.CELLS for latent in got.values()
    )
    assert_plain(got)
    assert all(np.isfinite(latent).all() for latent in got.values())


def test_an_unknown_hyperparameter_is_named(name):
    module = families.module_of(name)
    with pytest.raises(TypeError, match="latent_dmi"):
        module.build(minibatch.spec(), latent_dmi=3)


def test_eight_devices_give_the_loss_and_gradients_of_one(name):
    assert jax.device_count() == 8
    many = minibatch.on_all_devices(minibatch.built(name), *started(name))
    first = minibatch.numbers(jax.tree.map(lambda leaf: leaf[0], many))
    last = minibatch.numbers(jax.tree.map(lambda leaf: leaf[-1], many))
    one = minibatch.numbers(step(name, minibatch.batch()))
    np.testing.assert_allclose(first[0], one[0], rtol=1e-5)
    np.testing.assert_allclose(first, one, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(first, last)
