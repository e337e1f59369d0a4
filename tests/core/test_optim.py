import functools

import jax
import numpy as np
import optax
import pytest

from jaxpert.core import optim
from jaxpert.core.errors import InputError


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


@functools.partial(jax.jit, static_argnums=0)
def updated(optimizer, params, gradients):
    """The parameters after every step, for gradients with a leading axis of steps."""

    def step(carry, gradient):
        params, state = carry
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    return jax.lax.scan(step, (params, optimizer.init(params)), gradients)[1]


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e3])
def test_adam_follows_torch_with_clipping_and_coupled_decay(size):
    rng = np.random.default_rng(0)
    start = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 2), (4,))]
    gradients = [(size * rng.normal(size=(20, *p.shape))).astype(np.float32) for p in start]
    optimizer = optim.adam(1e-2, weight_decay=0.1 * size, clip=100.0)
    ours = updated(optimizer, start, gradients)
    by_step = list(zip(*gradients, strict=True))
    theirs = torch_adam(start, by_step, 1e-2, 0.1 * size, 100.0)
    for left, right in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(left[-1], right, rtol=1e-5, atol=1e-6)


@functools.partial(jax.jit, static_argnums=0)
def step(optimizer, params, gradient):
    """The first updates."""
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    return updates


def test_decay_is_coupled_and_added_after_clipping():
    optimizer = optim.adam(1.0, weight_decay=1.0, clip=1.0)
    updates = step(optimizer, np.float32([1000, 0]), np.float32([0, 1e-3]))
    # Decay 1000 is not clipped to 1 with the gradient, and Adam's first step is the sign of the
    # sum.
    np.testing.assert_allclose(updates, [-1.0, -1.0], rtol=1e-4)


def test_no_clip_no_decay_is_optax_adam_and_schedules_are_taken():
    params, gradient = np.ones(3, np.float32), np.float32([1e6, -2, 0.5])
    expected = step(optax.adam(0.1), params, gradient)
    for rate in (0.1, optax.constant_schedule(0.1)):
        updates = step(optim.adam(rate, clip=None), params, gradient)
        np.testing.assert_allclose(updates, expected, rtol=1e-6)


def test_sgd_is_linear_in_the_gradient():
    optimizer, gradient = optim.sgd(0.5), np.arange(3, dtype=np.float32)
    once, eightfold = (np.asarray(step(optimizer, gradient, k * gradient)) for k in (1, 8))
    np.testing.assert_allclose(eightfold, 8 * once)
    np.testing.assert_allclose(once, [0, -0.5, -1.0])


def test_a_clip_by_value_or_of_some_parts_leaves_the_rest():
    params = {"a": np.zeros(2, np.float32), "b": np.zeros(2, np.float32)}
    gradient = {"a": np.float32([3, 4]), "b": np.float32([30, 0.5])}
    by_value = step(optim.build("sgd", 1.0, clip=1.0, clip_kind="value"), params, gradient)
    np.testing.assert_allclose(by_value["b"], [-1.0, -0.5])
    some = step(optim.build("sgd", 1.0, clip=1.0, clip_parts=("a",)), params, gradient)
    np.testing.assert_allclose(some["a"], -np.array([3.0, 4.0]) / (5 + 1e-6), rtol=1e-6)
    np.testing.assert_allclose(some["b"], [-30.0, -0.5])
    with pytest.raises(InputError, match="train.clip_parts names 'c', expected some of a, b"):
        optim.build("sgd", 1.0, clip=1.0, clip_parts=("c",)).init(params)


def test_frozen_paths_stay_whatever_gradient_and_decay_say():
    ones = np.ones(2, np.float32)
    params = {"net": {"first": ones, "firstborn": ones}, "head": ones}
    gradient = jax.tree.map(lambda leaf: 3 * leaf, params)
    optimizer = optim.build("adam", 0.1, weight_decay=0.5, clip=1.0, freeze=("net.first",))
    moved = jax.device_get(step(optimizer, params, gradient))
    assert not moved["net"]["first"].any()
    assert moved["net"]["firstborn"].all() and moved["head"].all()
    sgd = step(optim.build("sgd", 1.0, clip=1.0, freeze=("net.first",)), params, gradient)
    norm = np.linalg.norm(np.concatenate(jax.tree.leaves(jax.device_get(sgd))))
    np.testing.assert_allclose(norm, 1.0, rtol=1e-5)  # of what is not frozen
    with pytest.raises(InputError, match="train.freeze names 'net.fir', expected paths .* 'head'"):
        optim.build("sgd", 1.0, freeze=("net.fir",)).init(params)


def test_rmsprop_follows_torch():
    rng = np.random.default_rng(0)
    value, square = rng.normal(size=3), np.zeros(3)
    gradients = rng.normal(size=(5, 3))
    optimizer = optim.build("rmsprop", 1e-2)
    ours = updated(optimizer, value.astype(np.float32), gradients.astype(np.float32))
    for gradient in gradients:
        square = 0.99 * square + 0.01 * gradient**2
        value = value - 1e-2 * gradient / (np.sqrt(square) + 1e-8)
    np.testing.assert_allclose(ours[-1], value, rtol=1e-5)


def test_the_rate_decays_in_steps():
    rate = optim.decayed(0.8, 0.5, 3)
    rates = jax.jit(jax.vmap(rate))(np.arange(7))
    np.testing.assert_allclose(rates, [0.8] * 3 + [0.4] * 3 + [0.2], rtol=1e-6)
    assert optim.decayed(0.8, 1.0, 3) == 0.8


@pytest.mark.parametrize("wrong", [{"kind": "adamw"}, {"kind": "adam", "clip_kind": "both"}])
def test_unknown_kinds_are_refused(wrong):
    with pytest.raises(InputError, match="expected one of"):
        optim.build(learning_rate=1.0, **wrong)
