"""CycSeq from a config: what its run leaves and how it is asked, going on from a finished run,
resuming, and settings that cannot be used."""

import dataclasses
import json

import anndata
import jax
import numpy as np
import pytest

from jaxpert.app import cli, reopen, run
from jaxpert.core.types import InputError
from jaxpert.models.cycseq import start
from jaxpert.models.cycseq.predict import predict
from jaxpert.models.cycseq.translation import predictor
from jaxpert.tasks.translation.rows import blocks_of_rows
from support.cycseq_runs import prepare, raw_config


@pytest.fixture
def pretrained(run_of):
    return run_of("cycseq_pretrain:test")


@pytest.fixture(scope="module")
def finished(run_of):
    return reopen.reopen(run_of("cycseq_pretrain:test"))


def metrics_of(workdir):
    return json.loads((workdir / "metrics.json").read_text())


def test_a_run_leaves_scores_in_both_directions_beside_baselines(pretrained):
    scores = metrics_of(pretrained)["cycseq"]
    assert set(scores["baselines"]) == {"no_change", "mean_perturbation", "mean_change"}
    groups = {f"{d} {where}" for d in ("n2p", "p2n") for where in ("all", "line1", "line2")}
    assert set(scores["model"]) == groups == set(scores["conditions"])
    names = {
        f"{level}{name}{genes}"
        for level in ("", "mean_")
        for genes in ("", "_top20", "_top100")
        for name in ("r2", "r", "r2_det", "mae", "mse", "change_r")
    }
    assert set(scores["model"]["n2p all"]) == names
    assert scores["baselines"]["no_change"]["n2p all"]["change_r"] is None
    assert len(scores["triangular"]["n2p"]) == scores["conditions"]["n2p all"]
    page = (pretrained / "report.html").read_text()
    assert "Scores of the CycSeq paper" in page and "in units that the paper does not state" in page


def test_row_scores_average_to_the_table_and_predictions_carry_the_change(pretrained):
    rows, scores = np.load(pretrained / "rows.npz"), metrics_of(pretrained)["cycseq"]["model"]
    np.testing.assert_allclose(rows["n2p|model|all|r2"].mean(), scores["n2p all"]["r2"])
    line2 = np.char.endswith(rows["groups"][rows["group"]], "line2")
    np.testing.assert_allclose(rows["p2n|model|all|mse"][line2].mean(), scores["p2n line2"]["mse"])
    predicted = anndata.read_h5ad(pretrained / "predictions.h5ad")
    layers = predicted.layers
    np.testing.assert_allclose(predicted.X, layers["control"] + layers["effect"], atol=1e-5)
    measured = layers["measured"] - layers["control"]
    np.testing.assert_allclose(layers["measured_effect"], measured, atol=1e-5)
    assert set(predicted.obs["split"]) <= {"train+val", "test", "train", "val"}


def test_a_reopened_run_predicts_as_it_did(pretrained, finished):
    stored = np.load(pretrained / "rows.npz")
    rows = next(blocks_of_rows(finished.problem.details, "test"))
    predicted = predictor(finished.problem, finished.fitted)(rows)["n2p"]
    mse = ((predicted - rows.x) ** 2).mean(1)
    np.testing.assert_allclose(mse, stored["n2p|model|all|mse"][: len(mse)], rtol=1e-4)


def test_perturbations_are_predicted_by_name(pretrained, finished):
    written = anndata.read_h5ad(pretrained / "predictions.h5ad")
    gene = finished.problem.dataset.genes[0]
    names = ["PERT003", "PERT001+PERT002 in line2", gene]
    predicted = predict(finished.problem, finished.fitted, names)
    assert list(predicted.obs_names) == [
        "PERT003 in line1",
        "PERT003 in line2",
        "PERT001+PERT002 in line2",
        f"{gene} in line1",
        f"{gene} in line2",
    ]
    for name in ("PERT003 in line1", "PERT003 in line2"):
        np.testing.assert_allclose(predicted[name].X, written[name].X, atol=1e-5)
        same = predicted[name].layers["control"], written[name].layers["control"]
        np.testing.assert_array_equal(*same)
    assert predicted.obs["support"].tolist() == [
        "no training cells: PERT003",
        "no training cells: PERT003",
        "new combination of trained targets",
        f"no training cells: {gene}",
        f"no training cells: {gene}",
    ]
    control = predict(finished.problem, finished.fitted, ["ctrl in line1"])
    assert not control.layers["effect"].any() and control.obs["support"].tolist() == ["trained"]
    for name, said in (
        ("NOPE", "'NOPE' asks for NOPE, which the model has no column for"),
        ("PERT003 in line9", "there is no line 'line9', expected one of line1, line2"),
    ):
        with pytest.raises(InputError, match=said):
            predict(finished.problem, finished.fitted, [name])


