"""Blocks of cells: filled up to one size, joined in the order that was asked for."""

import numpy as np

from jaxpert.data.blocks import in_blocks
from support import toy


def test_answers_are_joined_in_order_without_the_filling():
    dataset = toy.dataset()
    rows = np.random.default_rng(0).permutation(len(dataset.cells))[:50]
    sizes = []

    def ask(number, batch):
        sizes.append(len(batch.slot))
        return {"x": batch.x, "number": np.full(len(batch.slot), number), "of": batch.condition}

    answer = in_blocks(dataset, rows, 16, ask)
    assert sizes == [16] * 4
    np.testing.assert_array_equal(answer["x"], dataset.counts[rows].toarray())
    np.testing.assert_array_equal(answer["of"], dataset.condition[rows])
    np.testing.assert_array_equal(answer["number"], np.arange(50) // 16)
