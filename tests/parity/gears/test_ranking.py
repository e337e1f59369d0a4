"""Differential expression against scanpy's ranking as the published code stores it."""

import numpy as np
import pytest
from scipy import sparse

from jaxpert.data.moments import condition_means
from jaxpert.evaluation.differential import rank, top

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def ranked(gears_arrays):
    arrays = gears_arrays("de_ranking")
    names, condition = np.unique(arrays["condition"], return_inverse=True)
    moments = condition_means(
        sparse.csr_matrix(arrays["X"]), condition, len(names), "given", variance=True
    )
    ranking = rank(moments, list(names).index("ctrl"))
    rows = {f"K562_{name}_1+1": i for i, name in enumerate(names) if name != "ctrl"}
    assert {key.removeprefix("rank/") for key in arrays if key.startswith("rank/")} == set(rows)
    return arrays, ranking, rows


def test_scores_and_order(ranked):
    arrays, ranking, rows = ranked
    for name, row in rows.items():
        order, score = arrays[f"rank/{name}"], arrays[f"score/{name}"]
        np.testing.assert_allclose(ranking.score[row][order], score, rtol=1e-4, atol=1e-4)
        scored = np.count_nonzero(score)  # behind it come genes that tie at 0, in no order
        assert (ranking.order[row][:scored] == order[:scored]).mean() > 0.97
        np.testing.assert_allclose(
            np.abs(ranking.score[row][ranking.order[row]]), np.abs(score), rtol=1e-4, atol=1e-4
        )
        np.testing.assert_array_equal(ranking.order[row][:20], order[:20])


def test_sets(ranked):
    arrays, ranking, rows = ranked
    sets = {
        "non_zero": ("non_zeros_gene_idx", ranking.nonzero),
        "non_dropout": ("non_dropout_gene_idx", ranking.non_dropout),
    }
    for kind, (key, mask) in sets.items():
        first = top(ranking.order, 20, mask)
        for name, row in rows.items():
            np.testing.assert_array_equal(np.flatnonzero(mask[row]), arrays[f"{key}/{name}"])
            np.testing.assert_array_equal(first[row], arrays[f"top_{kind}_de_20/{name}"])


def test_plain_top_20_is_that_of_the_cell_records(ranked, gears_arrays):
    _, ranking, rows = ranked
    recorded = gears_arrays("pairing")
    first = np.sort(top(ranking.order), axis=1)
    for name, row in rows.items():
        np.testing.assert_array_equal(
            first[row], recorded[f"de_idx/{name.removeprefix('K562_').removesuffix('_1+1')}"]
        )