def test_tables_and_figures_come_from_finished_runs(pretrained, tmp_path, capsys):
    output = f"--output={tmp_path}"
    assert cli.main(["tables", str(pretrained), output]) == 0
    text = (tmp_path / "cycseq_tables.md").read_text()
    assert "| CycSeq, Table 1 | p2n | K562 | cycseq | 0.827 |" in text and "Units: " in text
    r2 = metrics_of(pretrained)["cycseq"]["model"]["p2n line2"]["r2"]
    assert f"| {pretrained.name} | p2n | line2 | cycseq | {r2:.3f} |" in text
    assert cli.main(["figures", str(pretrained), output, "--highlighted=PERT003"]) == 0
    drawn = {path.name.removeprefix(f"{pretrained.name}_") for path in tmp_path.glob("*.png")}
    assert drawn == {f"figure_{name}.png" for name in ("2_n2p", "2_p2n", "3", "4")}
    assert "needs a run with doses" in capsys.readouterr().err
    assert cli.main(["figures", str(pretrained), output, "--figures=9"]) == 2


@pytest.mark.slow
def test_fine_tuning_goes_on_from_a_finished_run(pretrained, tmp_path):
    """And what it went on from may go: networks, scale and reference stand in the run itself."""
    link, tuned = tmp_path / "start", tmp_path / "tuned"
    link.symlink_to(pretrained)
    changes = {"epochs": 1, "learning_rate": 1e-8, "freeze": "critics", "start": str(link)}
    raw = raw_config("finetune", **{f"train__{name}": value for name, value in changes.items()})
    assert run.run(raw, tuned, draw=False) == 0
    own = run.read(raw)[0].model.kwargs
    before, after = start.read(pretrained, own), start.read(tuned, own)
    assert after.net.lines == ("line1", "line2", "line3") and after.net.settings.placeholders == 1
    kept = after.params["critics"]["x"]["first"]["expression"]
    np.testing.assert_array_equal(kept, before.params["critics"]["x"]["first"]["expression"])
    trunks = [run.params["generators"]["n2p"]["encoder"]["trunk"] for run in (before, after)]
    jax.tree.map(lambda old, new: np.testing.assert_allclose(new, old, atol=1e-5), *trunks)
    assert metrics_of(tuned)["run"]["epochs"] == 1
    notes = metrics_of(tuned)["data"]["notes"]
    assert any("line line3 takes batch column 3" in note for note in notes)
    reference = before.network["combat_reference"]
    assert any(f"aligned to {reference['name']!r} of an earlier run" in note for note in notes)
    link.unlink()
    assert after.network["combat_reference"] == reference
    problem = reopen.reopen(tuned).problem
    affine, stored = problem.details.affine, np.load(tuned / "rows.npz")
    assert problem.details.reference is None and np.abs(affine.scale - 1).max() > 0.01
    rows = next(blocks_of_rows(problem.details, "test"))
    mse = ((rows.control - rows.x) ** 2).mean(1)
    np.testing.assert_allclose(mse, stored["n2p|no_change|all|mse"][: len(mse)], rtol=1e-5)


def test_no_epochs_evaluate_a_run_on_a_new_line_as_it_is(pretrained, tmp_path):
    raw = raw_config("finetune", train__start=str(pretrained), train__epochs=0)
    assert run.run(raw, tmp_path / "shot", draw=False) == 0
    metrics = metrics_of(tmp_path / "shot")
    assert metrics["run"]["steps"] == 0 and metrics["cycseq"]["model"]["n2p all"]["mse"] > 0


@pytest.mark.slow
def test_an_interrupted_run_ends_in_the_same_bits(finished, tmp_path):
    prepared, raw = prepare(), raw_config()
    train = dataclasses.replace(prepared.config.train, epochs=1, decay_every=1)
    first = dataclasses.replace(prepared.config, train=train)
    run.train(prepared._replace(config=first), raw, tmp_path)
    resumed = run.train(prepared, raw, tmp_path)
    assert resumed.outcome.step == 12
    jax.tree.map(np.testing.assert_array_equal, resumed.params, finished.fitted.params)


BAD = [
    ({"data__lines": "line9"}, "data.lines names 'line9'"),
    ({"data__combat_reference": "line9"}, "'line9' is no batch with training cells"),
    ({"split__kind": "cells"}, "expected one of replicate, perturbation, cell_line"),
    ({"split__held_out": "NOPE"}, "split.held_out names 'NOPE'"),
    (
        {"split__kind": "perturbation_in_line", "split__held_out": "PERT003"},
        "expected pairs such as",
    ),
    ({"split__kind": "none"}, "leaves no rows to score"),
    ({"split__kind": "replicate", "split__held_out": "PERT001"}, "'replicate' holds nothing out"),
    ({"evaluation__shown": "NOPE"}, "evaluation.shown asks for 'NOPE'"),
    ({"kwargs__gan": "wasserstein"}, "model.kwargs.gan is 'wasserstein'"),
    ({"train__start": "nowhere"}, "there is no run with checkpoints"),
    ({"data__compound": "perturbation"}, "data.targets is empty"),
    (
        {"data__combat_reference": "start"},
        "data.combat_reference is start but train.start is empty",
    ),
]


@pytest.mark.parametrize(("changes", "said"), BAD, ids=[said for _, said in BAD])
def test_settings_that_cannot_be_used(changes, said):
    with pytest.raises(InputError, match=said):
        prepare(**changes)
