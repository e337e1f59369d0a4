"""Counterfactual reference profiles as intended (not with the published index slip)."""

import numpy as np
import pytest
from scipy import sparse

from jaxpert.core.types import SPLITS, Dataset, LabelRules, Quality
from jaxpert.data.labels import parse_labels
from jaxpert.data.spec import reference_profiles

pytestmark = pytest.mark.parity


@pytest.fixture
def dataset(cradle_arrays):
    arrays = cradle_arrays("counterfactual_median")
    labels = parse_labels(arrays["in/treatment"], LabelRules(control=("non-targeting",)))
    n = len(labels.condition)
    return Dataset(
        name="fixture",
        counts=sparse.csr_matrix(arrays["in/X"].astype(np.uint16)),
        cells=np.arange(n).astype(str),
        genes=tuple(f"G{j}" for j in range(arrays["in/X"].shape[1])),
        conditions=labels.conditions,
        condition=labels.condition,
        control=labels.control,
        treatments=labels.treatments,
        condition_treatments=labels.condition_treatments,
        strata=("all",),
        stratum=np.zeros(n, np.int32),
        obs=None,
        split=np.array([SPLITS.index(name) for name in arrays["in/split"]]),
        quality=Quality({}, {}, 3, arrays["in/total_qc"].astype(bool)),
    )


def test_lower_median_over_all_failed_cells(cradle_arrays, dataset):
    arrays = cradle_arrays("counterfactual_median")
    profiles, has_reference = reference_profiles(dataset, "train")
    rows = arrays["in/train_rows"]
    np.testing.assert_array_equal(rows, dataset.rows("train"))
    expected = arrays["expect/intended_cfX_train_all_failed_lower_median"]
    np.testing.assert_array_equal(profiles[dataset.condition[rows]], expected)
    assert not has_reference[dataset.conditions.index("B")]
    assert has_reference.sum() == len(dataset.conditions) - 1
