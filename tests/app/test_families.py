"""Every family from a config to a report, read back and asked again."""

import json
import shutil

import numpy as np
import pytest

import jaxpert
from jaxpert.app import ask, cli, reopen
from support.runs import GEARS_SHIPPED

LEAN = ("--config.evaluation.pass_cells=0", "--config.evaluation.likelihood=")
SEVERAL = ("--config.train.devices=8", "--config.train.seeds=2")
"""Two seeds at once, on eight devices."""
RUNS = {
    "cradle_norman:test": (),
    "cradle_baselines:svae_plus,test": (*LEAN, "--config.quality.doublets=none", *SEVERAL),
    "gears_norman:test": GEARS_SHIPPED,
    "scgen:test": (),
    "baselines:test": (),
    "cycseq_pretrain:test": (),
    "cycseq_dose:test": (),
}


@pytest.fixture(params=RUNS, ids=lambda name: name.partition(":")[0])
def work(request, run_of):
    return run_of(request.param, *RUNS[request.param])


def test_a_run_leaves_scores_and_a_report(work):
    metrics = json.loads((work / "metrics.json").read_text())
    assert metrics["model"]["all"]["mse"] > 0 and metrics["verdict"]
    assert set(metrics["baselines"]) >= {"no_change", "mean_perturbation"}
    assert (work / "report.html").stat().st_size > 50_000
    assert (work / "predictions.h5ad").exists() and list((work / "figures").glob("*.png"))
    assert json.loads((work / "config.json").read_text())["format"] == 2


def test_two_seeds_on_eight_devices_are_scored_together(run_of):
    name = "cradle_baselines:svae_plus,test"
    work = run_of(name, *RUNS[name])
    rows = [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]
    assert all(np.shape(row.get("train/loss", row.get("val/loss"))) == (2,) for row in rows)
    metrics = json.loads((work / "metrics.json").read_text())
    assert metrics["run"]["device"].startswith("8 x")
    assert {"mean", "sd"} <= set(metrics["seeds"]["all"]["mse"])


def test_two_seeds_predict_with_the_mean_of_their_widths(run_of):
    name = "cradle_baselines:svae_plus,test"
    work = run_of(name, *RUNS[name])
    asked = {"particles": 40}
    both = ask.predict(reopen.reopen(work), ["PERT001"], **asked)
    loaded = [jaxpert.load(work, seed=seed) for seed in (0, 1)]
    single = [jaxpert.predict(*each, "PERT001", **asked) for each in loaded]
    widths = [made.obs["width_90"]["PERT001"] for made in single]
    assert widths[0] != widths[1] and both.obs["width_90"]["PERT001"] == np.mean(widths)
    assert (both.layers["effect_seed_sd"][1] > 0).any()


def test_a_finished_run_predicts_as_it_did(work, tmp_path, capsys):
    """`jaxpert predict` on the run, and `jaxpert.load` from Python, give what the run wrote."""
    import anndata

    written = anndata.read_h5ad(work / "predictions.h5ad")
    config = json.loads((work / "config.json").read_text())
    name = written.obs["condition"].iloc[-1]
    output = tmp_path / "predicted.h5ad"
    assert cli.main(["predict", str(work), name, f"--output={output}"]) == 0, capsys.readouterr()
    predicted = anndata.read_h5ad(output)
    assert list(predicted.var_names) == list(written.var_names)
    assert np.isfinite(predicted.layers["effect"]).all()
    rows = output.with_suffix(".csv").read_text().splitlines()
    assert rows[0].startswith("perturbation,") and len(rows) == predicted.X.size + 1
    fitted, cells = jaxpert.load(work)
    assert fitted.model.name == config["model"]["name"]
    options = {"particles": 40} if getattr(fitted.model, "stochastic", False) else {}
    again = jaxpert.predict(fitted, cells, name, **options)
    assert again.shape[1] == predicted.shape[1]


@pytest.mark.parametrize("name", ["cradle_norman:test", "cycseq_pretrain:test"])
def test_a_run_of_the_older_form_is_read_back(name, run_of, tmp_path):
    """Runs of form 1 had the keys of every task, and no number for the form."""
    work, old = run_of(name), tmp_path / "old"
    shutil.copytree(work, old)
    config = json.loads((old / "config.json").read_text())
    del config["format"]
    config["data"]["a_key_of_another_task"] = 1
    beside = config["evaluation"].pop("scores_of", None)
    config["evaluation"]["gears"] = bool(beside)
    config["evaluation"].pop("beside", None)
    (old / "config.json").write_text(json.dumps(config))
    finished, new = reopen.reopen(old), reopen.reopen(work)
    assert finished.config == new.config


def test_a_finished_run_scores_again_as_it_did(run_of, tmp_path, capsys):
    work = run_of("scgen:test")
    assert cli.main(["evaluate", str(work), f"--output={tmp_path}/again"]) == 0, capsys.readouterr()
    before, after = (
        json.loads((folder / "metrics.json").read_text()) for folder in (work, tmp_path / "again")
    )
    assert before.pop("run").keys() == after.pop("run").keys()
    assert after == before
    assert (tmp_path / "again/report.html").exists()


def test_a_run_without_its_curves_is_scored_again(run_of, tmp_path, monkeypatch):
    work = tmp_path / "work"
    shutil.copytree(run_of("scgen:test"), work)
    (work / "metrics.jsonl").unlink()
    finished = []
    monkeypatch.setattr(ask.run, "finish", lambda *of: finished.append(of))
    ask.evaluate_again(work, tmp_path / "again")
    assert len(finished) == 1 and (tmp_path / "again/report.html").exists()


def test_a_simulated_screen_and_its_truth_are_written(tmp_path):
    import anndata

    from jaxpert.simulate import load_truth

    output = tmp_path / "screen.h5ad"
    asked = ["simulate", "tiny", "--settings=cells=300", "--seed=1", f"--output={output}"]
    assert cli.main(asked) == 0
    cells = anndata.read_h5ad(output)
    truth = load_truth(tmp_path / "screen.truth.npz")
    assert cells.n_obs == 300
    assert set(cells.obs["perturbation"]) <= set(map(str, truth.conditions))
