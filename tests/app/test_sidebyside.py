"""`jaxpert compare`: entries on the same perturbations, with paired intervals; others are
refused."""

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import jaxpert
from jaxpert.app import ask, cli, run, sidebyside
from jaxpert.app import score as app_score
from jaxpert.core.types import InputError
from jaxpert.evaluation import intervals
from jaxpert.tasks.screen import entries
from jaxpert.tasks.screen.score_keys import ScoreKeys
from support import finished_run
from support.predictions import PAIRS, SINGLES, cells, log2_means, means

TRAINED = {"train": [*SINGLES, "A+B", "C+D"]}


@pytest.fixture(scope="module", autouse=True)
def without_figures():
    """Which take longer than all else, and have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app_score, "_draw", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Folders of two scorings of the same cells, and one of other cells."""
    folder = tmp_path_factory.mktemp("scored")
    for name, real, seed in (("first", 0, 1), ("second", 0, 2), ("other_cells", 7, 1)):
        jaxpert.score(
            cells(seed=real), cells(seed=seed), train=TRAINED, output=folder / name, schools=False
        )
    return folder


def found(*sources, **options):
    return sidebyside.compare(sources, **options)


def of(rows, subset, score, entry):
    (row,) = [r for r in rows if (r.subset, r.score, r.entry) == (subset, score, entry)]
    return row


def test_values_and_differences_are_those_of_the_scores(scored):
    side = found(scored / "first", scored / "second")
    metrics = [jaxpert.score(cells(), cells(seed=s), train=TRAINED, schools=False) for s in (1, 2)]
    assert [entry.label for entry in side.entries] == ["first", "second"]
    assert side.rows[0].subset == "test" and side.rows[0].perturbations == 4
    for score in ("mse", "ate_pearson", "discrimination_score"):
        first, second = (of(side.rows, "test", score, n) for n in ("first", "second"))
        values = [m["model"]["test"][score] for m in metrics]
        assert (first.value, second.value) == pytest.approx(tuple(values))
        assert second.difference == pytest.approx(values[1] - values[0])
        # Four perturbations are too few for an interval, and nothing is claimed.
        assert np.isnan(second.low) and second.outcome == "undecided" and first.outcome == ""
    baseline = of(side.rows, "test", "mse", "additive")
    assert baseline.value == pytest.approx(metrics[0]["baselines"]["additive"]["test"]["mse"])


def entry(label, seeds):
    """Squared errors of nine perturbations, of each seed."""
    sums = [{"test": {"mse": np.stack([v, np.ones(9), np.ones(9)], 1)}} for v in seeds]
    names = tuple("ABCDEFGHI")
    return entries.Entry(label, label, "x", ("G",), names, {"test": names}, tuple(sums), {})


def test_intervals_are_paired():
    """Perturbations differ by far more than the entries do on each of them."""
    rng = np.random.default_rng(0)
    base, gaps = rng.gamma(2, 5, 9), 0.3 + rng.normal(0, 0.1, 9)
    rows = entries.compared([entry("first", [base]), entry("second", [base + gaps])], ["test"])
    row = of(rows, "test", "mse", "second")
    assert row.perturbations == 9 and row.difference == pytest.approx(gaps.mean())
    assert 0 < row.low < row.difference < row.high and row.outcome == "worse"
    assert row.high - row.low < 8 * gaps.std() / 3 < 0.1 * base.std()


def test_an_entry_beside_itself_differs_by_nothing(scored, tmp_path):
    shutil.copytree(scored / "first", tmp_path / "again")
    side = found(scored / "first", tmp_path / "again")
    rows = [row for row in side.rows if row.entry == "again" and np.isfinite(row.value)]
    assert rows and all(row.difference == 0 for row in rows)


