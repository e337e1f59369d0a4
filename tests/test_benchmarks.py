"""The yardsticks of `make bench` compute what jaxpert computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import cycseq, flops, plain_gears
from benchmarks import gears as sides
from benchmarks import gears_problem as problem
from jaxpert.models.gears import model as gears

SIZES = problem.Sizes(cells=20, genes=30, nodes=40, neighbours=3, singles=10, pairs=20, hidden=4)
SMALL = (("hidden", (8, 4)), ("latent_dim", 3), ("embedding_dim", 2))


def in_float64(batch):
    return jax.tree.map(
        lambda leaf: leaf.astype("float64") if leaf.dtype.kind == "f" else leaf, batch
    )


def test_plain_gears_has_our_loss_moments_and_gradients():
    spec = problem.spec_of(SIZES)
    batch = problem.batch_of(spec, SIZES)
    assert 12 < len(np.unique(batch.condition)) < SIZES.cells
    assert (batch.condition == 0).sum() > 1
    with jax.enable_x64(True):
        found = sides.both(gears.make(spec, hidden_dim=4), in_float64(batch))
        ours, plain = jax.device_get(found)
    np.testing.assert_allclose(ours.loss, plain.loss, rtol=1e-9)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), ours.state, plain.state
    )
    largest = max(abs(leaf).max() for leaf in jax.tree.leaves(plain.slopes))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * largest),
        ours.slopes,
        plain.slopes,
    )


def test_plain_gears_predicts_what_ours_predicts_for_every_cell():
    spec = problem.spec_of(SIZES)
    net = gears.make(spec, hidden_dim=4)
    batch = problem.batch_of(spec, SIZES)
    params, state = jax.jit(lambda key: gears.init(net, key, batch))(jax.random.key(0))
    treatment = np.zeros((3, SIZES.singles), np.float32)
    treatment[:, [1, 4]] = 1
    profiles = np.random.default_rng(0).random((3, SIZES.genes), np.float32)
    predict = jax.jit(plain_gears.prediction_of(spec, net.node))
    plain = predict(params, state, profiles, treatment)
    members = jnp.asarray(net.node[np.array([[1, 4]])])
    change = jax.jit(lambda *of: gears.changes(net, *of).mean)
    expected = profiles + change(params, state, members)
    np.testing.assert_allclose(plain, expected, rtol=1e-4, atol=1e-5)


def test_plain_cycseq_has_our_loss():
    sizes = cycseq.Sizes(rows=6, genes=12, perturbed=4, lines=2, settings=SMALL)
    ours, plain = cycseq.losses(cycseq.net_of(sizes), cycseq.batch_of(sizes))
    assert float(ours) == pytest.approx(float(plain), rel=1e-5)


def test_products_in_loops_and_branches_are_counted():
    def work(x):
        x, _ = jax.lax.scan(lambda x, _: (x @ x, None), x, length=3)
        return jax.lax.cond(x.sum() > 0, lambda x: x @ x, lambda x: x, x)

    assert flops.of_program(work, np.ones((5, 5), np.float32)) == 4 * 2 * 5**3
