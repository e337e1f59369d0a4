"""Quality labels: planted artifacts are found, whole-transcriptome columns and calls from before a
filter are used."""

import numpy as np
import pytest
from scipy import sparse

from jaxpert import data
from jaxpert.core.types import InputError
from jaxpert.data import counts as counts_module
from jaxpert.data.doublets import FEWEST_FOR_RATES, call_doublets, parts_of
from jaxpert.data.quality import failed, keep_unfiltered, quality_metrics, thresholds
from jaxpert.data.subset import keep_cells


@pytest.fixture
def planted(screen):
    """300 cells of which the first ten are dying (few counts, many of them mitochondrial)."""
    adata = screen(["ctrl"] * 150 + ["A+ctrl"] * 150, genes=40)
    adata.var_names = ["MT-CO1", "MT-ND1", "RPS3", "RPL4", *adata.var_names[4:]]
    x = np.random.default_rng(1).poisson(20, adata.shape).astype(np.float32)
    x[:10] = np.round(x[:10] * 0.25)
    x[:10, :2] = 40
    adata.X = sparse.csr_matrix(x)
    return adata


def test_planted_artifacts_fail(planted):
    dataset = data.add_quality(data.read(planted), multiplier=5, doublets="none")
    np.testing.assert_array_equal(np.flatnonzero(dataset.quality.failed), np.arange(10))
    assert set(dataset.quality.thresholds) == {3, 4, 5} and dataset.quality.multiplier == 5
    assert any(note.startswith("10 of 300 cells fail") for note in dataset.notes)
    assert any(note.startswith("pct_hb never fails") for note in dataset.notes)
    assert data.modelled_thresholds(dataset) == dataset.quality.thresholds


def test_blocks_change_nothing(planted, monkeypatch):
    dataset = data.read(planted)
    whole = quality_metrics(dataset.counts, dataset.genes, np.zeros(300, bool))
    monkeypatch.setattr(counts_module.row_blocks, "__defaults__", (100,))
    blocks = quality_metrics(dataset.counts, dataset.genes, np.zeros(300, bool))
    for name in whole:
        np.testing.assert_array_equal(whole[name], blocks[name])


def test_mad_is_raw_and_widens_with_the_multiplier():
    metrics = {
        name: np.array([1.0, 2, 3, 4, 100])
        for name in ("umi_count", "n_genes", "pct_mt", "pct_ribo", "pct_hb")
    }
    assert thresholds(metrics)[3] == {
        "umi_count": 0,
        "n_genes": 0,
        "pct_mt": 6,
        "pct_ribo": 6,
        "pct_hb": 6,
    }
    assert thresholds(metrics, scaled=True)[4]["pct_mt"] == pytest.approx(3 + 4 * 1.4826)


def test_a_cell_without_counts_has_no_percentages_and_spoils_no_threshold(planted):
    x = planted.X.toarray()
    x[299] = 0
    metrics = quality_metrics(x, list(planted.var_names), np.zeros(300, bool))
    assert np.isnan(metrics["pct_mt"][299]) and all(
        np.isfinite(list(thresholds(metrics)[3].values()))
    )
    assert failed(metrics, thresholds(metrics)[5])[299]


def test_columns_replace_the_counts(planted):
    planted.obs["umi_full"] = np.r_[np.zeros(5), np.random.default_rng(0).normal(1000, 30, 295)]
    dataset = data.read(planted)
    labelled = data.add_quality(dataset, doublets="none", columns={"umi_count": "umi_full"})
    np.testing.assert_array_equal(labelled.quality.metrics["umi_count"], planted.obs["umi_full"])
    assert any("umi_count from 'umi_full'" in note for note in labelled.notes)
    assert labelled.quality.thresholds[5]["umi_count"] > 500
    assert (
        data.modelled_thresholds(labelled)[5]["umi_count"]
        < labelled.quality.thresholds[5]["umi_count"] * 2
    )
    with pytest.raises(InputError, match="did you mean 'umi_full'"):
        data.add_quality(dataset, doublets="none", columns={"umi_count": "umi_ful"})
    with pytest.raises(InputError, match="pct_mito"):
        data.add_quality(dataset, doublets="none", columns={"pct_mito": "umi_full"})
    with pytest.raises(InputError, match="not a number"):
        data.add_quality(dataset, doublets="none", columns={"umi_count": "condition"})


