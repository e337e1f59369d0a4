"""The command `interpret` on a finished run: which files it writes, and what they hold."""

import json

import pandas as pd
import pytest

from jaxpert.app import cli
from jaxpert.core import settings
from jaxpert.core.errors import InputError
from jaxpert.models.cradle.interpret_files import InterpretOptions
from support import finished_run

FILES = {
    "perturbations.csv",
    "factors.csv",
    "inclusion.csv",
    "embedding.csv",
    "similarity.csv",
    "overlap.csv",
    "factor_genes.csv",
    "embedding.png",
    "similarity.png",
    "factor_genes.png",
    "recovery.json",
    "planted_programs.csv",
}


def test_command(tmp_path, capsys):
    mine = tmp_path / "notes.txt"
    mine.write_text("mine")
    run = str(finished_run.finished()[0])
    assert cli.main(["interpret", run, "--draws=5", f"--output={tmp_path}"]) == 0
    said = "".join(capsys.readouterr())
    assert "factors are in use" in said and "by chance" in said and "most alike" in said
    assert {path.name for path in tmp_path.iterdir()} == FILES | {"notes.txt"}
    inclusion = pd.read_csv(tmp_path / "inclusion.csv", index_col=0)
    assert inclusion.shape == (8, 8) and ((inclusion > 0) & (inclusion < 1)).all(axis=None)
    long = pd.read_csv(tmp_path / "embedding.csv")
    assert list(long.columns) == ["perturbation", "factor", "mean", "sd"] and len(long) == 64
    scores = json.loads((tmp_path / "recovery.json").read_text())
    assert set(scores["entries"]) == {"inclusion", "embedding"}
    assert set(scores["pairs"]) == {"overlap", "cosine"}


def test_flags_have_ranges():
    with pytest.raises(InputError, match="draws is 1, expected a whole number, at least 2"):
        settings.read(InterpretOptions, {"draws": 1})
