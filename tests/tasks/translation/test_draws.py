"""Draws of cells: repeated only where needed, and each by its own stream."""

import numpy as np

from jaxpert.tasks.translation.draws import draw_cells


def test_draws_repeat_cells_only_where_there_are_too_few():
    pools = [np.arange(100, 160), np.arange(51), np.arange(50), np.arange(3)]
    cells = draw_cells(pools, list("abcd"), seed=0, replicates=20, cells_per_draw=50)
    distinct = np.array([[len(set(row)) for row in rows] for rows in cells])
    assert (distinct[:2] == 50).all() and (distinct[2:] < 50).all()
    assert all(np.isin(rows, pool).all() for rows, pool in zip(cells, pools, strict=True))


def test_a_replicate_depends_on_its_seed_its_pool_and_its_number_alone():
    pools = [np.arange(100), np.arange(100), np.arange(9)]
    cells = draw_cells(pools, list("abc"), seed=0, replicates=5, cells_per_draw=8)
    np.testing.assert_array_equal(
        draw_cells(pools[1:], ["b", "c"], seed=0, replicates=3, cells_per_draw=8), cells[1:, :3]
    )
    assert (cells[0] != cells[1]).any(axis=1).all() and len(np.unique(cells[0], axis=0)) == 5
    assert (
        (draw_cells(pools, list("abc"), seed=1, replicates=5, cells_per_draw=8) != cells)
        .any(axis=(1, 2))
        .all()
    )
