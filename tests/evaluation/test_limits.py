"""Where scores begin and end on a data set."""

import math

import numpy as np
import pytest

from jaxpert.evaluation import limits, scoring
from jaxpert.evaluation.metrics import discrimination_score, jaccard_top_k
from jaxpert.evaluation.noise import Noise
from jaxpert.evaluation.sums import Screen, all_sums

P, G = 20, 60


def test_the_way_from_the_best_baseline_to_the_ceiling():
    baselines = {"a": {"ate_r2": 0.2, "mse": 4.0}, "b": {"ate_r2": 0.4, "mse": math.nan}}
    model = {"ate_r2": 0.5, "mse": 5.0}
    shares = limits.progress(model, baselines, {"ate_r2": 0.8, "mse": 2.0, "pearson_delta": 0.9})
    assert shares["ate_r2"] == {"baseline": "b", "share": pytest.approx(0.25)}
    assert shares["mse"] == {"baseline": "a", "share": pytest.approx(-0.5)}
    assert set(shares) == {"ate_r2", "mse"}
    # No way leads to a ceiling that a baseline has passed.
    assert limits.progress(model, baselines, {"ate_r2": 0.4}) == {}


def test_chance_is_what_a_blind_prediction_scores():
    rng = np.random.default_rng(0)
    blind = jaccard_top_k(rng.normal(size=(400, 200)), rng.normal(size=(400, 200)), 20).mean()
    assert limits.chance("jaccard_top20", 200, 400) == pytest.approx(blind, abs=0.005)
    constant = discrimination_score(np.ones((8, 8))).mean()
    assert limits.chance("discrimination_score", 200, 8) == pytest.approx(constant)


def made(truth, sd):
    rng = np.random.default_rng(1)
    observed = truth + sd * rng.normal(size=truth.shape)
    mean = np.tile(truth[1:].mean(0), (P + 1, 1))
    predictions = {"mean_perturbation": mean, "no_change": np.zeros_like(mean)}
    noise = Noise(np.full(truth.shape, sd**2), np.zeros(G), np.ones(P + 1))
    screen = Screen([str(p) for p in range(P + 1)], 0, {"test": np.arange(1, P + 1)}, noise=noise)
    sums, _ = all_sums(observed, predictions, screen)
    return limits.limits(observed, screen, sums, 0), sums


def test_a_score_counts_where_perturbations_differ_by_more_than_noise():
    rng = np.random.default_rng(0)
    common = rng.normal(size=G)
    apart = np.concatenate([np.zeros((1, G)), common + rng.normal(size=(P, G))])
    told, sums = made(apart, 0.3)
    of = told.calibration["test"]["ate_r2"]
    assert of.counted and of.null == pytest.approx(
        scoring.values(sums["no_change"]["test"])["ate_r2"]
    )
    assert of.share == pytest.approx((of.mean - of.null) / (of.ceiling - of.null))
    assert of.range == pytest.approx((of.ceiling - of.mean) / (1 - of.mean)) and 0.5 < of.range < 1
    alike = np.concatenate([np.zeros((1, G)), common + 0.02 * rng.normal(size=(P, G))])
    lost, _ = made(alike, 3.0)
    assert set(limits.uncounted(lost.calibration["test"])) >= {"ate_pearson", "ate_r2", "mse"}


def test_without_noise_nothing_is_said():
    screen = Screen(["c", "a"], 0, {"test": np.array([1])})
    assert limits.limits(np.zeros((2, G)), screen, {}, 0) == limits.Limits({}, {}, [])
