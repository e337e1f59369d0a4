"""Normalisations and what they do with constant genes and empty cells."""

import jax
import numpy as np
import pytest

from jaxpert.nn import transforms

COUNTS = (np.random.default_rng(0).poisson(3, (8, 5)) + 1).astype(np.float32)
GUARDS = ("unit", "reference")


@jax.jit
def scales(x):
    """Every scale of the counts, to 10,000 counts a cell and to 50."""
    lognorm = transforms.log1p_normalize(x)
    return {
        "library": transforms.normalize_library(x),
        "lognorm": lognorm,
        "log2": transforms.log2p_normalize(x),
        "lognorm to log2": transforms.lognorm_to_log2(lognorm),
        "library of 50": transforms.normalize_library(x, 50.0),
        "lognorm of 50": transforms.log1p_normalize(x, 50.0),
    }


@jax.jit
def standardized(x, mean, std):
    return {guard: transforms.log_standardize(x, mean, std, guard=guard) for guard in GUARDS}


def test_library_normalisation():
    expected = COUNTS / COUNTS.sum(1, keepdims=True)
    np.testing.assert_allclose(scales(COUNTS)["library"], 1e4 * expected, rtol=1e-6)
    np.testing.assert_allclose(scales(COUNTS)["library of 50"], 50 * expected, rtol=1e-6)
    np.testing.assert_allclose(scales(COUNTS * 7)["library"], 1e4 * expected, rtol=1e-6)


def test_log_scales():
    got = {name: np.asarray(value) for name, value in scales(COUNTS).items()}
    np.testing.assert_allclose(got["lognorm"], np.log1p(got["library"]), rtol=1e-6)
    np.testing.assert_allclose(got["log2"], np.log2(1 + got["library"]), rtol=1e-6)
    np.testing.assert_allclose(got["lognorm to log2"], got["log2"], rtol=1e-6)
    np.testing.assert_allclose(np.expm1(got["lognorm of 50"]).sum(-1), 50, rtol=1e-5)


def test_a_cell_without_counts_is_nan_and_stays_alone():
    counts = COUNTS.copy()
    counts[2] = 0
    for name, value in scales(counts).items():
        assert np.isnan(value[2]).all(), name
        assert np.isfinite(np.delete(value, 2, 0)).all(), name


def test_standardised_training_cells_have_mean_0_and_deviation_1():
    logs = np.log1p(COUNTS)
    z = np.asarray(standardized(COUNTS, logs.mean(0), logs.std(0, ddof=1))["unit"])
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(z.std(0, ddof=1), 1, rtol=1e-5)


def test_guards_for_constant_genes():
    """Gene 0 was all zero in training, gene 1 constant at 3 up to rounding, gene 2 ordinary."""
    mean = np.array([0, np.log(4), 1], np.float32)
    std = np.array([0, 0, 0.5], np.float32)
    almost = np.array([1e-7, 9e-7, 0.5], np.float32)
    x = np.array([[0, 0, 0], [np.e - 1, 15, np.e - 1]], np.float32)
    log4 = np.log(4)
    unit = [[0, -log4, -2], [1, log4, 0]]
    got = standardized(x, mean, std)
    np.testing.assert_allclose(got["unit"], unit, atol=1e-6)
    np.testing.assert_allclose(standardized(x, mean, almost)["unit"], unit, atol=1e-6)
    # The published code divides by 0: NaN and -inf become 1e-6, +inf becomes 1e6.
    reference = [[1e-6, 1e-6, -2], [1e6, 1e6, 0]]
    np.testing.assert_allclose(got["reference"], reference, atol=1e-6)


def test_smallest_accepted_deviation_is_used():
    x = np.ones((1, 3), np.float32)
    small = np.full(3, transforms.SMALLEST_STD, np.float32)
    got = standardized(x, 0 * small, small)["unit"]
    np.testing.assert_allclose(got, np.full((1, 3), np.log(2) / 1e-6), rtol=1e-5)


def test_unknown_guard_is_named():
    one = np.ones(1, np.float32)
    with pytest.raises(ValueError, match="guard is 'none', expected 'unit' or 'reference'"):
        jax.eval_shape(
            lambda x: transforms.log_standardize(x, one, one, guard="none"), np.ones((1, 1))
        )
