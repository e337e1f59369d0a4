"""The experiment that leaves pairs out: folds from a config, tables, going on, refusals."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxpert import data
from jaxpert.app import run
from jaxpert.app.training import configs, load_config
from jaxpert.core import fit as core_fit
from jaxpert.core.types import InputError
from jaxpert.data import gene_graphs
from jaxpert.models.gears.paper import leave_pairs_out
from jaxpert.models.gears.paper.leave_pairs_out import Options
from support.paths import ROOT


def config(name="gears_norman"):
    raw = load_config(configs()[name], "test")
    if name.startswith("gears"):
        raw["model"]["kwargs"] |= {"hidden_dim": 4, "uncertainty": "shipped"}
    raw["train"]["devices"] = 1
    return run.read(raw)[0]


@pytest.fixture
def trained(monkeypatch) -> list:
    """In place of training, which the loop's own tests cover: first parameters. Gives what was to
    be trained on."""
    calls: list = []

    def fit(model, dataset, feeds, keys, *, seed):
        few = data.make_batch(dataset, dataset.rows("train")[:4])
        params, state = jax.jit(model.init)(jax.random.key(seed), few)
        calls.append((keys, seed, dataset))
        return core_fit.Fitted(model, params, state)

    monkeypatch.setattr(core_fit, "fit", fit)
    return calls


def test_folds_of_a_config(trained, tmp_path):
    options = Options(leave="gene", folds=1, epochs=3, seed=7)
    text = leave_pairs_out.leave_out(config(), options, tmp_path)
    [(keys, seed, dataset)] = trained
    assert keys.epochs == 3 and seed == 7
    test = {dataset.conditions[c] for c in np.unique(dataset.condition[dataset.rows("test")])}
    kept = {dataset.conditions[c] for c in np.unique(dataset.condition[dataset.rows("train")])}
    common = set.intersection(*(set(name.split("+")) for name in test))
    seen = {gene for name in kept for gene in name.split("+")}
    assert len(test) > 1 and len(common - seen) == 1, (
        "one gene, which all these pairs have, is seen nowhere"
    )
    linked = gene_graphs.coexpression_graph(dataset, threshold=config().graphs.correlation)
    used = dataset.graphs["coexpression"].graph
    np.testing.assert_array_equal(linked.graph.senders, used.senders)
    assert "1 trainings, each without one gene with all its pairs" in text
    assert "the more certain half" in text
    assert text == (tmp_path / "agreement.md").read_text().strip()
    agreement = json.loads((tmp_path / "agreement.json").read_text())
    assert agreement["leave"] == "gene" and agreement["rows"][0]["subtype"] == "synergy"
    assert leave_pairs_out.leave_out(config(), options, tmp_path) == text
    assert len(trained) == 1, "nothing is done twice"
    with pytest.raises(InputError, match="config.train.epochs was 3 and is now 4"):
        leave_pairs_out.leave_out(config(), replace(options, epochs=4), tmp_path)


def test_another_model(tmp_path):
    with pytest.raises(InputError, match="model.name is 'cradle_vae', expected gears"):
        leave_pairs_out.leave_out(config("cradle_norman"), Options(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "no --config was given"),
        (["--config=nowhere.py"], "no config file 'nowhere.py'"),
        (["--config=gears_norman:test", "--leave=cell"], "leave is 'cell', expected one of pair"),
        (["--config=gears_norman:test", "--config.train.lrr=1"], "is no key of this config"),
        (["--config=gears_norman:test", "stray"], "'stray' is not understood"),
    ],
)
def test_the_door_of_the_experiment(argv, said):
    main = runpy.run_path(str(ROOT / "experiments/gears_leave_pairs_out.py"))["main"]
    with pytest.raises(InputError, match=said):
        main(argv)
