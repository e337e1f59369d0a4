"""Baselines: exact where their assumption holds, and open about what they fall back on."""

import numpy as np
import pytest

from jaxpert.core.types import InputError
from jaxpert.evaluation.baselines import (
    BASELINES,
    Training,
    additive,
    linear,
    mean_perturbation,
    no_change,
)

GENES = tuple(f"g{i}" for i in range(30))
TREATMENTS = ("g0", "g1", "g2", "drug")
SETS = ((), (0,), (1,), (2,), (0, 1), (1, 2), (0, 3))
CONDITIONS = ("control", "g0", "g1", "g2", "g0+g1", "g1+g2", "g0+drug")


def training(cells=(9, 5, 5, 5, 5, 0, 5), seed=0, effects=None):
    """Additive truth; conditions without cells hold NaN, as a pseudobulk does."""
    rng = np.random.default_rng(seed)
    multi_hot = np.array([[t in s for t in range(4)] for s in SETS], float)
    effects = rng.normal(size=(4, 30)) if effects is None else effects
    truth = rng.gamma(1, 1, 30) + multi_hot @ effects
    means = np.where(np.array(cells)[:, None] > 0, truth, np.nan)
    return Training(means, np.array(cells), multi_hot, 0, CONDITIONS, TREATMENTS, GENES), truth


def test_every_baseline_is_finite_and_keeps_the_control():
    given, _ = training()
    for name, baseline in BASELINES.items():
        means = baseline(given).means
        assert np.isfinite(means).all(), name
        np.testing.assert_array_equal(means[0], given.means[0])


def test_no_change_is_control():
    given, _ = training()
    np.testing.assert_array_equal(no_change(given).means, np.tile(given.means[0], (7, 1)))


def test_mean_is_unweighted_over_training_perturbations_only():
    given, _ = training(cells=(9, 1, 500, 5, 5, 0, 5))
    expected = given.means[[1, 2, 3, 4, 6]].mean(0)
    np.testing.assert_allclose(mean_perturbation(given).means[5], expected)


def test_additive_is_exact_on_additive_truth():
    given, truth = training()
    got = additive(given)
    np.testing.assert_allclose(got.means[:6], truth[:6])
    np.testing.assert_allclose(
        got.means[1:4], given.means[1:4]
    )  # singles get their own training mean


def test_additive_names_what_it_falls_back_on():
    given, truth = training()
    got = additive(given)
    np.testing.assert_array_equal(got.fallback, [False] * 6 + [True])
    assert "drug" in got.notes[0] and "single perturbations" in got.notes[0]
    stand_in = truth[1:4].mean(0) - truth[0]
    np.testing.assert_allclose(got.means[6], truth[1] + stand_in)
    assert not additive(
        given._replace(condition_treatments=given.condition_treatments * [1, 1, 1, 0])
    ).notes


def test_additive_without_any_single_rests_on_the_mean_of_all():
    given, _ = training(cells=(9, 0, 0, 0, 5, 5, 5))
    got = additive(given)
    effect = given.means[[4, 5, 6]].mean(0) - given.means[0]
    np.testing.assert_allclose(got.means[4], given.means[0] + 2 * effect)
    assert "all perturbations" in got.notes[0] and got.fallback[1:].all()


def test_linear_solves_its_ridge_problem():
    """The gradient of ||Y - b - GWP'||^2 with the ridge of the closed form vanishes: (G'G+l) W
    (P'P+l) = G'(Y-b)P."""
    given, _ = training()
    seen = np.flatnonzero(given.cells > 0)
    scores = np.linalg.svd((m := given.means[seen].T) - m.mean(0), full_matrices=False)
    g = (scores[0] * scores[1])[:, :3]
    p = given.condition_treatments @ np.vstack([g[:3], np.zeros((1, 3))])
    y = (given.means[seen[1:]] - given.means[0]).T
    b = y.mean(1)
    eye = 0.1 * np.eye(3)
    w = (
        np.linalg.inv(g.T @ g + eye)
        @ g.T
        @ (y - b[:, None])
        @ p[seen[1:]]
        @ np.linalg.inv(p[seen[1:]].T @ p[seen[1:]] + eye)
    )
    expected = given.means[0] + b + p @ w.T @ g.T
    np.testing.assert_allclose(linear(given, components=3).means[1:], expected[1:], atol=1e-9)


def test_linear_with_a_huge_ridge_is_the_mean():
    given, _ = training()
    np.testing.assert_allclose(
        linear(given, ridge=1e12).means, mean_perturbation(given).means, atol=1e-6
    )
    got = linear(given)
    assert "drug" in got.notes[0] and got.fallback.tolist() == [False] * 6 + [True]


@pytest.mark.parametrize(
    ("cells", "message"),
    [((0, 5, 5, 5, 5, 5, 5), "no control cell"), ((9, 0, 0, 0, 0, 0, 0), "no perturbation")],
)
def test_nothing_to_learn_from_is_said_in_one_sentence(cells, message):
    given, _ = training(cells=cells)
    with pytest.raises(InputError, match=message):
        additive(given)


def test_held_out_cells_are_never_read():
    given, _ = training()
    other = given._replace(means=np.where(given.cells[:, None] > 0, given.means, 1e9))
    for baseline in BASELINES.values():
        np.testing.assert_array_equal(baseline(other).means, baseline(given).means)
