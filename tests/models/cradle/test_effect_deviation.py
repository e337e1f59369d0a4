"""How unsure the VAEs are of effects, from posterior draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert.models.cradle.effect_deviation import CELLS, DRAWS
from jaxpert.tasks.screen.asking import make_request
from support import minibatch

KEY = jax.random.key(5)
ROWS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0]], np.float32)


def started(model):
    return jax.jit(model.init)(jax.random.key(0), minibatch.batch())[0]


def deviation(model, params):
    compute = jax.jit(model.effect_deviation)
    return np.asarray(compute(params, {}, KEY, make_request(ROWS)))


def log2_mean(counts):
    counts = np.asarray(counts, np.float64)
    return np.log2(1 + 1e4 * counts / counts.sum(1, keepdims=True)).mean(0)


def test_it_is_the_spread_of_mean_effects_between_posterior_draws():
    """By the latents that the model can be asked for, one draw after the other."""
    model = minibatch.built("cpa_vae")
    params = started(model)
    shared, decode = jax.jit(model.latent.shared), jax.jit(model.latent.decode)
    key_shared, key_z = jax.random.split(KEY)
    basal = jax.random.normal(key_z, (CELLS, 4))
    effects = []
    for key in jax.random.split(key_shared, DRAWS):
        embedded = shared(params, key)["effect"]
        means = []
        for row in ROWS:
            moved = jnp.broadcast_to(row @ embedded, (CELLS, 4))
            blocks = {"basal": basal, "perturbation": moved}
            means.append(log2_mean(decode(params, blocks, jnp.full(CELLS, 1e4))))
        effects.append(np.array(means) - means[0])
    expected = np.std(effects, axis=0, ddof=1)
    assert expected[1:].max() > 0.01
    np.testing.assert_allclose(deviation(model, params), expected, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["cradle_vae", "sams_vae", "svae_plus"])
def test_the_control_is_sure_and_perturbations_are_not(name):
    model = minibatch.built(name)
    made = deviation(model, started(model))
    assert (made[0] == 0).all() and made[1:].max() > 0 and np.isfinite(made).all()


def test_a_surer_posterior_is_surer_of_effects():
    model = minibatch.built("cpa_vae")
    params = started(model)
    narrow = params | {"effect_log_scale": params["effect_log_scale"] - 7}
    assert deviation(model, narrow)[1:].max() < 0.01 * deviation(model, params)[1:].max()


def test_the_conditional_vae_draws_nothing_that_cells_share():
    assert minibatch.built("conditional_vae").effect_deviation is None
