"""`~` in every path that a user gives."""

import pathlib

from jaxpert.app import training
from jaxpert.core.paths import path_of
from support.paths import ROOT


def test_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert path_of("~/runs") == tmp_path / "runs" and path_of("~") == tmp_path
    assert path_of("a/~/b") == pathlib.Path("a/~/b")
    # Nobody's home stays as it is, and is then found to be no file.
    assert path_of("~nobody_of_this_name/x") == pathlib.Path("~nobody_of_this_name/x")
    config = "--config=cradle_norman:test"
    assert training.parse([config, "--workdir=~/runs/mine"])[1] == tmp_path / "runs/mine"


def test_there_is_one_way_to_expand_it():
    sources = sorted((ROOT / "jaxpert").rglob("*.py"))
    elsewhere = [path for path in sources if "expanduser" in path.read_text()]
    assert [path.name for path in elsewhere] == ["paths.py"]
