import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert.core.types import SPLITS, InputError
from jaxpert.simulate.simulate import simulate
from jaxpert.tasks import translation as spectra
from jaxpert.tasks.translation.draws import draw_cells
from support.line_screens import LINES, screen

SMALL = {"replicates": 8, "cells_per_draw": 25, "seed": 3}


@pytest.fixture(scope="module")
def dataset():
    return spectra.load_lines(screen())


@pytest.fixture(scope="module")
def prepared(dataset):
    return spectra.prepare(dataset, **SMALL)


def draw(feed, epoch=0, seed=1):
    key = jax.random.key(seed)
    order = jax.jit(feed.order)(feed.data, key, jnp.int32(epoch))
    batch = jax.jit(feed.batch)
    return [
        batch(feed.data, jax.random.fold_in(key, i), order, jnp.int32(i)) for i in range(feed.steps)
    ]


def numbers(batches):
    return np.concatenate([np.asarray(b.extras["pair"])[np.asarray(b.mask)] for b in batches])


def host_rows(prepared, split):
    """{pair: (row, control row)}, lists of them where cells are rows."""
    found = {}
    for block in spectra.rows(prepared, split, block=7):
        for pair, x, control in zip(block.pair, block.x, block.control, strict=True):
            found.setdefault(int(pair), []).append((x, control))
    return found


def adjusted_cells(prepared):
    """Every cell on the scale of the rows, dense: what is never made otherwise."""
    x = prepared.dataset.counts.toarray().astype(float)
    y = np.log2(1 + 1e4 * x / np.maximum(x.sum(1, keepdims=True), 1))
    stratum = prepared.dataset.stratum
    return prepared.affine.scale[stratum] * y + prepared.affine.shift[stratum]


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


def test_pairs_join_a_replicate_with_that_of_its_batchs_controls(prepared):
    pairs, table, data = prepared.pairs, prepared.draws, prepared.dataset
    upper, lower = (table.cells[side, pairs.replicate] for side in (pairs.upper, pairs.lower))
    assert (data.condition[upper] == pairs.condition[:, None]).all() and (
        pairs.condition != data.control
    ).all()
    assert (data.condition[lower] == data.control).all()
    assert (data.stratum[upper] == pairs.batch[:, None]).all() and (
        data.stratum[lower] == pairs.batch[:, None]
    ).all()
    key = np.stack([pairs.replicate, pairs.condition, pairs.batch])
    np.testing.assert_array_equal(np.lexsort(key), np.arange(key.shape[1]))
    assert len(pairs.part) == 7 * SMALL["replicates"] and table.cells.dtype == np.int32


def test_one_replicate_of_every_pair_validates(prepared):
    assert len(set(prepared.pairs.replicate[prepared.pairs.part == 1])) == 1
    np.testing.assert_array_equal(np.bincount(prepared.pairs.part), [49, 7])
    assert any("measure the noise of drawing" in note for note in prepared.notes)
    fixed = spectra.prepare(prepared.dataset, **SMALL, validation_replicate=2)
    assert set(fixed.pairs.replicate[fixed.pairs.part == 1]) == {2}
    only = spectra.prepare(prepared.dataset, **SMALL, split="none")
    assert (only.pairs.part == 0).all() and spectra.make_feeds(only, 8)[1] is None


def test_a_batch_without_controls_takes_the_largest_of_its_line():
    labels = screen().obs["condition"].to_numpy()
    state = np.where(
        labels == "ctrl", np.where(np.arange(len(labels)) % 4 == 0, "no1", "no2"), "NK"
    )
    data = spectra.load_lines(screen(state=state), batch="state")
    made = spectra.prepare(data, **SMALL)
    names = np.asarray(made.dataset.strata)
    lower = names[made.dataset.stratum[made.draws.cells[made.pairs.lower, 0, 0]]]
    expected = [f"{line}/no2" for line in np.asarray(made.spectra.lines)[made.pairs.line]]
    assert (
        list(lower) == expected
        and (np.char.partition(names[made.pairs.batch], "/")[:, 2] == "NK").all()
    )
    assert any("3 batches have no control cell" in note for note in made.notes)
    assert any("3 batches hold only control cells and give no pair" in note for note in made.notes)


HELD_OUT = [
    ("perturbation", {"held_out": ["B+ctrl"], "val_share": 0.0}),
    ("perturbation", {}),
    ("cell_line", {"held_out": ["RPE1"]}),
    ("perturbation_in_line", {"held_out": [("A+ctrl", "RPE1")], "val_share": 0.2}),
    ("perturbation_in_line", {}),
]


