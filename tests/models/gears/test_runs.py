"""GEARS from a config: what its run leaves, how it chooses its epoch, which graphs and splits it
can be given."""

import functools
import json

import anndata
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpert
from jaxpert import data
from jaxpert.app import run
from jaxpert.app.training import configs, load_config
from jaxpert.core import fit as core_fit
from jaxpert.core import settings
from jaxpert.core.types import InputError
from jaxpert.data.pairing import pair_controls
from jaxpert.models.gears import evaluate
from jaxpert.models.gears import metrics as gears_metrics
from jaxpert.models.gears import model as gears
from jaxpert.tasks.screen.load import load_dataset, problem_of
from jaxpert.tasks.screen.measured import measure
from jaxpert.tasks.screen.predict import make_request, predict, predict_effects, treatments_of
from support.runs import GEARS_SHIPPED


def config(**changes):
    raw = load_config(configs()["gears_norman"], "test")
    raw["train"] |= {"devices": 1, "epochs": 1, "batch_size": 64}
    for key, value in changes.items():
        section, name = key.split("__", 1)
        (raw["model"]["kwargs"] if section == "kwargs" else raw[section])[name] = value
    return run.read(raw)[0]


def build(config, dataset):
    problem = problem_of(dataset, pair_seed=config.split.seed)
    return problem, gears.build(problem.spec, **settings.arguments(config.model.kwargs))


def fit(config, dataset):
    problem, model = build(config, dataset)
    feeds = problem.feeds(model, config.train)
    return core_fit.fit(model, dataset, feeds, config.train, seed=config.seed)


@functools.cache
def loaded():
    return load_dataset(config())[0]


@functools.cache
def trained():
    return fit(config(kwargs__uncertainty="gaussian"), loaded())


def test_the_validation_score_is_the_top_20_error_of_the_papers_metric():
    dataset, fitted = loaded(), trained()
    problem = problem_of(dataset, pair_seed=1)
    _, valid = problem.feeds(fitted.model, config().train)

    @jax.jit
    def score(params, state, feed):
        key = jax.random.key(0)
        order = valid.order(feed, key, jnp.zeros((), jnp.int32))

        def sums(step):
            batch = valid.batch(feed, key, order, step)
            return fitted.model.validate.sums(params, state, key, batch)

        of_steps = jax.lax.map(sums, jnp.arange(valid.steps))
        return fitted.model.validate.finish(jax.tree.map(lambda s: s.sum(0), of_steps))[0]

    truth = evaluate.measure(dataset)
    train = np.zeros(len(dataset.cells), bool)
    train[dataset.rows("train")] = True
    pairs = pair_controls(dataset.condition, dataset.control, seed=1, pool=train)
    prediction = predict_effects(fitted, dataset, dataset.conditions)
    means = prediction.effects.moments.mean[prediction.rows_of(dataset)]
    changes = means * np.log(2) - problem.spec.control_mean
    counts, rows, expected = dataset.counts.toarray(), dataset.rows("val"), []
    log = np.log1p(1e4 * counts / counts.sum(1, keepdims=True))
    for c in np.unique(dataset.condition[rows]).tolist():
        cells = rows[dataset.condition[rows] == c]
        genes = gears_metrics.gene_sets(truth.ranking, c, truth.variable).order[:20]
        predicted = log[pairs[cells]].mean(0) + changes[c]
        expected.append(((predicted - log[cells].mean(0))[genes] ** 2).mean())
    found = score(fitted.params, fitted.state, valid.data)
    np.testing.assert_allclose(found, np.mean(expected), rtol=1e-4)


def test_stored_tables_stay_within_their_cap():
    params = trained().train.params
    for name in gears.CAPPED:
        assert np.linalg.norm(params[name], axis=1).max() <= 1 + 1e-5


def test_a_prediction_is_the_mean_control_plus_one_change_for_each_set():
    dataset, fitted = loaded(), trained()
    names = ["PERT001+PERT002", "PERT002+PERT001", "PERT001+PERT002+PERT003"]
    found = predict(fitted, dataset, names)
    np.testing.assert_array_equal(found.X[1], found.X[2])
    assert found.obs["uncertainty"].notna().all() and found.obs["uncertainty"].std() > 0
    request = make_request(treatments_of(dataset, ["ctrl", *names]))
    means = jax.jit(fitted.model.predict)(fitted.params, fitted.state, jax.random.key(9), request)
    np.testing.assert_allclose(found.X, means / np.log(2), rtol=1e-5, atol=1e-5)


