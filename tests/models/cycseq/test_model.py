"""CycSeq beyond the contract and the published arrays: conditions, profiles, new lines, and what it
refuses."""

import functools
from dataclasses import asdict, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse

from jaxpert.core.types import Dataset, InputError
from jaxpert.models.cycseq import losses as cycseq_losses
from jaxpert.models.cycseq import model as cycseq
from jaxpert.models.cycseq import noise as cycseq_noise
from jaxpert.models.cycseq.game import picked, rows_of
from jaxpert.models.cycseq.layers import Picked, TokenAttention
from jaxpert.models.cycseq.setup import make
from jaxpert.nn import adversarial
from support import minibatch

SMALL = minibatch.SMALL["cycseq"]
OPTIONS = {
    "paper": {"profile": "paper", "tokens": 4},
    "others": {
        "profile": "reference",
        "batch_norm": True,
        "lookup": True,
        "attention": "none",
        "dose": True,
        "condition_loss": "binary",
        "residual_dropout": 0.0,
    },
}


def batch():
    """A batch on the log scale, with doses."""
    whole = minibatch.batch()
    extras = whole.extras | {"dose": jnp.linspace(1.0, 4.0, minibatch.CELLS)}
    return whole._replace(
        x=jnp.log2(1 + whole.x), control=jnp.log2(1 + whole.control), extras=extras
    )


@functools.cache
def trained(option="default"):
    """(net, params, state, loss, terms, gradients) after one step, so that remembered moments are
    not the initial."""
    net = make(minibatch.spec(), **(SMALL | OPTIONS.get(option, {})))
    model = cycseq.model_of(net)

    @jax.jit
    def start(key, batch):
        params, state = model.init(key, batch)
        params = jax.tree.map(
            lambda leaf: leaf + 0.01, params
        )  # attention is silent at its initial 0
        (value, (after, terms)), slopes = jax.value_and_grad(model.loss, has_aux=True)(
            params, state, key, batch
        )
        return params, after, value, terms, slopes

    return net, *start(jax.random.key(0), batch())


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
    players = float(terms["generators"] + terms["critic_x"] + terms["critic_y"])
    assert value != trained()[3] and float(value) == pytest.approx(players, rel=1e-6)
    assert ("penalty_x" in terms) == (net.settings.penalty_weight > 0)
    assert bool(jax.tree.leaves(state)) == (
        net.settings.residual == "normalized" or net.settings.batch_norm
    )


def test_profiles_set_what_the_table_says_and_can_be_overruled():
    paper = make(minibatch.spec(), profile="paper", latent_dim=4, hidden=(8, 16))
    assert (
        paper.settings.penalty_weight == 0
        and paper.settings.kl_weight == 1
        and paper.targets == ("g0", "g1", "c")
    )
    published = make(minibatch.spec(), profile="reference", penalty_weight=2.0)
    assert published.settings.gan == "lsgan" and published.settings.penalty_weight == 2
    default = make(minibatch.spec()).settings
    assert (
        default.hidden == (1024, 512, 256)
        and default.gan == "log"
        and default.penalty_of == "logit"
    )
    assert make(minibatch.spec()).targets == (*minibatch.spec().genes, "c")
    assert published.generator.shape.clamp is False and paper.generator.shape.clamp is True


def test_no_players_loss_reaches_the_others_parameters():
    net, params, state, *_ = trained()
    model = cycseq.model_of(net)

    def terms(params):
        _, (_, terms) = model.loss(params, state, jax.random.key(3), batch())
        return terms["generators"], terms["critic_x"] + terms["critic_y"]

    generators, critics = jax.jit(jax.jacrev(terms))(params)
    for slopes, own, other in (
        (generators, "generators", "critics"),
        (critics, "critics", "generators"),
    ):
        assert all(not leaf.any() for leaf in jax.tree.leaves(slopes[other]))
        assert all(leaf.any() for leaf in jax.tree.leaves(slopes[own]))


def test_gathers_equal_products_with_multi_hot_rows():
    rng = np.random.default_rng(0)
    kernel, rows = (jnp.asarray(rng.normal(size=size), jnp.float32) for size in ((7, 3), (5, 7)))
    hot = np.array([[0, 1, 0], [1, 0, 1], [0, 0, 0], [1, 0, 0], [1, 1, 0]], np.float32)
    net = make(minibatch.spec(), **SMALL)
    columns = np.zeros((5, 7), np.float32)
    columns[:, net.column] = hot
    listed, shared = (
        picked(net, jnp.asarray(hot)),
        Picked(jnp.asarray(net.column), jnp.asarray(hot)),
    )
    single = picked(net._replace(members=1), jnp.asarray(hot[[0, 2, 3]]))
    cases = (listed, rows, columns), (shared, rows, columns), (single, rows[:3], columns[[0, 2, 3]])
    for some, logits, dense in cases:
        np.testing.assert_allclose(some.times(kernel), dense @ kernel, rtol=1e-6)
        np.testing.assert_allclose(
            some.of(logits).sum(1), (dense * logits).sum(1), rtol=1e-6, atol=1e-6
        )


