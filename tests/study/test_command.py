"""`jaxpert study` and the script that stands for it."""

from types import SimpleNamespace

import pytest

from jaxpert.app import cli
from jaxpert.models.cradle.paper.study import STUDY
from jaxpert.study import command, runner
from support.paths import ROOT
from support.study_runs import Counting, get_config


@pytest.fixture(autouse=True)
def families(monkeypatch):
    """Two families, one of which has a study."""
    packages = {name: f"jaxpert.models.{name}" for name in ("cradle", "gears")}
    known = {"cradle": SimpleNamespace(study=STUDY), "gears": SimpleNamespace(study=None)}
    monkeypatch.setattr(command.families, "FAMILIES", packages)
    monkeypatch.setattr(command.families, "load", known.__getitem__)


def refused(capsys, *arguments: str) -> str:
    assert cli.main(["study", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    (error,) = [line for line in lines if line.startswith("error: ")]
    return error


def test_help_names_what_there_is(capsys):
    assert cli.main(["study", "--help"]) == 0
    help_text = capsys.readouterr().out
    assert all(name in help_text for name in (*STUDY.variants, *STUDY.data, "--only_tables"))


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--models=cradle", "model is 'cradle'"),
        ("--seeds=a", "--seeds is a, expected whole numbers"),
        ("--at_once=many", "invalid int value: 'many'"),
        ("--dta=norman", "unrecognized arguments: --dta=norman"),
        ("norman", "unrecognized arguments: norman"),
        ("--only_tables", "there is no folder"),
        ("--published=nowhere.csv", "nowhere.csv"),
        ("--family=gears", "--family is 'gears', expected one of cradle"),
        ("--family=", "no --family was given, expected one of cradle"),
    ],
)
def test_flags_with_mistakes(flag, words, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "get_config", get_config)
    where = f"--results={tmp_path}/none"
    assert words in refused(capsys, "--family=cradle", "--models=cradle_vae", flag, where)
    assert not (tmp_path / "none").exists()


def test_configs_come_by_name(tmp_path, monkeypatch):
    for name in ("cradle_norman", "cradle_baselines"):
        (tmp_path / f"{name}.py").write_text(
            "from ml_collections import ConfigDict\n\n\ndef get_config(variant='full'):\n"
            "    if variant == 'tset':\n        raise ValueError('variant is tset')\n"
            "    return ConfigDict({'variant': variant})\n"
        )
    files = {path.stem: path for path in tmp_path.glob("*.py")}
    monkeypatch.setattr(command.training, "configs", lambda: files)
    assert command.get_config("cradle_norman", "demo") == {"variant": "demo"}
    with pytest.raises(ValueError, match="the config file says: variant is tset"):
        command.get_config("cradle_norman", "tset")
    with pytest.raises(ValueError, match="there is no config 'cradle_x', expected one of cradle_b"):
        command.get_config("cradle_x", "demo")


def test_runs_and_tables(tmp_path, monkeypatch, capsys):
    """The script with its flags, down to the tables; the second time only those are written."""
    run = Counting()
    monkeypatch.setattr(command, "get_config", get_config)
    given = runner.run_jobs
    monkeypatch.setattr(runner, "run_jobs", lambda jobs, results: given(jobs, results, run=run))
    flags = ["--data=simulated", "--models=cradle_vae,sams_vae", "--multipliers=5", "--seeds=0"]
    script = (ROOT / "experiments/cradle_tables.py").read_text()
    assert 'script("study", "--family=cradle")' in script
    arguments = ["study", "--family=cradle", *flags, f"--results={tmp_path}"]
    assert cli.main([*arguments, "--set=train.epochs=1"]) == 0
    assert len(run.works) == 2
    written = capsys.readouterr().err
    for name in ("tables.md", "tables.html", "tables.csv", "advantage.csv"):
        assert f"wrote {tmp_path / name}" in written and (tmp_path / name).exists()
    (tmp_path / "tables.md").unlink()
    assert cli.main([*arguments, "--only_tables"]) == 0
    assert len(run.works) == 2 and "CRADLE-VAE" in (tmp_path / "tables.md").read_text()
