"""scGen beyond the contract: its variants by hand, deltas, what is left out of them, and what it
refuses."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse

from jaxpert import data
from jaxpert.core import fit
from jaxpert.core.types import SPLITS, Best, InputError, TrainState
from jaxpert.models.scgen import checks, deltas
from jaxpert.models.scgen import model as scgen
from jaxpert.models.scgen.network import Layer, Noise
from jaxpert.models.scgen.setup import make
from jaxpert.nn.transforms import log1p_normalize
from jaxpert.tasks.screen.feeds import feeds_of
from jaxpert.tasks.screen.keys import TrainKeys
from jaxpert.tasks.screen.predict import make_request
from support import minibatch, toy

SIZES = {"latent_dim": 3, "hidden_dim": 5}
SLOPES = {"default": 0.01, "v1": 0.2, "v2": 0.01}


def made(**settings):
    return make(minibatch.spec(), **SIZES, **settings)


@functools.cache
def stepped(variant="default", dropout=0.0):
    """(net, params, state before, state after one pass, loss) without noise but that of z."""
    net = made(variant=variant, dropout=dropout)

    @jax.jit
    def start(key, batch):
        params, state = scgen.init(net, key, batch)
        value, (after, _) = scgen.loss(net, params, state, key, batch)
        sums = scgen.validation_sums(net, params, after, key, batch)
        return params, state, after, value, scgen.validation_loss(net, sums)

    return net, *start(jax.random.key(0), minibatch.batch())


def cells() -> np.ndarray:
    return np.asarray(log1p_normalize(minibatch.batch().x[minibatch.batch().mask]), np.float64)


# the network by hand


def hidden(x, params, moments, slope):
    y = x @ params["kernel"]
    if "norm" in params:
        norm, stats = params["norm"], moments["norm"]
        y = (y - stats["mean"]) / np.sqrt(stats["variance"] + 1e-3) * norm["scale"] + norm["bias"]
    return np.where(y > 0, y, slope * y)


def by_hand(variant, params, moments, x, z=None):
    """(mean, variance, reconstruction) of cells, or the decoder of given latents."""
    side = {name: (params[name], moments[name]) for name in ("encoder", "decoder")}
    for name in ("encoder", "decoder"):
        own, stats = side[name]
        for layer in sorted(own["trunk"]):
            x = hidden(x, own["trunk"][layer], stats.get("trunk", {}).get(layer), SLOPES[variant])
        if name == "encoder":
            mean, log_var = (
                x @ own[head]["kernel"] + own[head]["bias"] for head in ("mean", "log_var")
            )
            x = mean
    own, stats = side["decoder"]
    if variant == "v2":
        return mean, np.exp(log_var) + 1e-4, hidden(x, own["layer"], stats["layer"], 0.01)
    out = x @ own["out"]["kernel"] + own["out"]["bias"]
    if variant == "v1":
        return mean, np.exp(log_var), np.maximum(out, 0)
    return mean, np.exp(log_var) + 1e-4, out


@pytest.mark.parametrize("variant", SLOPES)
def test_variants_are_those_of_the_page(variant):
    net, params, _, state, _, (value, terms) = stepped(variant)
    params, moments = jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float64), (params, state["batch_stats"])
    )
    x = cells()
    mean, variance, predicted = by_hand(variant, params, moments, x)
    error = 0.5 * ((x - predicted) ** 2).sum(1).mean()
    kl = 0.5 * (variance + mean**2 - 1 - np.log(variance)).sum(1).mean()
    assert terms["reconstruction"] == pytest.approx(error, rel=1e-4)
    assert terms["kl"] == pytest.approx(kl, rel=1e-4)
    assert value == pytest.approx(error + (0.5 if variant == "v2" else 1) * 5e-5 * kl, rel=1e-4)
    shape = {name: sorted(own["trunk"]) for name, own in params.items()}
    assert shape == {
        "encoder": ["layer0", "layer1"],
        "decoder": ["layer0", "layer1"][: 1 if variant == "v2" else 2],
    }
    assert ("norm" in params["decoder"]["trunk"][shape["decoder"][-1]]) == (variant != "v1")
    assert set(params["encoder"]["trunk"]["layer0"]) == {"kernel", "norm"}, (
        "no bias before a normalisation"
    )


def test_moments_are_remembered_at_one_percent():
    _, params, before, after, *_ = stepped()
    y = cells() @ np.asarray(params["encoder"]["trunk"]["layer0"]["kernel"], np.float64)
    stats = [
        state["batch_stats"]["encoder"]["trunk"]["layer0"]["norm"] for state in (before, after)
    ]
    assert not stats[0]["mean"].any() and (stats[0]["variance"] == 1).all()
    np.testing.assert_allclose(stats[1]["mean"], 0.01 * y.mean(0), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(stats[1]["variance"], 0.99 + 0.01 * y.var(0, ddof=1), rtol=1e-5)


def test_dropout_keeps_the_mean_and_depends_on_the_cell():
    layer = Layer(2, 4000, number=3, slope=0.01, dropout=0.2, normalized=False)
    x = jnp.ones((3, 2))
    params = layer.init(jax.random.key(0), x, None)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(1), jnp.array([7, 7, 8]))
    whole, noisy = layer.apply(params, x, None), layer.apply(params, x, Noise(jnp.ones(3), keys))
    dropped = np.asarray(noisy == 0)
    assert dropped.mean(1) == pytest.approx([0.2] * 3, abs=0.03)
    np.testing.assert_allclose(noisy[~dropped], whole[~dropped] / 0.8, rtol=1e-6)
    assert (dropped[0] == dropped[1]).all() and (dropped[0] != dropped[2]).any()


# deltas


def test_types_count_alike_in_a_delta():
    """Latents are constant within type and side, so that the draws leave no choice."""
    perturbed, kind = np.arange(60) % 4 == 0, np.where(np.arange(60) < 45, 0, 1)
    latent = np.stack(
        [np.where(kind == 0, 1.0, 5.0) + perturbed * np.where(kind == 0, 2.0, 4.0), perturbed], 1
    )
    rng = np.random.default_rng(0)
    many = np.mean([deltas.delta(latent, perturbed, kind, rng) for _ in range(400)], axis=0)
    assert many == pytest.approx([3.0, 1.0], abs=0.05)
    one = deltas.delta(latent[kind == 0], perturbed[kind == 0], kind[kind == 0], rng)
    np.testing.assert_array_equal(one, [2.0, 1.0])


def test_deltas_repeat_with_the_generator_and_draw_without_replacement():
    rng = np.random.default_rng(1)
    latent, perturbed = rng.normal(size=(50, 2)), np.arange(50) < 20
    got = [
        deltas.delta(latent, perturbed, np.zeros(50, int), np.random.default_rng(seed))
        for seed in (0, 0, 1)
    ]
    assert (got[0] == got[1]).all() and (got[0] != got[2]).any()
    # The smaller side is drawn whole.
    controls = latent[:20].mean(0) - got[0]
    assert all(not np.allclose(controls, latent[:20].mean(0) - other) for other in got[2:])
    drawn = np.random.default_rng(0)
    drawn.choice(20, 20, replace=False)
    np.testing.assert_allclose(controls, latent[20 + drawn.choice(30, 20, replace=False)].mean(0))
    with pytest.raises(InputError, match="0 perturbed and 50 control"):
        deltas.delta(latent, np.zeros(50, bool), np.zeros(50, int), drawn)


def test_cells_behind_a_delta():
    condition = np.array([0, 1, 0, 1, 0, 2, 1])
    stratum = np.array([0, 0, 1, 1, 2, 2, 3])
    rows = functools.partial(deltas.source_rows, condition, stratum)
    assert rows(1, 0, None).tolist() == [0, 1, 2, 3], (
        "not stratum 2 without it nor 3 without control"
    )
    assert rows(1, 0, 0).tolist() == [2, 3]
    assert rows(1, 0, 2).tolist() == [0, 1, 2, 3]
    assert rows(2, 0, 2).tolist() == [4, 5], "its own, where no other has it"
    apart = deltas.source_rows(condition[[0, 2, 6]], stratum[[0, 2, 6]], 1, 0, 0)
    assert apart.tolist() == [0, 1, 2]


@functools.cache
def screen(cells=203, **changes):
    return replace(toy.dataset(cells), **changes)


def test_a_stratum_may_be_kept_out_of_its_own_deltas():
    net = make(data.make_spec(screen()), **SIZES, delta_from="others")
    batch = data.make_batch(screen(), screen().rows("train")[:20])
    params, state = jax.jit(functools.partial(scgen.init, net))(jax.random.key(0), batch)
    assert state["deltas"].shape == (2, 4, 3)
    key = jax.random.key(1)
    first = scgen.after_training(net, params, state, key, screen())
    own = np.flatnonzero((screen().stratum == 0) & (screen().condition == 1))
    changed = screen().counts.toarray()
    changed[own] = changed[own][:, ::-1] + 3
    after = scgen.after_training(
        net, params, state, key, replace(screen(), counts=type(screen().counts)(changed))
    )
    same = np.all(first["deltas"] == after["deltas"], axis=-1)
    np.testing.assert_array_equal(same, [[True] * 4, [True, False, True, True]])
    np.testing.assert_array_equal(first["deltas"][:, 0], 0)
    request = make_request(screen().condition_treatments[[1, 1]])._replace(
        stratum=jnp.array([0, 1])
    )
    moved = scgen.shifts(net, first, request.treatment, request.stratum)
    np.testing.assert_allclose(moved, first["deltas"][:, 1], rtol=1e-6)
    x = log1p_normalize(batch.x[:2])
    there = scgen.predict_cells(net, params, first, x, moved)
    z = scgen.latent_means(net, params, first, x)
    decode = functools.partial(
        net.network.apply, {"params": params, "batch_stats": first["batch_stats"]}
    )
    np.testing.assert_allclose(there, decode(z + moved, method="decode"), rtol=1e-6)
    back = scgen.predict_cells(net, params, first, x, moved, sign=-1)
    np.testing.assert_allclose(back, decode(z - moved, method="decode"), rtol=1e-6)


def test_combinations_add_up_and_the_mean_stands_in():
    spec = replace(minibatch.spec(), condition_cells=np.array([20, 30, 20, 0, 0]))
    net = make(spec, **SIZES)
    shifts = np.random.default_rng(0).normal(size=(1, 5, 3)).astype(np.float32)
    rows = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1], [1, 0, 1]], np.float32)
    got = scgen.shifts(net, {"deltas": jnp.asarray(shifts)}, jnp.asarray(rows), jnp.ones(5, int))
    a, b = shifts[0, 1], shifts[0, 2]
    np.testing.assert_allclose(
        got, [0 * a, a, a + b, (a + b) / 2, a + (a + b) / 2], rtol=1e-5, atol=1e-6
    )
    found = checks.support(net, rows)
    assert found == (
        "trained",
        "trained",
        "sum of trained treatments",
        *["never given alone in training: c"] * 2,
    )
    whole = make(minibatch.spec(), **SIZES)
    pair = scgen.shifts(
        whole, {"deltas": jnp.asarray(shifts)}, jnp.asarray(rows[2:3]), jnp.ones(1, int)
    )
    np.testing.assert_allclose(pair, shifts[:, 4], rtol=1e-6)
    assert checks.support(whole, rows[2:3]) == ("trained",)


def test_a_trained_model_moves_control_cells_to_the_perturbed_ones():
    """In one stratum, where an autoencoder that reconstructs cells has little left to err in."""
    rng = np.random.default_rng(0)
    whole = toy.dataset(300)
    rate = np.exp(4 + np.vstack([np.zeros(12), rng.normal(0, 0.7, (3, 12))])[whole.condition])
    counts = sparse.csr_matrix(rng.poisson(rate).astype(np.uint16))
    dataset = replace(whole, counts=counts, stratum=0 * whole.stratum, split=0 * whole.condition)
    model = scgen.build(data.make_spec(dataset), latent_dim=4, hidden_dim=32, dropout=0.0)
    train = TrainKeys(epochs=200, batch_size=100, learning_rate=3e-3, patience=0, devices=1)
    fitted = fit.fit(model, dataset, feeds_of(dataset, 0, model, train), train)
    x = np.asarray(log1p_normalize(jnp.asarray(counts.toarray(), jnp.float32)))
    means = np.stack([x[whole.condition == c].mean(0) for c in range(4)])
    controls = jnp.asarray(counts[whole.condition == 0][:20].toarray(), jnp.float32)
    request = make_request(np.repeat(whole.condition_treatments, 20, axis=0))
    predicted = model.predict(
        *fitted[1:3], jax.random.key(0), request._replace(control=jnp.tile(controls, (4, 1)))
    )
    error = np.square(np.asarray(predicted).reshape(4, 20, -1).mean(1) - means).sum(1)
    assert (error[1:] < 0.5 * np.square(means[0] - means[1:]).sum(1)).all()
    assert (fitted.state["deltas"] != fitted.train.best.state["deltas"]).any()


def test_seeds_have_deltas_each_of_its_own():
    """And a run's deltas come from its key alone, so that a finished run read back has the same."""
    net = make(data.make_spec(screen()), **SIZES)
    model = scgen.build(data.make_spec(screen()), **SIZES)
    batch = data.make_batch(screen(), screen().rows("train")[:20])
    keys = jax.vmap(jax.random.key)(jnp.array([3, 4]))
    params, state = jax.jit(jax.vmap(functools.partial(scgen.init, net), (0, None)))(keys, batch)
    none = jnp.zeros(2, jnp.int32)
    of_train = TrainState(params, state, (), keys, none, Best(params, state, jnp.zeros(2), none))
    both = fit.Fitted(model, params, state, of_train)
    each = fit.after_training(both, screen())
    assert each.state["deltas"].shape == (2, 1, 4, 3)
    one = fit.pick_seed(both, 1)
    one = fit.after_training(one._replace(train=of_train._replace(key=keys[1])), screen())
    np.testing.assert_array_equal(one.state["deltas"], each.state["deltas"][1])