@pytest.mark.parametrize(("kind", "settings"), HELD_OUT)
def test_no_cell_of_a_held_out_spectrum_is_in_a_training_draw(dataset, kind, settings):
    made = spectra.prepare(dataset, split=kind, **SMALL, **settings)
    pairs, cells = made.pairs, spectra.drawn_cells(made)
    assert (
        len(cells["test"][0])
        and not np.isin(cells["test"][0], np.concatenate(cells["train"])).any()
    )
    unit = {"perturbation": pairs.condition, "cell_line": pairs.line}.get(
        kind, pairs.condition * 10 + pairs.line
    )
    assert not set(unit[pairs.part == 0]) & set(unit[pairs.part == 2])
    if kind == "perturbation_in_line":
        assert set(pairs.condition[pairs.part == 2]) <= set(pairs.condition[pairs.part == 0])
    if kind == "cell_line":
        assert "lines evaluated without any training pair: RPE1" in made.notes
    np.testing.assert_array_equal(made.dataset.split[cells["test"][0]], 2)
    assert (made.dataset.split[np.concatenate(cells["train"])] == 0).all()


@pytest.mark.parametrize("kind", ["replicate", "perturbation", "cell_line"])
def test_disjoint_parts_share_no_cell_controls_included(dataset, kind):
    made = spectra.prepare(dataset, split=kind, cells_disjoint=True, **SMALL)
    cells = {part: np.concatenate(both) for part, both in spectra.drawn_cells(made).items()}
    assert len(cells) == (2 if kind == "replicate" else 3)
    for one in cells:
        assert (made.dataset.split[cells[one]] == SPLITS.index(one)).all()
        assert not any(np.isin(cells[one], cells[two]).any() for two in cells if two != one)
    assert not any("drawn in training too" in note for note in made.notes)


def test_a_spectrum_of_one_cell_cannot_serve_two_disjoint_parts():
    data = spectra.load_lines(screen(LINES | {"LP1": {"ctrl": 9, "A+ctrl": 1}}))
    made = spectra.prepare(data, cells_disjoint=True, **SMALL)
    assert any("1 of 64 pairs are left out" in note for note in made.notes)
    assert (made.pairs.part[made.pairs.line == made.spectra.lines.index("LP1")] == 0).all()


def test_rows_are_the_means_of_adjusted_cells(prepared):
    cells = adjusted_cells(prepared)
    table, pairs = prepared.draws.cells, prepared.pairs
    for pair, ((x, control),) in (
        host_rows(prepared, "train") | host_rows(prepared, "val")
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
    drawn, batch = table[pairs.upper[:3], pairs.replicate[:3]], pairs.batch[:3]
    np.testing.assert_allclose(
        spectra.adjust(prepared, batch, raw[drawn].mean(1)), cells[drawn].mean(1)
    )
    np.testing.assert_allclose(
        spectra.unadjust(prepared, batch, cells[drawn].mean(1)), raw[drawn].mean(1)
    )
    reference = prepared.dataset.stratum == prepared.reference
    np.testing.assert_allclose(cells[reference], raw[reference])
    assert np.abs(prepared.affine.scale[1 - prepared.reference] - 1).max() > 0.01


@pytest.mark.parametrize("layout", ["dense", "csr"])
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
    monkeypatch.setattr("jaxpert.data.log_scale.CLIP", 1.0)
    monkeypatch.setattr(
        "jaxpert.data.spectra_feed.WINDOW", 4
    )  # of 6 genes: a cell is read in two windows
    made = spectra.prepare(dataset, **SMALL, **settings)
    expected = host_rows(made, "val")
    feed = spectra.make_feed(made, "val", 4, layout=layout)
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
    kept = draw(spectra.make_feed(prepared, "train", 8))[1]
    monkeypatch.setattr("jaxpert.data.spectra_feed.CONTROL_BYTES", 0)
    feed = spectra.make_feed(prepared, "train", 8)
    assert "lower_row" not in feed.data.pairs
    np.testing.assert_allclose(draw(feed)[1].control, kept.control, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 16, 24])
def test_training_drops_the_last_partial_batch_and_validation_pads_it(prepared, batch_size):
    train, valid = spectra.make_feeds(prepared, batch_size)
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
    feed = spectra.make_feed(prepared, "train", 8)
    first = numbers(draw(feed))
    again = numbers(draw(spectra.make_feed(prepared, "train", 8)))
    np.testing.assert_array_equal(first, again)
    assert (first != numbers(draw(feed, epoch=1))).any() and (
        first != numbers(draw(feed, seed=2))
    ).any()
    valid = spectra.make_feed(prepared, "val", 8)
    np.testing.assert_array_equal(numbers(draw(valid, epoch=4)), numbers(draw(valid)))


