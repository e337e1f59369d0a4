"""Normalisations, their inverses, and what they do with constant genes and empty cells."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert.nn import transforms


@pytest.fixture
def counts():
    return jnp.asarray(np.random.default_rng(0).poisson(3, (8, 5)) + 1, jnp.float32)


def test_library_normalisation(counts):
    np.testing.assert_allclose(transforms.normalize_library(counts).sum(-1), 1e4, rtol=1e-6)
    np.testing.assert_allclose(transforms.normalize_library(counts, 100.0).sum(-1), 100, rtol=1e-6)
    np.testing.assert_allclose(
        transforms.normalize_library(counts * 7), transforms.normalize_library(counts), rtol=1e-6
    )


def test_log_scales_and_their_inverse(counts):
    normalised = transforms.normalize_library(counts)
    lognorm = transforms.log1p_normalize(counts)
    np.testing.assert_allclose(lognorm, np.log1p(normalised), rtol=1e-6)
    np.testing.assert_allclose(transforms.log1p_denormalize(lognorm), normalised, rtol=1e-5)
    np.testing.assert_allclose(
        transforms.log2p_normalize(counts), np.log2(1 + normalised), rtol=1e-6
    )
    np.testing.assert_allclose(
        transforms.lognorm_to_log2(lognorm), transforms.log2p_normalize(counts), rtol=1e-6
    )
    scaled = transforms.log1p_normalize(counts, 50.0)
    np.testing.assert_allclose(transforms.log1p_denormalize(scaled).sum(-1), 50, rtol=1e-5)


@pytest.mark.parametrize("scale", ["normalize_library", "log1p_normalize", "log2p_normalize"])
def test_a_cell_without_counts_is_nan_and_stays_alone(counts, scale):
    empty = getattr(transforms, scale)(counts.at[2].set(0))
    assert np.isnan(empty[2]).all() and np.isfinite(np.delete(empty, 2, 0)).all()


def test_standardised_training_cells_have_mean_0_and_deviation_1(counts):
    logs = np.log1p(np.asarray(counts))
    z = transforms.log_standardize(
        counts, jnp.asarray(logs.mean(0)), jnp.asarray(logs.std(0, ddof=1))
    )
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(z.std(0, ddof=1), 1, rtol=1e-5)


def test_guards_for_constant_genes():
    """Gene 0 was all zero in training, gene 1 constant at 3 up to rounding, gene 2 ordinary."""
    mean = jnp.array([0, np.log(4), 1], jnp.float32)
    std = jnp.array([0, 0, 0.5], jnp.float32)
    x = jnp.array([[0, 0, 0], [np.e - 1, 15, np.e - 1]], jnp.float32)
    log4 = np.log(4)
    unit = [[0, -log4, -2], [1, log4, 0]]
    np.testing.assert_allclose(transforms.log_standardize(x, mean, std), unit, atol=1e-6)
    almost = jnp.array([1e-7, 9e-7, 0.5], jnp.float32)
    np.testing.assert_allclose(transforms.log_standardize(x, mean, almost), unit, atol=1e-6)
    # The published code divides by 0: NaN and -inf become 1e-6, +inf becomes 1e6.
    reference = [[1e-6, 1e-6, -2], [1e6, 1e6, 0]]
    np.testing.assert_allclose(
        transforms.log_standardize(x, mean, std, guard="reference"), reference, atol=1e-6
    )


def test_smallest_accepted_deviation_is_used():
    one = jnp.ones((1, 1), jnp.float32)
    small = jnp.full(1, transforms.SMALLEST_STD, jnp.float32)
    np.testing.assert_allclose(
        transforms.log_standardize(one, 0 * small, small), np.log(2) / 1e-6, rtol=1e-5
    )


def test_unknown_guard_is_named():
    with pytest.raises(ValueError, match="guard is 'none', expected 'unit' or 'reference'"):
        transforms.log_standardize(jnp.ones((1, 1)), jnp.ones(1), jnp.ones(1), guard="none")
