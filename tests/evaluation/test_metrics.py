"""Scores: what they give for perfect, constant and permuted predictions, and against scipy-free
plain formulas."""

import numpy as np
import pytest

from jaxpert.evaluation import metrics
from jaxpert.evaluation.intervals import bootstrap_weights, difference
from jaxpert.evaluation.metrics import METRICS
from jaxpert.evaluation.scoring import Context, score, select, statistics

PERTURBATIONS, GENES = 12, 90


@pytest.fixture
def effects():
    rng = np.random.default_rng(0)
    observed = rng.normal(size=(PERTURBATIONS, GENES)) * rng.gamma(1, 1, (PERTURBATIONS, 1))
    return observed, observed + 0.7 * rng.normal(size=observed.shape)


def context(genes=None, own_genes=True):
    genes = np.arange(GENES) if genes is None else genes
    rng = np.random.default_rng(1)
    mask = rng.random((PERTURBATIONS, GENES)) < 0.02
    return Context(
        rng.gamma(1, 1, GENES)[genes],
        rng.normal(size=GENES)[genes],
        mask[:, genes] if own_genes else None,
    )


def test_every_score_is_there_in_order(effects):
    assert tuple(score(*effects, context())) == tuple(METRICS)
    assert "l2_expressed" not in score(*effects)


def test_perfect_prediction_gets_the_best_score(effects):
    for name, value in score(effects[0], effects[0], context()).items():
        assert value == pytest.approx(1 if METRICS[name].higher_is_better else 0, abs=1e-12), name


def test_order_of_genes_and_of_perturbations_does_not_matter(effects):
    observed, predicted = effects
    genes, rows = (
        np.random.default_rng(2).permutation(GENES),
        np.random.default_rng(3).permutation(PERTURBATIONS),
    )
    observed[:, :50] = np.round(observed[:, :50])  # ties
    expected = score(observed, predicted, context())
    permuted = score(observed[:, genes], predicted[:, genes], context(genes))
    assert permuted == pytest.approx(expected)
    ctx = context()
    ctx = ctx._replace(own_genes=ctx.own_genes[rows])
    assert score(observed[rows], predicted[rows], ctx) == pytest.approx(expected)


def test_pooled_scores_equal_the_plain_formulas(effects):
    observed, predicted = effects
    top = np.argsort(-np.abs(observed), 1)[:, :20]
    every = np.tile(np.arange(GENES), (PERTURBATIONS, 1))
    scores = score(observed, predicted)
    for genes, suffix in ((every, ""), (top, "_top20")):
        a, b = (np.take_along_axis(e, genes, 1).ravel() for e in effects)
        r2 = 1 - ((a - b) ** 2).sum() / ((a - a.mean()) ** 2).sum()
        assert scores[f"ate_pearson{suffix}"] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-12)
        assert scores[f"ate_r2{suffix}"] == pytest.approx(r2, abs=1e-12)


def test_jaccard_counts_the_shared_genes():
    observed = np.array([[5.0, 4, 3, 0, 0, 0.1], [1, 2, 3, 4, 5, 6]])
    predicted = np.array([[-9.0, 0, 8, 7, 0, 0], [1, 2, 3, 4, 5, 6]])
    np.testing.assert_allclose(metrics.jaccard_top_k(observed, predicted, 3), [2 / 4, 1])
    assert np.isnan(metrics.jaccard_top_k(observed, predicted, 6)).all()


def test_pearson_delta_is_row_wise_and_takes_a_reference(effects):
    observed, predicted = effects
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(*effects, strict=True)]
    np.testing.assert_allclose(metrics.pearson_delta(*effects), expected)
    reference = np.linspace(-1, 1, GENES)
    np.testing.assert_allclose(
        metrics.pearson_delta(observed + reference, predicted + reference, reference), expected
    )


@pytest.mark.parametrize("n", [2, 5, 40])
def test_a_constant_predictor_discriminates_exactly_at_chance(n):
    rng = np.random.default_rng(n)
    observed = rng.normal(size=(n, 30))
    for row in (np.zeros(30), rng.normal(size=30)):
        distance = metrics.distances(np.tile(row, (n, 1)), observed, "l1")
        assert metrics.discrimination_score(distance).mean() == pytest.approx(
            1 / 2 + 1 / (2 * n), abs=1e-12
        )
    ties = np.tile(observed[:1], (n, 1))
    assert metrics.discrimination_score(metrics.distances(ties, ties, "l1")).mean() == 1 / 2 + 1 / (
        2 * n
    )


