"""`jaxpert pairs`: a ranked table and a figure of a run's pairs."""

from __future__ import annotations

import pathlib

import pandas as pd
import pytest

from jaxpert import data
from jaxpert.core.family import Finished, Problem, Run
from jaxpert.core.types import InputError
from jaxpert.models.gears import pairs_command
from jaxpert.models.gears.family import FAMILY
from jaxpert.models.gears.pairs_command import Options
from support import pairs_screen


@pytest.fixture
def run():
    screen = pairs_screen.dataset()
    problem = Problem(screen, data.make_spec(screen), feeds=len, sample=len)
    fitted = pairs_screen.fitted(uncertainty="gaussian", uncertainty_head="gene")
    return Run("gears", pathlib.Path("run"), Finished(None, FAMILY, problem, fitted, {}))


@pytest.fixture
def few_subsets(monkeypatch):
    plain = pairs_command.screen_pairs

    def quickly(*arguments, **options):
        return plain(*arguments, **options, most_subsets=40, most_steps=20)

    monkeypatch.setattr(pairs_command, "screen_pairs", quickly)


def test_pairs_of_genes_and_of_a_list(run, few_subsets, tmp_path):
    work = FAMILY.commands["pairs"].work
    work([run], tmp_path, Options(genes=("g0", "g1", "far")))
    table = pd.read_csv(tmp_path / "pairs.csv", comment="#")
    assert set(table["set"]) == {"g0+g1", "g0+far", "g1+far"}
    assert table["deviation"].is_monotonic_decreasing
    assert (tmp_path / "pairs.png").stat().st_size > 0
    (tmp_path / "list.txt").write_text("g0+X\n\n g1+g2 \n")
    work([run], tmp_path, Options(list=str(tmp_path / "list.txt"), rank_by="synergy"))
    assert set(pd.read_csv(tmp_path / "pairs.csv", comment="#")["set"]) == {"g0+X", "g1+g2"}


def test_what_cannot_be_asked(run, tmp_path):
    with pytest.raises(InputError, match="both given"):
        pairs_command.write_pairs([run], tmp_path, Options(genes=("g0", "g1"), list="pairs.txt"))
    with pytest.raises(InputError, match="nowhere.txt cannot be read.*--list"):
        pairs_command.write_pairs([run], tmp_path, Options(list="nowhere.txt"))