def test_condition_losses_of_rows_with_no_one_and_several_targets():
    rng = np.random.default_rng(1)
    logits = jnp.asarray(rng.normal(size=(3, 6)), jnp.float32)
    true = Picked(jnp.array([[0, 0], [2, 1], [4, 3]]), jnp.array([[0.0, 0], [1, 0], [1, 1]]))
    got = cycseq_losses.condition_error(logits, true, "cross_entropy")
    np.testing.assert_allclose(got[1], -jax.nn.log_softmax(logits[1])[2], rtol=1e-6)
    hot = np.array([0, 0, 0, 1, 1, 0])
    binary = -(
        hot * jax.nn.log_sigmoid(logits[2]) + (1 - hot) * jax.nn.log_sigmoid(-logits[2])
    ).mean()
    np.testing.assert_allclose(got[2], binary, rtol=1e-6)
    assert got[0] == 0
    one = cycseq_losses.condition_error(
        logits, Picked(true.index[:, :1], true.weight[:, :1]), "cross_entropy"
    )
    np.testing.assert_allclose(one[:2], got[:2], rtol=1e-6)


def test_attention_over_tokens_looks_from_part_to_part():
    layer, h = TokenAttention(8, 4), jax.random.normal(jax.random.key(0), (3, 8))
    params = layer.init(jax.random.key(1), h)["params"] | {"gamma": jnp.asarray(0.5)}
    apply = jax.jit(lambda params, h: layer.apply({"params": params}, h))
    moved = h.at[:, 0].add(1.0)
    assert (abs(apply(params, moved) - apply(params, h))[:, 2:] > 1e-6).all()
    slopes = jax.jit(jax.grad(lambda params: (apply(params, h) ** 2).sum()))(params)
    assert slopes["query"]["kernel"].any() and slopes["key"]["kernel"].any()
    parts = np.asarray(h).reshape(3, 4, 2)
    turned = np.asarray(apply(params, jnp.asarray(parts[:, ::-1].reshape(3, 8)))).reshape(3, 4, 2)[
        :, ::-1
    ]
    np.testing.assert_allclose(turned.reshape(3, 8), apply(params, h), rtol=1e-5, atol=1e-6)


def test_slopes_and_their_norms():
    x = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(adversarial.norms(x), [5, 0])
    np.testing.assert_array_equal(jax.grad(lambda x: adversarial.norms(x).sum())(x)[1], [0, 0])
    np.testing.assert_allclose(adversarial.penalty(x), [16, 1])
    np.testing.assert_allclose(adversarial.slopes(lambda rows: (rows**3).sum(1), x), 3 * x**2)


def test_dropout_masks_have_their_rates_and_are_each_rows_own():
    keys = jax.random.split(jax.random.key(0), 200)
    kept = cycseq_noise.masks(keys, {"a": (101, 0.2), "b": (64, 0.75)})
    assert kept["a"].shape == (200, 101) and kept["b"].shape == (200, 64)
    for name, rate in (("a", 0.2), ("b", 0.75)):
        each = kept[name].mean(0)
        np.testing.assert_allclose(
            kept[name].mean(), 1 - rate, atol=5 * (rate * (1 - rate) / kept[name].size) ** 0.5
        )
        assert (abs(each - (1 - rate)) < 5 * (rate * (1 - rate) / 200) ** 0.5).all()
    pairs = np.corrcoef(np.asarray(kept["a"], float), rowvar=False)[np.triu_indices(101, 1)]
    assert abs(pairs).max() < 5.5 / 200**0.5
    alone = cycseq_noise.masks(keys[7:8], {"a": (101, 0.2), "b": (64, 0.75)})
    np.testing.assert_array_equal(alone["b"][0], kept["b"][7])


def translated(net, params, state, *arguments, dose=None, **options):
    inputs = cycseq.Inputs(*arguments, dose)
    translate = jax.jit(lambda inputs: cycseq.translate(net, params, state, inputs, **options))
    return np.asarray(translate(inputs))


