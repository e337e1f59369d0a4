"""Layers that are split by block, their initialisation, and the residual trunk."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxpert.nn.layers import MIN_VARIANCE, BlockDense, CountHead, GaussianHead, Trunk
from support import minibatch

WIDTHS = (6, 3, 2)


@pytest.fixture(autouse=True, scope="module")
def quick():
    with minibatch.compiled_quickly():
        yield


@pytest.fixture(scope="module")
def blocks():
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(size=(4, w)), jnp.float32) for w in WIDTHS)


def initial(module, blocks, seed=0):
    return jax.jit(module.init)(jax.random.key(seed), *blocks)


def test_split_projections_are_the_concatenated_layer(blocks):
    layer = BlockDense(WIDTHS, 5)
    variables = initial(layer, blocks)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    assert kernel.shape == (sum(WIDTHS), 5) and bias.shape == (5,)
    whole = jnp.concatenate(blocks, -1) @ kernel + bias
    np.testing.assert_allclose(layer.apply(variables, *blocks), whole, rtol=1e-5, atol=1e-6)
    shares = [layer.apply(variables, i, x, method="project") for i, x in enumerate(blocks)]
    np.testing.assert_allclose(sum(shares) + bias, whole, rtol=1e-5, atol=1e-6)
    joined = jnp.concatenate([layer.apply(variables, i, method="rows") for i in range(3)])
    np.testing.assert_array_equal(joined, kernel)


def test_rows_are_the_share_of_one_hot_inputs(blocks):
    head = GaussianHead(WIDTHS, 5, 2, 3)
    variables = initial(head, blocks)
    for block, width in enumerate(WIDTHS):
        one_hot = head.apply(variables, block, jnp.eye(width), method="project")
        np.testing.assert_allclose(head.apply(variables, block, method="rows"), one_hot, rtol=1e-6)


def test_reused_shares_give_the_same_heads(blocks):
    head = GaussianHead(WIDTHS, 5, 3, 2)
    variables = initial(head, blocks)
    share = sum(head.apply(variables, i, x, method="project") for i, x in enumerate(blocks))
    again = head.apply(variables, share, method="heads")
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
        again,
        head.apply(variables, *blocks),
    )


def leaves(tree):
    return {
        jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def test_initial_weights_are_uniform_within_the_fan_in():
    widths, hidden = (300, 100), 200
    head = GaussianHead(widths, hidden, 2, 150)
    found = leaves(initial(head, [jnp.zeros((1, w)) for w in widths])["params"])
    fan_in = {name: 400 if "layer0" in name else 200 for name in found}
    assert len(found) == 8
    for name, value in found.items():
        bound = fan_in[name] ** -0.5
        assert value.dtype == jnp.float32 and not value.weak_type
        assert abs(value).max() <= bound, name
        assert stats.kstest(np.ravel(value) / bound, stats.uniform(-1, 2).cdf).pvalue > 1e-6, name
    assert not np.array_equal(found["['mean']['kernel']"], found["['log_var']['kernel']"])


def leaky(x):
    return np.where(x > 0, x, 0.01 * x)


@pytest.mark.parametrize("layers", [1, 3])
def test_the_trunk_adds_each_layers_input_after_the_activation(blocks, layers):
    trunk = Trunk(WIDTHS, 5, layers)
    head = GaussianHead(WIDTHS, 5, layers, 2)
    variables = initial(head, blocks)
    params = variables["params"]
    assert sorted(params["trunk"]) == [f"layer{k}" for k in range(layers)]
    h = np.concatenate(blocks, -1)
    for k in range(layers):
        layer = params["trunk"][f"layer{k}"]
        new = leaky(h @ layer["kernel"] + layer["bias"])
        h = new if k == 0 else h + new
    first = sum(head.apply(variables, i, x, method="project") for i, x in enumerate(blocks))
    got = trunk.apply({"params": params["trunk"]}, first, method="after")
    np.testing.assert_allclose(got, h, rtol=1e-5, atol=1e-6)
    mean, std = head.apply(variables, *blocks)
    np.testing.assert_allclose(
        mean, h @ params["mean"]["kernel"] + params["mean"]["bias"], rtol=1e-4, atol=1e-6
    )
    log_var = h @ params["log_var"]["kernel"] + params["log_var"]["bias"]
    np.testing.assert_allclose(std**2, np.exp(log_var) + MIN_VARIANCE, rtol=1e-4)


def test_standard_deviations_have_a_floor(blocks):
    head = GaussianHead(WIDTHS, 5, 1, 2)
    variables = initial(head, blocks)
    variables["params"]["log_var"]["bias"] = jnp.full(2, -200.0)
    _, std = head.apply(variables, *blocks)
    np.testing.assert_allclose(std, 0.01, rtol=1e-4)
    gradient = jax.jit(jax.grad(lambda v: head.apply(v, *blocks)[1].sum()))(variables)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


def test_count_head_gives_logits_and_one_dispersion_per_gene(blocks):
    head = CountHead(WIDTHS, 5, 2, 9)
    variables = initial(head, blocks)
    logits, log_concentration = head.apply(variables, *blocks)
    assert logits.shape == (4, 9)
    np.testing.assert_array_equal(log_concentration, np.zeros(9))
    leading = tuple(x.reshape(2, 2, -1) for x in blocks)
    reshaped, _ = head.apply(variables, *leading)
    np.testing.assert_allclose(reshaped.reshape(4, 9), logits, rtol=1e-5, atol=1e-6)
