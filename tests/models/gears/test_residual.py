"""GEARS over a base: what it starts from, what it learns, and what it cannot be asked."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpert
from jaxpert import data
from jaxpert.core.types import InputError
from jaxpert.models.gears import model as gears
from jaxpert.models.gears.sets import members_of
from jaxpert.nn import graphs
from jaxpert.tasks.screen.residual import changes_of
from support import minibatch, pairs_screen
from support.bases import base_of, planted


@pytest.fixture(scope="module")
def screen():
    return pairs_screen.dataset()


@pytest.fixture(scope="module")
def over(screen):
    """(model, spec, params, state) over the additive baseline, untrained."""
    spec = replace(
        pairs_screen.linked(screen), base=jaxpert.make_spec(screen, base="additive").base
    )
    model = gears.build(spec, hidden_dim=8, genes="all", base="additive")
    batch = data.make_batch(screen, np.arange(0, 132, 3))
    return model, spec, *jax.jit(model.init)(jax.random.key(0), batch)


def test_a_base_without_effects_changes_nothing():
    spec = minibatch.spec()
    plain = gears.build(spec, hidden_dim=8)
    none = base_of(np.zeros((3, minibatch.GENES), np.float32), spec)
    over = gears.build(replace(spec, base=none), hidden_dim=8, base="additive")
    batch, key = minibatch.batch(), jax.random.key(0)
    params, state = jax.jit(plain.init)(key, batch)
    for function in (plain.loss, over.loss):
        step = jax.jit(jax.value_and_grad(function, has_aux=True))
        (value, (after, _)), slopes = step(params, state, key, batch)
        if function is plain.loss:
            expected = minibatch.numbers((value, after, slopes))
    np.testing.assert_allclose(minibatch.numbers((value, after, slopes)), expected, rtol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"cross_gene": False}, {"compat": "reference"}])
def test_an_untrained_network_predicts_exactly_the_base(screen, over, settings):
    spec = over[1]
    model = gears.build(spec, hidden_dim=8, genes="all", base="additive", **settings)
    params, state = jax.jit(model.init)(jax.random.key(3), data.make_batch(screen, np.arange(8)))
    # Trained singles and pairs, pairs that training has not, a triple, and nothing.
    asked = np.concatenate([screen.condition_treatments, [[1, 1, 1, 0]]]).astype(np.float32)
    request = minibatch.request(asked)._replace(control=None)
    got = jax.jit(model.predict)(params, state, jax.random.key(0), request)
    change = changes_of(spec.base, spec, jnp.asarray(asked))
    np.testing.assert_allclose(got, spec.control_mean + change, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(got[1], spec.control_mean + spec.base.left_out[1], atol=1e-6)


def test_sets_by_name_and_by_treatment_agree_once_the_network_says_something(screen, over):
    model, spec, params, state = over
    decoder = params["decoder"] | {
        "second_bias": jnp.linspace(-1, 1, pairs_screen.GENES),
        "second_kernel": 0.1 * jnp.ones_like(params["decoder"]["second_kernel"]),
    }
    params = params | {"decoder": decoder}
    net = gears.details_of(model)
    sets = [["g0"], ["X", "g0"], ["g2", "g0", "g1"], []]
    members = members_of(net, sets)
    asked = jnp.asarray(members.nodes), jnp.asarray(members.signs, jnp.float32)
    by_name = gears.changes(net, params, state, *asked).mean
    rows = np.array([[1, 0, 0, 0], [1, 0, 0, 1], [1, 1, 1, 0], [0, 0, 0, 0]], np.float32)
    request = minibatch.request(rows)._replace(control=None)
    by_row = model.predict(params, state, jax.random.key(0), request) - spec.control_mean
    np.testing.assert_allclose(by_name, by_row, rtol=1e-4, atol=1e-5)
    assert not by_name[3].any()
    base_alone = changes_of(spec.base, spec, jnp.asarray(rows))
    assert abs(by_name - base_alone)[:3].max(1).min() > 0.1


def test_genes_that_the_base_does_not_know_are_refused(over):
    net = gears.details_of(over[0])
    with pytest.raises(InputError, match=r"2 genes \(far, lone\) are perturbed in no cell"):
        members_of(net, [["g0", "far"], ["lone"]])


def test_genes_that_share_an_average_are_refused(over):
    spec = over[1]
    few = graphs.from_edges([("g0", "g1", 0.4)])
    with pytest.raises(InputError, match="2 perturbed genes are in no graph and share an average"):
        gears.build(
            replace(spec, graphs=spec.graphs | {"ontology": few}), absent="average", base="additive"
        )


def test_what_is_left_over_the_base_is_learned():
    screen, truth, held_out = planted()
    # Singles are what they are: the network has to learn what pairs do beyond their sum.
    singles = truth[1:8].astype(np.float32)
    spec = data.make_spec(screen)
    spec = replace(spec, base=base_of(singles, spec))
    model = gears.build(
        spec,
        hidden_dim=16,
        perturbation_graphs=(),
        coexpression_graph="none",
        genes="all",
        loss="mse",
        base="additive",
    )
    fitted = jaxpert.fit(model, screen, epochs=25, batch_size=64, learning_rate=3e-3)
    got = jaxpert.predict(fitted, screen, [screen.conditions[c] for c in held_out])
    effect = got.layers["effect"][1:] * np.log(2)
    base = screen.condition_treatments[held_out] @ singles
    error = ((effect - truth[held_out]) ** 2).mean()
    left = ((base - truth[held_out]) ** 2).mean()
    assert error < 0.1 * left
