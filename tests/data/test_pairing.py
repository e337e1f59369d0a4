"""Control cells for perturbed ones: seeded, uniform, within strata where asked."""

import numpy as np
import pytest

from jaxpert.core.types import InputError
from jaxpert.data.pairing import pair_controls

CONDITION = np.repeat([1, 0, 2], [3000, 40, 500])


def test_pairs_are_controls_drawn_evenly():
    pairs = pair_controls(CONDITION, 0, seed=4)
    np.testing.assert_array_equal(pairs[3000:3040], np.arange(3000, 3040))
    assert (CONDITION[pairs] == 0).all()
    drawn = np.bincount(pairs[:3000] - 3000, minlength=40)
    assert len(drawn) == 40 and abs(drawn - 75).max() < 5 * np.sqrt(75)
    np.testing.assert_array_equal(pairs, pair_controls(CONDITION, 0, seed=4))
    assert (pairs != pair_controls(CONDITION, 0, seed=5)).any()


def test_within_strata():
    stratum = np.arange(len(CONDITION)) % 2
    pairs = pair_controls(CONDITION, 0, stratum=stratum)
    np.testing.assert_array_equal(stratum[pairs], stratum)


def test_without_controls():
    with pytest.raises(InputError, match="no control cell to pair"):
        pair_controls(np.array([1, 2]), 0)
    with pytest.raises(InputError, match="in stratum 1"):
        pair_controls(np.array([0, 1]), 0, stratum=np.array([0, 1]))