# refusals


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variant": "v3"}, "variant is 'v3', expected one of default, v1, v2"),
        ({"delta_from": "own"}, "delta_from is 'own', expected one of all, others"),
        ({"latent_dim": 0}, "latent_dim is 0, expected a whole number"),
        ({"hidden_layers": True}, "hidden_layers is True"),
        ({"dropout": 1.0}, "dropout is 1.0, expected a finite number, at least 0 and below 1"),
        ({"kl_weight": float("nan")}, "kl_weight is nan"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        scgen.build(minibatch.spec(), **settings)


def test_data_that_cannot_carry_it():
    def notes(dataset):
        return scgen.build(data.make_spec(dataset), **SIZES).check(dataset)

    assert notes(screen()) == ()
    train = SPLITS.index("train")
    without = replace(screen(), split=np.where(screen().condition == 0, SPLITS.index("val"), train))
    with pytest.raises(InputError, match="0 control cells and 3 perturbations"):
        notes(without)
    only = replace(screen(), split=np.where(screen().condition == 0, train, SPLITS.index("val")))
    with pytest.raises(InputError, match="control cells and 0 perturbations"):
        notes(only)
    empty = screen().counts.toarray()
    empty[5] = 0
    with pytest.raises(InputError, match="1 cells of 'toy' have no counts"):
        notes(replace(screen(), counts=type(screen().counts)(empty)))
    apart = notes(replace(screen(), stratum=(screen().condition == 2).astype(int)))
    assert (
        len(apart) == 1
        and "1 perturbations share no stratum" in apart[0]
        and apart[0].endswith("too: b")
    )
    unseen = notes(
        replace(screen(), split=np.where(screen().condition == 3, SPLITS.index("test"), train))
    )
    assert (
        len(unseen) == 1
        and unseen[0].startswith("1 treatments were never")
        and unseen[0].endswith(": c")
    )
