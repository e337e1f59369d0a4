"""Differences between models, with intervals, from made-up runs."""

import numpy as np
import pytest

from jaxpert.models.cradle.paper.study import STUDY
from jaxpert.report.layout import QCPR
from jaxpert.study import advantage, ledger, tables
from jaxpert.study.sections import advantage_sections
from support.study_rows import TRUTH, P, row, run_folder


def advantages_of(tmp_path, rows, seeds=(0, 1, 2)):
    by_cell = {ledger.cell_of(finished_row): finished_row for finished_row in rows}
    return advantage.advantages("cradle_vae", by_cell, tmp_path, "norman", 5, seeds)


def test_the_better_model_is_found_better_with_an_interval(tmp_path):
    run_folder(tmp_path / "runs/cradle_vae", (0.3, 0.3, 0.3))
    run_folder(tmp_path / "runs/sams_vae", (0.6, 0.6, 0.6))
    run_folder(tmp_path / "runs/cpa_vae", (0.3, 0.3, 0.3))
    rows = [
        row(m, seed, 0.5 + (m == "cradle_vae") / 4)
        for m in ("cradle_vae", "sams_vae", "cpa_vae")
        for seed in range(3)
    ]
    compared, notes = advantages_of(tmp_path, rows)
    assert notes == []
    by_place = {(a.rival, a.subset, a.metric): a for a in compared}
    for metric, sign in (("ate_pearson", 1), ("ate_r2", 1), ("mse", -1)):
        ahead = by_place["sams_vae", "all", metric]
        assert (
            ahead.outcome == "better"
            and sign * ahead.difference > 0
            and ahead.low < ahead.difference < ahead.high
        )
        assert (ahead.seeds, ahead.perturbations) == (3, P - 1) and 0 < ahead.sd < abs(
            ahead.difference
        )
    assert by_place["sams_vae", "truth", "mse"].outcome == "better"
    assert by_place["cpa_vae", "all", "ate_pearson"].outcome == "undecided"
    assert by_place["no_change", "test", "mse"].outcome == "better"
    rate = by_place["sams_vae", "generated", QCPR]
    assert rate.difference == 0.25 and np.isnan(rate.low) and rate.outcome == "undecided"
    text = tables.markdown("t", [], advantage_sections(compared, STUDY))
    assert (
        "CRADLE-VAE minus each other: norman, 5 MAD, perturbations never trained" in text
        and ": better" in text
    )


def test_the_difference_is_that_of_the_scores(tmp_path):
    run_folder(tmp_path / "runs/cradle_vae", (0.3,))
    run_folder(tmp_path / "runs/sams_vae", (0.6,))
    compared, _ = advantages_of(tmp_path, [row("cradle_vae", 0, 0.5), row("sams_vae", 0, 0.5)])
    (in_mse,) = [a for a in compared if (a.rival, a.subset, a.metric) == ("sams_vae", "all", "mse")]
    mse = []
    for name, sd in (("cradle_vae", 0.3), ("sams_vae", 0.6)):
        noise = sd * np.random.default_rng(len(name)).normal(size=TRUTH.shape)
        mse.append((noise[1:] ** 2).mean())
    assert in_mse.difference == pytest.approx(mse[0] - mse[1])
    assert np.isnan(in_mse.sd) and in_mse.seeds == 1


def test_seeds_with_opposite_results_are_undecided(tmp_path):
    run_folder(tmp_path / "runs/cradle_vae", (0.3, 0.6))
    run_folder(tmp_path / "runs/sams_vae", (0.6, 0.35))
    rows = [row(m, seed, 0.5) for m in ("cradle_vae", "sams_vae") for seed in range(2)]
    compared, _ = advantages_of(tmp_path, rows)
    assert {a.outcome for a in compared if a.rival == "sams_vae" and a.subset == "all"} == {
        "undecided"
    }


def test_what_cannot_be_compared_is_said(tmp_path):
    run_folder(tmp_path / "runs/cradle_vae", (0.3,))
    run_folder(tmp_path / "runs/sams_vae", (0.6,), measured="other")
    compared, notes = advantages_of(
        tmp_path, [row(m, 0, 0.5) for m in ("cradle_vae", "sams_vae", "cpa_vae")]
    )
    assert {a.rival for a in compared} == {"no_change"}
    assert len(notes) == 2 and "there is no" in notes[0] and "measured effects differ" in notes[1]
