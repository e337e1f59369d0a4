"""The baselines as models: their runs, their predictions, and what they refuse."""

import json

import anndata
import jax
import numpy as np
import pytest

import jaxpert
from jaxpert import data
from jaxpert.app import cli, reopen, run
from jaxpert.app.training import configs, load_config
from jaxpert.core.types import InputError
from jaxpert.evaluation.baselines import BASELINES, Baseline
from jaxpert.evaluation.baselines.rule import Rule, predicted
from jaxpert.evaluation.baselines.seen import training_of
from jaxpert.models.baselines import model as baselines
from jaxpert.tasks.screen.predict import predict_effects
from support import minibatch


@pytest.fixture(scope="module")
def work(run_of):
    return run_of("baselines:test")


@pytest.fixture(scope="module")
def finished(work):
    return reopen.reopen(work)


def test_a_run_scores_as_its_namesake_to_the_last_bit(work):
    """No rounding passes for a difference, whatever the verdict is about."""
    metrics = json.loads((work / "metrics.json").read_text())
    namesake = metrics["baselines"]["shrunken_additive"]
    assert metrics["model"] == namesake
    for scores in metrics["comparison"].values():
        for of in scores.values():
            own = of["shrunken_additive"]
            assert own["difference"] in (0, None) and own["p"] in (1, None)
    assert {"additive", "scaled_additive", "matching_mean"} <= set(metrics["baselines"])
    assert metrics["run"]["parameters"] == 0 and metrics["run"]["steps"] == 1
    # The simulated screen brings annotations, but no other screen.
    assert {"linear_annotations", "annotation_weighted"} & set(metrics["baselines"])
    told = "\n".join(metrics["notes"])
    assert "baseline linear_other_screen is not made: no effects of another screen" in told


