"""What was measured, and how unsure it is."""

import numpy as np
import pytest

import jaxpert
from jaxpert import data
from jaxpert.evaluation import compare
from jaxpert.tasks.screen.measured import duplicates, measure


@pytest.fixture(scope="module")
def measured():
    screen, truth = jaxpert.simulate("tiny")
    cells = jaxpert.read(screen, perturbation="perturbation", control="ctrl")
    return measure(jaxpert.add_split(cells, kind="cells"), data.pool_truth(truth))


def test_the_planted_truth_scores_as_the_ceiling_says(measured):
    predictions = {"model": measured.planted, **measured.baselines}
    result = compare.compare(
        measured.effects,
        predictions,
        measured.screen,
        held_out=measured.held_out,
        duplicate=duplicates(measured.dataset, 0),
        draws=100,
    )
    # Cells of a test split are few, and their noise most of what is measured.
    for subset in ("held_out", "all"):
        truth, limit = result["model"][subset], result["ceiling"][subset]
        assert limit["mse"] == pytest.approx(truth["mse"], rel=0.15), subset
        assert limit["ate_pearson"] == pytest.approx(truth["ate_pearson"], abs=0.08), subset
        assert limit["ate_r2"] == pytest.approx(truth["ate_r2"], abs=0.1), subset
    assert result["ceiling"]["held_out"]["mse"] > 2 * result["ceiling"]["all"]["mse"]
    halves = result["ceiling_by_halves"]
    assert set(halves) == {"held_out"}
    assert halves["held_out"]["mse"]["value"] == pytest.approx(
        result["ceiling"]["held_out"]["mse"], rel=0.25
    )
    assert result["subsets"]["held_out"] == "test cells"
    assert "(test cells; 100% of them also have training cells)" in result["verdict"]


def test_splits_of_cells_are_random_and_come_out_again(measured):
    first, again = (duplicates(measured.dataset, 3, splits=2) for _ in range(2))
    assert first is not None and again is not None and len(first) == 2
    np.testing.assert_array_equal(first[1][0], again[1][0])
    assert not np.array_equal(first[0][0], first[1][0], equal_nan=True)
