"""The additive baselines that are scaled, shrunken, averaged or completed by annotations."""

import numpy as np
import pytest

from jaxpert.evaluation.baselines import (
    Baseline,
    Inapplicable,
    additive,
    annotation_weighted,
    matching_mean,
    mean_cell,
    mean_same_size,
    nearest_perturbation,
    scaled_additive,
    shrunken_additive,
)
from jaxpert.evaluation.baselines.shrunken_additive import james_stein
from support.training_means import noise, singles, training


def made(of) -> Baseline:
    assert isinstance(of, Baseline), of
    return of


def test_the_mean_by_cells_counts_every_cell_once():
    given, _ = training(cells=(9, 1, 500, 5, 5, 0, 5))
    rows, weights = [1, 2, 3, 4, 6], np.array([1, 500, 5, 5, 5])
    expected = (weights[:, None] * given.means[rows]).sum(0) / weights.sum()
    np.testing.assert_allclose(mean_cell(given).means[5], expected)
    np.testing.assert_array_equal(mean_cell(given).means[0], given.means[0])


def test_the_mean_of_the_same_size_is_one_for_singles_and_one_for_pairs():
    given, _ = training()
    got = made(mean_same_size(given))
    np.testing.assert_allclose(got.means[2], given.means[[1, 2, 3]].mean(0))
    np.testing.assert_allclose(got.means[5], given.means[[4, 6]].mean(0))
    assert not got.fallback.any() and not got.notes


def test_a_size_that_is_never_trained_gets_the_mean_of_all():
    given, _ = training()
    sets = given.condition_treatments.copy()
    sets[5] = [1, 1, 1, 0]
    got = made(mean_same_size(given._replace(condition_treatments=sets)))
    np.testing.assert_allclose(got.means[5], given.means[[1, 2, 3, 4, 6]].mean(0))
    assert got.fallback.tolist() == [False] * 5 + [True, False] and "(3)" in got.notes[0]


def test_a_planted_factor_is_found_and_singles_keep_their_means():
    given, truth = training(cells=(9, 5, 5, 5, 5, 0, 0), factor=0.68)
    got = made(scaled_additive(given))
    assert "the factor is 0.68, from 1 trained" in got.notes[0]
    # The pair g1+g2 was never trained, and the drug has no effect alone.
    np.testing.assert_allclose(got.means[:6], truth[:6])


def test_a_factor_is_that_of_least_squares_over_whole_combinations():
    given, _ = training(cells=(9, 5, 5, 5, 5, 5, 5))
    rng = np.random.default_rng(4)
    means = given.means + rng.normal(0, 0.3, given.means.shape)
    given = given._replace(means=means)
    effect = means - means[0]
    added = np.concatenate([effect[1] + effect[2], effect[2] + effect[3]])
    factor = np.linalg.lstsq(added[:, None], np.concatenate([effect[4], effect[5]]), rcond=None)[0]
    got = made(scaled_additive(given))
    np.testing.assert_allclose(got.means[4] - means[0], factor[0] * (effect[1] + effect[2]))
    # The drug was given in company alone: its combination has no part in the factor.
    assert "from 2 trained" in got.notes[0] and got.fallback.tolist() == [False] * 6 + [True]
    none = scaled_additive(given._replace(cells=np.array([9, 5, 5, 5, 0, 0, 5])))
    assert isinstance(none, Inapplicable) and "no combination" in none.why


def test_shrinkage_goes_to_none_with_cells_and_to_all_with_noise():
    given, _ = training()
    many = made(shrunken_additive(given._replace(noise=noise(given, of_cell=1e-9))))
    np.testing.assert_allclose(many.means, additive(given).means, atol=1e-7)
    few = made(shrunken_additive(given._replace(noise=noise(given, of_cell=1e3))))
    np.testing.assert_array_equal(few.means, np.tile(given.means[0], (7, 1)))


def test_the_factor_is_that_of_james_and_stein():
    effect = np.array([3.0, 0, 0, 4])
    assert james_stein(effect, np.full(4, 2.0)) == pytest.approx(1 - (4 - 2) * 2 / 25)
    assert james_stein(effect, np.full(4, 50.0)) == 0
    assert james_stein(np.zeros(4), np.ones(4)) == 0
    # Its mean is that of the best multiple, |true|^2 / (|true|^2 + G v), in many draws.
    rng = np.random.default_rng(0)
    true, v = rng.normal(size=400), 0.5
    drawn = [james_stein(true + rng.normal(0, v**0.5, 400), np.full(400, v)) for _ in range(200)]
    best = (true**2).sum() / ((true**2).sum() + 400 * v)
    assert np.mean(drawn) == pytest.approx(best, abs=0.01)


