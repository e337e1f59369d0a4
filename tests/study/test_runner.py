"""What a study does: which runs, which rows, and what happens when something stops, fails or is
done elsewhere."""

import json
import os
import signal
import subprocess
import sys

import pytest

import cradle_tables as cli
from jaxpert.core.train import NonFiniteLoss
from jaxpert.core.types import InputError
from jaxpert.study import ledger, plan
from jaxpert.study import runner as study
from jaxpert.study.ledger import Cell
from jaxpert.study.plan import MODELS
from support.paths import ROOT


def get_config(file: str, variant: str):
    """What the plan needs of a config, of CRADLE-VAE or of a baseline."""
    kwargs = (
        {"cf_weight": 0.5, "causal_artifact": True, "latent_dim": 8}
        if file != "cradle_baselines"
        else {}
    )
    return {
        "seed": 0,
        "data": {
            "source": "norman",
            "preset": "demo",
            "folder": "",
            "perturbation": "condition",
            "simulation": "",
        },
        "quality": {"multiplier": 5, "training_cells": "all"},
        "split": {"kind": "auto", "seed": 0},
        "model": {"name": file if kwargs else variant.split(",")[0], "kwargs": kwargs},
        "train": {"epochs": 3, "seeds": 1, "learning_rate": 1e-3, "save_seconds": 60.0},
        "evaluation": {"multipliers": "", "umap_cells": 0, "shown": ""},
    }


def jobs_for(
    models=("cradle_vae",), sources=("simulated",), multipliers=(5,), seeds=(0, 1), **options
):
    return plan.plan(models, sources, multipliers, seeds, get_config, **options)


def finish(config, work):
    """Stands for a run: leaves config.json and the parts of metrics.json that rows are made
    from."""
    work.mkdir(parents=True)
    (work / "config.json").write_text(json.dumps(config))
    multipliers = config["evaluation"]["multipliers"] or str(config["quality"]["multiplier"])
    scores = [
        {
            "seed": config["seed"] + i,
            "multiplier": int(k),
            "model": {"all": {"mse": float(i)}},
            "baselines": {},
            "truth": None,
            "perturbations": {"all": 3},
            "pass_rate": {},
        }
        for i in range(config["train"]["seeds"])
        for k in multipliers.split(",")
    ]
    about = dict.fromkeys(("date", "device", "versions", "steps", "epochs", "ended"), "x")
    (work / "metrics.json").write_text(json.dumps({"scores": scores, "run": about}))
    return 0


class Counting:
    """A run that counts its calls."""

    def __init__(self, run=finish):
        self.run, self.works = run, []

    def __call__(self, config, work):
        self.works.append(work.name)
        return self.run(config, work)


def test_what_is_trained_once_and_what_for_each_threshold():
    jobs = jobs_for(
        ("cradle_vae", "sams_vae", "sams_vae_passed"), multipliers=(3, 5), seeds=(0, 1, 2)
    )
    found = [(job.name, job.multipliers, job.seeds) for job in jobs]
    assert found == [
        ("simulated-cradle_vae-3mad", (3,), (0, 1, 2)),
        ("simulated-cradle_vae-5mad", (5,), (0, 1, 2)),
        ("simulated-sams_vae-allcells", (3, 4, 5), (0, 1, 2)),
        ("simulated-sams_vae_passed-3mad", (3,), (0, 1, 2)),
        ("simulated-sams_vae_passed-5mad", (5,), (0, 1, 2)),
    ]
    settings = [
        (j.config["quality"]["training_cells"], j.config["evaluation"]["multipliers"]) for j in jobs
    ]
    assert settings == [("all", ""), ("all", ""), ("all", "3,4,5"), ("passed", ""), ("passed", "")]
    assert [job.config["quality"]["multiplier"] for job in jobs] == [3, 5, 5, 3, 5]


