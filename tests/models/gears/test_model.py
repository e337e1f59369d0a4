"""GEARS beyond the contract: its options, what they change, and what it refuses."""

import functools
from dataclasses import fields, replace
from typing import Any

import jax
import numpy as np
import pytest
import scipy.stats

from jaxpert.core.types import InputError
from jaxpert.models.gears import changes, losses
from jaxpert.models.gears import model as gears
from jaxpert.models.gears.settings import Settings
from jaxpert.nn import graphs
from support import minibatch

OPTIONS = {
    "ablations": {
        "perturbation_graphs": (),
        "coexpression_graph": "none",
        "cross_gene": False,
        "shared_decoder": True,
        "loss": "mse",
    },
    "graphs": {
        "graph": "gcn",
        "gene_layers": 2,
        "perturbation_layers": 2,
        "direction": "tanh",
        "gamma": 1.0,
        "perturbation_graphs": ("ontology", "coexpression"),
        "genes": "all",
    },
    "attention": {"graph": "gat", "uncertainty": "gaussian", "uncertainty_head": "gene"},
    "published": {
        "compat": "reference",
        "uncertainty": "shipped",
        "signs": {"g0": 1, "g1": -1, "c": -1},
    },
}


@functools.cache
def trained(option="default"):
    """(network, params, state, loss, terms, gradients): the state after one step, so that
    remembered moments are not the initial ones."""
    model = gears.build(minibatch.spec(), hidden_dim=8, **OPTIONS.get(option, {}))

    @jax.jit
    def start(key, batch):
        params, state = model.init(key, batch)
        (value, (after, terms)), slopes = jax.value_and_grad(model.loss, has_aux=True)(
            params, state, key, batch
        )
        return params, after, value, terms, slopes

    return model.details, *start(jax.random.key(0), minibatch.batch())


@functools.cache
def predictor(option="default"):
    """(params, state, request) -> predictions, compiled once for each shape."""
    return jax.jit(
        lambda params, state, request: gears.predict(
            trained(option)[0], params, state, jax.random.key(0), request
        )
    )


@functools.cache
def of_sets(option="default"):
    """(params, state, members, signs) -> changes."""
    return jax.jit(functools.partial(changes.changes, trained(option)[0]))


@pytest.mark.parametrize("option", OPTIONS)
def test_options_train_and_differ(option):
    net, params, state, value, terms, slopes = trained(option)
    assert np.isfinite(value) and all(
        np.isfinite(leaf).all() for leaf in jax.tree.leaves((terms, slopes, state))
    )
    dead = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(slopes)
        if not leaf.any()
    ]
    assert not dead
    assert value != trained()[3]
    assert ("log_variance" in terms) == (net.settings.uncertainty != "none")
    got = predictor(option)(params, state, minibatch.request())
    assert got.shape == (5, 6) and np.isfinite(got).all()


def predicted(option, members, signs=None):
    _, params, state, *_ = trained(option)
    signs = None if signs is None else np.asarray(signs, np.float32)
    return np.asarray(of_sets(option)(params, state, np.asarray(members), signs).mean)


