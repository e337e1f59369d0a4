"""The linear baseline: known slopes are found, changes spread along edges only, unmeasured
treatments are named."""

import numpy as np
import pytest
from scipy import sparse

from jaxpert.core.types import InputError
from jaxpert.models.gears import baselines as lp

GENES = ["A", "B", "C", "D"]


@pytest.fixture
def chain() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """B = 2 A + 3 and C = B - A + 1 exactly; D alone. Edges A -> B, A -> C, B -> C and a self
    edge."""
    rng = np.random.default_rng(0)
    a, d, own = rng.normal(size=(3, 50))
    b = 2 * a + 3 + own
    cells = np.stack([a, b, b - a + 1, d], 1)
    return cells, np.array([0, 0, 1, 0, 0]), np.array([1, 2, 2, 0, 1])


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_slopes_are_those_of_least_squares(chain, form):
    cells, source, target = chain
    weights = lp.fit_weights(form(cells), source, target)
    expected = np.polyfit(cells[:, 0], cells[:, 1], 1)[0]
    np.testing.assert_allclose(weights[1], [expected, 0, 0, 0], atol=1e-10)
    np.testing.assert_allclose(weights[2], [-1, 1, 0, 0], atol=1e-10)
    assert not np.diag(weights).any() and not weights[3].any()


def test_neighbours_that_say_the_same_share_the_slope(chain):
    cells, _, _ = chain
    doubled = np.stack([cells[:, 0], cells[:, 0], cells[:, 2]], 1)
    weights = lp.fit_weights(doubled, np.array([0, 1]), np.array([2, 2]))
    assert weights[2, 0] == pytest.approx(weights[2, 1]) and np.isfinite(weights).all()


def test_a_change_goes_one_edge_a_hop():
    weights = np.zeros((4, 4))
    weights[1, 0], weights[2, 1], weights[3, 2] = 0.5, 0.5, 0.5
    theta = np.array([1.0, 0, 0, 0])
    np.testing.assert_allclose(lp.propagate(weights, theta), [0, 0, 0, 0.125])
    np.testing.assert_allclose(lp.propagate(weights, theta, form="script"), [1, 0.5, 0.25, 0.125])
    np.testing.assert_allclose(lp.propagate(weights, theta, hops=1, form="script"), [1, 0.5, 0, 0])


def test_means_of_conditions():
    weights = np.zeros((4, 4))
    weights[1, 0] = 0.5
    multi_hot = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    found = lp.linear_propagation(
        np.ones(4),
        weights,
        multi_hot,
        ["A", "X", "Y"],
        GENES,
        sign={"A": -1.0},
        hops=1,
        form="script",
    )
    np.testing.assert_allclose(
        found.means, [[1, 1, 1, 1], [0, 0.5, 1, 1], [0, 0.5, 1, 1], [1, 1, 1, 1]]
    )
    assert found.fallback.tolist() == [False, False, True, True]
    assert found.notes == (
        "baseline linear_propagation: 1 treatments are no measured genes, so they move nothing: X",
    )


@pytest.mark.parametrize("options", [{"form": "thesis"}, {"hops": 0}])
def test_forms_that_are_unknown(options):
    with pytest.raises(
        InputError, match="expected form to be one of paper, script and at least 1 hop"
    ):
        lp.propagate(np.zeros((2, 2)), np.zeros(2), **options)