def test_ablations_differ_from_the_model_in_one_setting():
    names = ("cradle_vae", "cradle_vae_without_counterfactual", "cradle_vae_without_causal")
    full, without_cf, without_causal = (job.config["model"]["kwargs"] for job in jobs_for(names))
    assert without_cf == full | {"cf_weight": 0.0} and full["cf_weight"] == 0.5
    assert without_causal == full | {"causal_artifact": False}


def test_seeds_are_of_the_split_where_the_paper_says_so():
    norman = jobs_for(sources=("norman",), seeds=(0, 1, 2))
    assert [(job.vary, job.seeds) for job in norman] == [
        ("split", (0,)),
        ("split", (1,)),
        ("split", (2,)),
    ]
    assert [plan.config_of(job)["split"]["seed"] for job in norman] == [0, 1, 2]
    assert {plan.config_of(job)["seed"] for job in norman} == {0}
    (replogle,) = jobs_for(sources=("replogle",), seeds=(2, 3))
    config = plan.config_of(replogle)
    assert (config["seed"], config["train"]["seeds"], config["split"]["seed"]) == (2, 2, 0)
    assert [job.vary for job in jobs_for(sources=("norman",), vary="train")] == ["train"]


def test_seeds_trained_together_are_consecutive():
    assert list(plan.runs_of([4, 0, 1, 7, 2], 5)) == [(0, 1, 2), (4,), (7,)]
    assert list(plan.runs_of(range(5), 2)) == [(0, 1), (2, 3), (4,)]
    assert [job.seeds for job in jobs_for(seeds=(0, 1, 2), at_once=2)] == [(0, 1), (2,)]


def test_simulated_screens_take_settings_of_the_simulator():
    weak, strong = jobs_for(sources=("simulated:artifact_share=0.1:preset=tiny", "simulated"))
    assert (weak.config["data"]["simulation"], weak.config["data"]["preset"]) == (
        "artifact_share=0.1",
        "tiny",
    )
    assert weak.config["data"]["source"] == strong.config["data"]["source"] == "simulated"
    assert weak.name == "simulated_artifact_share=0.1_preset=tiny-cradle_vae-5mad" != strong.name


def test_keys_are_set_with_their_type_where_they_exist():
    jobs = jobs_for(
        ("cradle_vae", "sams_vae"),
        changes={
            "train.epochs": "7",
            "model.kwargs.cf_weight": "0.1",
            "train.learning_rate": "1e-4",
        },
    )
    assert [job.config["train"]["epochs"] for job in jobs] == [7, 7]
    assert (
        jobs[0].config["model"]["kwargs"]["cf_weight"] == 0.1
        and jobs[1].config["model"]["kwargs"] == {}
    )
    assert jobs[0].config["train"]["learning_rate"] == 1e-4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"models": ("cradle",)}, "model is 'cradle', expected some of cradle_vae"),
        ({"models": ()}, "no model is given"),
        ({"multipliers": (3, 6)}, "MAD multiplier is 6, expected some of 3, 4, 5"),
        ({"sources": ("nowhere.h5ad",)}, "'nowhere.h5ad' is no file"),
        ({"sources": ("norman", "norman")}, "two data sets have the same name"),
        ({"seeds": (1, 1)}, "expected different whole numbers"),
        ({"seeds": (-1,)}, "0 or more"),
        ({"vary": "both"}, "--vary is 'both'"),
        (
            {"changes": {"train.epoch": "3"}},
            "train.epoch is no key of these models' configs, expected one such as",
        ),
        (
            {"changes": {"train.epochs": "many"}},
            "train.epochs is 'many', expected a value such as 3",
        ),
        ({"changes": {"model.kwargs.causal_artifact": "no"}}, "expected a value such as True"),
        ({"changes": {"seed": "3"}}, "what the study itself varies"),
    ],
)
def test_plans_that_cannot_be(options, said):
    with pytest.raises(InputError, match=said):
        jobs_for(**options)


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
        InputError, match=r"other settings \(train.epochs was 3 and is now 4\): choose another"
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


