"""Distances to a known truth, by hand."""

import numpy as np
import pytest
from scipy import sparse, stats

from jaxpert import data, simulate
from jaxpert.core.errors import InputError
from jaxpert.models.cradle import remove_artifacts
from jaxpert.models.cradle.artifact_recovery import (
    CONDITION,
    KEPT,
    OBSERVED,
    REMOVED,
    passed_means,
    recovery,
    removal_recovery,
)
from jaxpert.simulate.truth import ARTIFACTS, cell_proportions
from support.planted_artifact import labelled

RNG = np.random.default_rng(0)
TRUTH = RNG.gamma(2, size=(40, 7))
OFF = TRUTH * np.exp(RNG.normal(0, 0.4, TRUTH.shape))
WORSE = TRUTH * np.exp(RNG.normal(0, 1.5, TRUTH.shape))
KIND = np.repeat([0, 1, 2], [20, 19, 1])
CLUSTER = np.arange(40) % 5
NAMES = ("none", "dying", "stressed", "ambient")


def logs(x):
    return np.log2(1 + 1e4 * x / x.sum(1, keepdims=True))


def distance(x, truth):
    return np.sqrt(((logs(x) - logs(truth)) ** 2).mean(1))


def test_distances_and_paired_intervals():
    found = recovery(
        TRUTH, {OBSERVED: 30 * WORSE, KEPT: OFF, REMOVED: 7 * TRUTH}, KIND, CLUSTER, NAMES
    )
    assert set(found) == {"all", "none", "dying", "stressed"}
    one = found["dying"]
    far = distance(OFF, TRUTH)[KIND == 1]
    assert one["cells"] == 19 and one["clusters"] == 5
    assert one["cell_distance"] == pytest.approx(
        {OBSERVED: distance(WORSE, TRUTH)[KIND == 1].mean(), KEPT: far.mean(), REMOVED: 0},
        abs=1e-12,
    )
    interval = stats.ttest_1samp(far, 0).confidence_interval(0.95)
    expected = {"mean": far.mean(), "low": interval.low, "high": interval.high, "share": 1.0}
    assert one["cell_gain"][f"{KEPT} - {REMOVED}"] == pytest.approx(expected)


def test_a_removal_that_harms_is_called_so():
    found = recovery(TRUTH, {KEPT: OFF, REMOVED: WORSE, CONDITION: OFF}, KIND, CLUSTER, NAMES)[
        "all"
    ]
    gain = found["cell_gain"][f"{KEPT} - {REMOVED}"]
    assert gain["high"] < 0 and gain["share"] < 0.5
    assert found["cell_gain"][f"{CONDITION} - {REMOVED}"] == gain
    assert set(found["cell_gain"]) == {f"{KEPT} - {REMOVED}", f"{CONDITION} - {REMOVED}"}


def test_clusters_are_pooled_as_shares_before_the_logarithm():
    found = recovery(TRUTH, {KEPT: OFF}, KIND, CLUSTER, NAMES)["all"]

    def pooled(x):
        shares = x / x.sum(1, keepdims=True)
        return np.stack([shares[CLUSTER == c].mean(0) for c in range(5)])

    assert found["cluster_distance"][KEPT] == pytest.approx(
        distance(pooled(OFF), pooled(TRUTH)).mean()
    )


def test_one_cell_has_no_interval_and_empty_cells_no_place():
    found = recovery(TRUTH, {KEPT: OFF, REMOVED: TRUTH}, KIND, CLUSTER, NAMES)["stressed"]
    gain = found["cell_gain"][f"{KEPT} - {REMOVED}"]
    assert (gain["low"], gain["high"]) == (None, None) and gain["mean"] > 0
    with pytest.raises(ValueError, match="1 cells have no counts"):
        recovery(TRUTH, {KEPT: np.where(np.arange(40)[:, None] == 3, 0, OFF)}, KIND, CLUSTER, NAMES)


def test_means_of_passed_cells():
    counts = np.array([[1, 1, 0], [0, 2, 6], [4, 0, 0], [9, 0, 1], [0, 0, 0]])
    condition, passed = np.array([0, 0, 1, 2, 0]), np.array([True, True, True, False, True])
    found = passed_means(sparse.csr_matrix(counts), condition, passed, 3)
    own = np.array([[0.25, 0.375, 0.375], [1, 0, 0]])
    everyone = (np.array([0.5, 0.5, 0]) + [0, 0.25, 0.75] + np.array([1, 0, 0])) / 3
    np.testing.assert_allclose(found, [*own, everyone])


def test_recovery_of_a_simulated_screen():
    """The true answer in the model's place has no distance left, whatever the order of cells and
    genes."""
    adata, truth = simulate.simulate("tiny", seed=0)
    dataset = data.add_quality(data.read(adata, perturbation="perturbation"), doublets="none")
    assert dataset.quality is not None
    rows = np.flatnonzero(dataset.quality.failed)[::-1]
    gene = {name: i for i, name in enumerate(map(str, truth.genes))}
    clean = cell_proportions(truth, rows)[:, [gene[name] for name in dataset.genes]]
    wrong = np.roll(clean, 1, 0)
    removal = remove_artifacts.Removal(clean, clean, wrong)
    removed = remove_artifacts.removal_table(dataset, rows, removal, 2, 1e4)
    found = removal_recovery(removed, dataset, truth)
    assert (
        found["all"]["cell_distance"]["artifact_removed"]
        < 1e-9
        < found["all"]["cell_distance"]["artifact_kept"]
    )
    assert sum(group["cells"] for kind, group in found.items() if kind != "all") == len(rows)
    assert found["dying"]["cells"] == (truth.artifact[rows] == ARTIFACTS.index("dying")).sum()
    with pytest.raises(InputError, match="another screen"):
        removal_recovery(removed, labelled(), truth)
