"""CycSeq from a config: what its run leaves, going on from a finished run, resuming, and input it
cannot use."""

import functools
import json
import pathlib
import runpy
import tempfile

import anndata
import jax
import numpy as np
import pytest

import cycseq_figures as figures_cli
import cycseq_tables as tables_cli
import main as cli
from jaxpert import data
from jaxpert.app import run
from jaxpert.core import config as keys
from jaxpert.core.types import InputError
from jaxpert.models.cycseq import family as cycseq_run
from jaxpert.models.cycseq import setup as cycseq_setup
from jaxpert.models.cycseq import start as cycseq_start
from jaxpert.models.cycseq.paper import figures as cycseq_figures
from jaxpert.tasks import translation as spectra
from jaxpert.tasks.translation import baselines as cycseq_baselines
from jaxpert.tasks.translation import evaluate as cycseq_assess
from jaxpert.tasks.translation import load as cycseq_inputs
from support.paths import ROOT


def config(stage="pretrain", **changes):
    settings = runpy.run_path(str(ROOT / f"configs/cycseq_{stage}.py"))["get_config"](
        "test"
    ).to_dict()
    for key, value in changes.items():
        section, name = key.split("__", 1)
        (settings["model"]["kwargs"] if section == "kwargs" else settings[section])[name] = value
    return settings


@functools.cache
def pretrained() -> pathlib.Path:
    """A finished run of the test variant, scGen beside it."""
    workdir = pathlib.Path(tempfile.mkdtemp()) / "pretrained"
    argv = ["main.py", f"--config={ROOT}/configs/cycseq_pretrain.py:test", f"--workdir={workdir}"]
    assert (
        cli.main([*argv, "--config.evaluation.scgen=1", "--config.evaluation.triangular=PERT003"])
        == 0
    )
    return workdir


@functools.cache
def set_up():
    return cycseq_run.set_up(config())


def metrics_of(workdir):
    return json.loads((workdir / "metrics.json").read_text())


def write_lines(folder, **columns):
    """A small file of two lines, with some columns of cells replaced."""
    cells, _ = data.simulate(
        "lines_tiny", cells=400, genes=130, lines=2, singles=3, line_log_sd=0.3
    )
    for name, values in columns.items():
        cells.obs[name] = values(cells)
    path = folder / "lines.h5ad"
    cells.write_h5ad(path)
    return str(path)


def test_a_run_leaves_scores_in_both_directions_beside_baselines():
    found = metrics_of(pretrained())["cycseq"]
    assert set(found["baselines"]) == {"no_change", "mean_perturbation", "mean_change", "scgen"}
    groups = {f"{d} {of}" for d in ("n2p", "p2n") for of in ("all", "line1", "line2")}
    assert (
        set(found["model"])
        == groups
        == set(found["baselines"]["scgen"])
        == set(found["conditions"])
    )
    names = {
        f"{level}{name}{genes}"
        for level in ("", "mean_")
        for genes in ("", "_top20", "_top100")
        for name in ("r2", "r", "r2_det", "mae", "mse", "change_r")
    }
    assert set(found["model"]["n2p all"]) == names
    assert found["baselines"]["no_change"]["n2p all"]["change_r"] is None
    assert found["baselines"]["scgen"]["n2p all"]["r2"] > found["model"]["n2p all"]["r2"]
    assert list(found["triangular"]["n2p"])[0].startswith("PERT003")
    page = (pretrained() / "report.html").read_text()
    assert "Scores of the CycSeq paper" in page and "in units that the paper does not state" in page


