import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from jaxpert.core.types import Dataset, InputError, Quality
from jaxpert.data.feeds import make_feed, unmatched_strata
from jaxpert.data.pairing import pair_controls

GENES = 7


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """What is gathered here does not depend on how well it is compiled."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


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


def draw(feed, epoch=0, seed=1):
    key = jax.random.key(seed)
    order = jax.jit(feed.order)(feed.data, key, jnp.int32(epoch))
    batch = jax.jit(feed.batch)
    return [
        batch(feed.data, jax.random.fold_in(key, i), order, jnp.int32(i)) for i in range(feed.steps)
    ]


def numbers(batches):
    return np.concatenate([np.asarray(b.x[:, 0])[np.asarray(b.mask)] for b in batches]).astype(int)


@pytest.mark.parametrize("batch_size", [1, 7, 16, 24, 512])
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_cell_is_drawn_exactly_once_per_epoch(batch_size, shuffle):
    feed = make_feed(screen(), "train", batch_size=batch_size, shuffle=shuffle)
    drawn = numbers(draw(feed))
    expected = screen().rows("train")
    assert feed.cells == len(expected) and feed.steps == -(-len(expected) // batch_size)
    np.testing.assert_array_equal(np.sort(drawn), expected)


def test_every_field_belongs_to_the_drawn_cell():
    data = screen()
    for batch in draw(make_feed(data, "train", batch_size=16, tables={"t": np.arange(3.0)})):
        row = np.asarray(batch.x[:, 0]).astype(int)
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
        row = np.asarray(batch.control[:, 0]).astype(int)
        np.testing.assert_array_equal(batch.control, data.counts[row].toarray())
        assert (data.condition[row] == data.control).all() and (data.split[row] == 1).all()
        np.testing.assert_array_equal(data.stratum[row], batch.stratum)
        seen.update(row.tolist())
    assert len(seen) > 3


def test_a_stratum_without_controls_here_takes_those_of_training_then_those_of_all_strata():
    data = screen()
    hidden = (data.split == 1) & (data.condition == 0) & (data.stratum == 1)
    without = data.__class__(**{**vars(data), "split": np.where(hidden, 3, data.split)})
    assert unmatched_strata(without, "val") == ()
    for batch in draw(make_feed(without, "val", batch_size=8)):
        row = np.asarray(batch.control[:, 0]).astype(int)
        np.testing.assert_array_equal(data.stratum[row], batch.stratum)
        np.testing.assert_array_equal(without.split[row] == 0, np.asarray(batch.stratum) == 1)
    hidden = (data.condition == 0) & (data.stratum == 1)
    nowhere = data.__class__(**{**vars(data), "split": np.where(hidden, 3, data.split)})
    assert unmatched_strata(nowhere, "val") == ("s1",)
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
    for one, two in zip(draw(dense), draw(csr), strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, two)


def test_auto_takes_csr_where_dense_does_not_fit_and_the_smallest_exact_type():
    small = make_feed(screen(top=7), "train", batch_size=8)
    assert small.data.counts["dense"].dtype == jnp.uint8
    assert "genes" in make_feed(screen(), "train", batch_size=8, memory_bytes=100).data.counts


def test_orders_differ_between_epochs_and_keys_and_are_reproducible():
    feed = make_feed(screen(), "train", batch_size=16)
    first = numbers(draw(feed))
    assert (first == numbers(draw(feed))).all()
    assert (first != numbers(draw(feed, epoch=1))).any() and (
        first != numbers(draw(feed, seed=2))
    ).any()


def test_unshuffled_batches_are_runs_of_the_file():
    feed = make_feed(screen(), "train", batch_size=16, shuffle=False)
    drawn = [np.sort(numbers([batch])) for batch in draw(feed)]
    np.testing.assert_array_equal(np.concatenate(drawn), screen().rows("train"))


def test_a_cell_keeps_the_control_that_it_is_paired_with():
    data = screen()
    training = data.split == 0
    pairs = pair_controls(data.condition, data.control, seed=3, stratum=data.stratum, pool=training)
    assert training[pairs[data.condition != 0]].all() and (data.condition[pairs] == 0).all()
    feed = make_feed(data, "train", batch_size=16, pairs=pairs)
    for batch in (*draw(feed), *draw(feed, epoch=1, seed=2)):
        rows = np.asarray(batch.x[:, 0]).astype(int)
        np.testing.assert_array_equal(batch.control, data.counts[pairs[rows]].toarray())


def test_the_incomplete_last_batch_may_be_left_out():
    feed = make_feed(screen(), "train", batch_size=24, drop_last=True)
    drawn = [numbers(draw(feed, epoch=epoch)) for epoch in (0, 1)]
    assert feed.steps == feed.cells // 24 and all(len(set(one)) == 24 * feed.steps for one in drawn)
    assert set(drawn[0]) != set(drawn[1])
    assert all(batch.mask.all() for batch in draw(feed))
    with pytest.raises(InputError, match="fill no batch of 512: lower `train.batch_size`"):
        make_feed(screen(), "train", batch_size=512, drop_last=True)


EIGHT = """
import sys; sys.path.insert(0, {here!r})
import jax, numpy as np
from test_feeds import make_feed, screen
for layout in ("dense", "csr"):
    options = dict(batch_size=24, layout=layout)
    one, many = (make_feed(screen(), "train", devices=d, **options) for d in (1, {devices}))
    key = jax.random.key(5)
    order = one.order(one.data, key, 2)
    orders = jax.pmap(many.order, "devices", in_axes=(0, None, None))(many.data, key, 2)
    draw = jax.pmap(many.batch, "devices", in_axes=(0, None, 0, None))
    for step in range(one.steps):
        whole, parts = one.batch(one.data, key, order, step), draw(many.data, key, orders, step)
        for name in ("x", "control", "treatment", "condition", "stratum", "mask", "slot"):
            joined = np.concatenate(list(np.asarray(getattr(parts, name))))
            np.testing.assert_array_equal(joined, np.asarray(getattr(whole, name)), name)
print("same")
"""


@pytest.mark.parametrize("devices", [2, 8])
def test_one_and_several_devices_draw_the_same_batches(devices, request):
    code = EIGHT.format(here=str(request.path.parent), devices=devices)
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"}
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == "same", done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"split": "test"}, "holds no cells"),
        ({"batch_size": 0}, "train.batch_size"),
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
