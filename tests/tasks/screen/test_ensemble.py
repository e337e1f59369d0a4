"""Several seeds as one model: their mean, as unsure as they differ."""

import json
from types import SimpleNamespace

import anndata
import jax
import numpy as np
import pytest

import jaxpert
from jaxpert.app import ask, reopen
from jaxpert.core.ensemble import ensemble_of
from jaxpert.core.errors import InputError
from jaxpert.core.fit import pick_seed
from jaxpert.tasks.screen.intervals import with_seeds
from support import pairs_screen
from support.runs import GEARS_ENSEMBLE


@pytest.fixture(scope="module")
def work(run_of):
    return run_of("gears_norman:test", *GEARS_ENSEMBLE)


def test_the_run_reports_the_mean_of_its_seeds(work):
    made = anndata.read_h5ad(work / "predictions.h5ad")
    finished = reopen.reopen(work)
    data, names = finished.problem.dataset, list(made.obs_names)
    seeds = [jaxpert.predict(pick_seed(finished.fitted, k), data, names) for k in range(2)]
    each = np.stack([one.layers["effect"] for one in seeds])
    np.testing.assert_allclose(made.layers["effect"], each.mean(0), atol=1e-5)
    np.testing.assert_allclose(made.layers["effect_seed_sd"], each.std(0, ddof=1), atol=1e-5)
    metrics = json.loads((work / "metrics.json").read_text())
    # One model is scored, and not one for each seed.
    assert "seeds" not in metrics and len(metrics["scores"]) == 1


def test_how_far_seeds_differ_is_part_of_how_unsure_it_is(work):
    made = anndata.read_h5ad(work / "predictions.h5ad")
    finished = reopen.reopen(work)
    single = jaxpert.predict(pick_seed(finished.fitted, 0), finished.problem.dataset, ["PERT001"])
    both, one = made[["PERT001"]].layers, single[["PERT001"]].layers
    assert (both["effect_sd"] >= both["effect_seed_sd"]).all()
    assert not np.allclose(both["effect_sd"], one["effect_sd"])
    assert np.isfinite(made.obs["width_90"]["PERT001"])


def test_predict_asks_the_same_model(work):
    made = anndata.read_h5ad(work / "predictions.h5ad")
    again = ask.predict(reopen.reopen(work), ["PERT001"])
    for layer in ("effect", "effect_sd", "effect_seed_sd", "measured_sd"):
        ours = again[["PERT001"]].layers[layer]
        np.testing.assert_allclose(ours, made[["PERT001"]].layers[layer], rtol=1e-4, atol=1e-5)
    assert again.obs["width_90"]["PERT001"] == made.obs["width_90"]["PERT001"]


def test_variances_of_a_mixture_add_up():
    within, seeds = np.full((1, 2), 9.0), np.array([[4.0, 0.0]])
    np.testing.assert_allclose(with_seeds(within, seeds), [[5, 3]])
    np.testing.assert_allclose(with_seeds(within, None), [[3, 3]])
    assert with_seeds(None, None) is None
    alone = with_seeds(None, seeds)
    # A gene in which seeds agree by chance gets a share of the others' variance.
    np.testing.assert_allclose(alone, [[4, np.sqrt(0.01 * 8)]])


def test_one_seed_is_no_ensemble(tmp_path, capsys):
    from jaxpert.app import cli

    flags = ["--config=configs/baselines.py:test", "--config.evaluation.ensemble=True"]
    assert cli.main(["train", *flags, f"--workdir={tmp_path / 'run'}"]) == 2
    assert "evaluation.ensemble is True and train.seeds is 1, expected" in capsys.readouterr().err


def test_seeds_of_a_notebook_are_taken_apart(work):
    fitted = reopen.reopen(work).fitted
    made = ensemble_of(fitted)
    assert len(made.members) == 2 and made.model is fitted.model


def test_a_training_of_one_seed_is_refused():
    fitted = pairs_screen.fitted()
    train = SimpleNamespace(key=jax.random.key(0))
    with pytest.raises(InputError, match="fitted with one seed, expected several"):
        ensemble_of(fitted._replace(train=train))


def test_a_notebook_scores_several_seeds_as_one(work):
    finished = reopen.reopen(work)
    scores = jaxpert.evaluate(ensemble_of(finished.fitted), finished.problem.dataset)
    metrics = json.loads((work / "metrics.json").read_text())
    assert scores["model"]["all"]["mse"] == pytest.approx(metrics["model"]["all"]["mse"], rel=1e-4)
