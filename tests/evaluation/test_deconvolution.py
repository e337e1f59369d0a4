"""Widths of intervals of true effects from noisy measurements of them."""

import numpy as np
import pytest

from jaxpert.evaluation import deconvolution


def measured(rng, sizes, conditions=60, genes=400):
    """Errors of predictions whose claimed standard deviation is off by `sizes`, the errors against
    noisy measurements, and the variances of both."""
    claimed = rng.gamma(3, 0.1, size=(conditions, genes)) ** 2
    noise = rng.gamma(3, 0.05, size=(conditions, genes)) ** 2
    error = np.sqrt(claimed) * sizes * rng.standard_normal(claimed.shape)
    seen = error - np.sqrt(noise) * rng.standard_normal(claimed.shape)
    return error, seen, claimed, noise


@pytest.mark.parametrize("size", [0.5, 1.0, 3.0])
def test_a_claim_that_is_off_by_a_factor_is_set_right(size):
    _, seen, claimed, noise = measured(np.random.default_rng(0), size)
    assert deconvolution.widths(seen, claimed, noise) == pytest.approx([size, size], rel=0.06)


def test_true_errors_are_covered_where_few_effects_are_missed_by_much():
    rng = np.random.default_rng(1)
    error, seen, claimed, noise = measured(rng, 2.0 ** rng.normal(0, 1, size=(60, 400)))
    factors = deconvolution.widths(seen, claimed, noise)
    away = np.abs(error) / np.sqrt(claimed)
    covered = [(away <= t * z).mean() for t, z in zip(factors, deconvolution.NORMAL, strict=True)]
    assert covered == pytest.approx([0.5, 0.9], abs=0.03)
    # Most are missed by little, so that the narrower interval is narrower than a normal one.
    assert factors[0] < 0.8 * factors[1]


def test_noise_alone_leaves_a_small_error_and_no_measurement_the_claim():
    rng = np.random.default_rng(2)
    _, seen, claimed, noise = measured(rng, 0.0)
    assert (deconvolution.widths(seen, claimed, noise) < 0.35).all()
    np.testing.assert_array_equal(deconvolution.widths(seen, claimed, 0 * noise), [1, 1])


def test_an_error_that_measurements_share_is_a_part_of_the_width():
    """Predicted and measured effects have the control's error alike, so that none shows it."""
    rng = np.random.default_rng(3)
    error, seen, claimed, noise = measured(rng, 2.0 ** rng.normal(-3, 2, size=(60, 400)))
    control = 0.2 * noise.mean(0)
    error += np.sqrt(control) * rng.standard_normal(400)
    away = np.abs(error) / np.sqrt(claimed + control)
    normal = deconvolution.NORMAL
    shares = []
    for shared in (control, None):
        factors = deconvolution.widths(seen, claimed, noise, shared)
        shares.append([(away <= t * z).mean() for t, z in zip(factors, normal, strict=True)])
    assert shares[0] == pytest.approx([0.5, 0.9], abs=0.03)
    assert shares[1][0] < 0.35
