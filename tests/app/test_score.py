"""`jaxpert score`: what a user meets who has cells and the predictions of another tool."""

import csv
import json
import re
import shlex

import anndata
import numpy as np
import pandas as pd
import pytest

import jaxpert
from jaxpert.app import cli
from jaxpert.app import score as app_score
from jaxpert.core.types import InputError
from support import finished_run, predictions
from support.paths import ROOT
from support.predictions import PAIRS, SINGLES, cells, log1p, log2_means, means

PAGE = ROOT / "docs/guide/score.md"
TRAINED = {"train": [*SINGLES, "A+B", "C+D"]}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the files of the examples, which is also the working one."""
    real, predicted = cells(), log1p(cells(seed=1))
    trained = np.isin(real.obs["condition"], ["ctrl", *TRAINED["train"]])
    real.obs["part"] = np.where(trained, "train", "test")
    real.write_h5ad(tmp_path / "real.h5ad")
    predicted.write_h5ad(tmp_path / "pred.h5ad")
    means(predicted).write_h5ad(tmp_path / "other.h5ad")
    of = log2_means(cells(seed=2))
    table = pd.DataFrame({n: of[n] - of["ctrl"] for n in of}, real.var_names).T
    table.to_csv(tmp_path / "effects.csv")
    (tmp_path / "split.json").write_text(json.dumps(TRAINED))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def without_figures(request, monkeypatch):
    """Which take longer than all else: one test draws them."""
    if "leaves_what_a_run_leaves" not in request.node.name:
        monkeypatch.setattr(app_score, "_draw", lambda *_: None)


def command(*more):
    return cli.main(["score", "--real=real.h5ad", "--pred=pred.h5ad", "--output=out", *more])


def refused(capsys, *argv):
    assert cli.main(["score", *argv]) == 2
    (said,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    return said


def test_command_leaves_what_a_run_leaves(here, capsys):
    assert command("--train=part") == 0
    said = capsys.readouterr().out
    assert {p.name for p in (here / "out").iterdir() if p.name[0] != "."} == {
        "metrics.json", "report.html", "scores.csv", "scores.md", "statistics.npz", "effects.npz",
        "figures", "tables",
    }  # fmt: skip
    assert {p.name for p in (here / "out/figures").iterdir()} == {
        "baselines.png",
        "ate_scatter.png",
    }
    metrics = json.loads((here / "out/metrics.json").read_text())
    assert {
        "model",
        "baselines",
        "ceiling",
        "comparison",
        "verdict",
        "data",
        "run",
        "notes",
    } <= set(metrics)
    assert metrics["verdict"] in said and "log1p, told from its values" in said
    page = (here / "out/report.html").read_text()
    assert "pred.h5ad" in page and "What was scored" in page
    assert "The training log is missing" not in page and "The configuration is missing" not in page
    with (here / "out/scores.csv").open() as file:
        lines = list(csv.DictReader(file))
    place = ("subset", "score", "method")
    lines = {tuple(line[name] for name in place): line for line in lines}
    model = metrics["model"]["test"]["mse"]
    assert float(lines["test", "mse", "model"]["value"]) == model
    gap = model - metrics["baselines"]["additive"]["test"]["mse"]
    assert float(lines["test", "mse", "additive"]["model minus it"]) == pytest.approx(gap)
    assert "| MSE ↓ |" in (here / "out/scores.md").read_text()
    # The same command again replaces its own files; a folder of others is left alone.
    assert command("--train=part") == 0
    (here / "mine").mkdir()
    (here / "mine/thesis.txt").write_text("mine")
    said = refused(capsys, "--real=real.h5ad", "--pred=pred.h5ad", "--output=mine")
    assert "mine holds other files" in said and len(list((here / "mine").iterdir())) == 1


def test_command_and_python_agree(here):
    assert command("--train=split.json") == 0
    metrics = json.loads((here / "out/metrics.json").read_text())
    again = jaxpert.score(cells(), log1p(cells(seed=1)), train=TRAINED)
    for subset, scores in metrics["model"].items():
        assert scores == pytest.approx(again["model"][subset], abs=1e-9), subset
    assert metrics["baselines"]["linear"]["test"] == pytest.approx(
        again["baselines"]["linear"]["test"], abs=1e-9, nan_ok=True
    )


def test_a_constant_predictor_through_the_command(here):
    rows = means(log1p(cells()))
    rows.X = rows.X.toarray()
    rows.X[1:] = rows.X[1:].mean(0) + np.linspace(0, 1, rows.shape[1])
    rows.write_h5ad(here / "pred.h5ad")
    assert command() == 0
    metrics = json.loads((here / "out/metrics.json").read_text())
    n = len(SINGLES) + len(PAIRS)
    assert metrics["model"]["all"]["discrimination_score"] == 0.5 + 1 / (2 * n)


def test_what_is_found_is_said_loudly(here, capsys):
    predicted = cells(seed=1)[:, ::-1].copy()
    labels = predicted.obs["condition"].to_numpy().astype(str)
    labels[labels == "C+E"] = "C+Q"
    predicted.obs["condition"] = labels
    predicted.write_h5ad(here / "pred.h5ad")
    assert command("--train=part") == 0
    said = [x for x in capsys.readouterr().out.splitlines() if x.startswith("ATTENTION: ")]
    for text in (
        "genes of pred.h5ad are in another order",
        "1 perturbations of pred.h5ad were never measured and cannot be scored: C+Q",
        "1 of 4 perturbations are not predicted and are scored as if no change",
    ):
        assert any(text in line for line in said), text
        assert text in (here / "out/report.html").read_text()
        assert text in (here / "out/scores.md").read_text()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--real=none.h5ad", "--pred=pred.h5ad"], "there is no file none.h5ad"),
        (["--real=real.h5ad", "--pred=none.csv"], "none.csv"),
        (["--real=real.h5ad"], "the flags are wrong"),
        (["--real=real.h5ad", "--pred=pred.h5ad", "--scale=ln"], "--scale"),
        (["--real=real.h5ad", "--pred=pred.h5ad", "--total=-1"], "--total"),
        (["--real=real.h5ad", "--pred=pred.h5ad", "--perturbation=gene"], "gene"),
        (["--real=real.h5ad", "--pred=pred.h5ad", "--control=NT"], "NT"),
        (["--real=real.h5ad", "--pred=pred.h5ad", "--train=seen"], "--train=seen is no column"),
        (["--real=real.h5ad", "--pred=effects.csv"], "set --scale=effects"),
        (["--real=effects.csv", "--pred=pred.h5ad"], "negative values"),
        (["--real=real.h5ad", "--pred=pred.h5ad", "--total=5000"], "of --total to 5,000"),
        (["--real=real.h5ad", "--pred=pred.h5ad", "--pred_layer=counts"], "no layer 'counts'"),
    ],
)
def test_bad_input_ends_in_one_sentence(argv, said, here, capsys):
    assert said in refused(capsys, *argv, "--output=out")
    assert not (here / "out").exists()


def test_predictions_of_a_run_are_read_as_they_say(here, capsys):
    """What `jaxpert predict` writes is on log2 and says so, though its values do not tell."""
    of = log2_means(cells(seed=1))
    x = np.stack(list(of.values())).astype(np.float32)
    obs = pd.DataFrame({"condition": list(of)}, index=list(of))
    uns = {"scale": "mean of log2(1 + 1e4 x / sum x)"}
    made = anndata.AnnData(x, obs, pd.DataFrame(index=cells().var_names), uns=uns)
    made.write_h5ad(here / "pred.h5ad")
    assert command("--train=part") == 0
    assert "on the scale log2, as it says" in capsys.readouterr().out
    metrics = json.loads((here / "out/metrics.json").read_text())
    direct = jaxpert.score(cells(), cells(seed=1), train=TRAINED)
    assert metrics["model"]["test"]["mse"] == pytest.approx(
        direct["model"]["test"]["mse"], rel=1e-5
    )


def test_a_run_predicts_in_the_form_of_cell_eval(tmp_path, capsys):
    folder, _ = finished_run.finished()
    output = tmp_path / "pred.h5ad"
    argv = ["predict", str(folder), "PERT001", "PERT002+PERT001", f"--output={output}"]
    assert cli.main([*argv, "--format=cell-eval", "--cells=6"]) == 0
    made = anndata.read_h5ad(output)
    assert not output.with_suffix(".csv").exists()
    labels = made.obs["perturbation"].astype(str).tolist()
    # What the data have no cells of keeps the name that it was asked by.
    assert labels == ["ctrl"] * 6 + ["PERT001"] * 6 + ["PERT002+PERT001"] * 6
    x = made.X.toarray()
    assert x.min() == 0 and 0 < x.max() < 15 and np.allclose(np.expm1(x).sum(1), 1e4, rtol=1e-3)
    for flags, said in (
        (["--cells=6"], "expected --format=cell-eval beside it"),
        (["--format=cell-eval", "--cells=0"], "--cells is '0', expected a whole number"),
        (["--format=cell-eval", "--particles=9"], "expected --cells with --format=cell-eval"),
        (["--format=h5"], "the flags are wrong"),
    ):
        assert cli.main([*argv, *flags]) == 2
        assert said in capsys.readouterr().err, flags


def test_python_refuses_unknown_options():
    with pytest.raises(InputError, match="jaxpert.score has no sclae, expected some of"):
        jaxpert.score(cells(), cells(), sclae="counts")


def examples(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.S)


def commands():
    lines = "\n".join(examples("sh")).replace("\\\n", " ").splitlines()
    return [line.split("#")[0].strip() for line in lines if line.strip()]


@pytest.mark.parametrize("line", [c for c in commands() if "RUN" not in c])
def test_examples_of_the_guide_run(line, here, capsys):
    if "compare" in line:
        assert command("--train=split.json", "--output=scores") == 0
    assert cli.main(shlex.split(line)[1:]) == 0, capsys.readouterr().err


def test_python_of_the_guide_runs(here):
    scope: dict = {}
    exec(examples("python")[0], scope)
    assert scope["metrics"]["verdict"].startswith("On 4 perturbations")


def test_the_guide_names_what_is_refused():
    text = PAGE.read_text()
    assert len(commands()) > 4 and predictions.GENES == 40
    for word in ("counts", "log1p", "log2", "effects", "effects_ln", "--total", "--train"):
        assert f"`{word}" in text, word