def test_row_scores_average_to_the_table_and_predictions_carry_the_change():
    rows, found = np.load(pretrained() / "rows.npz"), metrics_of(pretrained())["cycseq"]["model"]
    np.testing.assert_allclose(rows["n2p|model|all|r2"].mean(), found["n2p all"]["r2"])
    line2 = np.char.endswith(rows["groups"][rows["group"]], "line2")
    np.testing.assert_allclose(rows["p2n|model|all|mse"][line2].mean(), found["p2n line2"]["mse"])
    predicted = anndata.read_h5ad(pretrained() / "predictions.h5ad")
    np.testing.assert_allclose(
        predicted.X, predicted.layers["control"] + predicted.layers["effect"], atol=1e-5
    )
    measured = predicted.layers["measured"] - predicted.layers["control"]
    np.testing.assert_allclose(predicted.layers["measured_effect"], measured, atol=1e-5)
    assert set(predicted.obs["split"]) <= {"train+val", "test", "train", "val"}


def test_baselines_know_nothing_of_held_out_pairs():
    prepared = set_up().prepared
    groups = cycseq_baselines.find_groups(prepared)
    means = cycseq_baselines.group_means(prepared, groups)
    assert not np.isfinite(means.train_upper[~groups.trained]).any()
    change, unseen = cycseq_baselines.mean_changes(groups, means)
    trained = groups.trained
    overall = (means.train_upper - means.train_lower)[trained].mean(0)
    np.testing.assert_allclose(change[unseen], np.tile(overall, (unseen.sum(), 1)))
    own = np.flatnonzero(trained)[0]
    same = trained & (groups.condition == groups.condition[own])
    np.testing.assert_allclose(change[own], (means.upper - means.lower)[same].mean(0), rtol=1e-6)
    table, without = cycseq_baselines.profiles(groups, means, 2)
    np.testing.assert_allclose(
        table["n2p"][0], means.upper[trained & (groups.line == 0)].mean(0), rtol=1e-6
    )
    assert without == ()


def test_most_changed_genes_are_those_of_the_groups_own_cells():
    prepared = set_up().prepared
    groups = cycseq_baselines.find_groups(prepared)
    tops, unranked = cycseq_assess.gene_sets(prepared, groups)
    dataset, k = prepared.dataset, 1
    log = np.log2(
        1 + 1e4 * dataset.counts.toarray() / dataset.counts.toarray().sum(1, keepdims=True)
    )
    upper, lower = (log[prepared.spectra.of(int(side[k]))] for side in (groups.upper, groups.lower))
    error = np.sqrt(upper.var(0, ddof=1) / len(upper) + lower.var(0, ddof=1) / len(lower))
    t = np.abs(upper.mean(0) - lower.mean(0)) / np.where(error > 0, error, np.inf)
    assert set(tops["top20"][k]) == set(np.argsort(-t)[:20]) and not unranked


def test_fine_tuning_goes_on_from_a_finished_run(tmp_path):
    before, link = run_of(pretrained()), tmp_path / "start"
    link.symlink_to(pretrained())
    given = config(
        "finetune",
        train__start=str(link),
        train__epochs=1,
        train__learning_rate=1e-8,
        train__freeze="critics",
    )
    assert run.run(given, tmp_path / "tuned") == 0
    after = cycseq_start.read(tmp_path / "tuned", given["model"]["kwargs"])
    assert after.net.lines == ("line1", "line2", "line3") and after.net.settings.placeholders == 1
    kept = after.params["critics"]["x"]["first"]["expression"]
    np.testing.assert_array_equal(kept, before.params["critics"]["x"]["first"]["expression"])
    first = jax.tree.leaves(before.params["generators"]["n2p"]["encoder"]["trunk"])
    for old, new in zip(
        first, jax.tree.leaves(after.params["generators"]["n2p"]["encoder"]["trunk"]), strict=True
    ):
        np.testing.assert_allclose(new, old, atol=1e-5)
    assert metrics_of(tmp_path / "tuned")["run"]["epochs"] == 1
    notes = metrics_of(tmp_path / "tuned")["data"]["notes"]
    assert any("line line3 takes batch column 3" in note for note in notes)
    reference = before.network["combat_reference"]
    assert any(f"aligned to {reference['name']!r} of an earlier run" in note for note in notes)
    link.unlink()  # what it was aligned to stands in the run itself
    assert after.network["combat_reference"] == reference
    opened = cycseq_figures.reopen(tmp_path / "tuned")
    assert (
        opened.prepared.reference is None and np.abs(opened.prepared.affine.scale - 1).max() > 0.01
    )
    rows = next(iter(spectra.rows(opened.prepared, "test")))
    mse = ((rows.control - rows.x) ** 2).mean(1)
    np.testing.assert_allclose(mse, opened.scores["n2p|no_change|all|mse"][: len(mse)], rtol=1e-5)


