"""The form for large screens is the exact one wherever kernels have the rank that it keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert.models.set_gp import process
from jaxpert.models.set_gp.process import Training


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def screen(pairs: bool):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(9, 2))
    kernel = vectors @ vectors.T
    scale = np.sqrt(np.diag(kernel))
    kernels = np.stack([np.eye(9), kernel / np.outer(scale, scale)])
    # Two genes are never perturbed.
    sets = np.eye(9)[:7]
    if pairs:
        sets = np.vstack([sets, np.eye(9)[0] + np.eye(9)[[1, 2, 3]]])
    return Training(rng.normal(size=(len(sets), 6)), sets, kernels, np.full((len(sets), 6), 0.1))


@pytest.mark.parametrize("pairs", [False, True])
def test_it_is_the_exact_form(pairs):
    """Means, variances and weights under the same hyperparameters, from no step of search."""
    training = screen(pairs)
    used = np.ones(len(training.sets), bool)
    asked = jnp.asarray(np.vstack([np.eye(9), np.eye(9)[0] + np.eye(9)[7:], np.zeros((1, 9))]))
    exact, _ = process.fit(training, used, most=2, steps=1)
    large, _ = process.fit(
        training, used, most=2, steps=1, features=process.features_in(training, 9)
    )
    # The first step of Adam goes by the sign of the gradient, so both have gone the same way.
    for one, other in zip(
        jax.tree.leaves(exact.posterior.hyper), jax.tree.leaves(large.posterior.hyper), strict=True
    ):
        # The rest is seen through random directions there, which may turn a sign.
        np.testing.assert_allclose(one[:-1], other[:-1], atol=1e-8)
    hyper = exact.posterior.hyper
    parts = process.components_of(training.effects, used, 2, training.errors)
    features = process.features_in(training, 9)
    large = large._replace(posterior=process.low_rank.posterior(parts, hyper, features))
    one, other = process.predict_all(exact, asked), process.predict_all(large, asked)
    np.testing.assert_allclose(one.effect, other.effect, atol=1e-8)
    np.testing.assert_allclose(one.variance, other.variance, atol=1e-8)
    np.testing.assert_allclose(one.noise, other.noise, atol=1e-12)


def test_features_of_all_serve_a_fit_to_some():
    """Hyperparameters of all conditions are taken as they are, which no search shows up in."""
    training = screen(True)
    whole, used = np.ones(len(training.sets), bool), np.ones(len(training.sets), bool)
    used[[1, 8]] = False
    _, found = process.fit(training, whole, most=2, steps=3)
    features = process.features_in(training, 9)
    exact, kept = process.fit(training, used, most=2, steps=3, found=found)
    large, _ = process.fit(training, used, most=2, steps=3, found=found, features=features)
    for one, other in zip(jax.tree.leaves(kept), jax.tree.leaves(found), strict=True):
        np.testing.assert_array_equal(one, other)
    asked = jnp.asarray(np.eye(9))
    one, other = process.predict_all(exact, asked), process.predict_all(large, asked)
    np.testing.assert_allclose(one.effect, other.effect, atol=1e-8)
    np.testing.assert_allclose(one.variance, other.variance, atol=1e-8)


def test_weights_of_the_leading_direction_are_the_exact_ones():
    training = screen(False)
    used = np.ones(len(training.sets), bool)
    exact, _ = process.fit(training, used, most=1, steps=1)
    parts = process.components_of(training.effects, used, 1, training.errors)
    features = process.features_in(training, 9)
    large = exact._replace(
        posterior=process.low_rank.posterior(parts, exact.posterior.hyper, features)
    )
    asked = jnp.asarray(np.eye(9))
    np.testing.assert_allclose(
        process.weights(exact, asked), process.weights(large, asked), atol=1e-8
    )
