"""Streaming pseudobulk against the plain formula on dense arrays."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from scipy import sparse

from jaxpert.core.types import Dataset, InputError, Quality
from jaxpert.data.moments import condition_means
from jaxpert.evaluation.pseudobulk import (
    effects,
    held_out_effects,
    held_out_rows,
    observed_means,
    passed_rows,
    technical_duplicate,
)

CONDITIONS = 5


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    x = rng.poisson(rng.gamma(0.3, 4, (1, 40)) * rng.gamma(5, 0.2, (203, 1))).astype(np.uint16)
    condition = rng.integers(0, CONDITIONS - 1, 203)  # the last condition has no cells
    x[[3, 77]] = 0
    return x, condition


def naive(x, condition, unit):
    with np.errstate(invalid="ignore"):
        y = np.log1p(1e4 * x / x.sum(1, keepdims=True)) / unit
    return [y[(condition == c) & (x.sum(1) > 0)] for c in range(CONDITIONS)]


@pytest.mark.parametrize("rows", [7, 64, 5000])
@pytest.mark.parametrize(("scale", "unit"), [("log2", np.log(2)), ("ln", 1.0)])
def test_streaming_equals_the_plain_formula(cells, rows, scale, unit):
    x, condition = cells
    got = condition_means(
        sparse.csr_matrix(x), condition, CONDITIONS, scale, variance=True, rows=rows
    )
    expected = naive(x, condition, unit)
    np.testing.assert_array_equal(got.cells, [len(y) for y in expected])
    for c in range(CONDITIONS - 1):
        np.testing.assert_allclose(got.mean[c], expected[c].mean(0), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(
            got.variance[c], expected[c].var(0, ddof=1), rtol=1e-9, atol=1e-12
        )
    assert np.isnan(got.mean[-1]).all() and np.isnan(got.variance[-1]).all()


def test_cells_without_counts_are_excluded_and_counted(cells):
    x, condition = cells
    got = condition_means(sparse.csr_matrix(x), condition, CONDITIONS)
    assert got.empty.sum() == 2 and (got.cells + got.empty).sum() == len(x)


def test_explicit_zeros_and_duplicate_entries_do_not_matter(cells):
    x, condition = cells
    odd = sparse.csr_matrix(x)
    odd.data[::3] = 0
    clean = odd.copy()
    clean.eliminate_zeros()
    np.testing.assert_array_equal(
        condition_means(odd, condition, CONDITIONS).mean,
        condition_means(clean, condition, CONDITIONS).mean,
    )


def test_memory_stays_far_below_the_dense_matrix():
    rng = np.random.default_rng(1)
    # CSR made by hand, 20 non-zeros in a row: scipy.sparse.random takes seconds to draw places.
    columns = rng.integers(0, 100, (20_000, 20)) + 100 * np.arange(20)
    starts = np.arange(0, columns.size + 1, 20)
    values = rng.integers(1, 9, columns.size).astype(np.uint8)
    x = sparse.csr_matrix((values, columns.ravel(), starts), (20_000, 2_000))
    condition = rng.integers(0, 20, x.shape[0])
    tracemalloc.start()
    condition_means(x, condition, 20, rows=1024)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000 * 2_000 * 4 / 20


def test_effects_are_differences_to_control_and_nan_without_cells(cells):
    x, condition = cells
    bulk = condition_means(sparse.csr_matrix(x), condition, CONDITIONS)
    delta = effects(bulk, 1)
    assert not delta[1].any() and np.isnan(delta[-1]).all()
    np.testing.assert_allclose(delta[2], bulk.mean[2] - bulk.mean[1])
    with pytest.raises(InputError, match="data.control"):
        effects(bulk, CONDITIONS - 1)


def dataset(x, condition, failed, split):
    return Dataset(
        name="toy",
        counts=sparse.csr_matrix(x),
        cells=np.arange(len(x)).astype(str),
        genes=tuple(f"g{i}" for i in range(x.shape[1])),
        conditions=tuple("cabde"),
        condition=condition,
        control=0,
        treatments=tuple("abde"),
        condition_treatments=np.eye(5, 4, -1),
        strata=("all",),
        stratum=np.zeros(len(x), int),
        obs=None,
        split=split,
        quality=Quality({}, {}, 4, failed),
    )


def test_observed_means_use_passed_cells_of_the_split(cells):
    x, condition = cells
    rng = np.random.default_rng(2)
    failed, split = rng.random(len(x)) < 0.3, rng.integers(0, 4, len(x))
    data = dataset(x, condition, failed, split)
    keep = ~failed & (split == 0)
    np.testing.assert_array_equal(passed_rows(data, "train"), np.flatnonzero(keep))
    expected = condition_means(sparse.csr_matrix(x[keep]), condition[keep], CONDITIONS)
    np.testing.assert_allclose(observed_means(data, "train").mean, expected.mean)
    held_out = ~failed & (split == 2)
    expected = condition_means(sparse.csr_matrix(x[held_out]), condition[held_out], CONDITIONS)
    np.testing.assert_allclose(held_out_effects(data), effects(expected, 0))
    split[condition == 0] = 0  # no control in test: all passed controls serve
    rows = np.flatnonzero(~failed & ((split == 2) | (condition == 0)))
    np.testing.assert_array_equal(held_out_rows(dataset(x, condition, failed, split)), rows)
    every = observed_means(dataclasses.replace(data, quality=None))
    assert (every.cells + every.empty).sum() == len(x)


def test_technical_duplicate_halves_are_disjoint_and_equal_in_size(cells):
    x, condition = cells
    x = x.copy()
    x[:, 0] = 0
    only = np.flatnonzero(condition == 2)
    x[only, 0] = 1 + np.arange(len(only))  # every cell of condition 2 is recognisable
    first, second = technical_duplicate(
        sparse.csr_matrix(x), condition, CONDITIONS, 0, np.random.default_rng(0)
    )
    assert first.shape == (CONDITIONS, x.shape[1]) and np.isnan(first[-1]).all()
    whole = effects(condition_means(sparse.csr_matrix(x), condition, CONDITIONS), 0)
    assert np.abs(first[2] - second[2]).max() > 0
    # Halves of nearly equal size average to the whole, up to the odd cell.
    np.testing.assert_allclose((first[1:4] + second[1:4]) / 2, whole[1:4], atol=0.15)