def test_scores_stand_beside_every_baseline():
    dataset, fitted = loaded(), trained()
    prediction = predict_effects(fitted, dataset, dataset.conditions)
    found = evaluate.scores(measure(dataset), prediction)
    assert set(found["baselines"]) >= {
        "no_change",
        "mean_perturbation",
        "additive",
        "shrunken_additive",
        "annotation_weighted",
        "linear",
        "linear_annotations",
        "linear_propagation",
        "linear_propagation_script",
    }
    assert set(found["model"]) == {
        "test",
        "val",
        *(g for g, members in dataset.subgroups.items() if members),
    }
    assert found["conditions"]["test"] == len(np.unique(dataset.condition[dataset.rows("test")]))
    assert found["baselines"]["no_change"]["test"]["normalised_mse_de"] == 1
    assert found["baselines"]["no_change"]["test"]["pearson_delta"] is None
    groups = [g for g in found["model"] if g not in ("test", "val")]
    total = sum(found["conditions"][g] * found["model"][g]["mse"] for g in groups)
    np.testing.assert_allclose(
        total / found["conditions"]["test"], found["model"]["test"]["mse"], rtol=1e-9
    )
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("simulation", {"test_genes": "PERT001", "only_test_genes": True}),
        ("combo_seen2", {"share": 0.3}),
        ("single", {"share": 0.3}),
        ("no_test", {}),
        ("cells", {}),
    ],
)
def test_split_keys_reach_the_split(kind, own):
    dataset, _ = load_dataset(
        config(split__kind=kind, **{f"split__{k}": v for k, v in own.items()})
    )
    test = {dataset.conditions[c] for c in np.unique(dataset.condition[dataset.rows("test")])}
    if kind == "simulation":
        assert {name for name in test if "+" not in name} == {"PERT001"}
    assert bool(test) == (kind != "no_test")


def test_a_custom_split_and_graphs_of_ones_own(tmp_path):
    names = [name for name in loaded().conditions if name != "ctrl"]
    lists = {"train": ["ctrl", *names[:-3]], "val": names[-3:-1], "test": names[-1:]}
    (tmp_path / "split.json").write_text(json.dumps(lists))
    (tmp_path / "own.csv").write_text(
        "source,target,importance\nPERT001,PERT002,0.5\nPERT003,PERT001,0.2\n"
    )
    given = config(
        split__kind="custom",
        split__file=str(tmp_path / "split.json"),
        graphs__edges=f"own={tmp_path}/own.csv",
        kwargs__perturbation_graphs="own,ontology",
        kwargs__absent="average",
    )
    dataset, _ = load_dataset(given)
    assert [
        dataset.conditions[c] for c in np.unique(dataset.condition[dataset.rows("test")])
    ] == names[-1:]
    assert list(dataset.graphs) == ["coexpression", "ontology", "own"]
    assert build(given, dataset)[1].support is not None


def test_ablations_need_no_annotations():
    given = config(
        kwargs__perturbation_graphs="none",
        kwargs__coexpression_graph="none",
        evaluation__scores_of="",
    )
    dataset, _ = load_dataset(given)
    assert not dataset.graphs
    build(given, dataset)


BAD = [
    ({"graphs__nodes": "every"}, "graphs.nodes is 'every'"),
    ({"graphs__unannotated": "skip"}, "expected one of drop, keep"),
    ({"graphs__edges": "mine.csv"}, "expected name=file.csv"),
    ({"graphs__ontology": "nowhere.gmt"}, "nowhere.gmt cannot be read"),
    ({"graphs__ontology": "terms.txt"}, "named as no file of annotations"),
    ({"split__kind": "custom"}, "set split.file"),
    ({"split__kind": "simulation", "split__gene_share": 1.5}, "gene_share is 1.5"),
    ({"split__kind": "simulation_single"}, "set split.kind=simulation"),
    (
        {"split__kind": "simulation", "split__test_genes": "NOPE"},
        "NOPE are to be held out but perturbed nowhere",
    ),
]


