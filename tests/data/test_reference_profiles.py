"""Reference profiles against plain NumPy."""

from dataclasses import replace

import numpy as np
import pytest

from jaxpert import data
from jaxpert.core.types import InputError, Quality
from jaxpert.data import reference


@pytest.fixture
def dataset(screen):
    rng = np.random.default_rng(5)
    made = data.add_split(
        data.read(screen(["ctrl"] * 60 + ["A+ctrl"] * 60 + ["B+ctrl"] * 41, genes=30)), kind="cells"
    )
    failed = (rng.random(161) < 0.4) & (np.asarray(made.obs["condition"]) != "B+ctrl")
    return replace(made, quality=Quality({}, {}, 5, failed))


@pytest.mark.parametrize("split", ["train", "val", "all"])
@pytest.mark.parametrize("block", [1, 64_000_000])
def test_lower_median_of_failed_cells(dataset, monkeypatch, split, block):
    monkeypatch.setattr(reference, "BLOCK_VALUES", block)
    profiles, has_reference = data.reference_profiles(dataset, split)
    dense, rows = dataset.counts.toarray(), dataset.rows(split)
    for condition in range(3):
        cells = dense[rows][(dataset.condition[rows] == condition) & dataset.quality.failed[rows]]
        expected = np.sort(cells, axis=0)[(len(cells) - 1) // 2] if len(cells) else np.zeros(30)
        np.testing.assert_array_equal(profiles[condition], expected)
        assert has_reference[condition] == expected.any()
    assert data.count_failed(dataset, split) == dataset.quality.failed[rows].sum() > 0


def test_without_quality(dataset):
    with pytest.raises(InputError, match="add_quality"):
        data.reference_profiles(replace(dataset, quality=None), "train")
