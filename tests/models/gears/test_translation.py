"""GEARS beside a model of rows: which rows it is trained on, what it learns of them, and where it
has no entry."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert import data
from jaxpert.core.types import SPLITS, InputError
from jaxpert.models.cycseq.paper.labels import SECTION
from jaxpert.models.gears import model as gears
from jaxpert.models.gears import translation
from jaxpert.models.gears.family import FAMILY
from jaxpert.report.sections import filled_sections
from jaxpert.tasks.screen.keys import GraphKeys
from jaxpert.tasks.translation import baselines, evaluate, results
from jaxpert.tasks.translation.beside import train_beside
from jaxpert.tasks.translation.groups import find_effect_groups, group_means
from jaxpert.tasks.translation.keys import EvaluationKeys, TranslationConfig
from jaxpert.tasks.translation.lines import load_lines
from jaxpert.tasks.translation.load import problem_of
from jaxpert.tasks.translation.prepare import prepare
from jaxpert.tasks.translation.rows import blocks_of_rows

EPOCHS = 40
ROWS = {"replicates": 40, "cells_per_draw": 20, "val_share": 0.0}
SPLIT = {"split": "perturbation_in_line", "held_out": [("PERT002", "line2")]}


@functools.cache
def screen():
    """Two lines with three perturbations."""
    strengths = {"line_log_sd": 0.0, "strength_scale": 2.0, "artifact_share": 0.0}
    cells, _ = data.simulate("lines_tiny", cells=600, genes=110, lines=2, singles=3, **strengths)
    return load_lines(
        cells, perturbation="perturbation", line="line", name="screen", placeholders=0
    )


@functools.cache
def prepared():
    """One perturbation held out in one line."""
    return prepare(screen(), **SPLIT, **ROWS)


def prepared_without():
    """A perturbation held out in both lines."""
    return prepare(screen(), split="perturbation", held_out=[screen().treatments[1]], **ROWS)


def config(beside=(), **graphs):
    return TranslationConfig(graphs=GraphKeys(**graphs), evaluation=EvaluationKeys(beside=beside))


def fit(rows):
    return translation.fit(config(), problem_of(rows), EPOCHS, hidden_dim=8)


@functools.cache
def fitted():
    return fit(prepared())


def block(rows, split):
    return next(blocks_of_rows(rows, split))


def simple():
    """Methods without training, the last of which has one direction only."""
    own = prepared()
    groups = find_effect_groups(own)
    others, _ = baselines.predictors(own, groups, group_means(own, groups))

    def one_way(rows):
        return {"n2p": others["mean_change"](rows)["n2p"]}

    return groups, {"model": others["mean_perturbation"], **others, "gears": one_way}


def scored(methods, groups):
    return evaluate.score(prepared(), groups, methods, evaluate.facets_of(prepared(), groups))


def test_batches_are_the_training_pairs_of_all_models():
    own, size = prepared(), 32
    assert own.affine.shift.any()  # batches are adjusted, so rows are no plain means
    feed, valid = translation.feeds_of(own, "auto")
    key = jax.random.key(0)
    order = feed.order(feed.data, key, jnp.zeros((), jnp.int32))
    drawn = [
        jax.jit(feed.batch)(feed.data, key, order, jnp.asarray(step)) for step in range(feed.steps)
    ]
    pair = np.concatenate([batch.extras["pair"] for batch in drawn])
    assert len(set(pair.tolist())) == len(pair) == size * feed.steps
    rows = block(own, "train")
    place = np.searchsorted(rows.pair, pair)
    np.testing.assert_array_equal(rows.pair[place], pair)
    start, target = zip(*map(translation.rows_of, drawn), strict=True)
    np.testing.assert_allclose(np.concatenate(start), rows.control[place], atol=1e-5)
    np.testing.assert_allclose(np.concatenate(target), rows.x[place], atol=1e-5)
    np.testing.assert_array_equal(
        np.concatenate([b.condition for b in drawn]), own.pairs.condition[pair]
    )
    expressed = np.asarray(drawn[0].extras["expressed"])
    condition = int(own.pairs.condition[pair[0]])
    cells = own.dataset.counts[(own.dataset.condition == condition) & (own.dataset.split == 0)]
    np.testing.assert_array_equal(expressed[condition], np.asarray(cells.sum(0)).ravel() > 0)
    zero = jnp.zeros((), jnp.int32)
    checked = valid.batch(valid.data, key, valid.order(valid.data, key, zero), zero)
    assert (checked.extras["ranked"][condition] >= 0).all()


def test_the_change_of_the_training_rows_is_recovered_and_added_to_the_scored_rows():
    own = prepared()
    made, notes = fitted()
    groups = find_effect_groups(own)
    truth, _ = baselines.mean_changes(groups, group_means(own, groups))
    for split in (
        "val",
        "test",
    ):  # all that is trained on, and the same perturbation where it is held out
        rows = block(own, split)
        found = made(rows)
        assert set(found) == {"n2p"}
        for row, pair in enumerate(rows.pair):
            change, expected = found["n2p"][row] - rows.control[row], truth[groups.of_pair[pair]]
            assert np.corrcoef(change, expected)[0, 1] > 0.9
            assert np.square(change - expected).mean() < 0.2 * np.square(expected).mean()
    said = " ".join(notes)
    assert (
        f"{EPOCHS} epochs of 6 steps at most" in said
        and "knows no line" in said
        and "no entry for p2n" in said
    )
    assert (
        "graphs.ontology is empty" in said
        and "held-out perturbations have no training row" not in said
    )


def test_held_out_cells_change_nothing_that_gears_learns():
    own = prepared()
    held = own.dataset.split == SPLITS.index("test")
    dense = screen().counts.toarray()
    dense[held] = dense[held][:, ::-1]
    changed = replace(screen(), counts=type(screen().counts)(dense))
    after = prepare(changed, **SPLIT, **ROWS)
    rows, other = block(own, "test"), block(after, "test")
    np.testing.assert_array_equal(other.control, rows.control)
    assert np.abs(other.x - rows.x).mean() > 0.1
    np.testing.assert_array_equal(fit(after)[0](other)["n2p"], fitted()[0](rows)["n2p"])


def test_all_methods_are_scored_on_the_same_rows_whether_gears_is_there_or_not():
    groups, methods = simple()
    seen = {name: [] for name in methods}

    def watched(name, method):
        return lambda rows: seen[name].append(rows) or method(rows)

    whole = scored({name: watched(name, method) for name, method in methods.items()}, groups)
    without = scored({name: method for name, method in methods.items() if name != "gears"}, groups)
    for rows in seen.values():
        assert len(rows) == 1 and rows[0] is seen["model"][0]
    assert set(whole.rows["n2p"]) - set(whole.rows["p2n"]) == {"gears"}
    mse = {name: of["all"]["mse"] for name, of in whole.rows["n2p"].items()}
    np.testing.assert_array_equal(mse["gears"], mse["mean_change"])
    table = whole.table["baselines"]
    assert set(table.pop("gears")) == {
        group for group in whole.table["model"] if group.startswith("n2p")
    }
    np.testing.assert_equal(whole.table, without.table)
    np.testing.assert_array_equal(whole.pair, prepared().pair_numbers("test"))


def test_tables_and_files_carry_a_method_of_one_direction():
    groups, methods = simple()
    whole = scored(methods, groups)
    tables = filled_sections({"cycseq": whole.table}, {"cycseq": SECTION})[0].tables
    holding = {table.subset.partition(":")[0] for table in tables if "gears" in table.methods}
    assert holding == {"control to perturbed"}
    assert all(len(row.cells) == len(table.methods) for table in tables for row in table.rows)
    names = [name for name in results.rows_arrays(groups, whole) if "gears" in name]
    assert names and all("n2p" in name for name in names)


def test_a_perturbation_in_no_graph_is_the_average_of_the_trained_ones_and_named(tmp_path):
    rows = prepared_without()
    first, held, last = screen().treatments
    for graphs in ({}, {"ontology": str(tmp_path / "terms.gmt")}):
        (tmp_path / "terms.gmt").write_text(
            f"one\t-\t{first}\t{last}\ntwo\t-\t{last}\t{screen().genes[0]}\n"
        )
        dataset, named = translation.linked(config(**graphs), problem_of(rows))
        model = translation.build(
            translation.spec_of(rows, dataset), perturbation_graphs=named, hidden_dim=4
        )
        net = gears.details_of(model)
        np.testing.assert_array_equal(net.average, [[1, 0, 0], [0.5, 0, 0.5], [0, 0, 1]])
        said = " ".join(translation.notes_on(rows, dataset, net))
        assert (
            "1 perturbed genes are in no graph; the average of the trained ones stands in" in said
        )
        assert f"no cell is left out: {held}" in said
        assert f"1 held-out perturbations have no training row: {held} (no training cells" in said
        assert (
            ("graphs.ontology is empty" in said)
            == (not graphs)
            == ("graph ontology: 3 genes" not in said)
        )


def test_a_graph_that_gears_cannot_use_is_found_before_training(tmp_path):
    (tmp_path / "terms.gmt").write_text("one\t-\tNOPE\tNEITHER\n")
    beside = FAMILY.beside["translation"]
    with pytest.raises(InputError, match="none of the 3 perturbed genes"):
        beside.check(config(ontology=str(tmp_path / "terms.gmt")), problem_of(prepared()))
    beside.check(config(), problem_of(prepared()))


def test_why_not_and_what_is_trained_beside(monkeypatch):
    own, problem = prepared(), problem_of(prepared())
    doses = own._replace(pairs=own.pairs._replace(dose=np.zeros((len(own.pairs.part), 2))))
    given = own._replace(scale=own.scale._replace(kind="given"))
    beside = FAMILY.beside["translation"]
    assert beside.why_not(problem) == ""
    assert "lognorm=given" in beside.why_not(problem._replace(details=given))
    reason = beside.why_not(problem._replace(details=doses))
    assert "steps from one dose" in reason
    called = []

    def fake(*arguments):
        called.append(arguments)
        return simple, ["trained"]

    faked = FAMILY._replace(beside={"translation": beside._replace(fit=fake)})
    asked, others = config(("gears=3",)), {"gears": faked}
    assert train_beside(config(), problem, others) == ({}, [])
    assert train_beside(asked, problem, others) == ({"gears": simple}, ["trained"])
    assert called == [(asked, problem, 3)]
    assert train_beside(asked, problem._replace(details=doses), others) == ({}, [reason])
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    predictors, notes = train_beside(asked, problem, others)
    assert not predictors and "gears is not trained beside in a run of several" in notes[0]
