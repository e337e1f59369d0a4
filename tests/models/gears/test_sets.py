"""Sets of genes: any order, any size, genes without cells or without a graph, and what is said of
each."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest
from flax.core import FrozenDict

import jaxpert
from jaxpert import data
from jaxpert.core.family import Problem
from jaxpert.core.types import InputError
from jaxpert.models.gears import changes, nearest
from jaxpert.models.gears import model as gears
from jaxpert.models.gears import predict_sets as gene_sets
from jaxpert.models.gears import sets as gears_sets
from jaxpert.models.gears.family import FAMILY
from jaxpert.nn import graphs
from jaxpert.tasks.screen import predict as workflow
from support import pairs_screen


@pytest.fixture(scope="module")
def screen():
    return pairs_screen.dataset()


@pytest.fixture(scope="module")
def fitted():
    return pairs_screen.fitted(uncertainty="gaussian", uncertainty_head="gene")


@pytest.fixture(scope="module")
def net(fitted):
    return gears.details_of(fitted.model)


@pytest.fixture(scope="module")
def predicted(fitted, screen):
    sets = [
        "g0",
        "g0+ctrl",
        "g0+X",
        "X+g0",
        "far+g0+g1",
        ["g1", "far", "g0"],
        "lone",
        "ctrl",
        "g0+nowhere",
    ]
    return jaxpert.predict_sets(fitted, screen, sets, absent="average", chunk=4)


def test_names_and_order_do_not_matter(predicted):
    x = predicted.to_df()
    for one, other in (("g0", "g0+ctrl"), ("g0+X", "X+g0"), ("far+g0+g1", "g1+far+g0")):
        np.testing.assert_allclose(x.loc[one], x.loc[other], rtol=1e-5, atol=1e-5)
    assert predicted.obs["genes"].tolist()[2:6] == ["X+g0", "X+g0", "far+g0+g1", "far+g0+g1"]
    assert len(np.unique(x.to_numpy().round(3), axis=0)) == 6


def test_the_profile_is_mean_control_plus_the_change_of_the_network(predicted, fitted, net):
    members = np.array([[0, 1, 4]])
    assert [net.nodes[k] for k in members[0]] == ["g0", "g1", "far"]
    change = jax.jit(partial(changes.changes, net))(fitted.params, fitted.state, members)
    row = predicted[4]
    np.testing.assert_allclose(row.layers["effect"], change.mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        row.X[0], net.spec.control_mean + np.asarray(change.mean[0]), rtol=1e-4, atol=1e-5
    )
    assert change.log_variance is not None
    assert row.obs["uncertainty"].item() == pytest.approx(
        float(change.log_variance.mean()), rel=1e-4
    )
    np.testing.assert_allclose(
        row.layers["log_variance"], change.log_variance, rtol=1e-4, atol=1e-5
    )


def test_one_text_is_one_set(fitted, screen, predicted):
    alone = jaxpert.predict_sets(fitted, screen, "g0+X", absent="average")
    np.testing.assert_allclose(alone.X[0], predicted["g0+X"].X[0], rtol=1e-5, atol=1e-5)
    assert list(alone.obs_names) == ["g0+X"]


def test_predictions_have_the_form_of_all_models(fitted, screen, predicted):
    problem = Problem(screen, data.make_spec(screen), feeds=len, sample=len)
    found = FAMILY.predict(problem, fitted, ["g0+X", "far+g0"], particles=9, seed=3)
    assert list(found.obs_names) == ["ctrl", "g0+X", "far+g0"]
    assert found.obs["split"].tolist() == ["train", "test", "unseen"]
    assert found.obs["support"].iloc[2] == "no training cells: far (2 trained graph neighbours)"
    np.testing.assert_allclose(found.X[1], predicted["g0+X"].X[0] / np.log(2), rtol=1e-5, atol=1e-5)
    by_task = workflow.predict(fitted, screen, ["g0+X"])
    for layer in ("effect", "effect_error"):
        np.testing.assert_allclose(
            found.layers[layer][:2], by_task.layers[layer], rtol=1e-4, atol=1e-5
        )
    np.testing.assert_allclose(found.X[:2], by_task.X, rtol=1e-5, atol=1e-5)
    assert by_task.obs.columns.tolist() == found.obs.columns.tolist()
    np.testing.assert_allclose(
        found.obs["uncertainty"].iloc[:2], by_task.obs["uncertainty"], rtol=1e-4
    )
    with pytest.raises(InputError, match="in no perturbation graph"):
        FAMILY.predict(problem, fitted, "nowhere")


def test_predictions_say_which_trained_perturbations_they_rest_on(fitted, screen, net):
    sets = [["g0"], ["g0", "g1"], ["X", "g0"], ["far"], ["far", "g2"], ["lone"], []]
    expected = (
        "g0+ctrl",
        "g0+g1, g0+ctrl, g1+ctrl",
        # Never trained together, so that each gene speaks for itself.
        "X+ctrl, g0+ctrl",
        # Weights are those of the graph over its largest.
        "g0+ctrl (far: 0.75), g1+ctrl (far: 0.50)",
        "g0+ctrl (far: 0.75), g1+ctrl (far: 0.50), g2+ctrl",
        "nothing near lone",
        "",
    )
    assert nearest.rests_on_sets(net, sets) == expected
    table = screen.condition_treatments[[1, 5, 0]]
    assert fitted.model.rests_on({}, {}, table) == (expected[0], expected[1], "")
    problem = Problem(screen, net.spec, feeds=len, sample=len)
    made = FAMILY.predict(problem, fitted, ["far"])
    assert list(made.obs["rests_on"]) == ["", expected[3]]


def test_support_says_what_each_set_rests_on(predicted):
    assert dict(predicted.obs["support"]) == {
        "g0": "trained",
        "g0+ctrl": "trained",
        "g0+X": "new combination of trained genes",
        "X+g0": "new combination of trained genes",
        "far+g0+g1": "no training cells: far (2 trained graph neighbours)",
        "g1+far+g0": "no training cells: far (2 trained graph neighbours)",
        "lone": "no training cells: lone (no trained graph neighbour)",
        "ctrl": "trained",
        "g0+nowhere": "no training cells: nowhere (in no graph, average stands in)",
    }
    assert predicted.obs["measured"].tolist() == [True] * 4 + [False] * 3 + [True, False]
    assert predicted.obs["size"].tolist() == [1, 1, 2, 2, 3, 3, 1, 0, 2]


def test_genes_in_no_graph_follow_the_policy(fitted, screen, net):
    with pytest.raises(
        InputError,
        match=r"2 genes are in no perturbation graph \(gone, nowhere\).*absent='average'",
    ):
        jaxpert.predict_sets(fitted, screen, ["g0+nowhere", "gone"])
    with pytest.raises(InputError, match="expected one of refuse, isolated, average"):
        gears.members_of(net, [("g0",)], "zero")

    @jax.jit
    def embedded(params, state):
        table = changes.apply(net, params, state, "perturbations", net.every)
        return table, gears_sets.stand_ins(net, params, table)

    table, (average, alone) = embedded(fitted.params, fitted.state)
    np.testing.assert_allclose(average, np.asarray(table)[:4].mean(0), rtol=1e-5, atol=1e-6)
    bias = fitted.params["perturbation_conv_ontology"]["layer0"]["bias"]
    np.testing.assert_allclose(alone, bias, rtol=1e-6)
    policies = [
        gears.members_of(net, [("g0", "nowhere")], absent) for absent in ("average", "isolated")
    ]
    assert [one.nodes.tolist() for one in policies] == [[[0, 6]], [[0, 7]]]
    assert "isolated stands in" in policies[1].support[0]


def test_a_stand_in_of_training_is_kept(screen):
    """A treatment in no graph, for which the average stood in: the same prediction as of its
    condition."""
    spec = pairs_screen.linked(screen)
    edges = graphs.from_edges([("g0", "g1", 0.4), ("g2", "g0", 0.3)])
    model = gears.build(
        replace(spec, graphs={**spec.graphs, "ontology": edges}), hidden_dim=4, absent="average"
    )
    net = gears.details_of(model)
    params, state = jax.jit(model.init)(jax.random.key(0), data.make_batch(screen, np.arange(4)))
    members = gears.members_of(net, [("X",), ("g0", "X")])
    assert members.support == ("trained", "new combination of trained genes")
    change = jax.jit(partial(changes.changes, net))(params, state, members.nodes).mean
    rows = workflow.make_request(workflow.treatments_of(screen, ["X", "g0+X"]))
    expected = jax.jit(model.predict)(params, state, jax.random.key(0), rows)
    np.testing.assert_allclose(net.spec.control_mean + change, expected, rtol=1e-5, atol=1e-5)


def test_signs_are_the_models_and_may_be_given_for_others(screen):
    signs = FrozenDict({"g0": 1, "g1": -1, "g2": 1, "X": -1})
    signed = gears.make(pairs_screen.linked(screen), hidden_dim=4, signs=signs)
    members = gears.members_of(signed, [("g0", "g1"), ("far",)], signs={"far": -1})
    assert members.signs.tolist() == [[1, -1], [-1, 1]]
    with pytest.raises(InputError, match="those that the model was built with"):
        gears.members_of(signed, [("g0",)], signs={"g0": -1})


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ([], "no set of genes was given"),
        (["g0+"], "empty part"),
        (["g0+g0"], "holds g0 twice"),
        (["g0", "g0"], r"asked for twice \(g0\)"),
    ],
)
def test_sets_that_cannot_be_read(fitted, screen, sets, said):
    with pytest.raises(InputError, match=said):
        jaxpert.predict_sets(fitted, screen, sets)


def test_other_models_and_several_seeds(fitted, screen):
    with pytest.raises(InputError, match="no GEARS"):
        jaxpert.predict_sets(
            fitted._replace(model=fitted.model._replace(details=None)), screen, ["g0"]
        )
    several = fitted._replace(params=jax.tree.map(lambda leaf: leaf[None], fitted.params))
    with pytest.raises(InputError, match="several seeds"):
        gene_sets.predictor(several)