EIGHT = """
import sys; sys.path.insert(0, {here!r})
import jax, numpy as np
from test_spectra import SMALL, screen, spectra
made = spectra.prepare(spectra.load_lines(screen()), **SMALL)
for split, layout in (("train", "dense"), ("val", "csr")):
    one, many = (spectra.make_feed(made, split, 8, d, layout=layout) for d in (1, 8))
    key = jax.random.key(5)
    order = jax.jit(one.order)(one.data, key, 2)
    batch = jax.jit(one.batch)
    orders = jax.pmap(many.order, "devices", in_axes=(0, None, None))(many.data, key, 2)
    draw = jax.pmap(many.batch, "devices", in_axes=(0, None, 0, None))
    for step in range(min(one.steps, 3)):
        whole, parts = batch(one.data, key, order, step), draw(many.data, key, orders, step)
        for name in ("x", "control", "treatment", "condition", "stratum", "mask", "slot"):
            joined = np.concatenate(list(np.asarray(getattr(parts, name))))
            np.testing.assert_array_equal(joined, np.asarray(getattr(whole, name)), name)
        np.testing.assert_array_equal(np.ravel(parts.extras["pair"]), whole.extras["pair"])
print("same")
"""


def test_one_and_eight_devices_draw_the_same_batches(request):
    code = EIGHT.format(here=str(request.path.parent))
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == "same", done.stderr


@pytest.mark.parametrize("combat_cells", ["controls", "all"])
def test_nothing_is_learned_from_held_out_cells(combat_cells):
    """Other counts in the cells that are tested change neither scale nor adjustment nor spec."""
    settings = {
        "split": "cell_line",
        "held_out": ["RPE1"],
        "lognorm": "ln_cp10k_zscore",
        "combat_cells": combat_cells,
    }
    adata = screen()
    one = spectra.prepare(spectra.load_lines(adata), **SMALL, **settings)
    tested = ((adata.obs["cell_type"] == "RPE1") & (adata.obs["condition"] != "ctrl")).to_numpy()
    adata.X[np.flatnonzero(tested)] = adata.X[np.flatnonzero(tested)] * 3
    two = spectra.prepare(spectra.load_lines(adata), **SMALL, **settings)
    np.testing.assert_array_equal(one.affine.shift, two.affine.shift)
    np.testing.assert_array_equal(one.scale.cap, two.scale.cap)
    np.testing.assert_array_equal(
        spectra.spectra_spec(one).log_mean, spectra.spectra_spec(two).log_mean
    )


def test_controls_of_a_held_out_line_come_to_the_controls_of_the_others(dataset):
    """Fitted to all cells, the adjustment would move them to where the others have their mixture of
    perturbations."""
    settings = {"split": "cell_line", "held_out": ["RPE1"], "combat_reference": "K562"}
    distance = {}
    for cells in ("controls", "all"):
        made = spectra.prepare(dataset, **SMALL, **settings, combat_cells=cells)
        values, data = adjusted_cells(made), made.dataset
        control = data.condition == data.control
        means = [values[control & (data.stratum == b)].mean(0) for b in (0, 1)]
        distance[cells] = np.abs(means[1] - means[0])[:2].mean()
    assert distance["controls"] < 0.05 < distance["all"]


def test_the_spec_has_the_batch_columns_and_the_training_cells(dataset):
    made = spectra.prepare(
        dataset, split="perturbation", held_out=["B+ctrl"], val_share=0.0, **SMALL
    )
    spec = spectra.spectra_spec(made)
    assert spec.strata == ("K562", "RPE1", "T98G", "placeholder1", "placeholder2")
    assert (
        spec.condition_cells[spec.conditions.index("B+ctrl")] == 0
        and spec.condition_cells[spec.control] == 115
    )
    means, cells = spectra.control_means(made), adjusted_cells(made)
    np.testing.assert_array_equal(means.cells, [60, 30, 25, 0, 0])
    own = (dataset.condition == dataset.control) & (dataset.stratum == 2)
    np.testing.assert_allclose(means.mean[2], cells[own].mean(0), rtol=1e-9)
    assert (means.mean[3:] == 0).all()