@functools.cache
def run_of(workdir):
    return cycseq_start.read(workdir, config()["model"]["kwargs"])


def test_no_epochs_evaluate_a_run_on_a_new_line_as_it_is(tmp_path):
    given = config("finetune", train__start=str(pretrained()), train__epochs=0)
    assert run.run(given, tmp_path / "shot") == 0
    found = metrics_of(tmp_path / "shot")
    assert found["run"]["steps"] == 0 and found["cycseq"]["model"]["n2p all"]["mse"] > 0


def test_an_interrupted_run_ends_in_the_same_bits(tmp_path):
    given = config()
    job = run.make_job(given)
    own = {"feeds": job.feeds, "meta": job.meta}
    run.fit(
        given | {"train": given["train"] | {"epochs": 1, "decay_every": 1}},
        tmp_path,
        job.dataset,
        job.model,
        **own,
    )
    resumed = run.fit(given, tmp_path, job.dataset, job.model, **own)
    assert resumed.outcome.step == 12
    for one, two in zip(
        jax.tree.leaves(run_of(pretrained()).params), jax.tree.leaves(resumed.params), strict=True
    ):
        np.testing.assert_array_equal(one, two)


def test_tables_and_figures_come_from_finished_runs(tmp_path, capsys):
    runs, output = f"--runs={pretrained()}", f"--output={tmp_path}"
    assert tables_cli.main(["cycseq_tables.py", runs, output]) == 0
    text = (tmp_path / "cycseq_tables.md").read_text()
    assert "| CycSeq, Table 1 | p2n | K562 | cycseq | 0.827 |" in text and "Units: " in text
    found = metrics_of(pretrained())["cycseq"]["model"]["p2n line2"]["r2"]
    assert f"| pretrained | p2n | line2 | cycseq | {found:.3f} |" in text
    assert figures_cli.main(["cycseq_figures.py", runs, output, "--highlighted=PERT003"]) == 0
    drawn = {path.name for path in tmp_path.glob("*.png")}
    assert drawn == {f"pretrained_figure_{name}.png" for name in ("2_n2p", "2_p2n", "3", "4")}
    assert "needs a run with doses" in capsys.readouterr().err
    assert figures_cli.main(["cycseq_figures.py", runs, output, "--figures=9"]) == 2


def test_a_reopened_run_predicts_as_it_did():
    opened = cycseq_figures.reopen(pretrained())
    rows = next(iter(spectra.rows(opened.prepared, "test")))
    mse = ((opened.model(rows)["n2p"] - rows.x) ** 2).mean(1)
    np.testing.assert_allclose(mse, opened.scores["n2p|model|all|mse"][: len(mse)], rtol=1e-4)


def test_profiles_are_those_of_the_model():
    assert {name: of for name, of in cycseq_setup.PROFILES.items() if of} == keys.CYCSEQ_PROFILES


def test_a_split_by_replicate_leaves_the_shares_of_the_config_alone():
    prepared, _ = cycseq_inputs.load(config(split__kind="replicate"))
    assert sum(len(block.x) for block in spectra.rows(prepared, "val")) > 0


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
        run.make_job(config(**changes))


