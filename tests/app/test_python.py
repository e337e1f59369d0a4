"""What notebooks do: read, build, fit, predict, evaluate, save and load; for CRADLE-VAE and CycSeq
the README's lines do it (test_readme.py)."""

import inspect
import json

import numpy as np
import pytest

import jaxpert
from jaxpert.app import saved
from jaxpert.core.errors import InputError

SETTINGS = {
    "gears": {"hidden_dim": 4, "absent": "average"},
    "scgen": {"latent_dim": 4, "hidden_dim": 8},
}


@pytest.fixture(scope="module")
def cells():
    screen, truth = jaxpert.simulate("tiny")
    labelled = jaxpert.read(screen, perturbation="perturbation", control="ctrl")
    split = jaxpert.add_split(labelled, kind="combinations")
    from jaxpert.data import simulated_terms

    return jaxpert.add_graphs(split, terms=simulated_terms(truth))


def train(name, data, **options):
    model = getattr(jaxpert, name).build(jaxpert.make_spec(data), **SETTINGS.get(name, {}))
    return jaxpert.fit(model, data, epochs=1, devices=1, **options)


@pytest.mark.parametrize("name", SETTINGS)
def test_five_lines_on_a_screen(name, cells, tmp_path):
    fitted = train(name, cells, batch_size=64)
    predicted = jaxpert.predict(fitted, cells, "PERT001")
    assert list(predicted.obs_names)[-1] == "PERT001", "one text is one perturbation"
    folder = jaxpert.save(fitted, cells, tmp_path / name)
    again, same_cells = jaxpert.load(folder)
    assert again.model.name == name and same_cells.genes == cells.genes
    repeated = jaxpert.predict(again, same_cells, ["PERT001"])
    np.testing.assert_array_equal(predicted.layers["effect"], repeated.layers["effect"])


def test_scores_from_python(cells):
    fitted = train("scgen", cells, batch_size=64)
    scores = jaxpert.evaluate(fitted, cells)
    assert scores["verdict"] and "additive" in scores["baselines"]


def test_options_of_fit_are_checked(cells):
    model = jaxpert.scgen.build(jaxpert.make_spec(cells), **SETTINGS["scgen"])
    with pytest.raises(InputError, match="train.batch_sise is no setting .* train.batch_size"):
        jaxpert.fit(model, cells, epochs=1, batch_sise=3)
    with pytest.raises(InputError, match="train.epochs is 0, expected a whole number, at least 1"):
        jaxpert.fit(model, cells, epochs=0)
    with pytest.raises(TypeError, match="latent_dims"):
        jaxpert.scgen.build(jaxpert.make_spec(cells), latent_dims=3)
    with pytest.raises(InputError, match="model.kwargs.dropout is 1.5"):
        jaxpert.scgen.build(jaxpert.make_spec(cells), dropout=1.5)


def test_saved_files_make_nothing_but_data(tmp_path, cells):
    with pytest.raises(InputError, match="a method cannot be saved|cannot be saved"):
        saved.write(tmp_path / "a", {"f": inspect.getsource, "x": object()})
    saved.write(tmp_path / "b", {"x": np.arange(3), "y": (1, None, "z"), "cells": cells})
    read = saved.read(tmp_path / "b")
    np.testing.assert_array_equal(read["x"], np.arange(3))
    assert read["y"] == (1, None, "z")
    np.testing.assert_array_equal(read["cells"].counts.toarray(), cells.counts.toarray())
    text = (tmp_path / "b" / saved.STRUCTURE).read_text()
    hostile = text.replace("jaxpert.core.types", "subprocess").replace("Dataset", "Popen")
    (tmp_path / "b" / saved.STRUCTURE).write_text(hostile)
    with pytest.raises(InputError, match="expected data of jaxpert"):
        saved.read(tmp_path / "b")
    (tmp_path / "b" / saved.STRUCTURE).write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        saved.read(tmp_path / "b")


def test_files_of_two_saves_are_refused(tmp_path):
    """As after a save that was killed over an earlier one."""
    saved.write(tmp_path, {"x": np.arange(3)})
    before = (tmp_path / saved.ARRAYS).read_bytes()
    saved.write(tmp_path, {"x": np.arange(3) + 1})
    (tmp_path / saved.ARRAYS).write_bytes(before)
    with pytest.raises(InputError, match="is damaged or of another save"):
        saved.read(tmp_path)
    # Files of before kept no checksum.
    structure = json.loads((tmp_path / saved.STRUCTURE).read_text())
    del structure["arrays"]
    (tmp_path / saved.STRUCTURE).write_text(json.dumps(structure))
    np.testing.assert_array_equal(saved.read(tmp_path)["x"], np.arange(3))