def test_sets_of_any_size_in_any_order_and_genes_without_cells():
    net, params, state, *_ = trained()
    assert net.nodes == ("g0", "g1", "c", "far")
    sets = [
        [0, 1, 2, 3],
        [3, 1, 2, 0],
        [0, 1, -1, -1],
        [-1, 1, 0, -1],
        [3, -1, -1, -1],
        [-1, -1, -1, -1],
    ]
    got = predicted("default", sets)
    np.testing.assert_allclose(got[0], got[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got[2], got[3], rtol=1e-5, atol=1e-6)
    assert len({tuple(row) for row in got[[0, 2, 4, 5]].round(4).tolist()}) == 4
    request = minibatch.request(np.array([[1, 1, 0], [0, 0, 0]], np.float32))._replace(control=None)
    np.testing.assert_allclose(
        predictor()(params, state, request),
        net.spec.control_mean + got[[2, 5]],
        rtol=1e-5,
        atol=1e-5,
    )


def test_predictions_do_not_depend_on_the_block(monkeypatch):
    net, params, state, *_ = trained()
    sets = np.array([[0, 1, -1, -1], [2, -1, -1, -1], [1, 2, -1, -1], [3, 0, -1, -1], [1, 2, 0, 3]])
    whole = predicted("default", sets)
    monkeypatch.setattr(changes, "BLOCK_NUMBERS", 2 * 16 * 6)
    by_two = jax.jit(functools.partial(changes.changes, net))(params, state, sets).mean
    np.testing.assert_allclose(by_two, whole, rtol=1e-6, atol=1e-6)


def test_signs_turn_the_embedding():
    net, params, state, *_ = trained("published")
    unsigned = net._replace(sign=np.ones(3))
    tables = jax.jit(
        lambda params, state: [gears.embeddings(of, params, state) for of in (unsigned, net)]
    )
    table, signed = tables(params, state)
    np.testing.assert_array_equal(signed, np.asarray(table) * np.array([[1], [-1], [-1]]))
    got = predicted("published", [[0, 1]], [[1, -1]])
    request = minibatch.request(np.array([[1, 1, 0]], np.float32))._replace(control=None)
    by_treatment = predictor("published")(params, state, request)
    np.testing.assert_allclose(by_treatment, net.spec.control_mean + got, rtol=1e-5, atol=1e-5)


def test_the_hard_direction_has_no_gradient_and_tanh_has():
    y, p, control = np.array([[1.0, 1, 0]]), np.array([[2.0, -1, 3]]), np.zeros(3)

    @functools.partial(jax.jit, static_argnums=0)
    def errors(kind, p, y, control):
        def total(p):
            of_genes = losses.direction_errors(y, p, control, kind)
            return of_genes.sum(), of_genes

        return jax.grad(total, has_aux=True)(p)

    for kind, expected in (("sign", False), ("tanh", True)):
        slope, of_genes = errors(kind, p, y, control)
        assert bool(np.any(slope)) == expected
        if kind == "sign":
            np.testing.assert_array_equal(of_genes, [[0, 4, 1]])


def test_the_gaussian_likelihood_is_one():
    rng = np.random.default_rng(0)
    y, p, s = rng.normal(size=(3, 3, 4)).astype(np.float32)
    cells = losses.Cells(y, p, s, np.zeros(3, int), np.ones(3, bool))
    weights = losses.Weights(uncertainty="gaussian")
    got = jax.jit(lambda cells: losses.error_terms(cells, weights))(cells)
    expected = -scipy.stats.norm.logpdf(y, p, np.exp(s / 2))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_a_lone_perturbed_cell_keeps_its_signal():
    """Published: normalised by itself to a constant. Ours: by the remembered moments."""
    batch = minibatch.rows(minibatch.batch(), np.array([0, 5, 1]))
    for option, alive in (("default", True), ("published", False)):
        net, params, state, *_ = trained(option)
        slopes = jax.jit(
            jax.grad(
                lambda p, net=net, state=state: gears.loss(net, p, state, jax.random.key(0), batch)[
                    0
                ]
            )
        )(params)
        assert (abs(slopes["perturbation_embedding"]).max() > 1e-7) == alive


def test_published_behaviour_depends_on_the_first_cell():
    for option, depends in (("default", False), ("published", True)):
        net, params, state, *_ = trained(option)
        batch = minibatch.batch()
        other = batch._replace(slot=batch.slot[::-1])
        run = jax.jit(
            lambda batch, net=net, params=params, state=state: gears.evaluate(
                net, params, state, batch
            )[0]
        )
        assert (abs(run(batch) - run(other)) > 1e-7) == depends


def test_capping_keeps_rows_and_steps_alike():
    _, params, *_ = trained()
    model = gears.build(minibatch.spec(), hidden_dim=8)
    assert model.constrain is not None
    far = jax.tree.map(lambda leaf: np.asarray(leaf) - 10, params)
    moved: Any = jax.jit(model.constrain)(far)
    for name in gears.CAPPED:
        step = np.asarray(params[name]) - 10
        np.testing.assert_allclose(
            moved[name], step / np.linalg.norm(step, axis=1, keepdims=True), rtol=1e-5
        )
    np.testing.assert_allclose(moved["gene_norm"]["bias"], far["gene_norm"]["bias"])


def without(name="c"):
    spec = minibatch.spec()
    return replace(
        spec,
        graphs={
            **spec.graphs,
            "ontology": graphs.from_edges([("g0", "g1", 0.4), ("far", "g0", 0.3)]),
        },
    )


def test_genes_in_no_graph():
    with pytest.raises(
        InputError,
        match="1 perturbed genes are in none of the graphs ontology .c.*drop_unannotated",
    ):
        gears.build(without())
    own = gears.make(without(), hidden_dim=4, absent="isolated")
    assert own.nodes == ("g0", "g1", "far", "c") and own.average is None
    average = gears.make(without(), hidden_dim=4, absent="average")

    @jax.jit
    def embedded(key):
        return gears.embeddings(average, *gears.init(average, key, minibatch.batch()))

    table = np.asarray(embedded(jax.random.key(0)))
    np.testing.assert_allclose(table[2], table[:2].mean(0), rtol=1e-5, atol=1e-6)


def supported(spec, rows, **settings):
    support = gears.build(spec, **settings).support
    assert support is not None
    return support(rows)


def test_support_of_rows():
    spec = minibatch.spec()
    spec = replace(
        spec, treatment_cells=np.array([50, 0, 0]), condition_cells=np.array([20, 30, 0, 0, 0])
    )
    assert supported(spec, minibatch.TREATMENTS) == (
        "trained",
        "trained",
        "no training cells: g1 (1 trained graph neighbours)",
        "no training cells: c (no trained graph neighbour)",
        "no training cells: g1 (1 trained graph neighbours)",
    )
    assert supported(minibatch.spec(), np.ones((1, 3))) == ("new combination of trained genes",)
    spec = replace(
        without(),
        treatment_cells=np.array([1, 1, 0]),
        condition_cells=np.array([20, 30, 20, 0, 20]),
    )
    assert supported(spec, np.array([[0, 0, 1.0]]), absent="average") == (
        "no training cells: c (in no graph)",
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"graph": "sage"}, "model.kwargs.graph is 'sage', expected one of sgconv"),
        ({"hidden_dim": 0}, "at least 1"),
        ({"gene_layers": True}, "whole number"),
        ({"perturbation_graphs": ("ontology", "ontology")}, "different names"),
        ({"perturbation_graphs": ("reactome",)}, "expected one of those of the data"),
        ({"coexpression_graph": "ontology"}, "no measured gene"),
        ({"signs": {"g0": 1}}, "each of the 3 treatments"),
        ({"signs": {"g0": 1, "g1": 2, "c": 1}}, "wrong"),
        ({"gamma": -1.0}, "at least 0"),
        ({"gamma": float("nan")}, "finite"),
        ({"uncertainty": "variance"}, "expected one of none, shipped, gaussian"),
    ],
)
def test_settings_out_of_range(settings, said):
    with pytest.raises(InputError, match=said):
        gears.build(minibatch.spec(), **settings)


def test_what_stands_behind_a_model():
    model = gears.build(minibatch.spec(), hidden_dim=4, perturbation_graphs=("none",))
    assert gears.details_of(model).nodes == ("g0", "g1", "c")
    assert model.name == "gears" and model.settings.perturbation_graphs == ()
    assert model.tables == ("expressed", "ranked")
    choices = types_of_graphs()
    assert choices == tuple(graphs.OPERATORS)
    with pytest.raises(InputError, match="no GEARS"):
        gears.details_of(model._replace(details=None))


def types_of_graphs():
    field = next(field for field in fields(Settings) if field.name == "graph")
    return field.metadata["range"].choices
