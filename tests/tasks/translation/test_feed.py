"""Batches of rows on the device against those of the host."""

import jax
import numpy as np
import pytest

from jaxpert.core.types import InputError
from jaxpert.tasks.translation.feed import make_feed, make_feeds
from jaxpert.tasks.translation.prepare import prepare
from support import line_rows
from support.line_rows import draw, numbers


@pytest.mark.parametrize("layout", ["dense", "csr", "stream"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"lognorm": "ln_cp10k_zscore"},
        {"lognorm": "log2_raw", "combat_reference": None},
        {"unit": "cell"},
    ],
)
def test_batches_hold_the_rows_of_the_host(dataset, monkeypatch, layout, settings):
    monkeypatch.setattr("jaxpert.tasks.translation.log_scale.CLIP", 1.0)
    monkeypatch.setattr(
        "jaxpert.tasks.translation.feed.WINDOW", 4
    )  # of 6 genes: a cell is read in two windows
    made = prepare(dataset, **line_rows.SMALL, **settings)
    expected = line_rows.host_rows(made, "val")
    feed = make_feed(made, "val", 4, layout=layout)
    for batch in draw(feed):
        for i in np.flatnonzero(batch.mask):
            pair = int(batch.extras["pair"][i])
            x, control = expected[pair][int(batch.extras.get("cell", np.zeros(4, int))[i])]
            np.testing.assert_allclose(batch.x[i], x, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(batch.control[i], control, rtol=1e-4, atol=1e-4)
            assert (
                batch.condition[i] == made.pairs.condition[pair]
                and batch.stratum[i] == made.pairs.batch[pair]
            )
            np.testing.assert_array_equal(
                batch.treatment[i], made.dataset.condition_treatments[batch.condition[i]]
            )
    assert set(numbers(draw(feed))) == set(expected) and feed.cells == sum(
        map(len, expected.values())
    )


def test_controls_are_made_in_the_step_where_they_are_too_many_to_keep(prepared, monkeypatch):
    kept = draw(make_feed(prepared, "train", 8))[1]
    monkeypatch.setattr("jaxpert.tasks.translation.feed.CONTROL_BYTES", 0)
    feed = make_feed(prepared, "train", 8)
    assert "lower_row" not in feed.data.pairs
    np.testing.assert_allclose(draw(feed)[1].control, kept.control, rtol=1e-5, atol=1e-5)


def test_streamed_rows_come_in_the_order_of_resident_ones(prepared):
    for split in ("train", "val"):
        dense, stream = (
            draw(make_feed(prepared, split, 8, layout=layout, unit_scale=np.full(6, 2.0)))
            for layout in ("dense", "stream")
        )
        assert list(numbers(stream)) == list(numbers(dense))
        for left, right in zip(stream, dense, strict=True):
            for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 16, 24])
def test_training_drops_the_last_partial_batch_and_validation_pads_it(prepared, batch_size):
    train, valid = make_feeds(prepared, batch_size)
    drawn = numbers(draw(train))
    assert (
        train.steps == 49 // batch_size
        and len(drawn) == len(set(drawn)) == train.steps * batch_size
    )
    assert (prepared.pairs.part[drawn] == 0).all()
    np.testing.assert_array_equal(np.sort(numbers(draw(valid))), prepared.pair_numbers("val"))
    assert valid.steps == -(-7 // batch_size) and all(
        b.x.shape == (batch_size, 6) for b in draw(valid)
    )


def test_an_epoch_is_a_function_of_key_and_number(prepared):
    feed = make_feed(prepared, "train", 8)
    first = numbers(draw(feed))
    again = numbers(draw(make_feed(prepared, "train", 8)))
    np.testing.assert_array_equal(first, again)
    assert (first != numbers(draw(feed, epoch=1))).any() and (
        first != numbers(draw(feed, seed=2))
    ).any()
    valid = make_feed(prepared, "val", 8)
    np.testing.assert_array_equal(numbers(draw(valid, epoch=4)), numbers(draw(valid)))


@pytest.mark.skipif(jax.device_count() < 8, reason="needs eight devices")
@pytest.mark.parametrize(("split", "layout"), [("train", "dense"), ("val", "csr")])
def test_one_and_eight_devices_draw_the_same_batches(prepared, split, layout):
    single, many = (make_feed(prepared, split, 8, d, layout=layout) for d in (1, 8))
    key = jax.random.key(5)
    order = jax.jit(single.order)(single.data, key, 2)
    batch = jax.jit(single.batch)
    orders = jax.pmap(many.order, "devices", in_axes=(0, None, None))(many.data, key, 2)
    dealt = jax.pmap(many.batch, "devices", in_axes=(0, None, 0, None))
    for step in range(min(single.steps, 3)):
        whole, parts = batch(single.data, key, order, step), dealt(many.data, key, orders, step)
        for name in ("x", "control", "treatment", "condition", "stratum", "mask", "slot"):
            joined = np.concatenate(list(np.asarray(getattr(parts, name))))
            np.testing.assert_array_equal(joined, np.asarray(getattr(whole, name)), name)
        np.testing.assert_array_equal(np.ravel(parts.extras["pair"]), whole.extras["pair"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("train", 64), "has 49 pairs of rows, expected at least 64"),
        (("test", 4), "has 0 pairs of rows"),
        (("train", 9, 8), "multiple of the 8 devices: try 8"),
        (("train", 0), "expected a positive multiple"),
        (("train", 64, 64), "expected at least 64|64 devices were asked for"),
    ],
)
def test_feeds_that_cannot_be_made_are_one_sentence(prepared, arguments, expected):
    with pytest.raises(InputError, match=expected):
        make_feed(prepared, *arguments)


def test_counts_are_used_in_place_on_the_cpu(dataset):
    """At the size of the published table a second copy would not fit the gigabyte that is allowed
    beside the counts."""
    made = prepare(dataset, **line_rows.SMALL)
    train, valid = make_feeds(made, 4, layout="csr")
    for name, array in (("genes", dataset.counts.indices), ("values", dataset.counts.data)):
        for feed in (train, valid):
            assert feed.data.cells[name].unsafe_buffer_pointer() == array.ctypes.data