def test_files_are_scored_on_the_way(scored, tmp_path):
    means(cells(seed=2)).write_h5ad(tmp_path / "means.h5ad")
    table = log2_means(cells(seed=2))
    effects = pd.DataFrame({n: table[n] - table["ctrl"] for n in table}, cells().var_names).T
    effects.to_csv(tmp_path / "effects.csv")
    real = cells()
    real.obs["part"] = np.where(np.isin(real.obs["condition"], PAIRS[2:]), "test", "train")
    keys = ScoreKeys(train="part", scale="effects")
    side = found(scored / "second", tmp_path / "effects.csv", real=real, keys=keys)
    row = of(side.rows, "test", "mse", "effects.csv")
    assert row.value == pytest.approx(of(side.rows, "test", "mse", "second").value, rel=1e-6)
    with pytest.raises(InputError, match="files of predictions are given without a run"):
        found(scored / "first", tmp_path / "means.h5ad")


def test_other_cells_genes_and_perturbations_are_refused(scored, tmp_path):
    with pytest.raises(InputError, match="first and other_cells were measured on other cells"):
        found(scored / "first", scored / "other_cells")
    few = cells()[:, 3:].copy()
    jaxpert.score(few, cells(seed=1), train=TRAINED, output=tmp_path / "genes", schools=False)
    with pytest.raises(InputError, match="other genes .only in the first: G0, G1, G2"):
        found(scored / "first", tmp_path / "genes")
    fewer = {"only": ["A", "B", "C", "D", "E", "F", "A+B", "C+D", "E+F", "A+C"]}
    jaxpert.score(
        cells(**fewer), cells(seed=1), train=TRAINED, output=tmp_path / "conditions", schools=False
    )
    with pytest.raises(InputError, match="other perturbations .only in the first: B.D, C.E"):
        found(scored / "first", tmp_path / "conditions")
    with pytest.raises(InputError, match="1 entry was given, expected two"):
        found(scored / "first")


def test_other_splits_of_the_same_cells_are_refused(scored, tmp_path):
    other = {"train": [*SINGLES, "A+B", "E+F"]}
    jaxpert.score(cells(), cells(seed=1), train=other, output=tmp_path / "split", schools=False)
    with pytest.raises(InputError, match="other perturbations of 'test' .only in the first: E.F"):
        found(scored / "first", tmp_path / "split")


def test_folders_that_hold_no_scores_are_refused(scored):
    with pytest.raises(InputError, match="nothing holds no measured effects"):
        entries.of_arrays("nothing", "nothing", {}, {"genes": [], "conditions": []})
    first = entries.of_folder("first", scored / "first")
    other = first._replace(label="other", subsets={"val": first.subsets["test"]})
    with pytest.raises(InputError, match="share no subset of perturbations .first: all, train, te"):
        entries.common_subsets([first, other])


def test_runs_of_another_task_are_refused(monkeypatch):
    def finished(*_, **__):
        return SimpleNamespace(family=SimpleNamespace(task=SimpleNamespace(name="translation")))

    monkeypatch.setattr(app_score, "data_of", finished)
    monkeypatch.setattr(ask, "reopen", finished)
    with pytest.raises(InputError, match="is a run of the task translation, expected one of a scr"):
        app_score.real_of_run(Path("runs/rows"))
    with pytest.raises(InputError, match="is a run of the task translation, whose rows are no cel"):
        ask.cells_to_file("runs/rows", ["A"], Path("pred.h5ad"), cells=3, seed=0)


def test_seeds_are_paired():
    rng = np.random.default_rng(0)

    base = rng.gamma(2, 1, (3, 9))
    one, three = entry("one", base[:1]), entry("three", base)
    (row,) = [r for r in entries.compared([one, three], ["test"]) if r.entry == "three"]
    assert row.value == pytest.approx(base.mean()) and row.difference == pytest.approx(
        base.mean() - base[0].mean()
    )
    weights = intervals.bootstrap_weights(np.random.default_rng(0), 9, 1000)
    pairs = [(s["test"]["mse"], one.seeds[0]["test"]["mse"], weights) for s in three.seeds]
    wanted = intervals.mean_difference("mse", pairs)
    assert (row.low, row.high) == (wanted.low, wanted.high)


