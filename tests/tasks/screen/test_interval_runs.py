"""Intervals of whole runs: in files, report and predictions, the same when a run is read back."""

import json

import anndata
import numpy as np
import pytest

from jaxpert.app import cli, reopen
from jaxpert.app.ask import predict as ask
from support.runs import GEARS_ENSEMBLE, GEARS_SHIPPED

# All perturbations have cells in training and validation alike.
RUNS = {
    "cradle_norman:test": (),
    "gears_norman:test": GEARS_ENSEMBLE,
    "baselines:test": ("--config.split.kind=cells",),
}
TRAINED = "PERT001"


@pytest.fixture(scope="module", params=RUNS)
def work(request, run_of):
    return run_of(request.param, *RUNS[request.param])


def test_a_run_holds_its_intervals_against_what_was_measured(work):
    made = anndata.read_h5ad(work / "predictions.h5ad")
    metrics = json.loads((work / "metrics.json").read_text())
    coverage = metrics["coverage"]
    held = coverage["calibrated_on"]["trained"]
    assert held >= 9 and np.isfinite(made.obs["width_90"]).sum() >= held
    assert (made.layers["measured_sd"][1:] >= made.layers["effect_sd"][1:]).all()
    assert set(coverage["model"]["train"]) == {"covered_50", "covered_90"}
    assert (work / "figures/reliability.png").exists()
    assert "Do the intervals hold?" in (work / "report.html").read_text()


def test_predict_gives_the_widths_of_the_run(work, tmp_path):
    before = anndata.read_h5ad(work / "predictions.h5ad")
    path = tmp_path / "one.h5ad"
    assert cli.main(["predict", str(work), TRAINED, f"--output={path}"]) == 0
    made = anndata.read_h5ad(path)
    for name in ("width_50", "width_90"):
        assert made.obs[name][TRAINED] == before.obs[name][TRAINED]
    assert "width_90" in path.with_suffix(".csv").read_text().splitlines()[0]


def test_a_run_read_back_gives_the_same_numbers(work):
    finished, before = reopen.reopen(work), anndata.read_h5ad(work / "predictions.h5ad")
    options = {"particles": finished.config.evaluation.particles}
    again = ask(finished, list(before.obs_names), **options)
    np.testing.assert_array_equal(again.obs["width_90"], before.obs["width_90"])
    for layer in ("effect_sd", "measured_sd"):
        np.testing.assert_allclose(again.layers[layer], before.layers[layer], rtol=1e-5)


def test_a_run_with_too_few_says_so(run_of):
    work = run_of("gears_norman:test", *GEARS_SHIPPED)
    metrics = json.loads((work / "metrics.json").read_text())
    assert "coverage" not in metrics
    assert any(note.startswith("no intervals are given") for note in metrics["notes"])
    assert "no intervals are given" in (work / "report.html").read_text()
    made = anndata.read_h5ad(work / "predictions.h5ad")
    assert "width_90" not in made.obs and "no intervals" in made.uns["intervals"]
