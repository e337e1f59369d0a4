"""Intervals of any model from what validation holds: they cover what they promise on perturbations
never trained, and nothing of test is looked at."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import jaxpert
from jaxpert import data
from jaxpert.evaluation import conformal, pseudobulk
from jaxpert.evaluation.compare import subsets
from jaxpert.evaluation.conformal import FEWEST
from jaxpert.evaluation.coverage import Predicted, coverage
from jaxpert.evaluation.noise import noise_of
from jaxpert.models.baselines import model as baselines
from jaxpert.tasks.screen import intervals, kinds
from jaxpert.tasks.screen.predict import predict_effects

SINGLES = 90
build = partial(baselines.build, "mean_perturbation")


@pytest.fixture(scope="module")
def cells():
    """A screen of single perturbations."""
    made, _ = data.simulate(
        "tiny", cells=4000, genes=180, singles=SINGLES, pairs=0, artifact_share=0.0, batches=1
    )
    return data.read(made, perturbation="perturbation", control="ctrl")


def parts(dataset, seed, held=30):
    """A third of the perturbations each for training, validation and test."""
    names = [name for name in dataset.conditions if name != dataset.conditions[dataset.control]]
    order = np.random.default_rng(seed).permutation(names).tolist()
    lists = {"train": order[2 * held :], "val": order[:held], "test": order[held : 2 * held]}
    return data.add_split(dataset, kind="custom", lists=lists)


def fitted(dataset):
    return jaxpert.fit(build(data.make_spec(dataset)), dataset, epochs=1, batch_size=512, devices=1)


def predicted(dataset, names=None):
    names = dataset.conditions if names is None else names
    return predict_effects(fitted(dataset), dataset, names, intervals=True)


def test_intervals_cover_perturbations_never_trained(cells):
    bulk = pseudobulk.observed_means(cells, variance=True)
    measured, noise = pseudobulk.effects(bulk, cells.control), noise_of(bulk, cells.control)
    found = []
    for seed in range(5):
        split = parts(cells, seed)
        made = predicted(split)
        said = Predicted(made.effects_of(split), made.deviation_of(split))
        shares = coverage(said, measured, subsets(split), noise)["model"]["test"]
        found.append([shares["covered_50"], shares["covered_90"]])
    # 150 perturbations of 5 splits, beside the 30 each that widths were taken from.
    np.testing.assert_allclose(np.mean(found, axis=0), [0.5, 0.9], atol=0.04)


def test_test_cells_change_nothing_and_validation_cells_do(cells):
    dataset = parts(cells, 0)
    before = predicted(dataset).deviation
    for split, same in (("test", True), ("val", False)):
        counts = dataset.counts.tolil()
        rows = dataset.rows(split)
        counts[rows, :10] = 20 * counts[rows, :10].toarray()
        after = predicted(replace(dataset, counts=counts.tocsr())).deviation
        assert np.array_equal(before.widths, after.widths, equal_nan=True) == same
        # Standard deviations are those of training.
        np.testing.assert_array_equal(before.measured, after.measured)


def test_too_few_perturbations_give_no_interval_and_a_reason(cells):
    dataset = parts(cells, 0, held=FEWEST - 1)
    made = jaxpert.predict(fitted(dataset), dataset, [dataset.conditions[-1]])
    assert not {"width_50", "width_90"} & set(made.obs) and "effect_sd" not in made.layers
    said = f"validation holds {FEWEST - 1} perturbations never trained and 0 trained ones"
    assert said in made.uns["intervals"] and f"expected {FEWEST}" in made.uns["intervals"]


def test_no_validation_gives_no_interval(cells):
    dataset = parts(cells, 0)
    dataset = replace(dataset, split=np.where(dataset.split == 1, 0, dataset.split))
    assert "validation holds 0" in predicted(dataset).calibration.notes[0]
    assert predicted(dataset).deviation is None


def test_cells_of_trained_perturbations_tell_nothing_of_new_ones(cells):
    dataset = data.add_split(cells, kind="cells", seed=0)
    new = next(name for name in dataset.treatments if name != dataset.treatments[0])
    pair = f"{dataset.treatments[0]}+{new}"
    made = jaxpert.predict(fitted(dataset), dataset, [new, pair])
    assert np.isfinite(made.obs["width_90"][new]) and np.isnan(made.obs["width_90"][pair])
    assert "no intervals are given for perturbations never trained" in made.uns["intervals"]


def test_the_control_is_sure(cells):
    dataset = parts(cells, 0)
    deviation = predicted(dataset).deviation
    assert (deviation.measured[0] == 0).all() and (deviation.effect[1:] > 0).all()


def test_the_same_numbers_whatever_is_asked(cells):
    dataset = parts(cells, 0)
    every, one = predicted(dataset), predicted(dataset, [dataset.conditions[3]])
    row = every.names.index(dataset.conditions[3])
    np.testing.assert_array_equal(every.deviation.widths[row], one.deviation.widths[1])


@pytest.mark.parametrize(
    ("genes", "kind"),
    [
        (("A",), kinds.TRAINED),
        (("B",), "new set of seen genes"),
        (("C",), kinds.SINGLE),
        (("A", "B"), kinds.TRAINED),
        (("A", "C"), "combination with one unseen gene"),
        (("C", "D"), "combination with several unseen genes"),
        (("C", "D", "E"), "combination with several unseen genes"),
        ((), kinds.TRAINED),
    ],
)
def test_kinds_of_sets(genes, kind):
    sets = frozenset({frozenset(), frozenset({"A"}), frozenset({"A", "B"})})
    assert kinds.kind_of(genes, kinds.Known(sets, frozenset({"A", "B"}))) == kind


def test_kinds_with_enough_perturbations_have_widths_of_their_own():
    near, far = np.full((FEWEST, 5), 0.5), np.full((FEWEST, 5), 2.0)
    single, several = kinds.SINGLE, kinds.NEVER_TRAINED[3]
    of_kind = np.array([single] * FEWEST + [several] * (FEWEST - 1), object)
    made = intervals.by_kind(conformal.widths, of_kind, np.vstack([near, far[1:]]))
    assert set(made) == {single, intervals.POOLED}
    assert (made[single] < made[intervals.POOLED])[1]


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({}, "no intervals are given: validation holds 0"),
        ({kinds.TRAINED: 8, kinds.SINGLE: 8}, "8 perturbations never trained and 8 trained ones"),
        ({kinds.TRAINED: 9, kinds.SINGLE: 8}, "no intervals are given for perturbations never"),
        ({kinds.TRAINED: 9, kinds.SINGLE: 9}, "of kinds other than single of an unseen gene"),
        ({kinds.TRAINED: 9, kinds.SINGLE: 8, kinds.NEVER_TRAINED[1]: 8}, "of all kinds"),
        ({kinds.SINGLE: 9}, "intervals of trained ones are as wide as those of others"),
    ],
)
def test_what_is_said_of_too_few(held, said):
    assert any(said in note for note in intervals.notes_of(held))


def test_nothing_is_said_where_every_kind_has_enough():
    assert not intervals.notes_of(dict.fromkeys((kinds.TRAINED, *kinds.NEVER_TRAINED), 9))


def test_screens_of_thousands_are_not_predicted_twice():
    assert len(intervals.at_most(np.ones(5000, bool))) == intervals.MOST
