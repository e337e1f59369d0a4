"""The yardsticks of `make bench` compute what jaxpert computes."""

import jax
import numpy as np

from benchmarks import gears as step
from benchmarks import gears_problem as problem
from jaxpert.models.gears import model as gears

SIZES = problem.Sizes(cells=20, genes=30, nodes=40, neighbours=3, singles=10, pairs=20, hidden=4)


def test_plain_gears_has_our_loss_moments_and_gradients():
    spec = problem.spec_of(SIZES)
    batch = problem.batch_of(spec, SIZES)
    assert 12 < len(np.unique(batch.condition)) < SIZES.cells
    assert (batch.condition == 0).sum() > 1
    with jax.enable_x64(True):
        batch = jax.tree.map(
            lambda leaf: leaf.astype("float64") if leaf.dtype.kind == "f" else leaf, batch
        )
        sides = jax.device_get(step.both(gears.make(spec, hidden_dim=4), batch))
    (ours, our_state, slopes), (plain, state, expected) = sides
    np.testing.assert_allclose(ours, plain, rtol=1e-9)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), our_state, state
    )
    largest = max(abs(leaf).max() for leaf in jax.tree.leaves(expected))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * largest),
        slopes,
        expected,
    )
