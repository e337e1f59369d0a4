"""Intervals of paired differences: gradients, Student's t by hand, and seeds as a second source of
variance."""

import numpy as np
import pytest
from scipy import stats

from jaxpert.evaluation import scoring
from jaxpert.evaluation.influence import gradient
from jaxpert.evaluation.intervals import bootstrap_weights, difference, mean_difference
from jaxpert.evaluation.metrics import pooled_sums

NAMES = ("ate_pearson", "ate_r2", "mse")


def pooled(n, noise, seed=0, genes=30):
    observed = np.random.default_rng(1).normal(size=(n, genes)) * np.linspace(0.5, 2, n)[:, None]
    predicted = observed + noise * np.random.default_rng(seed).normal(size=(n, genes))
    return pooled_sums(observed, predicted)


def averaged(values):
    values = np.asarray(values, float)
    defined = np.isfinite(values).astype(float)
    return np.stack([np.nan_to_num(values), defined, np.ones_like(defined)], axis=1)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_the_scores(name):
    rows = averaged([0.5, 2.0, 1.0]) if name == "mse" else pooled(4, 0.7)
    total = rows.sum(0)
    for k in range(total.size):
        step = np.zeros(total.size)
        step[k] = 1e-5 * max(1.0, abs(total[k]))
        slope = (scoring.value(name, total + step) - scoring.value(name, total - step)) / 2
        assert gradient(name, total)[k] * step[k] == pytest.approx(slope, rel=1e-4, abs=1e-11)
    assert (rows @ gradient(name, total)).sum() == pytest.approx(0, abs=1e-12), "degree 0"


def test_below_ten_a_mean_has_students_interval():
    first, second = (
        np.array([0.1, 0.4, 0.3, 0.9, 0.5, 0.2]),
        np.array([0.2, 0.1, 0.3, 0.4, 0.6, 0.0]),
    )
    weights = bootstrap_weights(np.random.default_rng(0), 6, 10)
    made = difference("mse", averaged(first), averaged(second), weights)
    gap = first - second
    expected = stats.t.interval(0.95, 5, gap.mean(), stats.sem(gap))
    assert made.difference == pytest.approx(gap.mean())
    assert (made.low, made.high) == pytest.approx(expected)
    assert made.p == pytest.approx(stats.ttest_rel(first, second).pvalue)


def test_below_ten_a_pooled_score_has_the_interval_of_its_pseudo_values():
    first, second = pooled(7, 0.5), pooled(7, 0.8, seed=3)
    made = difference("ate_r2", first, second, bootstrap_weights(np.random.default_rng(0), 7, 10))

    def gap(rows):
        return scoring.value("ate_r2", first[rows].sum(0)) - scoring.value(
            "ate_r2", second[rows].sum(0)
        )

    everything = np.arange(7)
    without = np.array([gap(np.delete(everything, i)) for i in everything])
    pseudo = 7 * gap(everything) - 6 * without
    reach = stats.t.ppf(0.975, 6) * stats.sem(pseudo)
    assert made.high - made.difference == pytest.approx(reach)


@pytest.mark.parametrize("n", [7, 30])
@pytest.mark.parametrize("name", NAMES)
def test_the_p_value_is_five_percent_where_the_interval_ends_at_0(name, n):
    rows = [pooled(n, 0.5), pooled(n, 0.51, seed=3)]
    if name == "mse":
        rows = [averaged(of[:, 6] / of[:, 0]) for of in rows]
    weights = bootstrap_weights(np.random.default_rng(0), n, 300)
    made = difference(name, *rows, weights)
    assert (made.p < 0.05) == (not made.low <= 0 <= made.high)
    # The level at which the interval just reaches 0 is 1 - p, up to the stretch of the quantile.
    reach = made.high - made.difference
    t = stats.t.ppf(0.975, n - 1) * abs(made.difference) / reach
    assert made.p == pytest.approx(2 * stats.t.sf(t, n - 1))


def test_too_few_have_no_interval_and_no_p_value():
    weights = bootstrap_weights(np.random.default_rng(0), 4, 10)
    made = difference("mse", averaged([1, 2, 3, 4]), averaged([0, 0, 0, 0]), weights)
    assert made.difference == 2.5 and np.isnan([made.low, made.high, made.p]).all()
    # Perturbations that one side leaves undefined do not count.
    weights = bootstrap_weights(np.random.default_rng(0), 6, 10)
    holes = averaged([1, 2, 3, 4, np.nan, np.nan])
    assert np.isnan(difference("pearson_delta", holes, averaged(np.arange(6)), weights).low)


def test_a_single_perturbation_that_differs_proves_nothing():
    weights = bootstrap_weights(np.random.default_rng(0), 12, 300)
    one = averaged([1.0] + [0.0] * 11)
    made = difference("mse", one, averaged(np.zeros(12)), weights)
    # A third of the resamples lack it and have no spread at all.
    assert made.low == -np.inf and made.p == 1


def test_the_studentised_interval_is_wider_than_resampled_quantiles_when_few():
    rng = np.random.default_rng(2)
    first, second = averaged(rng.normal(size=12)), averaged(rng.normal(size=12))
    weights = bootstrap_weights(rng, 12, 2000)
    made = difference("mse", first, second, weights)
    drawn = scoring.value("mse", weights @ first) - scoring.value("mse", weights @ second)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert made.low < low < high < made.high
    normal = stats.t.interval(0.95, 11, made.difference, stats.sem(first[:, 0] - second[:, 0]))
    assert made.high - made.low == pytest.approx(normal[1] - normal[0], rel=0.25)


def test_seeds_that_agree_change_nothing_and_seeds_that_do_not_widen():
    rng = np.random.default_rng(4)
    first, second = rng.normal(size=20), rng.normal(size=20)
    weights = bootstrap_weights(rng, 20, 400)
    single = difference("mse", averaged(first), averaged(second), weights)
    pair = averaged(first), averaged(second), weights
    same = mean_difference("mse", [pair] * 3)
    assert same == pytest.approx(single)
    apart = [(averaged(first + shift), averaged(second), weights) for shift in (-1.0, 0.0, 1.0)]
    wide = mean_difference("mse", apart)
    assert wide.difference == pytest.approx(single.difference)
    # Seeds alone: variance 1 of 3 seeds, so an error of 0.58 and at most 22 degrees of freedom.
    assert wide.high - wide.low > 2 * 2.0 * np.sqrt(1 / 3)
    assert wide.p > single.p


def test_seeds_of_other_perturbations_are_put_in_their_places():
    rng = np.random.default_rng(5)
    values = rng.normal(size=(2, 24))
    weights = bootstrap_weights(rng, 24, 300)
    whole = difference("mse", averaged(values[0]), averaged(values[1]), weights)
    halves = []
    places = [np.arange(0, 24, 2), np.arange(1, 24, 2)]
    for at in places:
        halves.append((averaged(values[0, at]), averaged(values[1, at]), weights[:, at]))
    parts = mean_difference("mse", halves, places=places)
    assert parts.difference == pytest.approx(whole.difference)
    # 24 perturbations stand behind the mean, though each seed has 12; the seeds add their spread.
    assert parts.high - parts.low > 0.9 * (whole.high - whole.low)
