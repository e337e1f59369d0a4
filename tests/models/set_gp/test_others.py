"""Finished runs stacked on the blend: what they may be, and what weight they get."""

from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest

import jaxpert
from jaxpert.core.types import InputError


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """12 genes, alone and in pairs, with departures from sums that no process can foresee."""
    rng = np.random.default_rng(0)
    alone = rng.normal(size=(12, 3)) @ rng.normal(size=(3, 30))
    labels, rows = [], []
    for i in range(12):
        labels.append(f"P{i}")
        rows.append(alone[i])
        for j in (i + 1, i + 2, i + 5):
            labels.append(f"P{i}+P{j % 12}")
            own = rng.normal(size=3) @ rng.normal(size=(3, 30))
            rows.append(0.6 * (alone[i] + alone[j % 12]) + 0.8 * own)
    obs = pd.DataFrame({"condition": labels}, index=[f"r{i}" for i in range(len(labels))])
    path = tmp_path_factory.mktemp("effects") / "screen.h5ad"
    var = pd.DataFrame(index=[f"G{g}" for g in range(30)])
    anndata.AnnData(np.array(rows), obs=obs, var=var).write_h5ad(path)
    read = jaxpert.read_effects(path)
    # The last pair of every gene is held out.
    held_out = [f"P{i}+P{(i + 5) % 12}" for i in range(12)]
    test = np.isin(np.array(read.conditions)[read.condition], _canonical(read, held_out))
    return replace(read, split=np.where(test, 2, 0))


def _canonical(dataset, names):
    """Conditions as the data set calls them."""
    sets = {frozenset(name.split("+")): name for name in dataset.conditions}
    return [sets[frozenset(name.split("+"))] for name in names]


def truth_of(table):
    """Effects of the conditions in their order."""
    effects = np.zeros((len(table.conditions), len(table.genes)))
    effects[table.condition] = table.counts.toarray()
    return effects


def run_in(folder, table, effects, left_out, genes=None):
    """A folder as a finished run leaves it, trained on all but what the table and it hold out."""
    folder.mkdir()
    np.savez(
        folder / "effects.npz",
        effect=effects[None].astype(np.float32),
        seeds=np.array([0]),
        conditions=np.array(table.conditions),
        genes=np.array(table.genes if genes is None else genes),
    )
    parts = dict.fromkeys(table.conditions, "train")
    for c, code in zip(table.condition, table.split, strict=True):
        if code == 2:
            parts[table.conditions[c]] = "test"
    parts |= dict.fromkeys(left_out, "val")
    obs = pd.DataFrame({"condition": list(parts), "split": list(parts.values())})
    obs.index = obs.index.astype(str)
    anndata.AnnData(np.zeros((len(obs), 1)), obs=obs).write_h5ad(folder / "predictions.h5ad")
    return str(folder)


@pytest.fixture
def left_out(table):
    return _canonical(table, [f"P{i}+P{i + 2}" for i in range(8)])


def fitted_with(table, *runs):
    model = jaxpert.set_gp.build(
        jaxpert.make_spec(table), components=3, steps=5, folds=2, runs=tuple(runs)
    )
    return jaxpert.fit(model, table, epochs=1)


def held_out_error(fitted, table):
    names = _canonical(table, [f"P{i}+P{(i + 5) % 12}" for i in range(12)])
    place = [table.conditions.index(name) for name in names]
    made = jaxpert.predict(fitted, table, names)[1:].layers["effect"]
    return ((made - truth_of(table)[place]) ** 2).mean()


def test_a_run_that_knows_more_is_listened_to(table, left_out, tmp_path):
    rng = np.random.default_rng(1)
    good = truth_of(table) + 0.1 * rng.normal(size=truth_of(table).shape)
    bad = rng.normal(size=good.shape)
    runs = [
        run_in(tmp_path / "good", table, good, left_out),
        run_in(tmp_path / "bad", table, bad, left_out),
    ]
    alone, stacked = fitted_with(table), fitted_with(table, *runs)
    assert held_out_error(stacked, table) < 0.5 * held_out_error(alone, table)
    told = stacked.model.learned(stacked.params, stacked.state, table)["weights of finished runs"]
    weights = told["combination of seen genes"]
    assert weights[runs[0]] > 0.5 and weights[runs[1]] < 0.1
    # Nothing is known of the others: the blend stays as it is.
    assert told["single of an unseen gene"] == {"the blend": 1, runs[0]: 0, runs[1]: 0}


def test_what_runs_do_not_predict_keeps_the_blend(table, left_out, tmp_path):
    run = run_in(tmp_path / "run", table, truth_of(table), left_out)
    alone, stacked = fitted_with(table), fitted_with(table, run)
    for name in ("P0+P3", "P0+P1+P4"):
        expected = jaxpert.predict(alone, table, [name]).layers["effect"]
        made = jaxpert.predict(stacked, table, [name]).layers["effect"]
        np.testing.assert_allclose(made, expected, atol=1e-6)


def test_a_stacked_model_is_saved_and_loaded(table, left_out, tmp_path):
    stacked = fitted_with(table, run_in(tmp_path / "run", table, truth_of(table), left_out))
    jaxpert.save(stacked, table, tmp_path / "saved")
    again, read = jaxpert.load(tmp_path / "saved")
    assert held_out_error(again, read) == held_out_error(stacked, table)


def test_runs_that_know_the_test_are_refused(table, left_out, tmp_path):
    whole = replace(table, split=np.zeros(len(table.split), int))
    run = run_in(tmp_path / "run", whole, truth_of(table), left_out)
    with pytest.raises(InputError, match=r"trained on 12 conditions that are held out here \(P"):
        fitted_with(table, run)


def test_runs_without_anything_held_out_are_refused(table, tmp_path):
    run = run_in(tmp_path / "run", table, truth_of(table), [])
    with pytest.raises(InputError, match="leaves 0 training conditions that no run was trained on"):
        fitted_with(table, run)


def test_runs_on_other_genes_are_refused(table, left_out, tmp_path):
    run = run_in(tmp_path / "run", table, truth_of(table), left_out, genes=table.genes[::-1])
    with pytest.raises(InputError, match="not the 49 of 30 here in the same order, expected a run"):
        fitted_with(table, run)


def test_folders_without_a_run_are_refused(table, left_out, tmp_path):
    run = run_in(tmp_path / "run", table, truth_of(table), left_out)
    (tmp_path / "run/predictions.h5ad").unlink()
    with pytest.raises(InputError, match=r"holds no predictions\.h5ad, expected what a finished"):
        fitted_with(table, run)
    with pytest.raises(InputError, match="what a finished run of a screen leaves"):
        fitted_with(table, str(tmp_path / "nowhere"))


def test_runs_that_do_not_say_what_they_saw_are_refused(table, left_out, tmp_path):
    run = run_in(tmp_path / "run", table, truth_of(table), left_out)
    path = tmp_path / "run/predictions.h5ad"
    made = anndata.read_h5ad(path)
    made[1:].copy().write_h5ad(path)
    with pytest.raises(InputError, match=r"says of 1 conditions \(.*\) not what they were to"):
        fitted_with(table, run)


def test_runs_that_saw_next_to_nothing_are_refused(table, tmp_path):
    trained = {table.conditions[c] for c in table.condition[table.split == 0]}
    left_out = sorted(trained - {table.conditions[table.control]})[2:]
    run = run_in(tmp_path / "run", table, truth_of(table), [*left_out])
    with pytest.raises(
        InputError, match="trained on 2 of the training conditions here, expected 4"
    ):
        fitted_with(table, run)
