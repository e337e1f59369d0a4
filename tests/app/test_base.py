"""The base of a run: fitted once, kept in its folder, and never fitted again."""

import json

import anndata
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpert
from jaxpert.app import base as app_base
from jaxpert.app import cli, reopen, run, saved
from jaxpert.app.training import configs, load_config
from jaxpert.core.config import ModelKeys
from jaxpert.core.types import InputError
from jaxpert.models.gears.settings import Settings
from jaxpert.tasks.screen.keys import ScreenConfig
from jaxpert.tasks.screen.load import problem_of
from jaxpert.tasks.translation.lines import load_lines
from jaxpert.tasks.translation.prepare import prepare
from support import line_rows, pairs_screen
from support.line_screens import screen


@pytest.fixture(scope="module")
def work(run_of):
    return run_of("gears_norman:test", "--config.model.kwargs.base=shrunken_additive")


def refuse(*_):
    raise AssertionError("the base is fitted again")


@pytest.fixture
def no_fit(monkeypatch):
    monkeypatch.setattr(app_base, "fit_base", refuse)


def test_a_run_says_what_it_learns_over(work):
    notes = json.loads((work / "metrics.json").read_text())["data"]["notes"]
    assert any("learns what is left over the base" in note for note in notes)
    assert (work / "base/saved.json").exists()
    assert "learns what is left over the base" in (work / "report.html").read_text()


def test_a_reopened_run_answers_as_before_without_a_fit(work, no_fit):
    finished = reopen.reopen(work)
    dataset = finished.problem.dataset
    before = anndata.read_h5ad(work / "predictions.h5ad")
    names = list(before.obs_names)
    base = finished.problem.spec.base
    assert base is not None and finished.fitted.model.base is base
    again = jaxpert.predict(finished.fitted, dataset, names)
    np.testing.assert_allclose(
        again.layers["effect"], before.layers["effect"], rtol=1e-4, atol=1e-5
    )
    # Three genes at once, which no cell of the screen had.
    triple = jaxpert.predict(finished.fitted, dataset, "+".join(dataset.treatments[:3]))
    assert np.isfinite(triple.layers["effect"]).all() and triple.layers["effect"][1].any()


def test_the_commands_ask_such_a_run(work, no_fit, tmp_path, capsys):
    name = reopen.reopen(work).problem.dataset.treatments[0]
    assert cli.main(["predict", str(work), name, f"--output={tmp_path / 'made.h5ad'}"]) == 0
    assert anndata.read_h5ad(tmp_path / "made.h5ad").shape[0] == 2


def test_a_kept_base_is_gone_on_with(tmp_path, no_fit):
    """A run that stopped before its training reads the base that it had fitted."""
    cells = pairs_screen.dataset()
    spec = jaxpert.make_spec(cells)
    with pytest.raises(AssertionError):
        jaxpert.make_spec(cells, base="additive")
    trained = np.arange(9) % 8 > 0
    content = {
        "name": "additive",
        "state": {"control": np.zeros(30)},
        "trained": trained,
        "left_out": np.ones((9, 30), np.float32),
        "library": 100.0,
    }
    saved.write(tmp_path / "base", content)
    read = app_base.revived(saved.read(tmp_path / "base"), spec)
    np.testing.assert_array_equal(read.left_out, 1)
    assert app_base.is_kept(tmp_path) and not app_base.is_kept(tmp_path / "base")
    with pytest.raises(InputError, match="fitted to 9 conditions and 29 genes, expected 9 and 30"):
        app_base.revived(content | {"left_out": np.ones((9, 29), np.float32)}, spec)


def test_save_and_load_keep_the_base(tmp_path, monkeypatch):
    dataset = pairs_screen.dataset()
    spec = jaxpert.make_spec(dataset, base="set_gp")
    model = jaxpert.sams_vae.build(
        spec, base="set_gp", latent_dim=3, hidden_dim=4, embedding_hidden_dim=4
    )
    fitted = jaxpert.fit(model, dataset, epochs=1, batch_size=64)
    folder = jaxpert.save(fitted, dataset, tmp_path / "saved")
    before = jaxpert.predict(fitted, dataset, "g0+g1+X", particles=20)
    monkeypatch.setattr(app_base, "fit_base", refuse)
    again, cells = jaxpert.load(folder)
    made = jaxpert.predict(again, cells, "g0+g1+X", particles=20)
    np.testing.assert_allclose(made.layers["effect"], before.layers["effect"], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cradle_vae", "model.kwargs.base is 'cradle_vae', expected none or one of"),
        ("", "model.kwargs.base is ''"),
        ("scaled_additive", "base=scaled_additive cannot be made .*no combination was trained"),
    ],
)
def test_a_run_over_what_is_no_base_is_refused_before_anything_is_written(tmp_path, name, said):
    config = load_config(configs()["gears_norman"], "test")
    config["model"]["kwargs"]["base"] = name
    with pytest.raises(InputError, match=said):
        run.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_with_another_base_is_refused(tmp_path):
    cells = pairs_screen.dataset()
    problem = problem_of(cells)
    kept = app_base.spec_with_base(problem.spec, cells, "additive").base
    assert kept is not None
    app_base.keep(kept, tmp_path)
    config = ScreenConfig(model=ModelKeys("gears", Settings(base="additive")))
    again = app_base.problem_with_base(config, problem, tmp_path).spec.base
    assert again is not None
    np.testing.assert_array_equal(again.left_out, kept.left_out)
    asked = jnp.ones((1, 4))
    expected = kept.predict(kept.state, asked)
    np.testing.assert_array_equal(again.predict(again.state, asked), expected)
    other = ScreenConfig(model=ModelKeys("gears", Settings(base="no_change")))
    with pytest.raises(InputError, match="holds the base 'additive', expected 'no_change'"):
        app_base.problem_with_base(other, problem, tmp_path)


def test_rows_of_lines_have_no_base():
    with pytest.raises(InputError, match="rows of several lines, expected cells of a screen"):
        jaxpert.make_spec(prepare(load_lines(screen()), **line_rows.SMALL), base="additive")