def test_command_writes_three_tables(scored, tmp_path, capsys):
    argv = ["compare", str(scored / "first"), str(scored / "second")]
    assert cli.main([*argv, f"--output={tmp_path}/side"]) == 0
    said = capsys.readouterr().out
    assert "Test (4 perturbations)" in said and "Test, minus first" in said
    assert {p.name for p in (tmp_path / "side").iterdir()} == {
        "compared.csv", "compared.md", "compared.html",
    }  # fmt: skip
    with (tmp_path / "side/compared.csv").open() as file:
        lines = list(csv.DictReader(file))
    wanted = of(found(scored / "first", scored / "second").rows, "test", "mse", "second")
    (line,) = [
        x for x in lines if (x["subset"], x["score"], x["entry"]) == ("test", "mse", "second")
    ]
    assert float(line["difference"]) == wanted.difference
    assert "<h2>Test (4 perturbations)</h2>" in (tmp_path / "side/compared.html").read_text()
    assert cli.main([*argv, f"--output={scored}/first"]) == 2
    assert "holds other files" in capsys.readouterr().err
    assert cli.main(["compare", str(tmp_path), str(scored / "first")]) == 2


def test_a_file_beside_a_run_is_scored_on_its_cells():
    """The cells, labels, quality and split of a run are the real side."""
    folder, _ = finished_run.finished()
    prepared = run.prepare(*run.read(finished_run.config()))
    dataset = prepared.problem.dataset
    from jaxpert.tasks.screen.measured import measure

    measured = measure(dataset)
    table = pd.DataFrame(
        np.nan_to_num(measured.effects), list(dataset.conditions), list(dataset.genes)
    )
    metrics = jaxpert.score(folder, table, scale="effects", schools=False)
    # The measured effects themselves make no error, and the baselines are those of the run.
    assert metrics["model"]["test"]["mse"] == 0
    assert metrics["truth"] is not None
    wanted = float(((measured.baselines["additive"] - measured.effects) ** 2)[
        measured.screen.subsets["test"]].mean())  # fmt: skip
    assert metrics["baselines"]["additive"]["test"]["mse"] == pytest.approx(wanted)
    with pytest.raises(InputError, match="lacks 1 of the .* measured genes"):
        jaxpert.score(folder, table.iloc[:, 1:], scale="effects")
    with pytest.raises(InputError, match="has no statistics.npz"):
        found(folder, folder)


def test_a_run_beside_its_own_predictions(run_of, capsys, tmp_path):
    """What a run wrote of its predictions scores as the run itself, on its cells and perturbations:
    up to the float32 of the file."""
    folder = run_of("cradle_norman:test")
    argv = ["compare", str(folder), str(folder / "predictions.h5ad")]
    assert cli.main([*argv, f"--output={tmp_path}/side"]) == 0
    named = [x for x in capsys.readouterr().out.splitlines() if x.startswith("ATTENTION")]
    # A model of one epoch is far from the measured control, which is said, and nothing else.
    assert all("the predicted control differs from the measured one" in x for x in named)
    with (tmp_path / "side/compared.csv").open() as file:
        lines = list(csv.DictReader(file))
    same = [x for x in lines if x["entry"] == "predictions.h5ad" and x["value"]]
    assert {x["subset"] for x in same} >= {"test", "all", "train"} and len(same) > 30
    assert max(abs(float(x["difference"])) for x in same) < 1e-4
    metrics = json.loads((folder / "metrics.json").read_text())
    (row,) = [
        x for x in lines if (x["subset"], x["score"], x["entry"]) == ("test", "mse", "linear")
    ]
    assert float(row["value"]) == pytest.approx(metrics["baselines"]["linear"]["test"]["mse"])
