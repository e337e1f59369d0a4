"""Gamma, Poisson and Gamma-Poisson draws against SciPy's distributions.

Seeds are fixed and the thresholds lie far from what a right sampler gives (p < 1e-6), so nothing
here is left to chance; each test would see an error of one percent in a mean.
"""

import jax
import numpy as np
import pytest
from scipy import stats

from jaxpert.nn import sampling

DRAWS = 200_000
UNLIKELY = 1e-6


@jax.jit
def gamma(seed, shape):
    return sampling.gamma(jax.random.key(seed), shape)


@jax.jit
def poisson(seed, rate):
    return sampling.poisson(jax.random.key(seed), rate)


def poisson_draws(rate, seed=0):
    draws = np.asarray(poisson(seed, np.full(DRAWS, rate, np.float32)), float)
    assert (draws >= 0).all() and (draws == np.round(draws)).all()
    return draws


def gamma_draws(shape, seed=0):
    return np.asarray(gamma(seed, np.full(DRAWS, shape, np.float32)), float)


def padded(*values):
    """Few numbers as an array of DRAWS, for which the programs are compiled already."""
    return np.resize(np.array(values, np.float32), DRAWS)


def fit(draws, law) -> float:
    """p value of a chi-square test of counts, over values (tails pooled) that are expected at least
    20 times."""
    low, high = int(law.ppf(20 / DRAWS)), int(law.ppf(1 - 20 / DRAWS))
    edges = np.unique(np.linspace(low, high, min(high - low, 200) + 1).astype(int))
    probability = np.diff(np.concatenate([[0], law.cdf(edges[:-1]), [1]]))
    observed = np.bincount(np.searchsorted(edges[:-1], draws), minlength=len(edges))
    kept = probability * DRAWS > 10
    assert kept.sum() >= 2 and probability[kept].sum() > 0.99
    expected = np.append(probability[kept], max(1 - probability[kept].sum(), 1e-12)) * DRAWS
    seen = np.append(observed[kept], observed[~kept].sum())
    if expected[-1] < 10:
        expected, seen = expected[:-1], seen[:-1]
    return stats.chi2.sf(((seen - expected) ** 2 / expected).sum(), len(expected) - 1)


@pytest.mark.parametrize("rate", [0.01, 0.4, 3.0, 11.5, 19.999, 20.0, 24.0, 70.0, 1500.0])
def test_poisson_frequencies(rate):
    draws = poisson_draws(rate)
    assert fit(draws, stats.poisson(rate)) > UNLIKELY
    assert abs(draws.mean() - rate) < 5 * (rate / DRAWS) ** 0.5
    variance_error = ((rate + 2 * rate**2) / DRAWS) ** 0.5
    assert abs(draws.var() - rate) < 5 * variance_error


def test_the_fit_sees_one_percent():
    assert fit(poisson_draws(11.5), stats.poisson(11.5 * 1.01)) < UNLIKELY
    assert fit(poisson_draws(70.0), stats.poisson(70 * 1.01)) < UNLIKELY


def test_both_regimes_agree_at_their_boundary():
    """The exact inversion just below and the expansion at the boundary, fed the same uniforms."""
    exact, expanded = poisson_draws(np.nextafter(np.float32(20), 0)), poisson_draws(20.0)
    assert (exact != expanded).mean() < 2e-3 and abs(exact - expanded).max() <= 1


def test_poisson_in_float64_and_of_mixed_rates():
    with jax.enable_x64(True):
        rates = np.array([0.0, 1e-6, 0.7, 19.0, 21.0, 900.0, 1e6])
        draws = np.asarray(poisson(1, np.tile(rates, (50_000, 1))))
    assert draws.dtype == "float64" and (draws[:, 0] == 0).all()
    assert (abs(draws.mean(0) - rates) <= 5 * (rates / 50_000) ** 0.5 + 1e-4).all()


def test_large_poisson_rates_stay_finite():
    draws = poisson_draws(1e8, seed=2)
    assert np.isfinite(draws).all() and (abs(draws / 1e8 - 1) < 1e-3).all()


@pytest.mark.parametrize("shape", [0.1, 0.5, 0.99, 1.0, 1.7, 12.0, 5000.0])
def test_gamma_distribution(shape):
    draws = gamma_draws(shape)
    assert stats.kstest(draws, stats.gamma(shape).cdf).pvalue > UNLIKELY
    assert abs(draws.mean() - shape) < 5 * (shape / DRAWS) ** 0.5


def test_tiny_gamma_shapes_have_their_tail_and_never_nan():
    """Most draws at shape 1e-3 are below the smallest float; what is left above 1e-3 must be as
    frequent as it should."""
    for shape in (1e-3, 1e-2):
        draws = gamma_draws(shape)
        assert (np.isfinite(draws) & (draws >= 0)).all()
        p = stats.gamma(shape).sf(1e-3)
        assert abs((draws > 1e-3).mean() - p) < 5 * (p / DRAWS) ** 0.5


def test_gamma_rows_do_not_hear_of_each_other():
    """Rejection runs until every element is accepted; one element's shape must not move another's
    draw."""
    first = np.asarray(gamma(3, padded(0.3, 2.0, 50.0)))
    other = np.asarray(gamma(3, padded(0.3, 2.0, 0.01)))
    np.testing.assert_array_equal(first[0::3], other[0::3])
    np.testing.assert_array_equal(first[1::3], other[1::3])


@pytest.mark.parametrize(
    ("r", "mean"), [(0.2, 1.0), (0.7, 40.0), (3.0, 0.5), (8.0, 15.0), (500.0, 25.0)]
)
def test_gamma_poisson_is_negative_binomial(r, mean):
    rates = (gamma_draws(r, seed=5) * mean / r).astype(np.float32)
    draws = np.asarray(poisson(4, rates), float)
    law = stats.nbinom(r, r / (r + mean))
    assert fit(draws, law) > UNLIKELY
    assert abs(draws.mean() - law.mean()) < 5 * (law.var() / DRAWS) ** 0.5
    kurtosis = law.stats("k")
    assert abs(draws.var() / law.var() - 1) < 5 * ((kurtosis + 2) / DRAWS) ** 0.5


def test_draws_repeat_with_the_key_only():
    for draws_of in (gamma_draws, poisson_draws):
        first, again, other = (draws_of(3.0, seed) for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)
