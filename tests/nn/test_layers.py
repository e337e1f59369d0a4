"""Layers that are split by block, their initialisation, and the residual trunk."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxpert.nn.layers import MIN_VARIANCE, BlockDense, CountHead, GaussianHead, Trunk

WIDTHS = (6, 3, 2)
BLOCKS = [np.random.default_rng(0).normal(size=(4, w)).astype(np.float32) for w in WIDTHS]


def random_params(module, blocks=BLOCKS):
    """Parameters of the module's shapes; drawing them as the module does would be most of a test's
    time."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *blocks)
    return jax.tree.map(
        lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(np.float32), shapes["params"]
    )


def computed(module, compute):
    """Random parameters, and what `compute(apply, blocks)` makes of them, in one program."""
    params = random_params(module)

    @jax.jit
    def run(params, blocks):
        def apply(*arguments, method=None):
            return module.apply({"params": params}, *arguments, method=method)

        return compute(apply, blocks)

    return params, jax.device_get(run(params, BLOCKS))


def shares(apply, blocks):
    return [apply(i, x, method="project") for i, x in enumerate(blocks)]


def test_split_projections_are_the_concatenated_layer():
    def compute(apply, blocks):
        rows = [apply(i, method="rows") for i in range(3)]
        return apply(*blocks), sum(shares(apply, blocks)), jnp.concatenate(rows)

    params, (output, summed, joined) = computed(BlockDense(WIDTHS, 5), compute)
    kernel, bias = params["kernel"], params["bias"]
    assert kernel.shape == (sum(WIDTHS), 5) and bias.shape == (5,)
    whole = np.concatenate(BLOCKS, -1) @ kernel + bias
    np.testing.assert_allclose(output, whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(summed + bias, whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(joined, kernel)


def test_rows_are_the_share_of_one_hot_inputs():
    def compute(apply, blocks):
        one_hot = [jnp.eye(width) for width in WIDTHS]
        return shares(apply, one_hot), [apply(i, method="rows") for i in range(3)]

    _, (products, rows) = computed(GaussianHead(WIDTHS, 5, 2, 3), compute)
    for product, row in zip(products, rows, strict=True):
        np.testing.assert_allclose(row, product, rtol=1e-6)


def test_reused_shares_give_the_same_heads():
    def compute(apply, blocks):
        return apply(sum(shares(apply, blocks)), method="heads"), apply(*blocks)

    _, (again, heads) = computed(GaussianHead(WIDTHS, 5, 3, 2), compute)
    for left, right in zip(again, heads, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5)


def test_initial_weights_are_uniform_within_the_fan_in():
    widths, hidden = (300, 100), 200
    head = GaussianHead(widths, hidden, 2, 150)
    blocks = [np.zeros((1, w), np.float32) for w in widths]
    counts = CountHead((3,), 2, 1, 9)

    @jax.jit
    def init(blocks):
        key = jax.random.key(0)
        return head.init(key, *blocks)["params"], counts.init(key, blocks[0][:, :3])["params"]

    params, count_params = init(blocks)
    np.testing.assert_array_equal(count_params["log_concentration"], np.zeros(9))
    paths = jax.tree_util.tree_leaves_with_path(params)
    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in paths}
    assert len(leaves) == 8
    for name, leaf in leaves.items():
        assert leaf.dtype == np.float32 and not leaf.weak_type
        bound = (400 if "layer0" in name else 200) ** -0.5
        value = np.asarray(leaf)
        assert abs(value).max() <= bound, name
        assert stats.kstest(np.ravel(value) / bound, stats.uniform(-1, 2).cdf).pvalue > 1e-6, name
    assert not np.array_equal(leaves["['mean']['kernel']"], leaves["['log_var']['kernel']"])


def leaky(x):
    return np.where(x > 0, x, 0.01 * x)


@pytest.mark.parametrize("layers", [1, 3])
def test_the_trunk_adds_each_layers_input_after_the_activation(layers):
    head = GaussianHead(WIDTHS, 5, layers, 2)

    trunk = Trunk(WIDTHS, 5, layers)

    @jax.jit
    def run(params, blocks):
        variables = {"params": params}
        first = [head.apply(variables, i, x, method="project") for i, x in enumerate(blocks)]
        hidden = trunk.apply({"params": params["trunk"]}, sum(first), method="after")
        return hidden, head.apply(variables, *blocks)

    params = random_params(head)
    hidden, (mean, std) = jax.device_get(run(params, BLOCKS))
    assert sorted(params["trunk"]) == [f"layer{k}" for k in range(layers)]
    h = np.concatenate(BLOCKS, -1)
    for k in range(layers):
        layer = params["trunk"][f"layer{k}"]
        new = leaky(h @ layer["kernel"] + layer["bias"])
        h = new if k == 0 else h + new
    np.testing.assert_allclose(hidden, h, rtol=1e-5, atol=1e-6)
    expected = h @ params["mean"]["kernel"] + params["mean"]["bias"]
    np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-6)
    log_var = h @ params["log_var"]["kernel"] + params["log_var"]["bias"]
    np.testing.assert_allclose(std**2, np.exp(log_var) + MIN_VARIANCE, rtol=1e-4)


def test_standard_deviations_have_a_floor():
    head = GaussianHead(WIDTHS, 5, 1, 2)

    params = random_params(head)
    params["log_var"]["bias"] = np.full(2, -200, np.float32)

    def total(params):
        _, std = head.apply({"params": params}, *map(jnp.asarray, BLOCKS))
        return std.sum(), std

    gradient, std = jax.device_get(jax.jit(jax.grad(total, has_aux=True))(params))
    np.testing.assert_allclose(std, 0.01, rtol=1e-4)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_count_head_gives_logits_and_one_dispersion_per_gene():
    def compute(apply, blocks):
        return apply(*blocks), apply(*(x.reshape(2, 2, -1) for x in blocks))

    params, (flat, leading) = computed(CountHead(WIDTHS, 5, 2, 9), compute)
    logits, log_concentration = flat
    assert logits.shape == (4, 9)
    np.testing.assert_array_equal(log_concentration, params["log_concentration"])
    np.testing.assert_allclose(leading[0].reshape(4, 9), logits, rtol=1e-5, atol=1e-6)
