"""Effects within strata: against plain arithmetic on dense arrays, and where strata differ by
nothing but themselves."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from jaxpert.core.types import Dataset
from jaxpert.data.moments import condition_means
from jaxpert.evaluation import differential, pseudobulk, strata
from jaxpert.tasks.screen import feeds, measured

GENES, CONTROL = 30, 1
CONDITIONS = ("a", "ctrl", "b", "c")
CELLS = {  # condition: cells in each of three strata; the last one has no control
    0: (20, 0, 0),
    1: (15, 25, 0),
    2: (5, 10, 0),
    3: (8, 1, 6),
}


def screen(shift: float = 1.5, effect: float = 0.0) -> Dataset:
    """A screen whose strata differ in a third of the genes, and whose perturbation "b" moves one
    gene."""
    rng = np.random.default_rng(0)
    condition = np.concatenate([np.repeat(c, sum(CELLS[c])) for c in CELLS])
    stratum = np.concatenate([np.repeat(np.arange(3), CELLS[c]) for c in CELLS])
    log_rate = np.tile(rng.normal(4, 0.5, GENES), (len(condition), 1))
    log_rate[:, :10] += shift * stratum[:, None]
    log_rate[:, 20] += effect * (condition == 2)
    order = rng.permutation(len(condition))
    counts = rng.poisson(np.exp(log_rate))[order]
    table = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    return Dataset(
        name="strata",
        counts=sparse.csr_matrix(counts.astype(np.uint16)),
        cells=np.arange(len(order)).astype(str),
        genes=tuple(f"g{g}" for g in range(GENES)),
        conditions=CONDITIONS,
        condition=condition[order],
        control=CONTROL,
        treatments=("a", "b", "c"),
        condition_treatments=table,
        strata=("s0", "s1", "s2"),
        stratum=stratum[order],
        obs=pd.DataFrame(index=range(len(order))),
        split=np.zeros(len(order), np.int8),
    )


def logged(dataset: Dataset) -> np.ndarray:
    x = dataset.counts.toarray()
    return np.log2(1 + 1e4 * x / x.sum(1, keepdims=True))


def cells_of(dataset: Dataset, condition: int, stratum: int) -> np.ndarray:
    return logged(dataset)[(dataset.condition == condition) & (dataset.stratum == stratum)]


def test_an_effect_is_the_weighted_mean_over_the_strata_of_its_cells():
    dataset = screen(effect=1.5)
    effects = pseudobulk.effects(pseudobulk.observed_means(dataset), CONTROL)
    for condition, cells in CELLS.items():
        # The last stratum has no control cell, so its cells are compared with nothing.
        parts = [
            number
            * (cells_of(dataset, condition, s).mean(0) - cells_of(dataset, CONTROL, s).mean(0))
            for s, number in enumerate(cells[:2])
            if number
        ]
        expected = np.sum(parts, axis=0) / sum(cells[:2])
        np.testing.assert_allclose(effects[condition], expected, atol=1e-12)
    assert (effects[CONTROL] == 0).all()


def test_a_difference_between_strata_is_no_effect():
    """ "a" lies in the first stratum alone and does nothing."""
    dataset = screen()
    within = pseudobulk.effects(pseudobulk.observed_means(dataset), CONTROL)
    pooled = replace(dataset, controls="pooled")
    across = pseudobulk.effects(pseudobulk.observed_means(pooled), CONTROL)
    assert np.abs(within[0]).max() < 0.2 and np.abs(across[0]).max() > 0.7


def test_one_stratum_gives_the_same_bits_as_none():
    dataset = replace(screen(), strata=("all",), stratum=np.zeros(90, int))
    plain = condition_means(dataset.counts, dataset.condition, 4, variance=True)
    means = pseudobulk.observed_means(dataset, variance=True)
    np.testing.assert_array_equal(means.mean, plain.mean)
    np.testing.assert_array_equal(means.variance, plain.variance)
    assert means.matched is None
    # Several strata of which one has cells are one stratum too.
    lone = replace(dataset, strata=("s0", "s1"))
    np.testing.assert_array_equal(pseudobulk.observed_means(lone).mean, plain.mean)


def test_baselines_learn_no_difference_between_strata():
    of = measured.measure(screen())
    for name, effects in of.baselines.items():
        assert np.abs(effects).max() < 0.5, name
    # The additive baseline gives a measured single its own effect.
    np.testing.assert_allclose(of.baselines["additive"][0], of.effects[0], atol=1e-12)
    assert {"no_change", "mean_perturbation", "shrunken_additive", "linear"} <= set(of.baselines)


def test_halves_are_compared_within_strata():
    dataset = replace(screen(), split=np.full(90, 2, np.int8))
    halves = measured.duplicate(dataset, seed=0)
    for half in halves:
        assert np.abs(half[0]).max() < 0.6
    # Both halves have as many cells of every stratum, so their mean is the whole's.
    both = (halves[0][0] + halves[1][0]) / 2
    whole = pseudobulk.held_out_effects(dataset)[0]
    np.testing.assert_allclose(both, whole, atol=0.15)


def test_held_out_cells_take_the_controls_of_their_strata():
    """Test has control cells of the first stratum alone; those of the second come from training."""
    dataset = screen()
    control = dataset.condition == CONTROL
    tested = ~control | (control & (dataset.stratum == 0))
    dataset = replace(dataset, split=np.where(tested, 2, 0).astype(np.int8))
    rows = pseudobulk.held_out_rows(dataset)
    assert len(rows) == 90 and (np.diff(rows) > 0).all()
    pooled = replace(dataset, controls="pooled")
    assert len(pseudobulk.held_out_rows(pooled)) == tested.sum()


def test_ranking_sees_effects_and_no_strata():
    dataset = screen(effect=3.0)
    means = pseudobulk.observed_means(dataset, variance=True)
    ranking = differential.rank(means, CONTROL)
    assert ranking.order[2, 0] == 20 and np.abs(ranking.score[0]).max() < 5
    np.testing.assert_array_equal(ranking.ranked, [True, False, True, True])
    # "a" lies in one stratum, where t is Welch's with the variance of controls within strata.
    a, control = cells_of(dataset, 0, 0), [cells_of(dataset, CONTROL, s) for s in (0, 1)]
    spread = (14 * control[0].var(0, ddof=1) + 24 * control[1].var(0, ddof=1)) / 38
    error = np.sqrt(a.var(0, ddof=1) / 20 + spread / 15)
    t = (a.mean(0) - control[0].mean(0)) / error
    np.testing.assert_allclose(ranking.score[0], t, rtol=1e-9)
    pooled = differential.rank(
        pseudobulk.observed_means(replace(dataset, controls="pooled"), variance=True), CONTROL
    )
    whole = np.concatenate(control)
    welch = stats.ttest_ind(a, whole, equal_var=False).statistic
    np.testing.assert_allclose(pooled.score[0], welch, rtol=1e-9)
    top = feeds.ranked_genes(dataset, "train")
    assert top[2, 0] == 20 and (top[CONTROL] == -1).all()


def test_shares_and_conditions_without_controls():
    dataset = screen()
    shares = strata.shares_of(dataset, np.arange(90))
    np.testing.assert_allclose(shares, [[1, 0, 0], [15 / 40, 25 / 40, 0], [1 / 3, 2 / 3, 0],
                                        [8 / 9, 1 / 9, 0]])  # fmt: skip
    apart = replace(dataset, stratum=np.where(dataset.condition == 3, 2, dataset.stratum))
    assert strata.unmatched(apart).tolist() == [False, False, False, True]
    effects = pseudobulk.effects(pseudobulk.observed_means(apart), CONTROL)
    assert np.isnan(effects[3]).all() and np.isfinite(effects[:3]).all()


@pytest.mark.parametrize("controls", ["within", "pooled"])
def test_two_cells_of_different_strata_have_no_ranking_within(controls):
    dataset = screen()
    # Of "c" one cell is left in each of two strata.
    left = dataset.condition != 3
    for s in (0, 1):
        left[np.flatnonzero((dataset.condition == 3) & (dataset.stratum == s))[0]] = True
    dataset = replace(dataset, split=np.where(left, 0, 3).astype(np.int8), controls=controls)
    ranking = differential.rank(pseudobulk.observed_means(dataset, "train", variance=True), 1)
    assert ranking.ranked[3] == (controls == "pooled") and np.isfinite(ranking.score).all()
