"""Products with tables of sets."""

import numpy as np

from jaxpert.evaluation.baselines import rule


def test_zeros_of_large_tables_are_left_out_of_sums(monkeypatch):
    rng = np.random.default_rng(0)
    sets = (rng.random((7, 5)) < 0.4).astype(np.float32)
    table = rng.normal(size=(5, 3))
    whole = rule.summed(sets, table)
    monkeypatch.setattr(rule, "SPARSE", 1)
    np.testing.assert_allclose(rule.summed(sets, table), whole)
    assert rule.summed(sets, table).dtype == whole.dtype
