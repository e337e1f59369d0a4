"""What a study does: which rows come to be, and what happens when something stops, fails or is
done elsewhere."""

import json
import shutil
import signal
import subprocess
import sys

import pytest

from jaxpert.core import config, workdir
from jaxpert.core.errors import InputError
from jaxpert.core.train import NonFiniteLoss
from jaxpert.study import jobs as of_jobs
from jaxpert.study import ledger, tables
from jaxpert.study import runner as study
from jaxpert.study.ledger import Cell
from jaxpert.study.scores import LIBRARIES, Asked
from jaxpert.study.sections import number
from support.paths import ROOT
from support.study_runs import STUDY, Counting, finish, jobs_for


def test_one_row_per_seed_and_threshold_and_nothing_done_twice(tmp_path):
    jobs, run = jobs_for(("cradle_vae", "sams_vae")), Counting()
    assert study.run_jobs(jobs, tmp_path, run=run) == 0
    assert run.works == [
        "simulated-cradle_vae-5mad-trainseeds0-1",
        "simulated-sams_vae-allcells-trainseeds0-1",
    ]
    found = ledger.read(tmp_path / "rows.jsonl")
    assert found.notes == () and len(found.rows) == 2 + 2 * 3
    row = found.rows[Cell("simulated", "sams_vae", 3, 1)]
    assert row["scores"] == {"all": {"mse": 1.0}} and row["run"] == f"runs/{run.works[1]}"
    before = (tmp_path / "rows.jsonl").read_bytes()
    assert study.run_jobs(jobs, tmp_path, run=run) == 0
    assert len(run.works) == 2 and (tmp_path / "rows.jsonl").read_bytes() == before
    more = jobs_for(("cradle_vae", "sams_vae"), seeds=(0, 1, 2, 3))
    assert study.run_jobs(more, tmp_path, run=run) == 0
    assert run.works[2:] == [
        "simulated-cradle_vae-5mad-trainseeds2-3",
        "simulated-sams_vae-allcells-trainseeds2-3",
    ]


def test_a_half_written_row_is_appended_again_without_training(tmp_path, capsys):
    jobs, run = jobs_for(), Counting()
    study.run_jobs(jobs, tmp_path, run=run)
    rows = tmp_path / "rows.jsonl"
    whole = ledger.read(rows).rows
    rows.write_bytes(rows.read_bytes()[:-30])
    assert set(ledger.read(rows).rows) == {Cell("simulated", "cradle_vae", 5, 0)}
    assert study.run_jobs(jobs, tmp_path, run=run) == 0
    said = capsys.readouterr().err
    assert (
        "line 2 of" in said and "half-written" in said and "rows of seed 1 appended again" in said
    )
    assert len(run.works) == 1
    again = ledger.read(rows).rows
    assert {c: r["scores"] for c, r in again.items()} == {c: r["scores"] for c, r in whole.items()}
    assert {r["run"] for r in again.values()} == {f"runs/{run.works[0]}"}


def test_a_finished_run_without_the_scores_of_the_study(tmp_path):
    jobs, run = jobs_for(), Counting()
    study.run_jobs(jobs, tmp_path, run=run)
    (tmp_path / "rows.jsonl").unlink()
    work = tmp_path / "runs" / run.works[0]
    workdir.write_metrics(work, workdir.read_metrics(work) | {"scores": []})
    with pytest.raises(InputError) as error:
        study.run_jobs(jobs, tmp_path, run=run)
    assert str(error.value) == (
        f"runs/{run.works[0]}/metrics.json has no scores of 5 MAD, seed 0, expected those of the "
        "study: delete the folder"
    )
    assert len(run.works) == 1


def test_a_diverged_and_a_refused_run_do_not_stop_the_others(tmp_path, capsys):
    def run(config, work):
        if config["model"]["name"] == "sams_vae":
            raise NonFiniteLoss("training", 7, {"loss": float("nan")}, 0)
        if config["model"]["name"] == "svae_plus":
            raise InputError(
                "combinations were found, expected single perturbations: choose another model"
            )
        return finish(config, work)

    jobs = jobs_for(("sams_vae", "cradle_vae"))
    assert study.run_jobs(jobs, tmp_path, run=run) == 1
    said = capsys.readouterr().err
    assert "error: simulated-sams_vae-allcells, seeds 0, 1: diverged: " in said
    found = ledger.read(tmp_path / "rows.jsonl").rows
    assert found[Cell("simulated", "sams_vae", 4, 0)]["failed"].startswith("diverged: ")
    assert "failed" not in found[Cell("simulated", "cradle_vae", 5, 1)]
    assert study.run_jobs(jobs_for(("svae_plus", "cradle_vae")), tmp_path, run=run) == 2
    assert "refused: combinations were found" in capsys.readouterr().err
    again = Counting()
    assert study.run_jobs(jobs, tmp_path, run=again) == 0
    assert again.works == ["simulated-sams_vae-allcells-trainseeds0-1"]
    assert not any(
        "failed" in row
        for cell, row in ledger.read(tmp_path / "rows.jsonl").rows.items()
        if cell.model == "sams_vae"
    )