def test_references_that_a_run_cannot_give():
    start, given = run_of(pretrained()), config("finetune", train__start="there")
    older = start._replace(
        network={k: v for k, v in start.network.items() if k != "combat_reference"}
    )
    without = start._replace(network=start.network | {"combat_reference": None})
    for run_there, said in (
        (older, "of an older version that kept no moments"),
        (without, "trained without ComBat"),
    ):
        with pytest.raises(InputError, match=f"the run in train.start, which .*{said}"):
            cycseq_start.reference(run_there, given)
    changed = config("finetune", data__combat_cells="all")
    with pytest.raises(
        InputError, match="fitted with data.combat_cells=controls and here it is all"
    ):
        cycseq_inputs.load(changed, cycseq_start.reference(start, changed))


def test_a_run_aligned_otherwise_than_its_start_is_noted():
    start, own = run_of(pretrained()), set_up().prepared.aligned_to
    without = start._replace(network=start.network | {"combat_reference": None})
    older = start._replace(
        network={k: v for k, v in start.network.items() if k != "combat_reference"}
    )
    for run_there, align, here, said in (
        (
            start,
            "largest",
            own,
            "aligned to line1 by ComBat, and rows here are aligned to line1 of these data",
        ),
        (start, "", None, "aligned to line1 by ComBat, and rows here are not aligned"),
        (without, "largest", own, "not aligned by ComBat, and rows here are aligned to line1"),
        (older, "largest", own, "aligned to a batch of which it kept nothing"),
        (without, "", None, None),
        (start, "start", cycseq_start.reference(start, config("finetune")), None),
    ):
        notes = cycseq_start.alignment_notes(
            run_there, config("finetune", data__combat_reference=align), here
        )
        assert [said in note for note in notes] == ([True] if said else [])


def test_files_that_cannot_be_used(tmp_path):
    one = write_lines(tmp_path)
    cells = anndata.read_h5ad(one)
    cells.var_names = [f"OTHER{i}" for i in range(cells.n_vars)]
    cells.write_h5ad(tmp_path / "other.h5ad")
    without = anndata.read_h5ad(one)
    keep = (without.obs["line"] != "line2") | (without.obs["perturbation"] != "ctrl")
    without[np.asarray(keep)].copy().write_h5ad(tmp_path / "without.h5ad")
    single = anndata.read_h5ad(one)
    batch = single.obs["batch"].astype(str).to_numpy()
    batch[np.flatnonzero(single.obs["perturbation"] == "ctrl")[0]] = "alone"
    single.obs["batch"] = batch
    single.write_h5ad(tmp_path / "single.h5ad")
    own = {"data__lines": ""}
    for name, said, more in (
        (f"{one},{tmp_path}/other.h5ad", "no gene is in all of", {}),
        (f"{tmp_path}/without.h5ad", "1 lines have no control cell .line2.", {}),
        (f"{tmp_path}/single.h5ad", "have one cell to be adjusted by", {"data__batch": "batch"}),
    ):
        with pytest.raises(InputError, match=said):
            cycseq_inputs.load(config(data__source=name, **own, **more))


def test_runs_that_cannot_be_gone_on_from(tmp_path):
    start = {"train__start": str(pretrained())}
    lines = {"data__source": write_lines(tmp_path), "data__lines": "", **start}
    for align, said in (
        ("start", "kept ComBat reference 'line1' 200"),
        ("largest", "trained model 200"),
    ):
        with pytest.raises(InputError, match=f"the data have 130 genes and the {said}"):
            cycseq_run.set_up(config("finetune", data__combat_reference=align, **lines))
    with pytest.raises(InputError, match="hidden .* there and .* here.*same shape"):
        cycseq_run.set_up(config("finetune", kwargs__hidden=(32, 8, 8), **start))
    cells, _ = data.simulate("lines_tiny", lines=2)
    cells.obs["line"] = [f"new{i % 3}" for i in range(cells.n_obs)]
    cells.write_h5ad(tmp_path / "many.h5ad")
    given = {"data__source": str(tmp_path / "many.h5ad"), "data__lines": ""}
    with pytest.raises(InputError, match="needs a placeholder batch column, but all are used up"):
        cycseq_run.set_up(config("finetune", **given, **start))
