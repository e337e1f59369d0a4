"""Cells drawn around effects have the effects, the control and the interactions that were given."""

import dataclasses

import numpy as np
import pytest
from scipy import sparse

from jaxpert.core.errors import InputError
from jaxpert.simulate import (
    Effects,
    EffectsTruth,
    Profile,
    load_truth,
    save_truth,
    simulate_effects,
)

CONDITIONS = ("A+ctrl", "B+ctrl", "A+B", "B+C")
GENES = 40


def given():
    """Two singles, a pair that is far from their sum, and a pair without one of its singles."""
    log_fold = np.random.default_rng(0).normal(0, 0.7, (4, GENES))
    log_fold[2] = log_fold[0] - 0.5 * log_fold[1]
    return Effects("made up", CONDITIONS, tuple(f"g{i}" for i in range(GENES)), log_fold)


def control():
    rng = np.random.default_rng(1)
    return Profile(rng.gamma(1, 1, GENES) + 0.05, np.full(GENES, 2.0))


@pytest.fixture(scope="module")
def drawn():
    return simulate_effects(given(), control(), cells=1_500, batches=2, reference_cells=16, seed=1)


def moments(values, condition):
    """Means and standard errors of every condition."""
    cells = [values[condition == c] for c in range(condition.max() + 1)]
    mean = np.array([of.mean(0) for of in cells])
    return mean, np.array([of.std(0) / np.sqrt(len(of)) for of in cells])


def test_log_folds_of_expected_counts_are_those_given(drawn):
    """Standardised errors of 160 entries: none far out, and none of a condition alike."""
    cells, truth = drawn
    mean, error = moments(cells.X.toarray().astype(float), truth.condition)
    relative = error / mean
    found = np.log(mean[1:] / mean[0])
    z = (found - given().log_fold) / np.hypot(relative[1:], relative[0])
    assert np.abs(z).max() < 4.5 and 0.6 < z.std() < 1.4
    # All entries share the control, whose error they have in common.
    assert np.abs(z.mean(1)).max() < 1.5


def test_the_control_has_the_profile_and_the_library(drawn):
    cells, truth = drawn
    mean, error = moments(cells.X.toarray().astype(float), truth.condition)
    share = control().mean / control().mean.sum()
    library = truth.umis * np.exp(truth.umis_sd**2 / 2)
    assert np.abs(mean[0] - library * share).max() < (5 * error[0] + 0.03 * mean[0]).max()
    np.testing.assert_allclose(mean[0] / mean[0].sum(), share, rtol=0.15)
    np.testing.assert_array_equal(truth.inverse_dispersion, 2)


def test_the_planted_log2_means_are_those_of_the_cells(drawn):
    cells, truth = drawn
    y = np.log2(1 + 1e4 * (x := cells.X.toarray().astype(float)) / x.sum(1, keepdims=True))
    mean, error = moments(y, truth.condition)
    # The expectation takes the library for the sum of a cell (docs/simulator.md, Truth).
    np.testing.assert_allclose(mean, truth.mean_log2, atol=0.15)
    found, planted = mean[1:] - mean[0], truth.mean_log2[1:] - truth.mean_log2[0]
    assert np.abs((found - planted) / np.hypot(error[1:], error[0])).max() < 5
    assert np.corrcoef(found.ravel(), planted.ravel())[0, 1] > 0.99


def test_names_and_interactions_are_kept(drawn, tmp_path):
    cells, truth = drawn
    assert list(truth.conditions) == ["ctrl", *CONDITIONS]
    assert list(cells.var_names) == list(given().genes)
    assert list(cells.obs["perturbation"].cat.categories) == ["ctrl", *CONDITIONS]
    assert np.bincount(truth.condition).tolist() == [3_000, 1_500, 1_500, 1_500, 1_500]
    expected = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 1, 1]]
    np.testing.assert_array_equal(truth.condition_treatments, expected)
    # What A+B has beyond its singles is -1.5 times the effect of B, by hand.
    residual = np.linalg.norm(1.5 * given().log_fold[1])
    assert truth.gi[3, -1] == pytest.approx(residual, rel=1e-5)
    assert truth.gi[3, 0] > 0.7 and truth.gi[3, 1] < -0.2
    assert np.isnan(truth.gi[4]).all()
    save_truth(truth, tmp_path / "truth.npz")
    back = load_truth(tmp_path / "truth.npz")
    assert isinstance(back, EffectsTruth)
    np.testing.assert_array_equal(back.gene_effects, truth.gene_effects)


def test_the_same_seed_gives_the_same_bits_whatever_the_threads():
    options = {"cells": 60, "reference_cells": 2, "artifact_share": 0.3}
    first, second = (
        simulate_effects(given(), None, seed=3, workers=workers, **options) for workers in (1, 3)
    )
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(first[0].X, name), getattr(second[0].X, name))
    for field in dataclasses.fields(first[1]):
        a, b = (getattr(truth, field.name) for truth in (first[1], second[1]))
        np.testing.assert_array_equal(a, b)
    other = simulate_effects(given(), None, seed=4, **options)[0].X
    assert (sparse.csr_matrix(other) != first[0].X).nnz > 0


def test_a_drawn_profile_gives_steady_genes_the_most_reads():
    truth = simulate_effects(given(), None, cells=4, reference_cells=2)[1]
    spread = given().log_fold.std(0)
    share = truth.base + np.square(truth.loadings[:6]).sum(0) / 2
    order = np.argsort(spread)
    assert (np.diff(share[order]) < 1e-5).all() and np.exp(share).sum() == pytest.approx(
        1, abs=1e-4
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"genes": 5}, "no setting 'genes', expected one of cells, control_cells"),
        ({"cells": 3}, "at least 4"),
        ({"programs": 6}, "raise `programs`"),
        ({"cells": 5_000_000}, "expected at most 10,000,000 cells"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_settings_are_named(override, message):
    with pytest.raises(InputError, match=message):
        simulate_effects(given(), None, **override)
