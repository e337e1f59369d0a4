"""The command that leaves pairs out: folds from a config, tables, going on, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest

import gears_leave_pairs_out as cli
from jaxpert.app import run
from jaxpert.core import train
from jaxpert.data import gene_graphs as networks
from jaxpert.tasks.screen import predict as workflow
from support import minibatch
from support.paths import ROOT

CONFIG = f"--config={ROOT}/configs/gears_norman.py:test"


@pytest.fixture
def trained(monkeypatch) -> list:
    """In place of training, which the loop's own tests cover: first parameters. Gives what was to
    be trained on."""
    import jax

    calls: list = []

    def fit(config, workdir, dataset, model):
        assert workdir.is_dir()
        batch = workflow.make_batch(dataset, dataset.rows("train")[:4])
        params, state = jax.jit(model.init)(jax.random.key(config["seed"]), batch)
        calls.append((config, dataset))
        none: dict = {"train": None, "outcome": train.Outcome("finished", 1, 1)}
        return workflow.Fitted(model, params, state, **none)

    monkeypatch.setattr(run, "fit", fit)
    return calls


def test_folds_of_a_config(trained, tmp_path, capsys):
    argv = [
        "x",
        CONFIG,
        f"--output={tmp_path}/out",
        "--leave=gene",
        "--folds=1",
        "--epochs=3",
        "--seed=7",
    ]
    argv += ["--config.model.kwargs.hidden_dim=4", "--config.model.kwargs.uncertainty=shipped"]
    with minibatch.compiled_quickly():
        assert cli.main(argv) == 0
    assert len(trained) == 1
    for config, dataset in trained:
        assert config["train"]["epochs"] == 3 and config["seed"] == 7
        test = {dataset.conditions[c] for c in np.unique(dataset.condition[dataset.rows("test")])}
        kept = {dataset.conditions[c] for c in np.unique(dataset.condition[dataset.rows("train")])}
        common = set.intersection(*(set(name.split("+")) for name in test))
        seen = {gene for name in kept for gene in name.split("+")}
        assert len(test) > 1 and len(common - seen) == 1, (
            "one gene, which all these pairs have, is seen nowhere"
        )
        made = networks.coexpression_graph(dataset, threshold=config["graphs"]["correlation"])
        used = dataset.graphs["coexpression"].graph
        np.testing.assert_array_equal(made.graph.senders, used.senders)
    said = capsys.readouterr().out
    assert (
        "1 trainings, each without one gene with all its pairs" in said
        and "the more certain half" in said
    )
    assert said.strip() == (tmp_path / "out/agreement.md").read_text().strip()
    found = json.loads((tmp_path / "out/agreement.json").read_text())
    assert found["leave"] == "gene" and [row["subtype"] for row in found["rows"]][0] == "synergy"
    assert not (tmp_path / "out/.training").exists()
    assert cli.main(argv) == 0 and len(trained) == 1, "nothing is done twice"
    assert cli.main([*argv, "--epochs=4"]) == 2
    assert "config.train.epochs was 3 and is now 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "--config= is no file"),
        (["--config=nowhere.py"], "--config=nowhere.py is no file"),
        ([CONFIG, "--leave=cell"], "see --help"),
        ([CONFIG, "--config.train.lrr=1"], "is no key of this config"),
        ([CONFIG, "stray"], "'stray' is not understood"),
        ([f"--config={ROOT}/configs/cradle_norman.py:test"], "expected gears"),
    ],
)
def test_flags(argv, said, capsys, tmp_path):
    assert cli.main(["x", *argv, f"--output={tmp_path}/out"]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_help_names_every_flag(capsys):
    assert cli.main(["x", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(
        f"--{name}=" in said
        for name in ("config", "output", "leave", "epochs", "folds", "val_share", "seed")
    )
