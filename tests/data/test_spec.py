"""The spec sees training cells only and equals plain NumPy."""

from dataclasses import replace

import numpy as np
import pytest

from jaxpert import data
from jaxpert.core.types import InputError
from jaxpert.data import counts as counts_module


@pytest.fixture
def dataset(screen, labels):
    made = data.add_split(
        data.read(screen(labels * 3, line=["x", "y"] * 60), stratum="line"), kind="cells"
    )
    return data.add_quality(made, doublets="none", multiplier=3)


@pytest.mark.parametrize("entries", [50, 4_000_000])
def test_numbers_of_training_cells(dataset, monkeypatch, entries):
    monkeypatch.setattr(counts_module.row_blocks, "__defaults__", (entries,))
    spec = data.make_spec(dataset)
    rows = dataset.rows("train")
    x = dataset.counts[rows].toarray().astype(float)
    np.testing.assert_allclose(spec.log_mean, np.log1p(x).mean(0), rtol=1e-12)
    np.testing.assert_allclose(spec.log_std, np.log1p(x).std(0, ddof=1), rtol=1e-12)
    control = x[dataset.condition[rows] == dataset.control]
    expected = np.log1p(1e4 * control / control.sum(1, keepdims=True)).mean(0)
    np.testing.assert_allclose(spec.control_mean, expected, rtol=1e-12)
    text = np.asarray(dataset.obs["condition"])[rows]
    np.testing.assert_array_equal(
        spec.treatment_cells, [sum(t in label for label in text) for t in ("A", "B")]
    )
    assert (
        spec.genes == dataset.genes
        and spec.strata == ("x", "y")
        and spec.conditions[spec.control] == "ctrl"
    )


def test_test_cells_change_nothing(dataset):
    counts = dataset.counts.tolil()
    counts[dataset.rows("test")[0], 0] = 200
    changed = data.make_spec(replace(dataset, counts=counts.tocsr()))
    for name in ("log_mean", "log_std", "control_mean"):
        np.testing.assert_array_equal(
            getattr(changed, name), getattr(data.make_spec(dataset), name)
        )


def test_control_cells_without_counts_are_left_out(dataset):
    counts = dataset.counts.tolil()
    row = next(i for i in dataset.rows("train") if dataset.condition[i] == dataset.control)
    counts[row] = 0
    assert np.isfinite(data.make_spec(replace(dataset, counts=counts.tocsr())).control_mean).all()


def test_tables_of_a_split(dataset):
    tables = data.split_tables(dataset, "val")
    always = {"treatment_cells", "condition_cells", "expressed"}
    assert set(tables) == always | {"failed_cells", "reference", "has_reference"}
    assert tables["reference"].shape == (4, 12) and tables["reference"].dtype == np.float32
    assert tables["failed_cells"] == dataset.quality.failed[dataset.rows("val")].sum()
    cells = dataset.rows("val")
    for c in range(4):
        seen = dataset.counts[cells[dataset.condition[cells] == c]].toarray().any(0)
        np.testing.assert_array_equal(tables["expressed"][c], seen)
    assert set(data.split_tables(replace(dataset, quality=None), "val")) == always


def test_one_training_cell(dataset):
    split = np.full(len(dataset.cells), 2, np.int8)
    split[0] = 0
    with pytest.raises(InputError, match="training cells are 1"):
        data.make_spec(replace(dataset, split=split))
