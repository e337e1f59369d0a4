"""What is said of every perturbation of a screen by itself."""

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

import jaxpert
from jaxpert.core.types import Deviation
from jaxpert.evaluation import pseudobulk
from jaxpert.tasks.screen.each import each, splits_of, target
from jaxpert.tasks.screen.files import effects_arrays
from jaxpert.tasks.screen.measured import measure
from jaxpert.tasks.screen.predict import Prediction


def measured_by(**split):
    screen, _ = jaxpert.simulate("tiny")
    cells = jaxpert.read(screen, perturbation="perturbation", control="ctrl")
    return measure(jaxpert.add_split(cells, **split))


@pytest.fixture(scope="module")
def of_cells():
    return measured_by(kind="cells")


def test_cells_are_those_behind_the_measured_effect(of_cells):
    dataset = of_cells.dataset
    columns = each(of_cells, np.zeros_like(of_cells.effects))["columns"]
    assert set(columns["measured_on"]) == {"test cells"}, "every perturbation has some"
    tested = pseudobulk.held_out_rows(dataset)
    for name, cells in zip(columns["perturbation"], columns["cells"], strict=True):
        here = dataset.condition[tested] == dataset.conditions.index(name)
        assert cells == here.sum() > 0
    assert "support" not in columns and "interval_width" not in columns


def test_every_part_that_holds_cells_is_named(of_cells):
    dataset = of_cells.dataset
    assert (
        dataset.conditions[dataset.control]
        not in each(of_cells, np.zeros_like(of_cells.effects))["columns"]["perturbation"]
    )
    for name, text in zip(dataset.conditions, splits_of(dataset), strict=True):
        codes = np.unique(dataset.split[dataset.condition == dataset.conditions.index(name)])
        wanted = [("train", "val", "test", "dropped")[code] for code in codes]
        assert text == "+".join(part for part in wanted if part != "dropped")


def test_effects_are_kept_as_each_is_held_against_them(of_cells):
    arrays = effects_arrays(of_cells.dataset, {0: of_cells.effects}, target(of_cells).effects)
    tested = np.isfinite(of_cells.held_out).all(1)
    assert tested.sum() > 2
    np.testing.assert_allclose(arrays["measured"][tested], of_cells.held_out[tested], rtol=1e-5)


def test_what_the_model_says_of_itself_is_in_the_order_of_conditions(of_cells):
    dataset = of_cells.dataset
    count, genes = of_cells.effects.shape
    rows = np.random.default_rng(0).permutation(count)
    spread = np.random.default_rng(1).random((count, genes))
    widths = np.tile([0.9, 1.5], (count, 1))
    widths[1] = np.nan
    # Effects are given beside it, and are not asked for.
    nothing: Any = None
    said = Prediction(
        names=tuple(dataset.conditions[row] for row in rows),
        treatment=dataset.condition_treatments[rows],
        effects=nothing,
        support=tuple(f"support of {dataset.conditions[row]}" for row in rows),
        deviation=Deviation(spread[rows], spread[rows], 0 * spread, widths[rows], widths[rows]),
    )
    columns = each(of_cells, np.zeros_like(of_cells.effects), said)["columns"]
    place = [dataset.conditions.index(name) for name in columns["perturbation"]]
    assert columns["support"] == [f"support of {name}" for name in columns["perturbation"]]
    ends = NormalDist().inv_cdf(0.95)
    for p, width in zip(place, columns["interval_width"], strict=True):
        if p == 1:
            assert width is None
        else:
            # From one end of the 90 % interval to the other.
            assert width == pytest.approx(2 * 1.5 * ends * np.median(spread[p]))
