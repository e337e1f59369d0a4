"""Simulated cell lines and doses: what is shared, what is a line's own, and that the truth is the
truth."""

import dataclasses

import numpy as np
import pytest
from scipy import sparse

from jaxpert.data.read import read
from jaxpert.simulate import (
    LineTruth,
    load_truth,
    pool_truth,
    save_truth,
    simulate,
    simulate_chunks,
)
from jaxpert.simulate.lines import hill
from jaxpert.simulate.screen import draw_generators
from jaxpert.simulate.settings import PRESETS, line_cells, resolve

SAME = ("data", "indices", "indptr")


@pytest.fixture(scope="module")
def lines():
    return simulate("lines_tiny")


@pytest.fixture(scope="module")
def doses():
    return simulate("doses_tiny")


def drawn(**overrides) -> LineTruth:
    """A truth without counts and expected means."""
    settings = resolve("lines_tiny", {"singles": 80, "genes": 300, "cells": 6_000} | overrides)
    truth = draw_generators(settings, 0)
    assert isinstance(truth, LineTruth)
    return truth


def correlation(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


# lines


@pytest.mark.parametrize("share", [0.0, 0.4, 0.7, 1.0])
def test_lines_share_what_is_asked_for(share):
    effects = drawn(line_share=share).line_effects
    between = [correlation(effects[i], effects[j]) for i in range(3) for j in range(i)]
    assert np.mean(between) == pytest.approx(share, abs=0.1)


def test_each_line_has_an_effect_of_its_own(lines):
    _, truth = lines
    changes = truth.mean_log2 - truth.mean_log2[truth.control_of(np.arange(len(truth.conditions)))]
    by_line = changes[~np.isin(truth.perturbation, "ctrl")].reshape(3, 8, -1)
    between = [correlation(by_line[i], by_line[j]) for i in range(3) for j in range(i)]
    assert 0.3 < min(between) and max(between) < 0.97
    size = np.square(truth.line_effects).sum((0, 2)) / 3
    shared = np.square(truth.effects).sum(1)
    assert size.sum() == pytest.approx(shared.sum(), rel=0.35), "mixing keeps the size of effects"


def test_lines_differ_in_their_base():
    shift = drawn().line_shift
    assert not shift[0].any()
    assert (shift[1:] != 0).mean(1) == pytest.approx([0.1, 0.1], abs=0.06)


def test_cells_per_line_have_a_long_tail(lines):
    adata, truth = lines
    cells = adata.obs["line"].value_counts()
    assert cells["line1"] > 2 * cells["line2"] > 4 * cells["line3"] and cells.sum() == 900
    large = line_cells(PRESETS["lines"])
    assert large / large.sum() == pytest.approx([0.62, 0.23, 0.11, 0.04], abs=0.01)
    numbers = np.bincount(truth.condition, minlength=len(truth.conditions))
    assert numbers.min() >= 4 and (numbers[::9] / [590, 225, 85] == pytest.approx(0.1, abs=0.02))
    assert PRESETS["lines"].lines == 4 and PRESETS["lines"].singles == 60


def test_files_of_lines_are_read_as_any_other(lines):
    adata, truth = lines
    assert list(adata.obs.columns) == ["perturbation", "line", "batch"] and set(adata.uns) == {
        "source"
    }
    data = read(adata, perturbation="perturbation", control="ctrl", stratum="line")
    assert data.strata == ("line1", "line2", "line3") and set(data.conditions) == {
        "ctrl",
        *truth.treatments,
    }
    assert [data.conditions[c] for c in data.condition] == truth.perturbation[
        truth.condition
    ].tolist()
    assert data.stratum.tolist() == truth.line[truth.condition].tolist()


# doses


def test_effects_rise_with_the_dose_along_each_compounds_curve(doses):
    _, truth = doses
    compound = truth.condition_treatments.argmax(1)[1:].reshape(6, 4)
    dose, scale = truth.dose[1:].reshape(6, 4), truth.scale[1:].reshape(6, 4)
    assert (compound == np.arange(6)[:, None]).all() and (dose == [10, 100, 1_000, 10_000]).all()
    assert (np.diff(scale) > 0).all() and (scale > 0).all() and (scale < 1).all()
    # The logit of the effect is a line in log dose with the compound's slope, through 0 at its
    # EC50.
    logit = np.log(scale / (1 - scale))
    expected = truth.slope[:, None] * (np.log(dose) - np.log(truth.ec50)[:, None])
    np.testing.assert_allclose(logit, expected, rtol=1e-3, atol=1e-3)
    assert hill(truth.ec50, truth.ec50, truth.slope) == pytest.approx(0.5)
    np.testing.assert_allclose(
        truth.condition_effects[1:], truth.scale[1:, None] * truth.effects.repeat(4, 0), rtol=1e-5
    )
    moved = np.linalg.norm((truth.mean_log2[1:] - truth.mean_log2[0]).reshape(6, 4, -1), axis=2)
    assert (np.diff(moved) > 0).all()
    assert truth.scale[0] == 0 and not truth.condition_effects[0].any() and truth.dose[0] == 0
    assert len(np.unique(truth.ec50)) == len(np.unique(truth.slope)) == 6


def test_files_of_doses_have_the_form_of_sci_plex(doses, tmp_path):
    adata, truth = doses
    assert list(adata.obs.columns) == ["compound", "dose", "line", "batch"]
    assert adata.obs["dose"].dtype == float and set(adata.obs["dose"]) == {
        0,
        10,
        100,
        1_000,
        10_000,
    }
    assert ((adata.obs["dose"] == 0) == (adata.obs["compound"] == "vehicle")).all()
    targets = {name: genes.split(";") for name, genes in adata.uns["targets"].items()}
    assert set(targets) == set(truth.treatments) == {f"DRUG{i:03d}" for i in range(1, 7)}
    assert all(set(genes) <= set(adata.var_names) for genes in targets.values())
    assert [targets[name][0] for name in truth.treatments] == list(truth.genes[truth.own_gene])
    assert {len(genes) for genes in targets.values()} >= {1, 2}
    adata.write_h5ad(tmp_path / "doses.h5ad")


# the truth


@pytest.mark.parametrize(
    ("preset", "changes"),
    [("lines_tiny", {"lines": 2, "singles": 2}), ("doses_tiny", {"singles": 1, "doses": 2})],
)
def test_expected_means_are_those_of_cells_without_artifacts(preset, changes):
    adata, truth = simulate(
        preset,
        cells=5_000,
        control_share=0.4,
        artifact_share=0,
        reference_cells=96,
        line_log_sd=0.3,
        **changes,
    )
    y = np.log2(1 + 1e4 * adata.X.toarray() / np.asarray(adata.X.sum(1)))
    for c in range(len(truth.conditions)):
        cells = y[truth.condition == c]
        error = (cells.mean(0) - truth.mean_log2[c]) / (cells.std(0) / np.sqrt(len(cells)) + 0.005)
        assert np.abs(error).max() < 5 and np.abs(error).mean() < 1.2


def test_pooled_truth_is_the_mean_over_lines_and_doses(lines, doses):
    for adata, truth in (lines, doses):
        name = "perturbation" if "perturbation" in adata.obs else "compound"
        whole = pool_truth(truth)
        assert set(whole.conditions) == set(adata.obs[name]) and type(whole).__name__ == "Truth"
        assert whole.conditions[whole.condition].tolist() == adata.obs[name].tolist()
        first = truth.treatments[0]
        cells = np.flatnonzero(truth.perturbation[truth.condition] == first)
        row = list(whole.conditions).index(first)
        np.testing.assert_allclose(
            whole.mean_log2[row], truth.mean_log2[truth.condition[cells]].mean(0), rtol=1e-4
        )
        assert whole.condition_treatments[row].argmax() == 0
    plain = draw_generators(resolve("tiny", {}), 0)
    assert pool_truth(plain) is plain


@pytest.mark.parametrize("preset", ["lines_tiny", "doses_tiny"])
def test_chunks_and_files_hold_the_same(preset, tmp_path):
    adata, truth = simulate(preset, reference_cells=2)
    _, chunks = simulate_chunks(preset, chunk=350, workers=1, reference_cells=2)
    pieces = list(chunks)
    joined = sparse.vstack([piece.X for piece in pieces], format="csr", dtype=adata.X.dtype)
    assert all(np.array_equal(getattr(joined, name), getattr(adata.X, name)) for name in SAME)
    for name in adata.obs:
        assert np.concatenate([piece.obs[name] for piece in pieces]).tolist() == list(
            adata.obs[name]
        )
    save_truth(truth, tmp_path / "truth.npz")
    loaded = load_truth(tmp_path / "truth.npz")
    assert isinstance(loaded, LineTruth)
    for field in dataclasses.fields(loaded):
        np.testing.assert_array_equal(getattr(loaded, field.name), getattr(truth, field.name))
