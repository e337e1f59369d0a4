"""Cells brought to the device ahead of their steps: the same losses and parameters as where all of
them lie there, on any number of devices, for several seeds and after a stop."""

import contextlib
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert.core import feed as core_feed
from jaxpert.core import train
from jaxpert.data.feeds import make_feed
from jaxpert.data.pairing import pair_controls
from support import toy


def trained(layout, *, devices=1, key=None, epochs=3, state=None, stop=None, **options):
    """The state and the rows of a run on the toy, from a given state on or up to a stretch."""
    feeds = toy.feeds(devices=devices, layout=layout, **options)
    if state is None:
        key = jax.random.key(3) if key is None else key
        state = train.init(toy.model(), toy.ADAM, feeds[0], key)
    rows, asked = [], []
    hooks = train.Hooks(
        report=rows.append, should_stop=lambda: asked.append(1) or len(asked) == stop
    )
    schedule = train.Schedule(epochs, log_every=3)
    state, outcome = train.fit(toy.model(), toy.ADAM, state, feeds, schedule, hooks)
    clock = ("seconds", "cells_per_second")
    rows = [{name: row[name] for name in row if name not in clock} for row in rows]
    return state, rows, outcome


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_a_streamed_run_has_the_bits_of_a_resident_one(devices):
    dense, dense_rows, _ = trained("dense", devices=devices)
    streamed, rows, _ = trained("stream", devices=devices)
    assert rows == dense_rows and len(rows) == 9
    assert toy.numbers(streamed) == toy.numbers(dense)


@pytest.mark.parametrize("devices", [1, 2])
def test_seeds_stream_their_own_cells(devices):
    keys = jax.random.split(jax.random.key(9), 2)
    dense, dense_rows, _ = trained("dense", key=keys, devices=devices)
    streamed, rows, _ = trained("stream", key=keys, devices=devices)
    # The terms of a validation are divided by its cells in a program of their own.
    for row, dense_row in zip(rows, dense_rows, strict=True):
        assert row.keys() == dense_row.keys()
        for name, value in row.items():
            assert value == pytest.approx(dense_row[name], rel=1e-6)
    assert toy.numbers(streamed) == toy.numbers(dense)


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_stopped_run_goes_on_in_the_same_bits(stop):
    whole, rows, _ = trained("stream")
    half, before, outcome = trained("stream", stop=stop)
    assert outcome.reason == "interrupted" and outcome.step == [3, 5, 8][stop - 1]
    resumed, after, _ = trained("stream", state=half)
    assert toy.numbers(resumed) == toy.numbers(whole) and before + after == rows


def test_small_windows_change_no_parameter(monkeypatch):
    expected, _, _ = trained("dense")
    # Room for one step, so that stretches of 3 become three of one.
    monkeypatch.setattr(core_feed, "WINDOW_BYTES", 32 * 12)
    found, rows, _ = trained("stream")
    assert [row["step"] for row in rows if "train/loss" in row] == list(range(1, 16))
    jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)


def test_paired_controls_come_with_their_cells():
    data = toy.dataset()
    pairs = pair_controls(data.condition, data.control, seed=3)
    dense, stream = (
        make_feed(data, "train", batch_size=32, pairs=pairs, layout=layout)
        for layout in ("dense", "stream")
    )
    key = jax.random.key(1)
    span = core_feed.Span(1, 2, 2)
    order = dense.order(dense.data, key, jnp.int32(1))
    with contextlib.closing(stream.windows.read(key, [span])) as windows:
        window = next(windows)
    for step in (2, 3):
        expected = dense.batch(dense.data, key, order, jnp.int32(step))
        places = stream.order(window, key, jnp.int32(1))
        found = stream.batch(window, key, places, jnp.int32(step))
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_auto_streams_what_fits_in_no_other_way():
    data = toy.dataset()
    # One gene in twelve, so that the nonzeros take less than a dense table.
    data = replace(data, counts=data.counts.multiply(np.arange(12) == 0).tocsr())
    data.counts.eliminate_zeros()
    layouts = []
    for most in (2_000, 1_000, 100):
        feed = make_feed(data, "train", batch_size=32, memory_bytes=most)
        layouts.append("stream" if feed.windows else min(feed.data.counts))
    assert layouts == ["dense", "genes", "stream"]
