"""Screens that are rare but right: many genes at once, counts of full-length protocols, empty
cells, a batch of one cell. Each goes from a file to a batch."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert import data
from jaxpert.data.feeds import make_feed

GENES_AT_ONCE = ("A", "B", "C", "D", "E", "F")


def read_back(adata, folder, **options):
    """The screen by way of a file, split by cells."""
    adata.write_h5ad(folder / "screen.h5ad")
    return data.add_split(data.read(folder / "screen.h5ad", **options), kind="cells")


def first_epoch(dataset, batch_size):
    """All batches of training cells in their order, on the host."""
    feed = make_feed(dataset, "train", batch_size=batch_size)
    key = jax.random.key(0)
    order = feed.order(feed.data, key, jnp.int32(0))
    steps = [feed.batch(feed.data, key, order, jnp.int32(step)) for step in range(feed.steps)]
    return [jax.device_get(batch) for batch in steps]


def test_up_to_six_genes_at_once(screen, tmp_path):
    labels = ["ctrl"] * 20
    for number in (3, 4, 5, 6):
        # The same set in two orders is one condition.
        labels += ["+".join(GENES_AT_ONCE[:number])] * 6
        labels += ["+".join(GENES_AT_ONCE[:number][::-1])] * 4
    dataset = read_back(screen(labels), tmp_path)
    assert dataset.treatments == GENES_AT_ONCE
    assert sorted(dataset.condition_treatments.sum(axis=1)) == [0, 3, 4, 5, 6]
    np.testing.assert_array_equal(np.sort(np.bincount(dataset.condition)), [10, 10, 10, 10, 20])
    batch = first_epoch(dataset, 16)[0]
    expected = dataset.condition_treatments[batch.condition]
    np.testing.assert_array_equal(batch.treatment, expected)


def test_large_counts_of_full_length_protocols(screen, labels, tmp_path):
    adata = screen(labels)
    adata.X = adata.X * 100_003
    dataset = read_back(adata, tmp_path)
    assert dataset.counts.dtype == np.uint32
    np.testing.assert_array_equal(dataset.counts.toarray(), adata.X.toarray())
    assert dataset.counts.data.max() > 2**18
    drawn = [batch.x[batch.mask] for batch in first_epoch(dataset, 8)]
    expected = dataset.counts[dataset.rows("train")].sum()
    # Whole numbers below 2**24 are exact in the float32 of a batch.
    assert sum(x.astype(np.float64).sum() for x in drawn) == expected
    spec = data.make_spec(dataset)
    assert np.isfinite(spec.log_mean).all() and np.isfinite(spec.control_mean).all()


@pytest.mark.parametrize("empty", [[0], [0, 15], range(12)])
def test_cells_without_counts(screen, labels, tmp_path, empty):
    adata = screen(labels)
    table = adata.X.toarray()
    table[list(empty)] = 0
    adata.X = table
    dataset = read_back(adata, tmp_path)
    assert f"cells without any count, kept: {len(empty)}" in dataset.notes
    assert len(dataset.cells) == len(labels)
    np.testing.assert_array_equal(dataset.counts.toarray(), table)
    if len(empty) < 12:
        spec = data.make_spec(dataset)
        assert np.isfinite(spec.log_mean).all() and np.isfinite(spec.control_mean).all()


def test_a_batch_of_one_cell(screen, labels, tmp_path):
    lanes = list(itertools.islice(itertools.cycle(["b1", "b2"]), len(labels) - 1))
    dataset = read_back(screen(labels, batch=[*lanes, "b3"]), tmp_path, stratum="batch")
    assert dataset.strata == ("b1", "b2", "b3")
    np.testing.assert_array_equal(np.bincount(dataset.stratum), [20, 19, 1])
    for batch in first_epoch(dataset, 8):
        assert np.isfinite(batch.x).all() and np.isfinite(batch.control).all()
    assert np.isfinite(data.make_spec(dataset).log_mean).all()


def test_one_cell_is_one_block(screen, tmp_path):
    dataset = read_back(screen(["ctrl", "A"] * 10), tmp_path)
    blocks = data.in_blocks(dataset, np.array([3]), 1, lambda _, batch: batch.x)
    np.testing.assert_array_equal(blocks, dataset.counts[[3]].toarray())
