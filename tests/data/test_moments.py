"""Log-normalised cells and their sums by group, against plain NumPy."""

import numpy as np
from scipy import sparse

from jaxpert.data import moments


def test_cells_without_counts_stay_zero_and_are_named():
    counts = sparse.csr_matrix(np.array([[1, 3], [0, 0], [2, 0]], np.uint8))
    values, filled = moments.log_normalise(counts)
    np.testing.assert_allclose(values.toarray(), np.log1p([[2500, 7500], [0, 0], [10_000, 0]]))
    assert filled.tolist() == [True, False, True]
    doubled, _ = moments.log_normalise(counts, moments.SCALES["log2"])
    np.testing.assert_allclose(doubled.data, np.log2(1 + np.array([2500, 7500, 10_000])))
    given, filled = moments.log_normalise(counts, moments.SCALES["given"])
    np.testing.assert_array_equal(given.toarray(), counts.toarray())
    assert filled.all()


def test_blocks_leave_out_other_and_empty_cells():
    counts = sparse.csr_matrix(np.array([[1, 3], [0, 0], [2, 0], [5, 5]], np.uint8))
    keep = np.array([1, 1, 1, 0], bool)
    blocks = moments.log_normalised_blocks(counts, keep)
    kept = np.concatenate([block.toarray() for block in blocks])
    np.testing.assert_allclose(kept, np.log1p([[2500, 7500], [10_000, 0]]))
    np.testing.assert_allclose(moments.log_normalised_mean(counts, keep), kept.mean(0))


def test_sums_by_group():
    x = np.random.default_rng(0).poisson(1.0, (50, 8)).astype(float)
    group = np.arange(50) % 3
    sums = np.ones((4, 8))
    moments.add_by_group(sums, sparse.csr_matrix(x), group)
    expected = [1 + x[group == g].sum(0) for g in range(4)]
    np.testing.assert_array_equal(sums, expected)
