import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxpert.core import optim
from jaxpert.core.types import InputError


def torch_adam(start, gradients, rate, decay, clip, b1=0.9, b2=0.999, eps=1e-8):
    """torch.nn.utils.clip_grad_norm_ then torch.optim.Adam, written out in float64."""
    params = [p.astype(np.float64) for p in start]
    first, second = ([np.zeros_like(p) for p in params] for _ in range(2))
    for t, gradient in enumerate(gradients, 1):
        norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradient))
        scale = min(1.0, clip / (norm + 1e-6))
        for i, g in enumerate(gradient):
            g = scale * g + decay * params[i]
            first[i] = b1 * first[i] + (1 - b1) * g
            second[i] = b2 * second[i] + (1 - b2) * g**2
            denominator = np.sqrt(second[i]) / np.sqrt(1 - b2**t) + eps
            params[i] = params[i] - rate / (1 - b1**t) * first[i] / denominator
    return params


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e3])
def test_adam_follows_torch_with_clipping_and_coupled_decay(size):
    rng = np.random.default_rng(0)
    start = [rng.normal(size=(3, 2)).astype(np.float32), rng.normal(size=4).astype(np.float32)]
    gradients = [
        [(size * rng.normal(size=p.shape)).astype(np.float32) for p in start] for _ in range(20)
    ]
    optimizer = optim.adam(1e-2, weight_decay=0.1 * size, clip=100.0)
    params = [jnp.asarray(p) for p in start]
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update([jnp.asarray(g) for g in gradient], state, params)
        params = optax.apply_updates(params, updates)
    for ours, theirs in zip(
        params, torch_adam(start, gradients, 1e-2, 0.1 * size, 100.0), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_decay_is_coupled_and_added_after_clipping():
    params = jnp.asarray([1000.0, 0.0])
    optimizer = optim.adam(1.0, weight_decay=1.0, clip=1.0)
    updates, _ = optimizer.update(jnp.asarray([0.0, 1e-3]), optimizer.init(params), params)
    # Decay 1000 is not clipped to 1 with the gradient, and Adam's first step is the sign of the
    # sum.
    np.testing.assert_allclose(updates, [-1.0, -1.0], rtol=1e-4)


def test_no_clip_no_decay_is_optax_adam_and_schedules_are_taken():
    params, gradient = jnp.ones(3), jnp.asarray([1e6, -2.0, 0.5])
    for rate in (0.1, optax.constant_schedule(0.1)):
        ours, theirs = optim.adam(rate, clip=None), optax.adam(0.1)
        one, _ = ours.update(gradient, ours.init(params), params)
        two, _ = theirs.update(gradient, theirs.init(params), params)
        np.testing.assert_allclose(one, two, rtol=1e-6)


def test_sgd_is_linear_in_the_gradient():
    optimizer = optim.sgd(0.5)
    update = jax.jit(lambda g: optimizer.update(g, optimizer.init(g))[0])
    np.testing.assert_allclose(update(8.0 * jnp.arange(3.0)), 8.0 * update(jnp.arange(3.0)))
    np.testing.assert_allclose(update(jnp.arange(3.0)), [0, -0.5, -1.0])


def step(optimizer, params, gradient):
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    return updates


def test_a_clip_by_value_or_of_some_parts_leaves_the_rest():
    params = {"a": jnp.zeros(2), "b": jnp.zeros(2)}
    gradient = {"a": jnp.asarray([3.0, 4.0]), "b": jnp.asarray([30.0, 0.5])}
    by_value = step(optim.build("sgd", 1.0, clip=1.0, clip_kind="value"), params, gradient)
    np.testing.assert_allclose(by_value["b"], [-1.0, -0.5])
    some = step(optim.build("sgd", 1.0, clip=1.0, clip_parts=("a",)), params, gradient)
    np.testing.assert_allclose(some["a"], -np.array([3.0, 4.0]) / (5 + 1e-6), rtol=1e-6)
    np.testing.assert_allclose(some["b"], [-30.0, -0.5])
    with pytest.raises(InputError, match="train.clip_parts names 'c', expected some of a, b"):
        optim.build("sgd", 1.0, clip=1.0, clip_parts=("c",)).init(params)


def test_frozen_paths_stay_whatever_gradient_and_decay_say():
    params = {"net": {"first": jnp.ones(2), "firstborn": jnp.ones(2)}, "head": jnp.ones(2)}
    gradient = jax.tree.map(lambda leaf: 3 * leaf, params)
    optimizer = optim.build("adam", 0.1, weight_decay=0.5, clip=1.0, freeze=("net.first",))
    moved = step(optimizer, params, gradient)
    assert (
        not moved["net"]["first"].any() and moved["net"]["firstborn"].all() and moved["head"].all()
    )
    sgd = step(optim.build("sgd", 1.0, clip=1.0, freeze=("net.first",)), params, gradient)
    np.testing.assert_allclose(optax.tree.norm(sgd), 1.0, rtol=1e-5)  # of what is not frozen
    with pytest.raises(InputError, match="train.freeze names 'net.fir', expected paths .* 'head'"):
        optim.build("sgd", 1.0, freeze=("net.fir",)).init(params)


def test_rmsprop_follows_torch():
    rng = np.random.default_rng(0)
    value, square = rng.normal(size=3), np.zeros(3)
    params, optimizer = jnp.asarray(value, jnp.float32), optim.build("rmsprop", 1e-2)
    state = optimizer.init(params)
    for _ in range(5):
        gradient = rng.normal(size=3)
        square = 0.99 * square + 0.01 * gradient**2
        value = value - 1e-2 * gradient / (np.sqrt(square) + 1e-8)
        updates, state = optimizer.update(jnp.asarray(gradient, jnp.float32), state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params, value, rtol=1e-5)


def test_the_rate_decays_in_steps():
    rate = optim.decayed(0.8, 0.5, 3)
    np.testing.assert_allclose(
        [rate(step) for step in range(7)], [0.8] * 3 + [0.4] * 3 + [0.2], rtol=1e-6
    )
    assert optim.decayed(0.8, 1.0, 3) == 0.8


@pytest.mark.parametrize("wrong", [{"kind": "adamw"}, {"kind": "adam", "clip_kind": "both"}])
def test_unknown_kinds_are_refused(wrong):
    with pytest.raises(InputError, match="expected one of"):
        optim.build(learning_rate=1.0, **wrong)