def test_means_of_spectra_are_the_means_of_their_rows(prepared):
    means, rows = spectra.spectrum_means(prepared, "train"), host_rows(prepared, "train")
    assert len(means.condition) == 7 and (means.rows == 7).all()
    for i in range(7):
        own = (prepared.pairs.condition == means.condition[i]) & (
            prepared.pairs.batch == means.batch[i]
        )
        of_pairs = np.array([rows[p][0] for p in np.flatnonzero(own & (prepared.pairs.part == 0))])
        np.testing.assert_allclose(
            [means.x[i], means.control[i]], of_pairs.mean(0), rtol=1e-5, atol=1e-6
        )


def test_rows_for_tanh_fill_the_unit_interval_and_come_back(prepared):
    scale = spectra.training_rows_per_gene_scale(prepared)
    feed = spectra.make_feed(prepared, "train", 7, unit_scale=scale)
    largest = np.max(
        [np.maximum(np.abs(b.x).max(0), np.abs(b.control).max(0)) for b in draw(feed)], 0
    )
    np.testing.assert_allclose(largest, 1, rtol=1e-5)
    batch, plain = draw(feed)[0], draw(spectra.make_feed(prepared, "train", 7))[0]
    np.testing.assert_allclose(
        spectra.from_unit(np.asarray(batch.x), scale), plain.x, rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        spectra.to_unit(np.asarray(plain.x), scale), batch.x, rtol=1e-5, atol=1e-5
    )


def test_values_normalised_before_pass_through():
    adata = screen()
    adata.X = adata.X.toarray() - 2.25
    made = spectra.prepare(
        spectra.load_lines(adata, normalised=True), lognorm="given", combat_reference=None, **SMALL
    )
    ((x, _),) = host_rows(made, "val")[int(made.pair_numbers("val")[0])]
    pair = made.pair_numbers("val")[0]
    cells = made.draws.cells[made.pairs.upper[pair], made.pairs.replicate[pair]]
    np.testing.assert_allclose(x, made.dataset.counts[cells].toarray().mean(0), rtol=1e-5)
    np.testing.assert_allclose(
        draw(spectra.make_feed(made, "val", 7, layout="csr"))[0].x[0], x, rtol=1e-4
    )
    spec = spectra.spectra_spec(made)
    np.testing.assert_allclose(spec.log_std, adata[:, list(spec.genes)].X.std(0, ddof=1), rtol=1e-5)


@pytest.mark.parametrize("lognorm", ["log2_cp10k", "ln_cp10k_zscore"])
def test_lines_of_their_own_come_to_the_reference_of_other_data(lognorm):
    """RPE1 alone, aligned to what was kept of K562, has the rows that it has beside K562."""
    settings = {"split": "none", "lognorm": lognorm, **SMALL}
    both = [screen({line: LINES[line]}, seed=i) for i, line in enumerate(("K562", "RPE1"))]
    together = spectra.prepare(spectra.load_lines(both), **settings, combat_reference="K562")
    assert together.aligned_to.cells == 60 and together.dataset.strata[together.reference] == "K562"
    data = spectra.load_lines(both[1])
    alone = spectra.prepare(data, **settings, combat_reference=together.aligned_to)
    assert alone.reference is None and alone.aligned_to is together.aligned_to
    batch = together.dataset.strata.index("RPE1")
    for one, two in zip(alone.affine, together.affine, strict=True):
        np.testing.assert_allclose(one[0], two[batch], rtol=1e-12, atol=1e-12)
    assert any("are aligned to 'K562' of an earlier run (60 cells)" in note for note in alone.notes)
    itself = spectra.prepare(data, **settings)
    assert np.abs(itself.affine.shift[0] - alone.affine.shift[0]).max() > 0.1
    with pytest.raises(
        InputError, match=f"fitted with data.lognorm={lognorm} and here it is log2_raw"
    ):
        spectra.prepare(
            data, **settings | {"lognorm": "log2_raw"}, combat_reference=together.aligned_to
        )


ONE_CELL = LINES | {"LP1": {"ctrl": 1, "A+ctrl": 0}}
TREATED = np.where(screen().obs["condition"] == "ctrl", "lane1", screen().obs["condition"])


