"""Pairs of pseudo-bulk rows: what is paired, split and aligned, and what cannot be."""

import numpy as np
import pytest

from jaxpert.core.types import SPLITS, InputError
from jaxpert.simulate import simulate
from jaxpert.tasks.translation.feed import make_feed, make_feeds
from jaxpert.tasks.translation.groups import find_effect_groups, group_means
from jaxpert.tasks.translation.lines import load_lines
from jaxpert.tasks.translation.prepare import drawn_cells, prepare
from jaxpert.tasks.translation.rows import rows_spec
from support import line_rows
from support.line_rows import draw
from support.line_screens import LINES, screen


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
    assert len(pairs.part) == 7 * line_rows.SMALL["replicates"] and table.cells.dtype == np.int32


def test_one_replicate_of_every_pair_validates(prepared):
    assert len(set(prepared.pairs.replicate[prepared.pairs.part == 1])) == 1
    np.testing.assert_array_equal(np.bincount(prepared.pairs.part), [49, 7])
    assert any("measure the noise of drawing" in note for note in prepared.notes)
    fixed = prepare(prepared.dataset, **line_rows.SMALL, validation_replicate=2)
    assert set(fixed.pairs.replicate[fixed.pairs.part == 1]) == {2}
    only = prepare(prepared.dataset, **line_rows.SMALL, split="none")
    assert (only.pairs.part == 0).all() and make_feeds(only, 8)[1] is None


def test_a_batch_without_controls_takes_the_largest_of_its_line():
    labels = screen().obs["condition"].to_numpy()
    state = np.where(
        labels == "ctrl", np.where(np.arange(len(labels)) % 4 == 0, "no1", "no2"), "NK"
    )
    data = load_lines(screen(state=state), batch="state")
    made = prepare(data, **line_rows.SMALL)
    names = np.asarray(made.dataset.strata)
    lower = names[made.dataset.stratum[made.draws.cells[made.pairs.lower, 0, 0]]]
    expected = [f"{line}/no2" for line in np.asarray(made.pseudobulk.lines)[made.pairs.line]]
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
def test_no_cell_of_a_held_out_group_is_in_a_training_draw(dataset, kind, settings):
    made = prepare(dataset, split=kind, **line_rows.SMALL, **settings)
    pairs, cells = made.pairs, drawn_cells(made)
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
    made = prepare(dataset, split=kind, cells_disjoint=True, **line_rows.SMALL)
    cells = {part: np.concatenate(both) for part, both in drawn_cells(made).items()}
    assert len(cells) == (2 if kind == "replicate" else 3)
    for split in cells:
        assert (made.dataset.split[cells[split]] == SPLITS.index(split)).all()
        assert not any(
            np.isin(cells[split], cells[other]).any() for other in cells if other != split
        )
    assert not any("drawn in training too" in note for note in made.notes)


def test_a_group_of_one_cell_cannot_serve_two_disjoint_parts():
    data = load_lines(screen(LINES | {"LP1": {"ctrl": 9, "A+ctrl": 1}}))
    made = prepare(data, cells_disjoint=True, **line_rows.SMALL)
    assert any("1 of 64 pairs are left out" in note for note in made.notes)
    assert (made.pairs.part[made.pairs.line == made.pseudobulk.lines.index("LP1")] == 0).all()


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
    before = prepare(load_lines(adata), **line_rows.SMALL, **settings)
    tested = ((adata.obs["cell_type"] == "RPE1") & (adata.obs["condition"] != "ctrl")).to_numpy()
    adata.X[np.flatnonzero(tested)] = adata.X[np.flatnonzero(tested)] * 3
    after = prepare(load_lines(adata), **line_rows.SMALL, **settings)
    np.testing.assert_array_equal(before.affine.shift, after.affine.shift)
    np.testing.assert_array_equal(before.scale.cap, after.scale.cap)
    np.testing.assert_array_equal(rows_spec(before).log_mean, rows_spec(after).log_mean)


def test_controls_of_a_held_out_line_come_to_the_controls_of_the_others(dataset):
    """Fitted to all cells, the adjustment would move them to where the others have their mixture of
    perturbations."""
    settings = {"split": "cell_line", "held_out": ["RPE1"], "combat_reference": "K562"}
    distance = {}
    for cells in ("controls", "all"):
        made = prepare(dataset, **line_rows.SMALL, **settings, combat_cells=cells)
        values, data = line_rows.adjusted_cells(made), made.dataset
        control = data.condition == data.control
        means = [values[control & (data.stratum == b)].mean(0) for b in (0, 1)]
        distance[cells] = np.abs(means[1] - means[0])[:2].mean()
    assert distance["controls"] < 0.05 < distance["all"]