def test_an_interrupted_study_stops_and_goes_on(tmp_path, capsys):
    run = Counting(lambda config, work: 0)
    assert study.run_jobs(jobs_for(("cradle_vae", "sams_vae")), tmp_path, run=run) == 0
    assert len(run.works) == 1 and not (tmp_path / "rows.jsonl").exists()
    assert "interrupted; the same command goes on" in capsys.readouterr().err
    assert study.run_jobs(jobs_for(("cradle_vae", "sams_vae")), tmp_path, run=Counting()) == 0
    assert len(ledger.read(tmp_path / "rows.jsonl").rows) == 8


def test_rows_with_other_settings_are_refused_with_the_difference(tmp_path):
    study.run_jobs(jobs_for(), tmp_path, run=finish)
    with pytest.raises(
        InputError,
        match=r"other settings \(train.epochs was 3 and is now 4\), expected the same",
    ):
        study.run_jobs(jobs_for(changes={"train.epochs": "4"}), tmp_path, run=finish)
    with pytest.raises(InputError, match=r"data.preset was 'demo' and is now 'tiny'"):
        study.run_jobs(
            jobs_for(("sams_vae",), changes={"data.preset": "tiny"}), tmp_path, run=finish
        )
    with pytest.raises(InputError, match="vary was 'train' and is now 'split'"):
        study.run_jobs(jobs_for(vary="split"), tmp_path, run=finish)
    assert (
        study.run_jobs(jobs_for(("sams_vae",), changes={"train.epochs": "4"}), tmp_path, run=finish)
        == 0
    )
    assert study.run_jobs(jobs_for(changes={"train.save_seconds": "1"}), tmp_path, run=finish) == 0


def test_runs_and_rows_of_before_a_key_was_added_count_its_default(tmp_path, capsys):
    (job,) = jobs_for()
    begun = of_jobs.config_of(job)
    del begun["split"]["kind"]
    work = of_jobs.folder_of(job, tmp_path)
    work.mkdir(parents=True)
    workdir.write_config(work, begun)
    given = []
    assert study.run_jobs([job], tmp_path, run=lambda c, _: given.append(c) or 0) == 0
    assert given[0]["split"]["kind"] == of_jobs.config_of(job)["split"]["kind"] == "auto"
    said = capsys.readouterr().err
    assert f"config.json of {work} lacks " in said and "the defaults are taken" in said
    # Finished by the older version, whose rows lack the key too.
    shutil.rmtree(work)
    finish(begun, work)
    counting = Counting()
    assert study.run_jobs([job], tmp_path, run=counting) == 0 and not counting.works
    rows = ledger.read(tmp_path / "rows.jsonl").rows
    assert all("split.kind" not in row["settings"] for row in rows.values())
    assert study.run_jobs([job], tmp_path, run=counting) == 0 and not counting.works
    changed = jobs_for(changes={"split.kind": "cells"})
    with pytest.raises(InputError, match=r"split.kind was 'auto' and is now 'cells'"):
        study.run_jobs(changed, tmp_path, run=counting)


def test_a_run_begun_with_other_settings(tmp_path):
    begun = of_jobs.config_of(jobs_for()[0])
    work = of_jobs.folder_of(jobs_for()[0], tmp_path)
    work.mkdir(parents=True)
    workdir.write_config(work, begun)
    with pytest.raises(
        InputError,
        match=r"begun with other settings \(train.epochs was 3 and is now 4\), expected the same",
    ):
        study.run_jobs(jobs_for(changes={"train.epochs": "4"}), tmp_path, run=finish)
    given = []
    study.run_jobs(
        jobs_for(changes={"train.save_seconds": "1"}),
        tmp_path,
        run=lambda c, _: given.append(c) or 0,
    )
    # The keys that the folder's run lacks have their defaults, and all others are its own.
    kept = config.flatten(given[0])
    assert {key: kept[key] for key in config.flatten(begun)} == config.flatten(begun)
    (work / "config.json").write_text("{")
    with pytest.raises(InputError, match="config.json cannot be read"):
        study.run_jobs(jobs_for(), tmp_path, run=finish)


