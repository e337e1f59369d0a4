"""The process as a model: its runs on cells and on tables of effects, and what it refuses."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest

import jaxpert
from jaxpert.app import cli, reopen, run
from jaxpert.app.training import configs, load_config
from jaxpert.core.types import InputError


@pytest.fixture(scope="module")
def work(run_of):
    return run_of("set_gp_norman:test")


@pytest.fixture(scope="module")
def effects(tmp_path_factory):
    """A screen of 14 genes, alone and in pairs, as a table of effects."""
    rng = np.random.default_rng(0)
    genes = [f"GENE{i}" for i in range(14)]
    alone = rng.normal(size=(14, 3)) @ rng.normal(size=(3, 40))
    labels, rows = [], []
    for i, gene in enumerate(genes):
        labels.append(f"{gene}+ctrl")
        rows.append(alone[i])
        for j in (i + 1, i + 3):
            labels.append(f"{gene}+{genes[j % 14]}")
            rows.append(0.7 * (alone[i] + alone[j % 14]))
    values = np.array(rows) + 0.2 * rng.normal(size=(len(rows), 40))
    path = tmp_path_factory.mktemp("effects") / "screen.h5ad"
    obs = pd.DataFrame({"condition": labels}, index=[f"r{i}" for i in range(len(labels))])
    var = pd.DataFrame(index=[f"G{i}" for i in range(40)])
    anndata.AnnData(values, obs=obs, var=var).write_h5ad(path)
    return path


def settings(effects):
    config = load_config(configs()["set_gp_norman"], "full")
    config["data"]["source"] = str(effects)
    config["model"]["kwargs"] |= {"components": 3, "steps": 10, "folds": 2}
    return config


def test_a_run_says_how_sure_it_is(work):
    made = anndata.read_h5ad(work / "predictions.h5ad")
    assert (made.layers["effect_sd"][1:] > 0).all() and (made.layers["effect_sd"][0] == 0).all()
    assert (made.layers["measured_sd"] >= 0).all()
    assert {"width_50", "width_90", "rests_on", "support"} <= set(made.obs)
    metrics = json.loads((work / "metrics.json").read_text())
    assert set(metrics["coverage"]["model"]["all"]) == {"covered_50", "covered_90"}
    assert any(name.startswith("planted") for name in metrics["coverage"]["model"])
    assert "Do the intervals hold?" in (work / "report.html").read_text()
    assert (work / "figures/reliability.png").exists()


def test_a_run_says_what_it_has_learned(work):
    told = json.loads((work / "metrics.json").read_text())["learned"]
    finished = reopen.reopen(work)
    state = finished.fitted.state
    reading, weights, widths, shares, factors = told.values()
    assert "the weights say" in reading
    for row, of_group in zip(weights.values(), np.asarray(state["weights"]), strict=False):
        assert list(row)[0] == "set_gp"
        assert list(row.values()) == pytest.approx(of_group.tolist(), abs=6e-4)
    for row, of_group in zip(widths.values(), np.asarray(state["widths"]), strict=False):
        assert list(row.values()) == pytest.approx(of_group.tolist(), abs=6e-4)
    for row in shares.values():
        assert sum(row.values()) == pytest.approx(100, abs=0.5)
        assert {"mean effect", "genes: own", "genes: annotations"} <= set(row)
    # A pair has a share of its own that singles have not.
    assert "of the pair itself" in shares["pairs, the rest"]
    assert "of the pair itself" not in shares["singles, the rest"]
    rho = np.asarray(state["process"].posterior.hyper.rho)
    assert factors["the rest"] == pytest.approx(float(rho[-1]), abs=6e-4)
    assert "What the model has learned" in (work / "report.html").read_text()


def test_a_reopened_run_answers_as_before(work):
    finished = reopen.reopen(work)
    dataset = finished.problem.dataset
    before = anndata.read_h5ad(work / "predictions.h5ad")
    again = jaxpert.predict(finished.fitted, dataset, list(before.obs_names))
    np.testing.assert_array_equal(again.layers["effect"], before.layers["effect"])
    np.testing.assert_array_equal(again.layers["effect_sd"], before.layers["effect_sd"])


def test_a_table_of_effects_goes_from_file_to_report(effects, tmp_path):
    config = settings(effects)
    assert run.run(config, tmp_path / "run") == 0
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["model"]["test"].get("l2_expressed") is None
    assert not any("control cells that pass quality" in note for note in metrics["data"]["notes"])
    unseen = metrics["coverage"]["conditions"]
    assert unseen["test"] >= 5
    # Pairs of a screen that adds up to 0.7 of the sum are found better than by their sum.
    pairs = "combo_seen2" if "combo_seen2" in metrics["model"] else "combo_seen1"
    assert metrics["model"][pairs]["mse"] < metrics["baselines"]["additive"][pairs]["mse"]
    assert cli.main(["predict", str(tmp_path / "run"), "GENE0+GENE5"]) == 0


def test_other_families_refuse_a_table_of_effects(effects, tmp_path):
    config = load_config(configs()["cradle_norman"], "full")
    config["data"]["source"] = str(effects)
    config["quality"]["multiplier"] = config["evaluation"]["pass_cells"] = 0
    with pytest.raises(InputError, match=r"table of effects, from which cradle_vae cannot learn"):
        run.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"split.kind": "no_split"}, "training split of .* has no control"),
        ({"split.kind": "cells"}, "one row for each condition"),
        ({"quality.multiplier": 5}, "expected 0, since it has no cells"),
        ({"data.variable_genes": 10}, "expected a file of cells with it"),
        ({"data.strip_versions": True}, "data.strip_versions is True .* a file of cells with it"),
    ],
)
def test_what_belongs_to_cells_is_refused(effects, tmp_path, changes, said):
    config = settings(effects)
    for key, value in changes.items():
        section, name = key.split(".")
        config[section][name] = value
    with pytest.raises(InputError, match=said):
        run.run(config, tmp_path / "run")


def test_a_notebook_needs_five_lines(tmp_path):
    cells = jaxpert.load_screen(jaxpert.simulate("tiny")[0], perturbation="perturbation")
    cells = jaxpert.add_split(cells)
    model = jaxpert.set_gp.build(jaxpert.make_spec(cells), components=3, steps=5, folds=0)
    fitted = jaxpert.fit(model, cells, epochs=1)
    names = cells.treatments[:2]
    made = jaxpert.predict(fitted, cells, "+".join(names))
    assert made.layers["effect_sd"].shape == made.shape
    assert names[0] in made.obs["rests_on"].iloc[1] and made.obs["rests_on"].iloc[0] == ""


def test_a_saved_model_comes_back(tmp_path):
    cells = jaxpert.load_screen(jaxpert.simulate("tiny")[0], perturbation="perturbation")
    cells = jaxpert.add_split(cells)
    model = jaxpert.set_gp.build(jaxpert.make_spec(cells), components=2, steps=2, folds=1)
    fitted = jaxpert.fit(model, cells, epochs=1)
    names = list(cells.conditions[:3])
    before = jaxpert.predict(fitted, cells, names)
    jaxpert.save(fitted, cells, tmp_path / "model")
    again = jaxpert.predict(*jaxpert.load(tmp_path / "model"), names)
    for layer in ("effect", "effect_sd", "measured_sd"):
        np.testing.assert_array_equal(before.layers[layer], again.layers[layer])
    assert list(before.obs["rests_on"]) == list(again.obs["rests_on"])


def test_a_table_is_read_from_python(effects, tmp_path):
    table = jaxpert.add_split(jaxpert.read_effects(effects), kind="simulation")
    model = jaxpert.set_gp.build(
        jaxpert.make_spec(table), components=3, steps=5, folds=0, blend=False
    )
    fitted = jaxpert.fit(model, table, epochs=1)
    made = jaxpert.predict(fitted, table, ["GENE0+GENE5"])
    # Nothing is added to effects and nothing taken off: the control is at 0.
    np.testing.assert_allclose(made.X, made.layers["effect"], atol=1e-6)
    assert jaxpert.evaluate(fitted, table)["perturbations"]["test"] > 0
    jaxpert.save(fitted, table, tmp_path / "saved")
    again, read = jaxpert.load(tmp_path / "saved")
    repeated = jaxpert.predict(again, read, ["GENE0+GENE5"])
    np.testing.assert_array_equal(repeated.X, made.X)
    vae = jaxpert.conditional_vae.build(jaxpert.make_spec(table))
    with pytest.raises(InputError, match="table of effects, from which conditional_vae cannot"):
        jaxpert.fit(vae, table, epochs=1)