@pytest.mark.parametrize("lognorm", ["log2_cp10k", "ln_cp10k_zscore"])
def test_lines_of_their_own_come_to_the_reference_of_other_data(lognorm):
    """RPE1 alone, aligned to what was kept of K562, has the rows that it has beside K562."""
    settings = {"split": "none", "lognorm": lognorm, **line_rows.SMALL}
    both = [screen({line: LINES[line]}, seed=i) for i, line in enumerate(("K562", "RPE1"))]
    together = prepare(load_lines(both), **settings, combat_reference="K562")
    assert together.aligned_to.cells == 60 and together.dataset.strata[together.reference] == "K562"
    data = load_lines(both[1])
    alone = prepare(data, **settings, combat_reference=together.aligned_to)
    assert alone.reference is None and alone.aligned_to is together.aligned_to
    batch = together.dataset.strata.index("RPE1")
    for of_line, of_both in zip(alone.affine, together.affine, strict=True):
        np.testing.assert_allclose(of_line[0], of_both[batch], rtol=1e-12, atol=1e-12)
    assert any("are aligned to 'K562' of an earlier run (60 cells)" in note for note in alone.notes)
    itself = prepare(data, **settings)
    assert np.abs(itself.affine.shift[0] - alone.affine.shift[0]).max() > 0.1
    with pytest.raises(
        InputError, match=f"fitted with data.lognorm={lognorm} and here it is log2_raw"
    ):
        prepare(data, **settings | {"lognorm": "log2_raw"}, combat_reference=together.aligned_to)


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
            "0 pairs of pseudo-bulk groups for training",
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
        prepare(load_lines(adata, **reading), **settings)
    assert "\n" not in str(error.value)


def test_kang_is_seven_lines_of_one_perturbation(real):
    data = load_lines(real("kang2018_pbmc_ifnb_6998g.h5ad"))
    made = prepare(data, split="cell_line", held_out=["CD4T"], replicates=4)
    assert len(made.pseudobulk.lines) == 7 and np.bincount(made.pairs.part).tolist() == [18, 6, 4]
    gene = data.genes.index("ISG15")
    groups = find_effect_groups(made)
    means = group_means(made, groups)
    change = (means.upper - means.lower)[:, gene]
    assert (change > 3).all() and groups.trained.sum() == 6
    lower = means.lower[:, gene]
    assert abs(lower[~groups.trained][0] - lower[groups.trained].mean()) < 0.5


def test_norman_and_mcfaline_hold_out_a_perturbation_in_one_line(real):
    names = ("norman2019_k562_combos_500g.h5ad", "mcfaline2023_gbm3lines_500g.h5ad")
    data = load_lines([real(name) for name in names], targets="genes")
    made = prepare(
        data,
        split="perturbation_in_line",
        held_out=[("SGK1+ctrl", "A172")],
        val_share=0.0,
        replicates=3,
        cells_disjoint=True,
    )
    assert np.bincount(made.pairs.part).tolist() == [2 * 59, 59, 3]
    spec = rows_spec(made)
    assert (
        len(spec.strata) == 6
        and spec.treatments[:500] == spec.genes
        and len(spec.treatments) == 530
    )
    batch = draw(make_feed(made, "test", 4))[0]
    assert (
        batch.mask.sum() == 3
        and batch.treatment.sum(1).tolist() == [1] * 4
        and np.isfinite(batch.x).all()
    )


def test_simulated_lines_go_all_the_way():
    adata, _ = simulate("lines_tiny")
    lines = load_lines(adata, perturbation="perturbation", line="line", batch="batch")
    assert (
        "line_in_file" not in lines.obs
        and "batch_in_file" in lines.obs
        and len(lines.strata) == 3 * 2 + 2
    )
    made = prepare(lines, split="perturbation_in_line", cells_disjoint=True, **line_rows.SMALL)
    pairs = made.pairs
    assert (np.bincount(pairs.part) > 0).all()
    assert np.isfinite(draw(make_feed(made, "test", 8))[0].x).all()