@pytest.mark.parametrize(
    ("adata", "reading", "settings", "expected"),
    [
        (screen(ONE_CELL), {}, {}, r"1 batches have one cell to be adjusted by \(LP1\)"),
        (screen(lane=TREATED), {"batch": "lane"}, {}, "alone, whose effect ComBat would remove"),
        (screen(), {}, {"combat_reference": "HeLa"}, "'HeLa' is no batch with training cells"),
        (screen(), {}, {"lognorm": "log1p"}, "the log transform is 'log1p'"),
        (screen(), {}, {"unit": "spot"}, "data.unit is 'spot'"),
        (screen(), {}, {"combat_cells": "some"}, "data.combat_cells is 'some'"),
        (screen(), {}, {"split": "cells"}, "the split is 'cells'"),
        (screen(), {}, {"split": "cell_line", "held_out": ["K526"]}, "did you mean 'K562'"),
        (
            screen(),
            {},
            {"split": "cell_line", "held_out": ["K562", "RPE1", "T98G"]},
            "0 pairs of spectra for training",
        ),
        (screen(), {}, {"replicates": 1}, "validates on one replicate of 1"),
        (screen(), {}, {"replicates": 0}, "expected at least 1 of each"),
        (screen(), {}, {"validation_replicate": 50}, "expected a number from 0 to 49"),
        (screen(), {}, {"draw": "random"}, "the draw is 'random'"),
        (screen(), {}, {"held_out": ["A+ctrl"]}, "the split 'replicate' holds nothing out"),
        (
            screen(),
            {},
            {"split": "perturbation", "test_share": 1.5},
            "test_share and split.val_share are 1.5 and 0.1",
        ),
        (
            screen(),
            {},
            {"split": "perturbation", "validation_replicate": 3},
            "no replicate validates",
        ),
        (screen({"K562": {"ctrl": 9}}), {}, {}, "has only control cells"),
    ],
)
def test_what_cannot_work_is_one_sentence(adata, reading, settings, expected):
    with pytest.raises(InputError, match=expected) as error:
        spectra.prepare(spectra.load_lines(adata, **reading), **settings)
    assert "\n" not in str(error.value)


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
        spectra.make_feed(prepared, *arguments)


def test_kang_is_seven_lines_of_one_perturbation(real):
    data = spectra.load_lines(real("kang2018_pbmc_ifnb_6998g.h5ad"))
    made = spectra.prepare(data, split="cell_line", held_out=["CD4T"], replicates=4)
    assert len(made.spectra.lines) == 7 and np.bincount(made.pairs.part).tolist() == [18, 6, 4]
    gene = data.genes.index("ISG15")
    means = {part: spectra.spectrum_means(made, part) for part in ("train", "test")}
    change = {part: (m.x - m.control)[:, gene] for part, m in means.items()}
    assert (change["train"] > 3).all() and (change["test"] > 3).all()
    assert abs(means["test"].control[0, gene] - means["train"].control[:, gene].mean()) < 0.5


def test_norman_and_mcfaline_hold_out_a_perturbation_in_one_line(real):
    names = ("norman2019_k562_combos_500g.h5ad", "mcfaline2023_gbm3lines_500g.h5ad")
    data = spectra.load_lines([real(name) for name in names], targets="genes")
    made = spectra.prepare(
        data,
        split="perturbation_in_line",
        held_out=[("SGK1+ctrl", "A172")],
        val_share=0.0,
        replicates=3,
        cells_disjoint=True,
    )
    assert np.bincount(made.pairs.part).tolist() == [2 * 59, 59, 3]
    spec = spectra.spectra_spec(made)
    assert (
        len(spec.strata) == 6
        and spec.treatments[:500] == spec.genes
        and len(spec.treatments) == 530
    )
    batch = draw(spectra.make_feed(made, "test", 4))[0]
    assert (
        batch.mask.sum() == 3
        and batch.treatment.sum(1).tolist() == [1] * 4
        and np.isfinite(batch.x).all()
    )


def test_counts_are_used_in_place_on_the_cpu(dataset):
    """At the size of the published table a second copy would not fit the gigabyte that is allowed
    beside the counts."""
    made = spectra.prepare(dataset, **SMALL)
    train, valid = spectra.make_feeds(made, 4, layout="csr")
    for name, array in (("genes", dataset.counts.indices), ("values", dataset.counts.data)):
        for feed in (train, valid):
            assert feed.data.cells[name].unsafe_buffer_pointer() == array.ctypes.data


def test_simulated_lines_go_all_the_way():
    adata, _ = simulate("lines_tiny")
    lines = spectra.load_lines(adata, perturbation="perturbation", line="line", batch="batch")
    assert (
        "line_in_file" not in lines.obs
        and "batch_in_file" in lines.obs
        and len(lines.strata) == 3 * 2 + 2
    )
    made = spectra.prepare(lines, split="perturbation_in_line", cells_disjoint=True, **SMALL)
    pairs = made.pairs
    assert (np.bincount(pairs.part) > 0).all()
    assert np.isfinite(draw(spectra.make_feed(made, "test", 8))[0].x).all()
