"""Leading directions of large matrices."""

import numpy as np

from jaxpert.evaluation.baselines import regression
from jaxpert.evaluation.leading import leading_right


def test_directions_are_those_of_the_whole_decomposition():
    rng = np.random.default_rng(0)
    lengths = 0.8 ** np.arange(40)
    x = (rng.normal(size=(90, 40)) * lengths) @ rng.normal(size=(40, 120))
    found, exact = leading_right(x, 5), np.linalg.svd(x)[2][:5].T
    np.testing.assert_allclose(np.abs((found * exact).sum(0)), 1, atol=1e-6)
    np.testing.assert_array_equal(found, leading_right(x, 5))


def test_large_screens_have_the_same_scores_but_for_signs(monkeypatch):
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(120, 30)) * 0.7 ** np.arange(30)) @ rng.normal(size=(30, 80))
    exact = regression._scores(x, 4)
    monkeypatch.setattr(regression, "LARGE", 50)
    np.testing.assert_allclose(np.abs(regression._scores(x, 4)), np.abs(exact), rtol=1e-4)