def test_translation_both_ways():
    net, params, state, *_ = trained()
    rows, stratum = batch().x[:4], jnp.array([0, 1, 0, 1])
    hot = jnp.asarray(minibatch.TREATMENTS)[jnp.array([1, 2, 3, 1])]
    there = translated(net, params, state, rows, hot, stratum)
    np.testing.assert_allclose(
        translated(net, params, state, rows, jnp.array([0, 1, 2, 0]), stratum), there, rtol=1e-5
    )
    back = translated(net, params, state, rows, hot, stratum, direction="p2n")
    assert abs(back - there).max() > 1e-3
    few, many = (
        translated(net, params, state, rows, hot, stratum, samples=n, key=jax.random.key(5))
        for n in (1, 400)
    )
    assert abs(few - there).max() > abs(many - there).max() > 0
    with pytest.raises(ValueError, match="no key is given"):
        cycseq.translate(net, params, state, cycseq.Inputs(rows, hot, stratum), samples=2)
    with pytest.raises(ValueError, match="expected one of p2n, n2p"):
        cycseq.translate(net, params, state, cycseq.Inputs(rows, hot, stratum), direction="up")


def test_doses_change_predictions_and_are_asked_for():
    net, params, state, *_ = trained("others")
    rows, hot, stratum = batch().x[:2], jnp.asarray(minibatch.TREATMENTS[1:3]), jnp.array([0, 1])
    low, high = (
        translated(net, params, state, rows, hot, stratum, dose=jnp.full(2, dose), samples=0)
        for dose in (1.0, 4.0)
    )
    assert (abs(low - high).max(1) > 1e-5).all()
    with pytest.raises(
        ValueError, match="no dose is given, expected one for a model that reads it"
    ):
        cycseq.translate(net, params, state, cycseq.Inputs(rows, hot, stratum))


def test_unpaired_rows_have_their_own_conditions():
    net, whole = trained()[0], batch()
    paired = rows_of(net, whole)
    own = {"control_treatment": whole.treatment[::-1], "control_stratum": 1 - whole.stratum}
    rows = rows_of(net, whole._replace(extras=whole.extras | own))
    for side in ("x_condition", "y_condition"):
        jax.tree.map(np.testing.assert_array_equal, getattr(paired, side), rows.x_condition)
    np.testing.assert_array_equal(
        rows.y_condition.target.index, rows.x_condition.target.index[::-1]
    )
    np.testing.assert_array_equal(rows.y_condition.stratum.index[:, 0], 1 - whole.stratum)
    assert rows.x_condition.dose is None


def test_validation_is_a_mean_over_pairs():
    net, params, state, *_ = trained()
    validate, whole = cycseq.model_of(net).validate, batch()
    assert validate is not None
    sums = jax.jit(lambda batch: validate.sums(params, state, jax.random.key(0), batch))
    score, more = validate.finish(sums(whole))
    halves = [
        sums(minibatch.rows(whole._replace(extras={}), slice(*part))) for part in ((0, 8), (8, 16))
    ]
    again, _ = validate.finish(jax.tree.map(jnp.add, *halves))
    assert float(score) == pytest.approx(float(again), rel=1e-5) and set(more) == {
        "cycle_x",
        "cycle_y",
        "r2_n2p",
        "r2_p2n",
    }
    hot, stratum = whole.treatment, whole.stratum
    real = np.asarray(whole.mask)
    total = 0.0
    for rows, there, back in ((whole.x, "p2n", "n2p"), (whole.control, "n2p", "p2n")):
        other = translated(net, params, state, rows, hot, stratum, direction=there)
        home = translated(net, params, state, jnp.asarray(other), hot, stratum, direction=back)
        total += np.square(np.asarray(rows) - home).mean(1)[real].mean()
    assert float(score) == pytest.approx(total, rel=1e-5)
    target = translated(net, params, state, whole.control, hot, stratum)
    r = [
        np.corrcoef(a, b)[0, 1]
        for a, b in zip(np.asarray(whole.x)[real], target[real], strict=True)
    ]
    assert float(more["r2_n2p"]) == pytest.approx(np.square(r).mean(), rel=1e-4)


def later(strata=("s1", "new"), treatments=("g1", "c", "drug")):
    """Data on other lines and perturbations, of the same genes."""
    table = np.concatenate([np.zeros((1, len(treatments))), np.eye(len(treatments))])
    counts = {
        "treatment_cells": np.ones(len(treatments), int),
        "condition_cells": np.ones(len(table), int),
    }
    return replace(
        minibatch.spec(),
        strata=strata,
        treatments=treatments,
        conditions=("control", *treatments),
        condition_treatments=table,
        **counts,
    )


