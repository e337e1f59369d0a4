"""Draws of true effects from their posterior."""

import numpy as np
import pytest

from jaxpert.evaluation.shrinkage import draw, posterior


def table(sd, seed=0):
    """Sparse effects, one row in ten times stronger, and estimates of them."""
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random((20, 400)) < 0.1, rng.normal(size=(20, 400)), 0)
    truth[0] *= 3
    variance = sd**2 * rng.gamma(4, 0.25, size=truth.shape)
    return rng, truth, truth + np.sqrt(variance) * rng.normal(size=truth.shape), variance


@pytest.mark.parametrize("sd", [0.3, 1.0])
def test_draws_are_as_spread_as_the_truth_and_as_sparse(sd):
    rng, truth, estimate, variance = table(sd)
    drawn = draw(rng, posterior(estimate, variance))
    # The estimates themselves are wider, their posterior means narrower than the truth; with seven
    # times as much noise as signal, the signal is known to a third of itself.
    tolerance = 0.15 if sd < 1 else 0.35
    assert (drawn**2).mean() == pytest.approx((truth**2).mean(), rel=tolerance)
    assert (estimate**2).mean() > 1.3 * (truth**2).mean()
    assert (drawn[0] ** 2).mean() > 3 * (drawn[1:] ** 2).mean(), "a strong row stays strong"
    if sd < 1:
        assert np.mean(np.abs(drawn) < 0.1) == pytest.approx(np.mean(np.abs(truth) < 0.1), abs=0.1)


def test_what_has_no_error_is_known():
    rng, _, estimate, variance = table(0.3)
    variance[:, :50] = 0
    drawn = draw(rng, posterior(estimate, variance))
    np.testing.assert_array_equal(drawn[:, :50], estimate[:, :50])
    assert (drawn[:, 50:] != estimate[:, 50:]).all()
