"""The GEARS paper's scores where the recorded case does not reach: perfect and absent predictions,
small screens."""

from dataclasses import replace

import numpy as np
import pytest

from jaxpert import data
from jaxpert.core.types import InputError
from jaxpert.models.gears import evaluate
from jaxpert.models.gears import metrics as gears_metrics
from jaxpert.models.gears.metrics import GeneSets


@pytest.fixture
def case():
    """40 cells of 30 genes, their control mean, and every gene in order."""
    rng = np.random.default_rng(0)
    control = rng.random(30) + 0.5
    cells = np.maximum(control + rng.normal(0, 1, 30) + rng.normal(0, 0.3, (40, 30)), 0)
    genes = GeneSets(
        np.argsort(-np.abs(cells.mean(0) - control)),
        np.ones(30, bool),
        np.ones(30, bool),
        np.arange(30),
    )
    return cells, control, genes


def test_a_perfect_prediction(case):
    cells, control, genes = case
    found = gears_metrics.condition_scores(cells, cells, control, genes)
    assert (
        found["mse"] == found["mse_de"] == found["fold_change_gap_all"] == found["mean_sigma"] == 0
    )
    for key in (
        "pearson",
        "pearson_delta",
        "frac_correct_direction_20",
        "frac_sigma_below_1",
        "frac_in_range",
    ):
        assert found[key] == pytest.approx(1)
    assert found["frac_opposite_direction_top20_non_dropout"] == 0
    assert np.isnan(found["mse_top50_de"]) and np.isnan(
        found["frac_correct_direction_50"]
    )  # of 30 genes
    shipped = gears_metrics.condition_scores(cells, cells, control, genes, "reference")
    assert (
        shipped["frac_correct_direction_50"] == pytest.approx(30 / 50)
        and shipped["mse_top50_de"] == 0
    )


def test_predicting_no_change(case):
    cells, control, genes = case
    found = gears_metrics.condition_scores(control, cells, control, genes)
    assert np.isnan(found["pearson_delta"]) and found["frac_correct_direction_all"] == 0
    assert found["frac_0/1_direction_top20_non_zero"] == 1
    ours = gears_metrics.condition_scores(
        control + 0.5 * (cells.mean(0) - control), cells, control, genes
    )
    assert gears_metrics.normalised(ours, found)["mse_de"] == pytest.approx(0.25)


def test_what_cannot_be_ranked_is_undefined(case):
    cells, control, genes = case
    unranked = genes._replace(order=genes.order[:0])
    found = gears_metrics.condition_scores(control, cells[:1], control, unranked)
    assert np.isnan(
        [
            found[key]
            for key in ("mse_de", "frac_correct_direction_20", "frac_in_range", "std_sigma")
        ]
    ).all()
    assert np.isfinite(
        [found["mse"], found["pearson"], found["frac_opposite_direction_non_zero"]]
    ).all()


def test_a_constant_prediction_has_no_correlation(case):
    cells, control, genes = case
    flat = np.ones(30)
    assert np.isnan(gears_metrics.condition_scores(flat, cells, control, genes)["pearson"])
    assert gears_metrics.condition_scores(flat, cells, control, genes, "reference")["pearson"] == 0
    assert set(gears_metrics.control_scores(flat, cells)) == {"mse", "pearson"}


def test_means_are_of_the_defined_values():
    nan = float("nan")
    scores = {
        "A": {"x": 1.0, "y": nan},
        "B": {"x": 3.0, "y": nan, "z": 5.0},
        "C": {"x": nan, "y": 1.0},
    }
    mean = gears_metrics.mean_scores(scores)
    assert mean["x"] == 2 and np.isnan(mean["y"]) and mean["z"] == 5
    assert gears_metrics.mean_scores(scores, ["A"])["x"] == 1


@pytest.fixture(scope="module")
def simulated():
    screen, _ = data.simulate("tiny", seed=0)
    return data.add_split(data.read(screen, perturbation="perturbation"), kind="simulation", seed=1)


def test_a_data_set_by_subgroup(simulated):
    truth = evaluate.measure(simulated)
    control = truth.means.mean[simulated.control]
    halfway = control + 0.5 * (truth.means.mean - control)
    found = evaluate.score_dataset(simulated, halfway, truth)
    tested = {simulated.conditions[c] for c in simulated.condition[simulated.rows("test")]}
    assert set(found.conditions) == tested
    assert set(found.groups) == {name for name, members in simulated.subgroups.items() if members}
    for name, members in found.groups.items():
        own = [found.conditions[c]["mse"] for c in simulated.subgroups[name]]
        assert members["mse"] == pytest.approx(np.mean(own))
    assert (
        found.mean["pearson_delta"] == pytest.approx(1)
        and found.mean["frac_correct_direction_20"] == 1
    )
    still = evaluate.score_dataset(simulated, np.broadcast_to(control, halfway.shape), truth)
    ratio = gears_metrics.normalised(found.mean, still.mean)
    assert (ratio["mse"], ratio["mse_de"]) == pytest.approx((0.25, 0.25))
    with pytest.raises(ValueError, match="predictions have shape"):
        evaluate.score_dataset(simulated, halfway[:, 1:], truth)


def test_control_and_empty_splits(simulated):
    truth = evaluate.measure(simulated)
    trained = evaluate.score_dataset(simulated, truth.means.mean, truth, split="train").conditions
    assert trained[simulated.conditions[simulated.control]] == pytest.approx(
        {"mse": 0, "pearson": 1}
    )
    empty = replace(simulated, split=np.zeros_like(simulated.split))
    with pytest.raises(InputError, match="'test' of .* has no cells to score on"):
        evaluate.score_dataset(empty, truth.means.mean, truth)
