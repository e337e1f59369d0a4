"""Rank-sum tests against SciPy's, with ties, zeros and groups of every awkward kind."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from jaxpert.evaluation.schools import rank_sum
from jaxpert.evaluation.schools.cells import moments, open_cells

GROUPS = ["a", "b", "control", "d"]
SIZES = [7, 12, 20, 1]


def opened(x, labels, scale="log1p"):
    obs = pd.DataFrame({"target": labels}, index=[str(n) for n in range(len(labels))])
    var = pd.DataFrame(index=[f"gene{g}" for g in range(x.shape[1])])
    return open_cells(
        anndata.AnnData(x, obs=obs, var=var), "target", "control", scale, None, "real"
    )


def values(kind, dtype):
    """Genes: ties and zeros, no ties, constant, zero, silent in control, silent but in control."""
    rng = np.random.default_rng(0)
    labels = np.repeat(GROUPS, SIZES)
    x = np.round(rng.gamma(1, 1, (len(labels), 8)), 1)
    x[:, 1] = rng.random(len(labels)) + 0.5
    x[:, 2], x[:, 3] = 1.5, 0
    x[labels == "control", 4] = 0
    x[labels != "control", 5] = 0
    order = rng.permutation(len(labels))
    x = x[order].astype(dtype)
    return (sparse.csr_matrix(x) if kind == "csr" else x), labels[order]


@pytest.mark.parametrize("kind", ["csr", "dense"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_p_values_and_rates_are_those_of_scipy(kind, dtype):
    x, labels = values(kind, dtype)
    cells = opened(x, labels)
    rows = np.array([0, 1, 3])
    sums = rank_sum.rank_sums(cells, 2)
    dense = (x.toarray() if kind == "csr" else x).astype(np.float64)
    p = rank_sum.p_values(sums.u[rows], sums.ties[rows], np.array(SIZES)[rows][:, None], 20)
    for row, name in zip(p, ["a", "b", "d"], strict=True):
        mine, control = dense[labels == name], dense[labels == "control"]
        expected = stats.mannwhitneyu(mine, control, method="asymptotic").pvalue
        # SciPy divides by 0 where all values are equal; there is no evidence then.
        expected = np.where((dense == dense[0]).all(0), 1, expected)
        np.testing.assert_allclose(row, expected, rtol=1e-9)
    test = rank_sum.differential(cells, 2, rows, moments(cells, False))
    rates = np.stack([stats.false_discovery_control(row) for row in p])
    np.testing.assert_allclose(test.fdr, rates, rtol=1e-6)


def test_hand_computed_sums():
    """Group 0 holds 0, 2, 2, 3 and control 0, 0, 2, 5: U = 1 + 2.5 + 2.5 + 3, ties of 3 and 3."""
    code = np.array([0, 0, 0, 1, 1])
    drawn = np.array([2, 2, 3, 2, 5], np.float32)
    u, ties = rank_sum.of_gene(drawn, code, np.array([4, 4]), 1)
    assert u[0] == 9
    assert ties[0] == 24 + 24


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_silent_control_needs_no_values(dtype):
    u, ties = rank_sum.of_gene(np.ones(2, dtype), np.array([0, 0]), np.array([3, 4]), 1)
    assert u[0] == 2 * 4 + 2
    assert ties[0] == (5**3 - 5) + (2**3 - 2)


def test_blocks_of_genes_change_nothing(monkeypatch):
    x, labels = values("csr", np.float32)
    whole = rank_sum.rank_sums(opened(x, labels), 2)
    monkeypatch.setattr(rank_sum, "ENTRIES", x.nnz // 3)
    parts = rank_sum.rank_sums(opened(x, labels), 2)
    np.testing.assert_array_equal(whole.u, parts.u)
    np.testing.assert_array_equal(whole.ties, parts.ties)


def test_fold_changes_of_geometric_means():
    x = np.array([[1.0, 0, 0.5], [2, 0, 0.5], [3, 0.5, 0], [1, 0.5, 0]])
    cells = opened(x, ["a", "a", "control", "control"])
    test = rank_sum.differential(cells, 1, np.array([0]), moments(cells, False))
    expected = np.log2(np.expm1(1.5) / np.expm1(2))
    np.testing.assert_allclose(test.fold_change[0], [expected, -np.inf, np.inf], rtol=1e-6)
