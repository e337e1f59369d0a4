"""Dealing rows into shards: every row once per epoch, the same batches on any number of devices."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert.core.types import InputError
from jaxpert.data import shards

ROWS = np.arange(5, 168)


class Held(NamedTuple):
    """The least that a feed holds."""

    shard: Any
    size: Any
    row: Any


def held(dealt, devices=1):
    data = Held(dealt.local, dealt.size, dealt.rows[dealt.local])
    return shards.place(data, Held._fields, devices)


def epoch(dealt, shuffle, data, key, number):
    """Rows, slots and mask of every batch of an epoch, `[steps, B]`."""
    order = shards.draw_order(dealt.rows.shape[1], dealt.drawn, shuffle, data, key, number)

    def batch(step):
        taken = shards.take(dealt.share, data, order, step)
        return jnp.take_along_axis(data.row, taken.place, axis=1).ravel(), taken.slot, taken.mask

    return jax.lax.map(batch, jnp.arange(dealt.steps))


@pytest.mark.parametrize("batch_size", [1, 7, 16, 24, 512])
def test_every_row_is_drawn_once_per_epoch(batch_size):
    dealt = shards.deal(ROWS, batch_size, 1)
    assert dealt.steps == -(-len(ROWS) // batch_size)
    data = held(dealt)

    @jax.jit
    def both(key, number):
        return [epoch(dealt, shuffle, data, key, number) for shuffle in (True, False)]

    shuffled, in_order = both(jax.random.key(1), jnp.int32(0))
    for rows, slot, mask in (shuffled, in_order):
        np.testing.assert_array_equal(np.sort(rows[mask]), ROWS)
        assert set(np.asarray(rows).ravel()) == set(ROWS)  # padding repeats rows
        np.testing.assert_array_equal(np.sort(slot), np.tile(np.arange(batch_size), (len(slot), 1)))
    runs = [np.sort(rows[mask]) for rows, mask in zip(in_order[0], in_order[2], strict=True)]
    np.testing.assert_array_equal(np.concatenate(runs), ROWS)


def test_orders_differ_between_epochs_and_keys_and_are_reproducible():
    dealt = shards.deal(ROWS, 24, 1, drop_last=True)
    assert dealt.steps == len(ROWS) // 24
    data = held(dealt)
    rows = jax.jit(lambda key, number: epoch(dealt, True, data, key, number)[0])
    first = rows(jax.random.key(1), jnp.int32(0))
    assert (first == rows(jax.random.key(1), jnp.int32(0))).all()
    assert len(np.unique(first)) == first.size  # whole batches hold no padding
    for other in (rows(jax.random.key(1), jnp.int32(1)), rows(jax.random.key(2), np.int32(0))):
        assert set(np.ravel(other)) != set(np.ravel(first))


@pytest.mark.parametrize("devices", [2, 8])
def test_one_and_several_devices_draw_the_same_batches(devices):
    key = jax.random.key(5)
    one, many = shards.deal(ROWS, 24, 1), shards.deal(ROWS, 24, devices)
    data = held(one)
    whole = jax.jit(lambda key: epoch(one, True, data, key, jnp.int32(2)))(key)
    on_each = jax.pmap(
        lambda data, key: epoch(many, True, data, key, jnp.int32(2)), in_axes=(0, None)
    )
    for expected, parts in zip(whole, on_each(held(many, devices), key), strict=True):
        np.testing.assert_array_equal(np.concatenate(list(np.asarray(parts)), axis=1), expected)


@pytest.mark.parametrize(
    ("batch_size", "devices", "expected"),
    [
        (0, 1, "train.batch_size"),
        (9, 8, "multiple of the 8 devices: try 8"),
        (64, 64, "64 devices were asked for"),
    ],
)
def test_what_devices_cannot_share_is_one_sentence(batch_size, devices, expected):
    with pytest.raises(InputError, match=expected):
        shards.deal(ROWS, batch_size, devices)


def test_auto_is_dense_where_that_fits():
    assert shards.is_dense("auto", 100, 100, 1) and not shards.is_dense("auto", 101, 100, 1000)
    assert shards.is_dense("dense", 10**15, 1, 1) and not shards.is_dense("csr", 0, None, 1)
    with pytest.raises(ValueError, match="expected 'auto', 'dense', 'csr' or"):
        shards.is_dense("sparse", 1, 1, 1)