def test_each_treatment_has_a_factor_of_its_own():
    """A pair is the sum of both shrunken effects, the control's noise in either factor."""
    given, _ = training(cells=(9, 2, 500, 5, 5, 0, 5))
    of = noise(given)
    got = made(shrunken_additive(given._replace(noise=of)))
    effect = given.means - given.means[0]
    kept = [james_stein(effect[row], of.condition[row] + of.control) for row in (1, 2)]
    assert kept[0] < kept[1] < 1
    np.testing.assert_allclose(got.means[4] - given.means[0], kept @ effect[[1, 2]])
    assert "drug" in got.notes[0] and got.fallback[6]
    stand_in = effect[1:4].mean(0)
    of_mean = of.condition[1:4].mean(0) / 3 + of.control
    expected = kept[0] * effect[1] + james_stein(stand_in, of_mean) * stand_in
    np.testing.assert_allclose(got.means[6] - given.means[0], expected)


def test_shrunken_effects_are_nearer_to_the_truth():
    rng = np.random.default_rng(5)
    truth = rng.normal(0, 0.3, (12, 200)) * rng.random((12, 1))
    measured = singles(truth + rng.normal(0, 0.3, truth.shape))
    given = measured._replace(noise=noise(measured, of_cell=20 * 0.09))
    given = given._replace(noise=given.noise._replace(control=np.zeros(200)))  # pyright: ignore
    control = given.means[0]
    error = {}
    for baseline in (additive, shrunken_additive):
        error[baseline.__name__] = ((made(baseline(given)).means[1:] - control - truth) ** 2).mean()
    assert error["shrunken_additive"] < 0.5 * error["additive"]


def test_the_matching_mean_is_the_mean_of_the_profiles_of_its_parts():
    given, _ = training()
    got = made(matching_mean(given))
    np.testing.assert_allclose(got.means[5], given.means[[2, 3]].mean(0))
    np.testing.assert_allclose(got.means[1:4], given.means[1:4])
    # The drug was never given alone.
    expected = (given.means[1] + mean_cell(given).means[1]) / 2
    np.testing.assert_allclose(got.means[6], expected)
    assert got.fallback.tolist() == [False] * 6 + [True] and "drug" in got.notes[0]


def test_the_nearest_perturbation_is_the_one_with_most_in_common():
    given, _ = training(cells=(9, 5, 5, 0, 5, 0, 5))
    got = made(nearest_perturbation(given))
    # What is trained is most like itself, be it a pair.
    trained = [1, 2, 4, 6]
    np.testing.assert_allclose(got.means[trained], given.means[trained])
    # g1+g2 has one gene of two with g1, which is nearer than one of g0+g1.
    np.testing.assert_allclose(got.means[5], given.means[2])
    # g2 is like none.
    mean = given.means[trained].mean(0)
    np.testing.assert_allclose(got.means[3], mean)
    assert got.fallback.tolist() == [False, False, False, True, False, False, False]
    assert "g2" in got.notes[0]


def test_equally_near_perturbations_are_averaged():
    given, _ = training(cells=(9, 5, 5, 5, 0, 0, 0))
    got = made(nearest_perturbation(given))
    np.testing.assert_allclose(got.means[4], given.means[[1, 2]].mean(0))


def test_relatives_by_annotation_are_near():
    given, _ = training(cells=(9, 5, 5, 0, 5, 0, 5))
    like = np.eye(4)
    like[2, 0] = like[0, 2] = 0.3
    got = made(nearest_perturbation(given._replace(similarity=like)))
    np.testing.assert_allclose(got.means[3], given.means[1])
    assert not got.fallback.any()


def test_a_gene_never_given_alone_takes_effects_of_its_relatives():
    given, _ = training(cells=(9, 5, 5, 0, 5, 0, 5))
    like = np.eye(4)
    like[2, :2] = like[:2, 2] = 0.3, 0.1
    got = made(annotation_weighted(given._replace(similarity=like)))
    effect = given.means - given.means[0]
    expected = 0.75 * effect[1] + 0.25 * effect[2]
    np.testing.assert_allclose(got.means[3] - given.means[0], expected)
    np.testing.assert_allclose(got.means[5] - given.means[0], expected + effect[2])
    # The drug shares nothing, and is told of; what was given alone stays as it is.
    np.testing.assert_allclose(got.means[[1, 2]], given.means[[1, 2]])
    assert got.fallback.tolist() == [False] * 6 + [True]
    assert "drug" in got.notes[0] and "g2" not in got.notes[0]


def test_one_hot_annotation_copies_the_one_relative():
    given, _ = training(cells=(9, 5, 5, 0, 5, 0, 5))
    like = np.eye(4)
    like[[2, 3], [1, 1]] = like[[1, 1], [2, 3]] = 1
    got = made(annotation_weighted(given._replace(similarity=like)))
    np.testing.assert_allclose(got.means[3], given.means[2])
    assert not got.fallback.any() and not got.notes