def test_what_another_process_does_is_skipped_and_named(tmp_path, capsys):
    jobs, run = jobs_for(("cradle_vae", "sams_vae")), Counting()
    with ledger.claimed(tmp_path / "claims", ["simulated-cradle_vae-5mad-seed0"]) as free:
        assert free
        assert study.run_jobs(jobs, tmp_path, run=run) == 0
    assert run.works == [
        "simulated-cradle_vae-5mad-trainseeds1",
        "simulated-sams_vae-allcells-trainseeds0-1",
    ]
    assert "running elsewhere: simulated-cradle_vae-5mad seed 0" in capsys.readouterr().err


SHARE = """
import sys, time; sys.path.insert(0, sys.argv[2])
from pathlib import Path; from jaxpert.study import runner, scores, tables
from support import study_runs as s
results, models = Path(sys.argv[1]), ("cradle_vae", "cradle_vae_without_counterfactual")
def slowly(config, work):
    time.sleep(0.2)
    return s.finish(config, work)
status = runner.run_jobs(s.jobs_for(models, seeds=(0,)), results, run=slowly)
tables.write_tables(s.STUDY, results, scores.Asked(("simulated",), (5,), (0,)))
sys.exit(status)
"""


def test_two_processes_share_the_work(tmp_path):
    """Two at once on one folder: both end well, every row is there once, and so are the tables."""
    command = [sys.executable, "-c", SHARE, str(tmp_path), str(ROOT / "tests")]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    cells = [ledger.cell_of(json.loads(line)) for line in lines]
    models = "cradle_vae", "cradle_vae_without_counterfactual"
    assert sorted(cells) == [Cell("simulated", model, 5, 0) for model in models]
    written = {"rows.jsonl", "tables.md", "tables.html", "tables.csv", "advantage.csv"}
    assert {path.name for path in tmp_path.glob("[!.]*")} == written | {"claims", "runs"}
    assert "CRADLE-VAE w/o counterfactual" in (tmp_path / "tables.md").read_text()


@pytest.mark.slow
def test_rows_and_tables_come_from_what_a_run_leaves(run_of, tmp_path):
    finished = run_of("cradle_norman:test")

    def copy(config, work):
        shutil.copytree(finished, work)
        return 0

    assert study.run_jobs(jobs_for(seeds=(0,)), tmp_path, run=copy) == 0
    (row,) = ledger.read(tmp_path / "rows.jsonl").rows.values()
    metrics = workdir.read_metrics(finished)
    assert row["scores"] == metrics["model"] and row["baselines"] == metrics["baselines"]
    assert row["truth"] == metrics["truth"] and set(row["pass_rate"]) == set(LIBRARIES.values())
    tables.write_tables(STUDY, tmp_path, Asked(("simulated",), (5,), (0,)))
    text = (tmp_path / "tables.md").read_text()
    assert "Recovery of the planted effects: simulated" in text
    assert "CRADLE-VAE minus each other: simulated, 5 MAD, perturbations never trained" in text
    assert f"| CRADLE-VAE | {number(metrics['model']['test']['ate_pearson'], None)} |" in text


HANG = """
import sys, time; sys.path.insert(0, sys.argv[2])
from pathlib import Path; from jaxpert.study import runner as study
from support import study_runs as s
hang = lambda config, work: print("running", flush=True) or time.sleep(600)
study.run_jobs(s.jobs_for(), Path(sys.argv[1]), run=hang)
"""


def test_a_killed_process_frees_its_work(tmp_path):
    other = subprocess.Popen(
        [sys.executable, "-c", HANG, str(tmp_path), str(ROOT / "tests")],
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        assert other.stdout is not None and other.stdout.readline().strip() == "running"
        run = Counting()
        assert study.run_jobs(jobs_for(), tmp_path, run=run) == 0 and run.works == []
        other.send_signal(signal.SIGKILL)
    assert study.run_jobs(jobs_for(), tmp_path, run=run) == 0
    assert run.works == ["simulated-cradle_vae-5mad-trainseeds0-1"]