def test_predictions_are_those_of_the_baseline(finished):
    """Of what is in the data, and of what is not."""
    dataset = finished.problem.dataset
    of = BASELINES["shrunken_additive"](training_of(dataset))
    assert isinstance(of, Baseline)
    made = predict_effects(finished.fitted, dataset, dataset.conditions)
    expected = of.means - of.means[dataset.control]
    np.testing.assert_allclose(made.effects_of(dataset), expected, atol=2e-5)
    assert (made.effects.error == 0).all()
    first, second = (dataset.conditions.index(name) for name in dataset.treatments[:2])
    pair = predict_effects(finished.fitted, dataset, "+".join(dataset.treatments[:2]))
    np.testing.assert_allclose(
        pair.effects.effect[1], expected[first] + expected[second], atol=2e-5
    )


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_predicts_in_jax_what_it_does_in_numpy(name, finished):
    dataset = finished.problem.dataset
    if name == "linear_other_screen":
        rng = np.random.default_rng(0)
        elsewhere = {gene: rng.normal(size=9) for gene in dataset.treatments}
        dataset = dataset.__class__(**(vars(dataset) | {"other_screen": elsewhere}))
    of = BASELINES[name](training_of(dataset))
    if not isinstance(of, Baseline):
        with pytest.raises(InputError, match=f"the baseline {name} cannot be made of 'simulated'"):
            baselines.check(name, dataset)
        return
    assert baselines.check(name, dataset) == ()
    state = baselines.after_training(name, {}, {}, jax.random.key(0), dataset)
    # Sets of up to three treatments, most of which no cell has.
    rng = np.random.default_rng(1)
    treatments = np.zeros((20, len(dataset.treatments)), np.float32)
    for row in treatments[1:]:
        row[rng.choice(len(row), rng.integers(1, 4), replace=False)] = 1
    got = jax.jit(lambda state, t: predicted(Rule(**state), t))(state, treatments)
    np.testing.assert_allclose(got, predicted(of.rule, treatments), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(got[0], np.asarray(state["control"]))


def test_nothing_is_learned_and_padding_changes_no_loss():
    model = baselines.build("additive", minibatch.spec())
    batch = minibatch.batch()
    params, state = model.init(jax.random.key(0), batch)
    assert params == {} and state == {}
    loss, _ = model.loss(params, state, jax.random.key(1), batch)
    padded = ~np.asarray(batch.mask)
    x = np.where(padded[:, None], 1e4, batch.x).astype(np.float32)
    again, _ = model.loss(params, state, jax.random.key(2), batch._replace(x=x))
    assert loss == again and loss > 0
    with pytest.raises(TypeError, match="ridge"):
        baselines.build("additive", minibatch.spec(), ridge=1)


def test_support_says_what_was_never_given_alone():
    model = baselines.build("additive", minibatch.spec())
    assert model.support is not None
    told = model.support(np.array([[0, 0, 0], [1, 0, 0], [1, 1, 1]], np.float32))
    assert told[:2] == ("trained", "trained") and "never" not in told[2]


def test_python_users_fit_one_by_its_name(tmp_path):
    adata, _ = data.simulate("tiny", cells=600)
    cells = jaxpert.add_split(jaxpert.read(adata, perturbation="perturbation"), kind="cells")
    model = jaxpert.additive.build(jaxpert.make_spec(cells))
    fitted = jaxpert.fit(model, cells, epochs=1, devices=1)
    got = jaxpert.predict(fitted, cells, "PERT001+PERT002")
    alone = jaxpert.predict(fitted, cells, ["PERT001", "PERT002"])
    sums = alone.layers["effect"][1] + alone.layers["effect"][2]
    np.testing.assert_allclose(got.layers["effect"][1], sums, atol=1e-5)
    again, same = jaxpert.load(jaxpert.save(fitted, cells, tmp_path / "kept"))
    repeated = jaxpert.predict(again, same, "PERT001+PERT002")
    np.testing.assert_array_equal(repeated.X, got.X)


def test_the_other_screen_of_a_config_is_known(tmp_path):
    table = "condition,x,y\n" + "".join(f"PERT00{i},{i},{-i}.5\n" for i in range(1, 7))
    (tmp_path / "other.csv").write_text(table + "PERT001+PERT002,1,1\n")
    raw = load_config(configs()["baselines"], "test")
    raw["evaluation"]["other_screen"] = str(tmp_path / "other.csv")
    raw["model"]["name"] = "linear_other_screen"
    prepared = run.prepare(*run.read(raw))
    known = prepared.problem.dataset.other_screen
    assert len(known) == 6 and known["PERT002"][0] / known["PERT001"][0] == pytest.approx(2)
    (tmp_path / "other.csv").write_text("condition,x\nA+B,1\n")
    with pytest.raises(InputError, match="1 combinations and no single perturbation"):
        run.prepare(*run.read(raw))


def test_a_file_of_cells_is_predicted_from_at_once(tmp_path, capsys):
    adata, _ = data.simulate("tiny", cells=600)
    adata.write_h5ad(tmp_path / "screen.h5ad")
    output = tmp_path / "out.h5ad"
    asked = ["predict", str(tmp_path / "screen.h5ad"), "PERT001+PERT002", "--model=additive"]
    flags = ["--perturbation=perturbation", f"--output={output}"]
    assert cli.main([*asked, *flags]) == 0, capsys.readouterr().err
    got = anndata.read_h5ad(output)
    assert (
        list(got.obs_names) == ["ctrl", "PERT001+PERT002"] and output.with_suffix(".csv").exists()
    )
    # By hand: means of all cells on log2(1 + 1e4 x / sum x).
    x = adata.X.toarray().astype(float)
    y = np.log2(1 + 1e4 * x / x.sum(1, keepdims=True))
    label = adata.obs["perturbation"].to_numpy().astype(str)
    mean = {name: y[label == name].mean(0) for name in ("ctrl", "PERT001", "PERT002")}
    expected = mean["PERT001"] + mean["PERT002"] - 2 * mean["ctrl"]
    np.testing.assert_allclose(got.layers["effect"][1], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model=scgen"], "--model is 'scgen', expected a baseline (no_change, "),
        (["--model=additive", "--particles=40"], "a baseline predicts means"),
        (["--model=additive", "--seed=0"], "a baseline predicts means"),
        (["--model=additive", "--perturbation=nowhere"], "nowhere"),
    ],
)
def test_wrong_questions_to_a_file_are_refused(flags, message, tmp_path, capsys):
    adata, _ = data.simulate("tiny", cells=300)
    adata.write_h5ad(tmp_path / "screen.h5ad")
    output = tmp_path / "out.h5ad"
    asked = ["predict", str(tmp_path / "screen.h5ad"), "PERT001", f"--output={output}", *flags]
    assert cli.main(asked) == 2
    assert message in capsys.readouterr().err and not output.exists()
