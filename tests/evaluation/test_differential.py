"""Rankings of genes against dense arithmetic, and what has no variance."""

import numpy as np
import pytest
from scipy import sparse, stats

from jaxpert.data.moments import Pseudobulk, condition_means
from jaxpert.evaluation.differential import rank, top


def ranked(x, condition, reference=0):
    return rank(
        condition_means(
            sparse.csr_matrix(x), condition, int(condition.max()) + 1, "given", variance=True
        ),
        reference,
    )


def test_welch_of_every_gene():
    rng = np.random.default_rng(0)
    condition = np.repeat([0, 1, 2], [30, 12, 7])
    x = rng.poisson(1.0, (49, 25)) * rng.random((49, 25)) + (condition == 2)[:, None] * rng.random(
        25
    )
    ranking = ranked(x, condition)
    for c in (1, 2):
        t = stats.ttest_ind(x[condition == c], x[condition == 0], equal_var=False).statistic
        np.testing.assert_allclose(ranking.score[c], t, rtol=1e-9)
        np.testing.assert_array_equal(ranking.order[c], np.argsort(-np.abs(t)))
    assert list(ranking.ranked) == [False, True, True] and not ranking.score[0].any()


def test_a_reference_for_every_condition():
    rng = np.random.default_rng(1)
    x, condition = rng.random((40, 5)), np.repeat(np.arange(4), 10)
    ranking = ranked(x, condition, np.array([0, 1, 0, 1]))
    t = stats.ttest_ind(x[30:], x[10:20], equal_var=False).statistic
    np.testing.assert_allclose(ranking.score[3], t, rtol=1e-9)
    assert list(ranking.ranked) == [False, False, True, True]


def test_constant_genes_and_single_cells():
    """Gene 0 is the same everywhere, gene 1 constant on each side but different, gene 2 silent in
    both."""
    rng = np.random.default_rng(2)
    condition = np.repeat([0, 1, 2], [900, 70, 1])
    x = np.stack(
        [np.full(971, 1 / 3), 0.1 + 0.2 * (condition == 1), np.zeros(971), rng.random(971)], axis=1
    )
    ranking = ranked(x, condition)
    assert list(ranking.score[1][:3]) == [0, np.inf, 0] and np.isfinite(ranking.score[1][3])
    assert list(ranking.order[1][:2]) == [1, 3]
    assert list(ranking.ranked) == [False, True, False] and not ranking.score[2].any()
    assert list(ranking.nonzero[1]) == [True, True, False, True] and ranking.non_dropout[1].all()


def test_first_genes_of_a_set():
    order = np.array([[3, 1, 0, 2], [0, 1, 2, 3]])
    among = np.array([[True, False, True, True], [False, False, True, False]])
    np.testing.assert_array_equal(top(order, 3, among), [[3, 0, 2], [2, -1, -1]])
    np.testing.assert_array_equal(top(order, 6), [[3, 1, 0, 2, -1, -1], [0, 1, 2, 3, -1, -1]])


def test_moments_without_variance():
    with pytest.raises(ValueError, match="variance=True"):
        rank(Pseudobulk(np.zeros((1, 2)), np.ones(1, int), np.zeros(1, int)), 0)
