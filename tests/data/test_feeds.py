"""Batches of cells: every field belongs to the drawn cell, on any layout and number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from jaxpert.core.types import Dataset, InputError, Quality
from jaxpert.data.feeds import make_feed
from jaxpert.data.pairing import pair_controls

GENES = 7


def screen(cells=203, control=True, top=300):
    """Gene 0 holds the cell's own number, so that every drawn row can be told apart."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.8, (cells, GENES)).astype(np.uint16)
    counts[:, 0], counts[3, 1] = np.arange(cells), top
    condition = np.arange(cells) % 4 + (0 if control else 1)
    stratum = (np.arange(cells) // 4) % 2
    quality = Quality({}, {}, 5, rng.random(cells) < 0.3)
    return Dataset(
        name="toy",
        counts=sparse.csr_matrix(counts),
        cells=np.arange(cells).astype(str),
        genes=tuple(f"g{i}" for i in range(GENES)),
        conditions=("ctrl", "a", "b", "a+b", "c"),
        condition=condition,
        control=0,
        treatments=("a", "b", "c"),
        condition_treatments=np.array(
            [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1]], np.float32
        ),
        strata=("s0", "s1"),
        stratum=stratum,
        obs=pd.DataFrame(index=range(cells)),
        split=np.where(np.arange(cells) % 5 == 4, 1, 0),
        quality=quality,
    )


def drawer(feed):
    """(epoch, seed) -> the batches of that epoch: one program for all of them."""

    @jax.jit
    def epoch(data, key, number):
        order = feed.order(data, key, number)
        steps = jnp.arange(feed.steps)
        return jax.lax.map(
            lambda step: feed.batch(data, jax.random.fold_in(key, step), order, step), steps
        )

    def draw(number=0, seed=1):
        batches = jax.device_get(epoch(feed.data, jax.random.key(seed), jnp.int32(number)))
        return [jax.tree.map(lambda leaf, i=i: leaf[i], batches) for i in range(feed.steps)]

    return draw


def draw(feed):
    return drawer(feed)()


def numbers(batches):
    return np.concatenate([batch.x[:, 0][batch.mask] for batch in batches]).astype(int)


def test_every_field_belongs_to_the_drawn_cell():
    data = screen()
    feed = make_feed(data, "train", batch_size=16, tables={"t": np.arange(3.0)})
    batches = draw(feed)
    np.testing.assert_array_equal(np.sort(numbers(batches)), data.rows("train"))
    assert feed.cells == len(data.rows("train"))
    for batch in batches:
        row = batch.x[:, 0].astype(int)
        assert batch.x.dtype == jnp.float32
        np.testing.assert_array_equal(batch.x, data.counts[row].toarray())
        np.testing.assert_array_equal(batch.condition, data.condition[row])
        np.testing.assert_array_equal(
            batch.treatment, data.condition_treatments[data.condition[row]]
        )
        np.testing.assert_array_equal(batch.stratum, data.stratum[row])
        np.testing.assert_array_equal(batch.extras["failed"], data.quality.failed[row])
        np.testing.assert_array_equal(np.sort(batch.slot), np.arange(16))
        np.testing.assert_array_equal(batch.extras["t"], np.arange(3, dtype=np.float32))


def test_controls_are_control_cells_of_the_same_stratum_and_of_this_split():
    data = screen()
    seen = set()
    for batch in draw(make_feed(data, "val", batch_size=8)):
        row = batch.control[:, 0].astype(int)
        np.testing.assert_array_equal(batch.control, data.counts[row].toarray())
        assert (data.condition[row] == data.control).all() and (data.split[row] == 1).all()
        np.testing.assert_array_equal(data.stratum[row], batch.stratum)
        seen.update(row.tolist())
    assert len(seen) > 3


def test_a_stratum_without_controls_here_takes_those_of_training_then_those_of_all_strata():
    data = screen()
    hidden = (data.split == 1) & (data.condition == 0) & (data.stratum == 1)
    without = data.__class__(**{**vars(data), "split": np.where(hidden, 3, data.split)})
    for batch in draw(make_feed(without, "val", batch_size=8)):
        row = batch.control[:, 0].astype(int)
        np.testing.assert_array_equal(data.stratum[row], batch.stratum)
        np.testing.assert_array_equal(without.split[row] == 0, batch.stratum == 1)
    hidden = (data.condition == 0) & (data.stratum == 1)
    nowhere = data.__class__(**{**vars(data), "split": np.where(hidden, 3, data.split)})
    row = np.concatenate(
        [b.control[:, 0] for b in draw(make_feed(nowhere, "val", batch_size=8))]
    ).astype(int)
    assert (data.stratum[row] == 0).all() and (data.condition[row] == 0).all()


