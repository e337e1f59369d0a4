"""Held-out combinations, cell by cell as published."""

import numpy as np
import pytest

from jaxpert.core.types import SPLITS
from jaxpert.data.splits import combination_split

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("seed", [0, 1])
def test_combination_split(cradle_arrays, seed):
    arrays = cradle_arrays("ood_split")
    split = combination_split(arrays["in/guide_identity"], arrays["in/num_guides"], seed)
    np.testing.assert_array_equal(np.asarray(SPLITS)[split], arrays[f"expect/seed{seed}/split"])
