"""Linear models whose rank and ridge are chosen inside training."""

import numpy as np
import pytest

from jaxpert.evaluation.baselines import (
    Baseline,
    Inapplicable,
    linear_annotations,
    linear_other_screen,
    linear_tuned,
    mean_perturbation,
)
from jaxpert.evaluation.baselines import regression as shared
from jaxpert.evaluation.baselines.linear_annotations import principal_coordinates
from support.training_means import singles


def screen(rank, number=40, genes=60, noise=0.05, seed=0):
    """Single perturbations whose effects are a linear map of `rank` coordinates of each."""
    rng = np.random.default_rng(seed)
    coordinates = rng.normal(size=(number, rank))
    effects = coordinates @ rng.normal(size=(rank, genes))
    return singles(effects + noise * rng.normal(size=effects.shape)), coordinates, effects


def without(given, row):
    """The same with one perturbation that has no training cells."""
    cells, means = given.cells.copy(), given.means.copy()
    cells[row], means[row] = 0, np.nan
    return given._replace(cells=cells, means=means)


@pytest.mark.parametrize("rank", [2, 5])
def test_the_planted_rank_is_chosen(rank):
    given, coordinates, _ = screen(rank)
    # Coordinates that say nothing come behind those that the effects are made of.
    idle = np.random.default_rng(1).normal(size=(40, 10))
    known = np.hstack([coordinates, idle])
    choice = shared.choose(given, lambda _: known, np.zeros(0, int))
    assert choice.rank == rank and choice.ridge <= 10


def test_nothing_to_learn_is_the_mean():
    """Embeddings that say nothing of the effects are shrunken away."""
    given, _, _ = screen(3)
    idle = np.random.default_rng(2).normal(size=(40, 8))
    got = linear_other_screen(given._replace(embeddings=idle))
    assert isinstance(got, Baseline)
    mean = mean_perturbation(given).means
    spread = np.abs(given.means[1:] - mean[1:]).mean()
    assert np.abs(got.means[1:] - mean[1:]).mean() < 0.35 * spread


def test_another_screen_predicts_a_gene_never_perturbed():
    given, coordinates, effects = screen(3)
    elsewhere = coordinates @ np.random.default_rng(3).normal(size=(3, 25))
    absent = without(given._replace(embeddings=elsewhere), 7)
    got = linear_other_screen(absent)
    assert isinstance(got, Baseline) and "rank" in got.notes[0]
    error = ((got.means[7] - given.means[0] - effects[6]) ** 2).mean()
    of_mean = ((mean_perturbation(absent).means[7] - given.means[0] - effects[6]) ** 2).mean()
    assert error < 0.05 * of_mean
    elsewhere[6] = np.nan
    lost = linear_other_screen(absent._replace(embeddings=elsewhere))
    assert isinstance(lost, Baseline) and lost.fallback[7] and "g6" in lost.notes[1]
    np.testing.assert_allclose(lost.means[7], mean_perturbation(absent).means[7])


def test_annotations_predict_a_gene_of_a_pathway():
    """Genes of one pathway share their annotation and their effect."""
    pathway = np.arange(40) % 4
    rng = np.random.default_rng(4)
    effects = rng.normal(size=(4, 60))[pathway] + 0.05 * rng.normal(size=(40, 60))
    similar = (pathway[:, None] == pathway).astype(float)
    given = without(singles(effects)._replace(similarity=similar), 9)
    got = linear_annotations(given)
    assert isinstance(got, Baseline) and not got.fallback.any()
    error = ((got.means[9] - given.means[0] - effects[8]) ** 2).mean()
    assert error < 0.05 * (effects[8] ** 2).mean()


def test_coordinates_have_the_similarities_as_products():
    rng = np.random.default_rng(5)
    vectors = rng.random((6, 4))
    similarity = vectors @ vectors.T
    coordinates = principal_coordinates(similarity)
    np.testing.assert_allclose(coordinates @ coordinates.T, similarity, atol=1e-12)
    lengths = (coordinates**2).sum(0)
    assert (np.diff(lengths) <= 1e-12).all()


def test_genes_that_tell_of_their_own_effect_are_used():
    """`linear_tuned` embeds a perturbation by what is measured of its gene."""
    rng = np.random.default_rng(6)
    loadings = rng.normal(size=(60, 2))
    effects = loadings[:40] @ loadings.T + 0.05 * rng.normal(size=(40, 60))
    given = without(singles(effects), 5)
    got = linear_tuned(given)
    assert isinstance(got, Baseline)
    error = ((got.means[5] - given.means[0] - effects[4]) ** 2).mean()
    assert error < 0.3 * (effects[4] ** 2).mean()


def test_folds_are_left_out_of_everything():
    """The error of a fold does not change when its own means decide neither components nor mean."""
    given, _, _ = screen(2, number=10)
    kept = np.arange(1, 9)
    before = shared.gene_scores(given, kept), shared.response_scores(given, kept)
    means = given.means.copy()
    means[9:] += 5
    other = given._replace(means=means)
    np.testing.assert_array_equal(shared.gene_scores(other, kept), before[0])
    np.testing.assert_array_equal(shared.response_scores(other, kept), before[1])


def test_what_cannot_be_chosen_is_said():
    few, _, _ = screen(2, number=3)
    got = linear_tuned(few)
    assert isinstance(got, Inapplicable) and "3 perturbations are trained on" in got.why
    given, _, _ = screen(2)
    drugs = given._replace(treatments=tuple(f"drug{i}" for i in range(40)))
    got = linear_tuned(drugs)
    assert isinstance(got, Inapplicable) and "no trained perturbation has an embedding" in got.why
    nothing = linear_other_screen(given._replace(embeddings=np.full((40, 3), np.nan)))
    assert isinstance(nothing, Inapplicable) and "none of the perturbed genes" in nothing.why