def test_the_control_pool_is_capped_and_spread():
    feed = make_feed(screen(), "train", batch_size=8, control_cells=6)
    assert feed.data.pool.shape == (6, GENES) and feed.data.pool_size.tolist() == [3, 3]


def test_dense_and_csr_layouts_draw_identical_batches():
    data = screen()
    dense, csr = (
        make_feed(data, "train", batch_size=24, layout=layout) for layout in ("dense", "csr")
    )
    assert dense.data.counts["dense"].dtype == jnp.uint16
    assert csr.data.counts["genes"].dtype == jnp.uint16
    jax.tree.map(np.testing.assert_array_equal, draw(dense), draw(csr))


def test_auto_takes_csr_where_dense_does_not_fit_and_the_smallest_exact_type():
    small = make_feed(screen(top=7), "train", batch_size=8)
    assert small.data.counts["dense"].dtype == jnp.uint8
    few = screen()
    few.counts.data[few.counts.indices > 0] = 0
    few.counts.eliminate_zeros()
    assert "genes" in make_feed(few, "train", batch_size=8, memory_bytes=1_000).data.counts


def test_a_cell_keeps_the_control_that_it_is_paired_with():
    data = screen()
    training = data.split == 0
    pairs = pair_controls(data.condition, data.control, seed=3, stratum=data.stratum, pool=training)
    assert training[pairs[data.condition != 0]].all() and (data.condition[pairs] == 0).all()
    feed = make_feed(data, "train", batch_size=16, pairs=pairs)
    draw = drawer(feed)
    for batch in (*draw(), *draw(number=1, seed=2)):
        rows = batch.x[:, 0].astype(int)
        np.testing.assert_array_equal(batch.control, data.counts[pairs[rows]].toarray())


def test_the_incomplete_last_batch_may_be_left_out():
    feed = make_feed(screen(), "train", batch_size=24, drop_last=True)
    batches = draw(feed)
    assert feed.steps == feed.cells // 24 and len(set(numbers(batches))) == 24 * feed.steps
    assert all(batch.mask.all() for batch in batches)
    with pytest.raises(
        InputError, match="expected enough to fill a batch of 512: lower `train.batch_size`"
    ):
        make_feed(screen(), "train", batch_size=512, drop_last=True)


@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_one_and_several_devices_draw_the_same_batches(layout):
    key, epoch = jax.random.key(5), jnp.int32(2)

    def last_batch(feed):
        step = jnp.int32(feed.steps - 1)
        return lambda data: feed.batch(data, key, feed.order(data, key, epoch), step)

    options = {"batch_size": 24, "layout": layout}
    one = make_feed(screen(), "train", **options)
    whole = jax.jit(last_batch(one))(one.data)
    assert whole.mask.any() and not whole.mask.all()
    for devices in (2, 8):
        many = make_feed(screen(), "train", devices=devices, **options)
        parts = jax.pmap(last_batch(many))(many.data)
        for name in ("x", "control", "treatment", "condition", "stratum", "mask", "slot"):
            joined = np.concatenate(list(np.asarray(getattr(parts, name))))
            np.testing.assert_array_equal(joined, getattr(whole, name), name)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"split": "test"}, "holds no cells"),
        ({"batch_size": 9, "devices": 8}, "multiple of the 8 devices: try 8"),
        ({"batch_size": 64, "devices": 64}, "64 devices were asked for"),
    ],
)
def test_what_cannot_work_is_one_sentence(arguments, expected):
    with pytest.raises(InputError, match=expected):
        make_feed(screen(), **{"split": "train", "batch_size": 8, **arguments})


def test_no_controls_and_counts_beyond_float32_are_refused():
    with pytest.raises(InputError, match="no control cells"):
        make_feed(screen(control=False), "train", batch_size=8)
    data = screen()
    data.counts.data = data.counts.data.astype(np.uint32)
    data.counts.data[0] = 2**24 + 1
    with pytest.raises(InputError, match="16777217"):
        make_feed(data, "train", batch_size=8)
