"""Standard errors of measured effects."""

import numpy as np
import pytest
from scipy import sparse

from jaxpert.data.moments import Matched, Pseudobulk, condition_means
from jaxpert.evaluation.noise import noise_of


def pseudobulk(cells, variance, matched=None):
    cells = np.asarray(cells)
    mean = np.zeros((len(cells), 1))
    return Pseudobulk(mean, cells, 0 * cells, np.asarray(variance, float)[:, None], matched)


def test_errors_are_variances_over_cells_and_add_up():
    noise = noise_of(pseudobulk([8, 4, 2], [16.0, 2.0, 6.0]), 0)
    assert noise is not None
    # (7 x 16 + 3 x 2 + 1 x 6) / 11 within all conditions, lent to each as that of 10 cells.
    within = np.array([7 * 16 + 10 * 124 / 11, 3 * 2 + 10 * 124 / 11, 6 + 10 * 124 / 11])
    own = within / [17, 13, 11] / [8, 4, 2]
    np.testing.assert_allclose(noise.condition.ravel(), own)
    assert noise.control.tolist() == [2]
    np.testing.assert_allclose(noise.total().ravel(), own + 2)


def test_many_cells_keep_their_own_variance_and_silent_ones_are_not_sure():
    noise = noise_of(pseudobulk([90_000, 90_000, 5], [4.0, 1.0, 0.0]), 0)
    assert noise is not None
    assert noise.condition[1, 0] == pytest.approx(1 / 90_000, rel=1e-3)
    # Five cells without a count: nearly the variance within the others.
    assert noise.condition[2, 0] == pytest.approx(10 / 14 * 2.5 / 5, rel=1e-3)


def test_a_single_cell_takes_the_variance_within_the_others_and_none_has_none():
    noise = noise_of(pseudobulk([3, 1, 2, 0], [4.0, np.nan, 10.0, np.nan]), 0)
    assert noise is not None
    # (2 x 4 + 1 x 10) / 3 = 6, for one cell.
    assert noise.condition[1, 0] == 6 and np.isnan(noise.condition[3, 0])


def test_there_is_no_noise_without_variances_or_with_one_control_cell():
    whole = pseudobulk([3, 2], [4.0, 1.0])
    assert noise_of(whole._replace(variance=None), 0) is None
    assert noise_of(pseudobulk([1, 2], [np.nan, 1.0]), 0) is None


def test_controls_of_few_strata_are_less_sure():
    matched = Matched(np.zeros((2, 1)), np.zeros((2, 1)), np.array([8.0, 2.0]))
    noise = noise_of(pseudobulk([8, 4], [16.0, 4.0], matched), 0)
    assert noise is not None
    # The control beside the condition is as sure as 2 cells: 16 / 2; within both it is 12.4.
    assert noise.total()[1, 0] == pytest.approx(8 + (3 * 4 + 10 * 12.4) / 13 / 4)


def test_errors_are_those_of_repeated_measurements():
    rng = np.random.default_rng(0)
    # A perturbation changes some genes, and with the rate the variance.
    rates = rng.gamma(2, 2, size=6) * np.array([np.ones(6), [1.3, 0.8, 1, 1, 1, 1]])
    condition = np.repeat([0, 1], [30, 10])
    effects, stated = [], []
    for _ in range(300):
        counts = sparse.csr_matrix(rng.poisson(rates[condition]))
        made = condition_means(counts, condition, 2, variance=True)
        noise = noise_of(made, 0)
        assert noise is not None
        effects.append(made.mean[1] - made.mean[0])
        stated.append(noise.total()[1])
    # 300 repetitions know a variance to 8 %, and six genes their mean to about 4 %.
    assert np.var(effects, axis=0).mean() == pytest.approx(np.mean(stated), rel=0.12)