def test_own_genes_are_left_out_of_the_l1_distance(effects):
    observed, predicted = effects
    perturbed = np.zeros(observed.shape, bool)
    perturbed[:, 3] = perturbed[4, 7] = True
    expected = [
        [np.abs(np.delete(q - p, np.flatnonzero(mask))).sum() for q in observed]
        for p, mask in zip(predicted, perturbed, strict=True)
    ]
    np.testing.assert_allclose(metrics.distances(predicted, observed, "l1", perturbed), expected)


def test_centroid_accuracy_counts_strictly_farther_candidates():
    candidates = np.array([[0.0], [1.0], [2.0], [4.0]])
    distance = metrics.distances(np.array([[1.4], [9.0]]), candidates)
    np.testing.assert_allclose(metrics.centroid_accuracy(distance, np.array([1, 0])), [1, 0])


def test_l2_uses_the_genes_most_expressed_in_control():
    control = np.array([0.0, 3, 1, 2])
    observed = np.array([[9.0, 3, 9, 4]])
    assert metrics.l2_expressed(observed, np.zeros((1, 4)), control, 2) == pytest.approx([5.0])


def test_undefined_scores_are_nan_never_zero(effects):
    observed, _ = effects
    none = score(observed, np.zeros_like(observed), context())
    for name in (
        "ate_pearson",
        "ate_pearson_top20",
        "pearson_delta",
        "jaccard_top20",
        "jaccard_top50",
    ):
        assert np.isnan(none[name]), name
    assert none["ate_r2"] <= 0 and np.isfinite(none["mse"])
    reference = context().reference
    mean = score(observed, np.tile(reference, (PERTURBATIONS, 1)).astype(np.float32), context())
    assert np.isnan(mean["pearson_delta_reference"]) and np.isfinite(mean["pearson_delta"])
    single = score(observed[:1], observed[:1])
    assert (
        np.isnan(single["discrimination_score"])
        and np.isnan(single["centroid_accuracy"])
        and single["ate_pearson"] == 1
    )
    assert np.isnan(score(np.zeros_like(observed), observed)["ate_r2"])


def test_subset_of_statistics_equals_scoring_the_subset(effects):
    observed, predicted = effects
    rows = np.array([1, 4, 5, 9])
    ctx = context()
    got = {n: s.sum(0) for n, s in select(statistics(observed, predicted, ctx), rows).items()}
    sub = ctx._replace(own_genes=ctx.own_genes[rows], candidates=observed, places=rows)
    expected = score(observed[rows], predicted[rows], sub)
    assert got["mse"][0] / got["mse"][1] == pytest.approx(expected["mse"])
    for name in ("discrimination_score", "centroid_accuracy", "jaccard_top20"):
        assert got[name][0] / got[name][1] == pytest.approx(expected[name]), name


def test_bootstrap_interval_covers_the_difference_and_shrinks_with_the_gap(effects):
    observed, good = effects
    bad = observed + 3 * np.random.default_rng(5).normal(size=observed.shape)
    weights = bootstrap_weights(np.random.default_rng(0), PERTURBATIONS, 500)
    np.testing.assert_array_equal(weights.sum(1), PERTURBATIONS)
    sums = [select(statistics(observed, p), np.arange(PERTURBATIONS)) for p in (good, bad)]
    for name in ("ate_pearson", "jaccard_top50"):
        d = difference(name, sums[0][name], sums[1][name], weights)
        assert 0 < d.low < d.difference < d.high
        assert difference(name, sums[0][name], sums[0][name], weights) == (0, 0, 0, 1)
    few = difference("mse", sums[0]["mse"][:3], sums[1]["mse"][:3], weights[:, :3])
    assert few.difference < 0 and np.isnan(few.low)


def test_a_mean_over_a_minority_of_perturbations_is_not_given(effects):
    observed, predicted = effects
    predicted[:5] = 0
    some = score(observed, predicted)
    assert some["pearson_delta"] == pytest.approx(
        metrics.pearson_delta(observed[5:], predicted[5:]).mean()
    )
    predicted[:7] = 0
    assert np.isnan(score(observed, predicted)["pearson_delta"])
    sums = [
        select(statistics(observed, p), np.arange(PERTURBATIONS))["pearson_delta"]
        for p in (predicted, observed)
    ]
    assert np.isnan(
        difference(
            "pearson_delta", *sums, bootstrap_weights(np.random.default_rng(0), 12, 10)
        ).difference
    )


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_distances_of_large_screens_are_the_same(monkeypatch, kind):
    rng = np.random.default_rng(0)
    observed = rng.normal(size=(7, 5))
    predicted = np.concatenate([np.tile(observed[0], (3, 1)), rng.normal(size=(4, 5))])
    plain = metrics.distances(predicted, observed, kind)
    monkeypatch.setattr(metrics, "LARGE", 0)
    np.testing.assert_allclose(metrics.distances(predicted, observed, kind), plain, atol=1e-7)