@pytest.mark.parametrize(("changes", "said"), BAD, ids=[said for _, said in BAD])
def test_inputs_that_cannot_be_used(changes, said):
    with pytest.raises(InputError, match=said):
        load_dataset(config(**changes))


def test_no_annotations_and_no_network(monkeypatch, tmp_path):
    def offline(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr("pooch.retrieve", offline)
    with pytest.raises(
        InputError, match="goa_human.gaf.gz .*could not be downloaded.*graphs.ontology.*demo"
    ):
        load_dataset(config(graphs__ontology="human", data__folder=str(tmp_path)))
    cells, _ = data.simulate("tiny", cells=200, genes=120)
    cells.write_h5ad(tmp_path / "mine.h5ad")
    with pytest.raises(InputError, match="graphs.ontology is empty .*perturbation_graphs=none"):
        load_dataset(config(data__source=str(tmp_path / "mine.h5ad")))


def test_an_empty_validation_split_and_a_condition_of_one_cell_are_said(tmp_path):
    cells, _ = data.simulate("tiny", cells=240, genes=120)
    label = cells.obs["perturbation"].astype(str).to_numpy()
    single = np.flatnonzero(label == "PERT004")
    keep = np.setdiff1d(np.arange(len(label)), single[1:])
    cells[keep].copy().write_h5ad(tmp_path / "mine.h5ad")
    names = sorted(set(label[keep]))
    lists = {"train": [n for n in names if "+" not in n and n != "PERT004"]}
    lists["test"] = [n for n in names if n not in lists["train"]]
    (tmp_path / "split.json").write_text(json.dumps(lists))
    given = config(
        data__source=str(tmp_path / "mine.h5ad"),
        split__kind="custom",
        split__file=str(tmp_path / "split.json"),
        kwargs__perturbation_graphs="none",
    )
    dataset, _ = load_dataset(given)
    assert not len(dataset.rows("val")) and "PERT004" in lists["test"]
    assert any("single cell" in note and "PERT004" in note for note in dataset.notes)
    assert any("validation is empty" in note for note in dataset.notes)
    fitted = fit(given, dataset)
    prediction = predict_effects(fitted, dataset, dataset.conditions)
    found = evaluate.scores(measure(dataset), prediction)
    assert found["model"]["test"]["mse"] > 0 and "val" not in found["model"]
    assert int(fitted.train.best.epoch) == 1  # the last parameters are kept


def test_python_users_have_the_door_of_the_configs(tmp_path):
    """A perturbed gene without annotation: its cells are left out, or the average stands in."""
    screen, truth = jaxpert.simulate("tiny", cells=200, genes=120)
    cells = jaxpert.read(screen, perturbation="perturbation")
    terms = {name: of for name, of in data.simulated_terms(truth).items() if name != "PERT002"}
    split = {"kind": "cells", "seed": 0}
    linked = jaxpert.add_graphs(jaxpert.add_split(cells, **split), terms=terms)
    with pytest.raises(InputError, match=r"PERT002.*jaxpert.drop_unannotated\(cells, terms\)"):
        jaxpert.gears.build(jaxpert.make_spec(linked), hidden_dim=4)
    jaxpert.gears.build(jaxpert.make_spec(linked), hidden_dim=4, absent="average")
    kept = jaxpert.add_split(jaxpert.drop_unannotated(cells, terms), **split)
    kept = jaxpert.add_graphs(kept, terms=terms)
    jaxpert.gears.build(jaxpert.make_spec(kept), hidden_dim=4)
    assert any("PERT002" in note for note in kept.notes)


@pytest.mark.slow
def test_the_command_leaves_scores_predictions_and_a_report(run_of):
    work = run_of("gears_norman:test", *GEARS_SHIPPED)
    metrics = json.loads((work / "metrics.json").read_text())
    assert metrics["gears"]["model"]["test"]["pearson_delta"] is not None and "quality" in metrics
    predicted = anndata.read_h5ad(work / "predictions.h5ad")
    assert {"support", "uncertainty"} <= set(predicted.obs)
    page = (work / "report.html").read_text()
    assert "Scores of the GEARS paper" in page and "linear propagation" in page
    assert "Quality of cells" not in page
