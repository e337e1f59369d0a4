"""Baselines: exact where their assumption holds, and open about what they fall back on."""

from dataclasses import replace

import numpy as np
import pytest

from jaxpert.core.types import InputError
from jaxpert.evaluation import baselines
from jaxpert.evaluation.baseline_names import BASELINES as MEANINGS
from jaxpert.evaluation.baselines import (
    BASELINES,
    Inapplicable,
    additive,
    linear,
    make,
    mean_perturbation,
    no_change,
)
from jaxpert.evaluation.baselines.seen import training_of
from support import toy
from support.training_means import noise, training

RELATED = np.array([[1.0, 0.5, 0, 0.2], [0.5, 1, 0, 0.4], [0, 0, 1, 0], [0.2, 0.4, 0, 1]])


def knowing_all():
    """Training that every baseline can be made of, the one pair g1+g2 unseen."""
    given, _ = training()
    embeddings = np.random.default_rng(1).normal(size=(4, 3))
    return given._replace(noise=noise(given), similarity=RELATED, embeddings=embeddings)


def test_all_baselines_are_made_where_the_data_allow_them():
    assert list(BASELINES) == list(MEANINGS)
    made = make(knowing_all())
    assert list(made.baselines) == list(BASELINES)
    bare = make(training()[0])
    absent = {"shrunken_additive", "annotation_weighted", "linear_annotations",
              "linear_other_screen"}  # fmt: skip
    assert set(BASELINES) - set(bare.baselines) == absent
    told = "\n".join(bare.notes)
    assert all(f"baseline {name} is not made: " in told for name in absent)


def test_every_baseline_is_finite_and_keeps_the_control():
    given = knowing_all()
    for name, of in make(given).baselines.items():
        means = of.means
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
    given = knowing_all()
    other = given._replace(means=np.where(given.cells[:, None] > 0, given.means, 1e9))
    before, after = make(given).baselines, make(other).baselines
    for name in BASELINES:
        np.testing.assert_array_equal(after[name].means, before[name].means, err_msg=name)


def test_the_order_of_conditions_and_genes_does_not_matter():
    given = knowing_all()
    rows = np.array([0, 4, 6, 2, 1, 5, 3])
    columns = np.random.default_rng(2).permutation(30)
    assert given.noise is not None
    moved = given._replace(
        means=given.means[np.ix_(rows, columns)],
        cells=given.cells[rows],
        condition_treatments=given.condition_treatments[rows],
        conditions=[given.conditions[row] for row in rows],
        genes=[given.genes[column] for column in columns],
        noise=given.noise._replace(
            condition=given.noise.condition[np.ix_(rows, columns)],
            control=given.noise.control[columns],
        ),
    )
    before, after = make(given).baselines, make(moved).baselines
    for name in BASELINES:
        expected = before[name].means[np.ix_(rows, columns)]
        np.testing.assert_allclose(after[name].means, expected, atol=1e-8, err_msg=name)


def test_counts_of_test_cells_change_no_baseline():
    """From cells on: other counts in cells that do not train leave every prediction alone."""
    given = toy.dataset(cells=120)
    split = np.where(np.arange(120) % 3 == 2, 2, 0)
    given = replace(given, split=split)
    counts = given.counts.toarray()
    counts[split == 2] = np.random.default_rng(3).poisson(50, (int((split == 2).sum()), 12))
    other = replace(given, counts=type(given.counts)(counts))
    before, after = make(training_of(given)), make(training_of(other))
    assert before.notes == after.notes and "shrunken_additive" in before.baselines
    for name, of in before.baselines.items():
        np.testing.assert_array_equal(after.baselines[name].means, of.means)


def test_what_a_file_of_one_size_and_no_unseen_gene_does_not_allow():
    """Baselines that would be another one over again are not made, so that no rival counts
    twice."""
    given, _ = training(cells=(9, 5, 5, 5, 0, 0, 0))
    alone = given._replace(
        means=given.means[:4],
        cells=given.cells[:4],
        condition_treatments=given.condition_treatments[:4, :3],
        conditions=given.conditions[:4],
        treatments=given.treatments[:3],
        similarity=RELATED[:3, :3],
    )
    for name in ("mean_same_size", "scaled_additive", "matching_mean", "nearest_perturbation",
                 "annotation_weighted", "linear_tuned"):  # fmt: skip
        of = BASELINES[name](alone)
        assert isinstance(of, Inapplicable) and of.why, name
    assert "over again" in baselines.mean_same_size(alone).why  # pyright: ignore