def test_doublet_columns_and_choices(planted):
    planted.obs["calls"] = np.arange(300) >= 290
    dataset = data.read(planted)
    labelled = data.add_quality(dataset, doublets="calls")
    np.testing.assert_array_equal(np.flatnonzero(labelled.quality.failed), np.r_[0:10, 290:300])
    with pytest.raises(InputError, match="quality.doublets"):
        data.add_quality(dataset, doublets="scrubletx")
    with pytest.raises(InputError, match="0 and 1"):
        data.add_quality(dataset, doublets="condition")
    with pytest.raises(InputError, match="quality.multiplier"):
        data.add_quality(dataset, multiplier=6, doublets="none")


def test_criteria_from_before_a_filter_are_used(planted):
    dataset = keep_unfiltered(data.read(planted))
    few = keep_cells(dataset, np.arange(300) % 2 == 0, "odd")
    few = data.add_quality(few, doublets="none")
    assert any("unfiltered_pct_mt" in note for note in few.notes)
    np.testing.assert_array_equal(np.flatnonzero(few.quality.failed), np.arange(5))


@pytest.fixture(scope="module")
def mixed():
    """600 cells of three types and 30 planted doublets, as small integers whose sums pass 255."""
    rng = np.random.default_rng(0)
    profiles, types = rng.gamma(0.3, 15, (3, 300)), rng.integers(0, 3, 600)
    x = rng.poisson(profiles[types] * rng.gamma(20, 0.05, (600, 1)))
    other = np.array([np.flatnonzero(types != types[i])[i] for i in range(30)])
    x[:30] += x[other]
    return sparse.csr_matrix(np.minimum(x, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def alike():
    """Cells of one type without artifacts, from the simulator."""
    options = {
        "cells": 1_000,
        "singles": 1,
        "pairs": 0,
        "control_share": 0.9,
        "strength_scale": 0.1,
    }
    return data.simulate("demo", artifact_share=0.0, reference_cells=2, **options)[0].X


@pytest.mark.parametrize("method", ["scrublet", "scanpy"])
def test_planted_doublets_are_called(mixed, method, capsys):
    state = np.random.get_state()[1].copy()
    calls, notes = call_doublets(mixed, method)
    assert calls[:30].mean() > 0.8 and calls[30:].mean() < 0.1
    assert notes == (f"{method} called {calls.sum()} of 600 cells doublets",)
    np.testing.assert_array_equal(calls, call_doublets(mixed, method)[0])
    np.testing.assert_array_equal(state, np.random.get_state()[1])
    assert capsys.readouterr().out == ""


def test_doublets_in_groups(mixed):
    calls, notes = call_doublets(mixed, "scrublet", group=250)
    assert calls[:30].mean() > 0.6 and "in 3 random groups" in notes[-1]


@pytest.mark.parametrize("method", ["scrublet", "scanpy"])
@pytest.mark.parametrize("cells", [1, 12])
def test_too_few_cells_for_doublets_is_said(mixed, method, cells):
    calls, notes = call_doublets(mixed[:cells], method)
    assert not calls.any() and "gave no calls" in notes[0] or cells == 12


def test_parts_hold_enough_cells_to_call_doublets_among():
    """71 conditions of the demo, 26 labels, 15 conditions: 700 cells are 10, 27 and 47 of each."""
    assert [parts_of(71, cells) for cells in (9, 10, 19, 20, 100, 1000)] == [0, 1, 1, 2, 10, 10]
    assert [parts_of(26, cells) for cells in (26, 27, 100)] == [0, 1, 3]
    assert [parts_of(15, cells) for cells in (10, 46, 47)] == [0, 0, 1]
    assert parts_of(2_000, 1) == 1


def test_fewer_cells_than_the_limit_are_called_doublets_that_they_are_not(alike):
    """Cells of one type without a doublet: the limit is where the expected 5 % are not passed."""
    false = {n: call_doublets(alike[:n], "scrublet")[0].mean() for n in (70, FEWEST_FOR_RATES)}
    assert false[70] > 0.3 and false[FEWEST_FOR_RATES] < 0.08


def test_doublets_of_generated_cells_are_called_in_interleaved_parts(mixed):
    bounds = thresholds(quality_metrics(mixed, [f"G{j}" for j in range(300)], np.zeros(600, bool)))[
        5
    ]
    genes = [f"G{j}" for j in range(300)]
    failing = data.label_generated(mixed, genes, bounds, chunks=2)
    parts = [data.label_generated(mixed[start::2], genes, bounds, chunks=1) for start in (0, 1)]
    np.testing.assert_array_equal(failing, np.stack(parts, axis=1).ravel())
    assert failing[:30].mean() > 0.6 > 0.2 > failing[30:].mean()


def test_generated_cells(planted):
    dataset = data.add_quality(data.read(planted), doublets="none")
    fresh = np.random.default_rng(2).poisson(20, (50, 40))
    fresh[:5, :2] = 400
    bounds = dataset.quality.thresholds[5]
    failing = data.label_generated(fresh, dataset.genes, bounds, doublets="none")
    np.testing.assert_array_equal(np.flatnonzero(failing), np.arange(5))
    np.testing.assert_array_equal(
        failing,
        data.label_generated(sparse.csr_matrix(fresh), dataset.genes, bounds, doublets="none"),
    )
    with pytest.raises(InputError, match="quality.doublets"):
        data.label_generated(fresh, dataset.genes, dataset.quality.thresholds[5], doublets="calls")


def test_real_papalexi_by_whole_transcriptome_columns(real):
    columns = {"umi_count": "n_umi_full", "n_genes": "n_genes_full", "pct_mt": "percent_mt_full"}
    dataset = data.read(real("papalexi2021_thp1_303g.h5ad"))
    labelled = [
        data.add_quality(dataset, multiplier=k, doublets="none", columns=columns) for k in (3, 4, 5)
    ]
    shares = [d.quality.failed.mean() for d in labelled]
    assert 0.01 < shares[2] < shares[1] < shares[0] < 0.2
    percent = np.asarray(dataset.obs["percent_mt_full"])
    bound = np.median(percent) + 3 * np.median(np.abs(percent - np.median(percent)))
    umi = np.asarray(dataset.obs["n_umi_full"])
    low = np.median(umi) - 3 * np.median(np.abs(umi - np.median(umi)))
    genes = np.asarray(dataset.obs["n_genes_full"])
    few = np.median(genes) - 3 * np.median(np.abs(genes - np.median(genes)))
    np.testing.assert_array_equal(
        labelled[0].quality.failed, (percent > bound) | (umi < low) | (genes < few)
    )


def test_another_multiplier_gives_the_labels_it_would_have_given_at_once(planted):
    labelled = {
        k: data.add_quality(data.read(planted), multiplier=k, doublets="none") for k in (3, 5)
    }
    assert labelled[3].quality.failed.sum() != labelled[5].quality.failed.sum()
    again = data.at_multiplier(labelled[5], 3)
    np.testing.assert_array_equal(again.quality.failed, labelled[3].quality.failed)
    assert (
        again.quality.multiplier == 3 and again.quality.thresholds == labelled[3].quality.thresholds
    )
    for dataset, k in ((labelled[5], 6), (data.read(planted), 5)):
        with pytest.raises(InputError, match="evaluation.multipliers"):
            data.at_multiplier(dataset, k)
