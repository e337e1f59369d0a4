"""A finished run comes back as it was; anything else is refused in one sentence."""

import json
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxpert.app.reopen import reopen
from jaxpert.core.types import InputError
from jaxpert.tasks.screen import load
from support import finished_run


def test_comes_back_as_it_was_left():
    workdir, fitted = finished_run.finished()
    found = reopen(workdir)
    jax.tree.map(np.testing.assert_array_equal, found.fitted.params, fitted.params)
    jax.tree.map(np.testing.assert_array_equal, found.fitted.train.params, fitted.train.params)
    assert (found.fitted.params["mask_logits"] != found.fitted.train.params["mask_logits"]).any()
    assert found.fitted.outcome == fitted.outcome
    dataset, truth = load.load_dataset(found.config)
    again = found.problem.dataset
    np.testing.assert_array_equal(again.split, dataset.split)
    np.testing.assert_array_equal(again.quality.failed, dataset.quality.failed)
    np.testing.assert_array_equal(found.problem.truth.artifact, truth.artifact)
    assert found.metrics["data"]["cells"] == len(dataset.cells)


def test_keys_that_the_version_of_the_run_did_not_have(tmp_path, capsys):
    """An older config lacks the keys that came after it; they have the defaults of then."""
    workdir, _ = finished_run.finished()
    shutil.copytree(workdir, tmp_path / "work")
    path = tmp_path / "work/config.json"
    config = json.loads(path.read_text())
    for key in ("treatments", "missing", "case", "guide_pattern", "guide_threshold", "no_guide"):
        del config["data"][key]
    config["data"]["control"] = "ctrl"
    del config["evaluation"]["controls"], config["model"]["kwargs"]["compat"]
    path.write_text(json.dumps(config))
    found = reopen(tmp_path / "work")
    assert found.config == reopen(workdir).config and found.config.data.control == ("ctrl",)
    said = capsys.readouterr().err
    assert "lacks data.treatments, data.case" in said and "the defaults are taken" in said
    assert "evaluation.controls" in said and "model.kwargs.compat" in said
    # A key that this version does not know would not mean what it meant.
    path.write_text(json.dumps(config | {"data": {**config["data"], "colour": "red"}}))
    with pytest.raises(InputError, match="data.colour .* expected one that this version wrote"):
        reopen(tmp_path / "work")


def test_several_seeds():
    workdir, fitted = finished_run.finished(seeds=2)
    both, second = reopen(workdir), reopen(workdir, seed=1)
    jax.tree.map(np.testing.assert_array_equal, both.fitted.params, fitted.params)
    jax.tree.map(
        lambda one, all_: np.testing.assert_array_equal(one, all_[1]),
        second.fitted.params,
        fitted.params,
    )
    with pytest.raises(InputError, match="seed 2 of .* expected 0 to 1"):
        reopen(workdir, seed=2)


def test_folders_that_are_no_finished_run(tmp_path):
    with pytest.raises(InputError, match="there is no folder .*nowhere"):
        reopen(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no config.json"):
        reopen(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="config.json cannot be read"):
        reopen(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="not finished .* run its command again"):
        reopen(tmp_path)


@pytest.fixture
def copied(tmp_path):
    work = tmp_path / "work"
    shutil.copytree(finished_run.finished()[0], work)
    return work


def test_data_that_moved(copied):
    config = json.loads((copied / "config.json").read_text())
    config["data"]["source"] = "moved.h5ad"
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"cannot be read again \(there is no file moved.h5ad"):
        reopen(copied)
    del config["data"]["preset"]
    (copied / "config.json").write_text(
        json.dumps(config | {"data": {**config["data"], "source": "simulated"}})
    )
    with pytest.raises(InputError, match="no longer those"):
        reopen(copied)


def renamed(dataset, what):
    names = list(getattr(dataset, what))
    names[3] = "RENAMED"
    return replace(dataset, **{what: tuple(names)})


def moved_to_training(dataset):
    """One validation cell is trained on now."""
    split = dataset.split.copy()
    split[dataset.rows("val")[0]] = 0
    return replace(dataset, split=split)


def fewer_genes(dataset):
    return replace(dataset, genes=dataset.genes[:-1], counts=dataset.counts[:, :-1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda dataset: renamed(dataset, "genes"),
            "of the genes number 4 was .* and is now RENAMED",
        ),
        (
            lambda dataset: renamed(dataset, "treatments"),
            "of the treatments number 4 was .* and is now RENAMED",
        ),
        (moved_to_training, "cells per split"),
        (fewer_genes, "genes: 200 then, 199 now"),
    ],
)
def test_data_that_changed(change, said, monkeypatch):
    read = load.load_dataset
    monkeypatch.setattr(load, "load_dataset", lambda config: (change(read(config)[0]), None))
    with pytest.raises(InputError, match=said):
        reopen(finished_run.finished()[0])


def test_run_without_a_readable_checkpoint(copied):
    for path in (copied / "checkpoints").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(InputError, match="none of the checkpoints"):
        reopen(copied)
    shutil.rmtree(copied / "checkpoints")
    with pytest.raises(InputError, match="has no checkpoints"):
        reopen(copied)
