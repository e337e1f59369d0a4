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
    assert noise.condition.ravel().tolist() == [2, 0.5, 3] and noise.control.tolist() == [2]
    assert noise.total().ravel().tolist() == [4, 2.5, 5]


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
    # The control beside the condition is as sure as 2 cells: 16 / 2, and 4 / 4 of its own.
    assert noise.total()[1, 0] == pytest.approx(9)


def test_errors_are_those_of_repeated_measurements():
    rng = np.random.default_rng(0)
    rates = rng.gamma(2, 2, size=(2, 6))
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