def test_a_new_line_takes_a_placeholder_that_starts_at_the_mean():
    net, params, state, *_ = trained()
    grown, more, moments, notes = cycseq.grow(net, params, state, later(), jax.random.key(9))
    assert grown.lines == ("s0", "s1", "new") and grown.settings.placeholders == 1
    assert grown.targets == (*net.targets, "drug") and grown.spec.strata == ("s1", "new")
    assert (
        "line new takes batch column 3" in notes[0]
        and "1 of 3 perturbations" in notes[1]
        and "drug" in notes[1]
    )
    table = more["generators"]["n2p"]["decoder"]["conditions"]["stratum"]["kernel"]
    np.testing.assert_allclose(table[2], table[:2].mean(0), rtol=1e-6)
    np.testing.assert_array_equal(
        table[3], params["generators"]["n2p"]["decoder"]["conditions"]["stratum"]["kernel"][3]
    )
    head = more["generators"]["p2n"]["decoder"]["stratum"]["bias"]
    np.testing.assert_allclose(head[2], head[:2].mean(), rtol=1e-6)
    critic = more["critics"]["x"]["first"]["stratum"]
    np.testing.assert_allclose(critic[2], critic[:2].mean(0), rtol=1e-6)
    fresh = jax.eval_shape(lambda key: cycseq.model_of(grown).init(key, batch()), jax.random.key(0))
    assert jax.tree.map(jnp.shape, (more, moments)) == jax.tree.map(jnp.shape, fresh)
    rows = batch().x[:2]
    before = translated(net, params, state, rows, jnp.array([1, 2]), jnp.array([1, 1]))
    after = translated(grown, more, moments, rows, jnp.array([0, 1]), jnp.array([0, 0]))
    np.testing.assert_allclose(
        after, before, rtol=1e-5, atol=1e-6
    )  # known line and perturbations: as they were
    zero_shot = translated(grown, more, moments, rows, jnp.array([0, 1]), jnp.array([1, 1]))
    assert np.isfinite(zero_shot).all() and abs(zero_shot - after).max() > 1e-5
    again = make(later(), **asdict(grown.settings))
    assert (
        again.lines == grown.lines
        and again.targets == grown.targets
        and again.generator == grown.generator
    )


def test_growth_has_limits():
    net, params, state, *_ = trained()
    with pytest.raises(
        InputError, match="line 'c' needs a placeholder batch column, but all are used up"
    ):
        cycseq.grow(net, params, state, later(("a", "b", "c")), jax.random.key(0))
    with pytest.raises(
        InputError, match="6 genes and the trained model 6, of which 1 of them are missing .g5"
    ):
        other = replace(later(), genes=("g0", "g1", "g2", "g3", "g4", "h"))
        cycseq.grow(net, params, state, other, jax.random.key(0))
    with pytest.raises(InputError, match="others, or in another order"):
        cycseq.grow(
            net, params, state, replace(later(), genes=later().genes[::-1]), jax.random.key(0)
        )
    with pytest.raises(InputError, match="has a batch column already"):
        cycseq.with_placeholder(net, params, "s0")


def test_what_stands_behind_a_row():
    spec = replace(
        minibatch.spec(),
        treatment_cells=np.array([5, 0, 5]),
        condition_cells=np.array([5, 5, 0, 5, 0]),
    )
    model = cycseq.build(spec, **SMALL)
    assert model.support is not None and model.check is not None
    rows = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 1]], np.float32)
    assert model.support(rows) == (
        "trained",
        "trained",
        "no training cells: g1",
        "new combination of trained targets",
    )
    cells = np.arange(2)
    names = (
        spec.conditions,
        cells,
        0,
        spec.treatments,
        spec.condition_treatments,
        spec.strata,
        cells,
    )
    dataset = Dataset(
        "two cells",
        sparse.csr_matrix(np.ones((2, 6), int)),
        cells.astype(str),
        spec.genes,
        *names,
        None,
    )
    assert model.check(dataset) == (
        "1 perturbations are no measured gene; each has a column of its own: c",
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"gan": "wgan"}, "expected one of log, lsgan"),
        ({"profile": "mine"}, "expected one of default, paper, reference"),
        ({"latent_dim": 0}, "at least 1"),
        ({"placeholders": -1}, "at least 0"),
        ({"kl_weight": -1.0}, "at least 0"),
        ({"cycle_weight": float("nan")}, "a finite number"),
        ({"hidden": (8, 0)}, "whole numbers in a tuple, at least 1"),
        ({"dropout": 1.0}, "below 1"),
        ({"hidden": ()}, "expected whole numbers"),
        ({"attention": "tokens", "tokens": 3}, "expected a divisor of the last width 8"),
        ({"lines": ("s0",)}, "1 names of the data have no batch column .s1"),
        ({"targets": ("g0", "g1")}, "have no perturbation column .c"),
    ],
)
def test_settings_out_of_range(settings, said):
    with pytest.raises(InputError, match=said):
        cycseq.build(minibatch.spec(), **(SMALL | settings))
