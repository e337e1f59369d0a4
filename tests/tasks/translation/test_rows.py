"""Rows on the host against dense arithmetic."""

import numpy as np

from jaxpert.tasks.translation.feed import make_feed
from jaxpert.tasks.translation.lines import load_lines
from jaxpert.tasks.translation.prepare import prepare
from jaxpert.tasks.translation.rows import control_means, rows_spec, training_rows_per_gene_scale
from support import line_rows
from support.line_rows import draw
from support.line_screens import screen


def test_rows_are_the_means_of_adjusted_cells(prepared):
    cells = line_rows.adjusted_cells(prepared)
    table, pairs = prepared.draws.cells, prepared.pairs
    for pair, ((x, control),) in (
        line_rows.host_rows(prepared, "train") | line_rows.host_rows(prepared, "val")
    ).items():
        replicate = pairs.replicate[pair]
        np.testing.assert_allclose(
            x, cells[table[pairs.upper[pair], replicate]].mean(0), rtol=1e-5, atol=1e-5
        )
        np.testing.assert_allclose(
            control, cells[table[pairs.lower[pair], replicate]].mean(0), rtol=1e-5, atol=1e-5
        )
    raw = np.asarray(
        np.log2(1 + 1e4 * prepared.dataset.counts.toarray() / prepared.dataset.counts.sum(1))
    )
    reference = prepared.dataset.stratum == prepared.reference
    np.testing.assert_allclose(cells[reference], raw[reference])
    assert np.abs(prepared.affine.scale[1 - prepared.reference] - 1).max() > 0.01


def test_the_spec_has_the_batch_columns_and_the_training_cells(dataset):
    made = prepare(
        dataset, split="perturbation", held_out=["B+ctrl"], val_share=0.0, **line_rows.SMALL
    )
    spec = rows_spec(made)
    assert spec.strata == ("K562", "RPE1", "T98G", "placeholder1", "placeholder2")
    assert (
        spec.condition_cells[spec.conditions.index("B+ctrl")] == 0
        and spec.condition_cells[spec.control] == 115
    )
    means, cells = control_means(made), line_rows.adjusted_cells(made)
    np.testing.assert_array_equal(means.cells, [60, 30, 25, 0, 0])
    members = (dataset.condition == dataset.control) & (dataset.stratum == 2)
    np.testing.assert_allclose(means.mean[2], cells[members].mean(0), rtol=1e-9)
    assert (means.mean[3:] == 0).all()


def test_rows_for_tanh_fill_the_unit_interval_and_come_back(prepared):
    scale = training_rows_per_gene_scale(prepared)
    feed = make_feed(prepared, "train", 7, unit_scale=scale)
    largest = np.max(
        [np.maximum(np.abs(b.x).max(0), np.abs(b.control).max(0)) for b in draw(feed)], 0
    )
    np.testing.assert_allclose(largest, 1, rtol=1e-5)
    batch, plain = draw(feed)[0], draw(make_feed(prepared, "train", 7))[0]
    np.testing.assert_allclose(np.asarray(batch.x) * scale, plain.x, rtol=1e-5, atol=1e-5)


def test_values_normalised_before_pass_through():
    adata = screen()
    adata.X = adata.X.toarray() - 2.25
    made = prepare(
        load_lines(adata, normalised=True),
        lognorm="given",
        combat_reference=None,
        **line_rows.SMALL,
    )
    ((x, _),) = line_rows.host_rows(made, "val")[int(made.pair_numbers("val")[0])]
    pair = made.pair_numbers("val")[0]
    cells = made.draws.cells[made.pairs.upper[pair], made.pairs.replicate[pair]]
    np.testing.assert_allclose(x, made.dataset.counts[cells].toarray().mean(0), rtol=1e-5)
    np.testing.assert_allclose(draw(make_feed(made, "val", 7, layout="csr"))[0].x[0], x, rtol=1e-4)
    spec = rows_spec(made)
    np.testing.assert_allclose(spec.log_std, adata[:, list(spec.genes)].X.std(0, ddof=1), rtol=1e-5)
