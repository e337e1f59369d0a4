"""The spec sees training cells only and equals plain NumPy."""

from dataclasses import replace

import numpy as np
import pytest

from jaxpert import data
from jaxpert.core.types import InputError, Quality
from jaxpert.data import counts as counts_module
from jaxpert.data import spec as spec_module


@pytest.fixture
def dataset(screen, labels):
    divided = data.add_split(
        data.read(screen(labels * 3, line=["x", "y"] * 60), stratum="line"), kind="cells"
    )
    return data.add_quality(divided, doublets="none", multiplier=3)


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


@pytest.fixture
def with_failed(screen):
    rng = np.random.default_rng(5)
    divided = data.add_split(
        data.read(screen(["ctrl"] * 60 + ["A+ctrl"] * 60 + ["B+ctrl"] * 41, genes=30)), kind="cells"
    )
    failed = (rng.random(161) < 0.4) & (np.asarray(divided.obs["condition"]) != "B+ctrl")
    return replace(divided, quality=Quality({}, {}, 5, failed))


@pytest.mark.parametrize("split", ["train", "val", "all"])
@pytest.mark.parametrize("block", [1, 64_000_000])
def test_reference_profiles_are_lower_medians_of_failed_cells(
    with_failed, monkeypatch, split, block
):
    dataset = with_failed
    monkeypatch.setattr(spec_module, "BLOCK_VALUES", block)
    profiles, has_reference = data.reference_profiles(dataset, split)
    dense, rows = dataset.counts.toarray(), dataset.rows(split)
    for condition in range(3):
        cells = dense[rows][(dataset.condition[rows] == condition) & dataset.quality.failed[rows]]
        expected = np.sort(cells, axis=0)[(len(cells) - 1) // 2] if len(cells) else np.zeros(30)
        np.testing.assert_array_equal(profiles[condition], expected)
        assert has_reference[condition] == expected.any()
    assert data.count_failed(dataset, split) == dataset.quality.failed[rows].sum() > 0


def test_reference_profiles_need_quality_labels(with_failed):
    with pytest.raises(InputError, match="add_quality"):
        data.reference_profiles(replace(with_failed, quality=None), "train")