def test_a_run_begun_with_other_settings(tmp_path):
    begun = plan.config_of(jobs_for()[0])
    work = plan.folder_of(jobs_for()[0], tmp_path)
    work.mkdir(parents=True)
    (work / "config.json").write_text(json.dumps(begun))
    with pytest.raises(
        InputError,
        match=r"was begun with other settings \(train.epochs was 3 and is now 4\): delete",
    ):
        study.run_jobs(jobs_for(changes={"train.epochs": "4"}), tmp_path, run=finish)
    given = []
    study.run_jobs(
        jobs_for(changes={"train.save_seconds": "1"}),
        tmp_path,
        run=lambda c, _: given.append(c) or 0,
    )
    assert given == [begun]
    (work / "config.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
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


def test_flags(capsys, tmp_path):
    where = [f"--results={tmp_path}/none"]
    assert cli.main(["cradle_tables.py", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in MODELS)
    for flag, words in {
        "--models=cradle": "model is 'cradle'",
        "--seeds=a": "--seeds is a, expected whole numbers",
        "--dta=norman": "Unknown command line flag 'dta'",
        "norman": "'norman' is not understood",
        "--only_tables": "there is no folder",
        "--variant=tset": "'tset', expected one of full, demo, test",
        "--published=nowhere.csv": "nowhere.csv",
    }.items():
        assert cli.main(["cradle_tables.py", "--models=cradle_vae", flag, *where]) == 2, flag
        said = capsys.readouterr().err
        assert (
            words in said
            and len([line for line in said.splitlines() if line.startswith("error: ")]) == 1
        )
    assert not (tmp_path / "none").exists()


SMALL = [
    "--data=simulated",
    "--models=cradle_vae,cradle_vae_without_counterfactual",
    "--multipliers=5",
    "--seeds=0",
    "--variant=test",
    "--set=train.epochs=1",
    "--set=quality.doublets=none",
    "--set=evaluation.umap_cells=0",
    "--set=evaluation.pass_cells=0",
    "--set=evaluation.likelihood=",
]


def test_two_processes_share_the_work(tmp_path):
    """Two commands at once on one folder: both end well, every row is there once, and so are the
    tables."""
    command = [
        sys.executable,
        str(ROOT / "experiments/cradle_tables.py"),
        *SMALL,
        f"--results={tmp_path}",
    ]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=500)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    cells = [
        ledger.cell_of(json.loads(line))
        for line in (tmp_path / "rows.jsonl").read_text().splitlines()
    ]
    models = "cradle_vae", "cradle_vae_without_counterfactual"
    assert sorted(cells) == [Cell("simulated", model, 5, 0) for model in models]
    assert {"tables.md", "tables.html", "tables.csv", "advantage.csv"} <= set(os.listdir(tmp_path))
    assert "CRADLE-VAE w/o counterfactual" in (tmp_path / "tables.md").read_text()


HANG = """
import sys, time; sys.path.insert(0, sys.argv[2])
from pathlib import Path; from jaxpert.study import runner as study
from tests.study import test_runner as t
hang = lambda config, work: print("running", flush=True) or time.sleep(600)
study.run_jobs(t.jobs_for(), Path(sys.argv[1]), run=hang)
"""


def test_a_killed_process_frees_its_work(tmp_path):
    other = subprocess.Popen(
        [sys.executable, "-c", HANG, str(tmp_path), str(ROOT)], stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout is not None and other.stdout.readline().strip() == "running"
        run = Counting()
        assert study.run_jobs(jobs_for(), tmp_path, run=run) == 0 and run.works == []
        other.send_signal(signal.SIGKILL)
    assert study.run_jobs(jobs_for(), tmp_path, run=run) == 0
    assert run.works == ["simulated-cradle_vae-5mad-trainseeds0-1"]
