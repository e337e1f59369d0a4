"""Control cells drawn for perturbed ones as published, given the seed of the stream."""

import numpy as np
import pytest

from jaxpert.data.pairing import pair_controls

pytestmark = pytest.mark.parity


def test_pairs(gears_arrays):
    recorded, labels = gears_arrays("pairing"), gears_arrays("de_ranking")["condition"]
    names, condition = np.unique(labels, return_inverse=True)
    pairs = pair_controls(condition, list(names).index("ctrl"), seed=int(recorded["seed"]))
    among_controls = np.cumsum(labels == "ctrl") - 1
    for name in names:
        cells = np.flatnonzero(labels == name)
        assert (labels[pairs[cells]] == "ctrl").all()
        expected = np.arange(len(cells)) if name == "ctrl" else recorded[name]
        np.testing.assert_array_equal(among_controls[pairs[cells]], expected)
