"""Six published Adam steps of GEARS, its losses, initial values and predictions of a trained
network."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxpert.core import optim
from jaxpert.core.types import Request
from jaxpert.models.gears import changes, losses
from jaxpert.models.gears import model as gears
from support import gears_published as published
from support.paths import PARITY

BATCHES = [(0, 1, 2, 3, 4, 5), (5, 2, 1), (0, 3, 4, 2)]
TRAJECTORIES = {"adam_trajectory": "none", "adam_trajectory_uncertainty": "shipped"}

pytestmark = pytest.mark.parity


def published_adam(rates):
    """Clip by value, coupled weight decay, Adam, and the rate halved after every epoch of two
    batches (docs/models/gears.md, Optimiser and schedule)."""
    np.testing.assert_allclose(rates, [rates[0] * 0.5 ** (step // 2) for step in range(len(rates))])
    rate = optim.decayed(float(rates[0]), 0.5, 2)
    return optim.build("adam", rate, weight_decay=5e-4, clip=1.0, clip_kind="value")


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_six_steps_of_adam(gears_arrays, name):
    """float64 at 1e-7 (with uncertainty at 1e-6), linear biases before a normalisation included."""
    expected, inputs = gears_arrays(name), gears_arrays("inputs")
    near = partial(
        np.testing.assert_allclose,
        **dict.fromkeys(("rtol", "atol"), 1e-7 if TRAJECTORIES[name] == "none" else 1e-6),
    )
    treatment = published.multi_hot(inputs["pert_idx"], 12)
    with jax.enable_x64(True):
        settings = {"compat": "reference", "uncertainty": TRAJECTORIES[name]}
        net = published.toy(
            inputs, gears_arrays("graphs_forward"), inputs["condition"], treatment, **settings
        )
        params, state = published.translated(gears_arrays("weights"))
        if TRAJECTORIES[name] == "none":
            del params["uncertainty_mlp"], state["uncertainty_mlp"]
        params = gears.cap(params)
        optimizer = published_adam(expected["lr"])
        moments, one_step = jax.jit(optimizer.init)(params), stepper(net, optimizer)
        for number, cells in enumerate(BATCHES * 2):
            padded = [*cells, *range(6 - len(cells))]  # so that one compiled step does for all
            batch = published.make_batch(
                net, inputs, inputs["condition"], treatment, padded, "float64", len(cells)
            )
            x, y = (jnp.asarray(inputs[which][padded]) for which in "xy")
            params, state, moments, value, largest = one_step(params, state, moments, batch, x, y)
            near(value, expected["loss"][number])
            near(largest, expected["gmax"][number])
            if number == 0:
                same_weights(near, expected, "step1/", params, state)
        same_weights(near, expected, "final/", params, state)
        batch = published.make_batch(
            net, inputs, inputs["condition"], treatment, range(6), "float64"
        )
        predict = jax.jit(
            lambda p, s: changes.changes_in_evaluation(net, p, s, changes.pool(net, batch))
        )
        near(inputs["x"] + predict(params, state).mean, expected["final_eval_pred"])


def stepper(net, optimizer):
    @jax.jit
    def step(params, state, moments, batch, x, y):
        def loss(params):
            pooled = changes.pool(net, batch)
            change, after = changes.changes_in_training(net, params, state, pooled)
            cells = gears.compare(pooled, change, batch, x, y)
            return gears.total(net, cells, batch)[0], after

        (value, after), slopes = jax.value_and_grad(loss, has_aux=True)(params)
        updates, moments = optimizer.update(slopes, moments, params)
        largest = jnp.stack([abs(leaf).max() for leaf in jax.tree.leaves(slopes)]).max()
        return gears.cap(optax.apply_updates(params, updates)), after, moments, value, largest

    return step


def same_weights(near, expected, prefix, params, state):
    """The published code caps the stored tables at the next look-up, ours at once."""
    wanted, moments = published.translated(expected, prefix)
    if "uncertainty_mlp" not in params:
        wanted.pop("uncertainty_mlp", None)
        moments.pop("uncertainty_mlp", None)
    jax.tree.map(near, params, gears.cap(wanted))
    if moments:
        jax.tree.map(near, state, moments)


@pytest.fixture
def compared(gears_arrays, precision):
    """(cells, share and gene weights, the fixture's arrays) of `losses`; conditions in the order of
    names."""
    a = gears_arrays("losses")
    names = sorted(set(a["condition"].tolist()))
    kept = np.ones((len(names), a["y"].shape[1]), bool)
    for number, one in enumerate(names):
        if f"retain/{one}" in a:
            kept[number] = np.isin(np.arange(kept.shape[1]), a[f"retain/{one}"])
    condition = jnp.asarray([names.index(one) for one in a["condition"]])
    y, pred, spread, control = (
        jnp.asarray(a[key], precision) for key in ("y", "pred", "logvar", "ctrl")
    )

    def value(mask=None, **weights):
        mask = jnp.ones(len(y), bool) if mask is None else jnp.asarray(mask)
        share = losses.cell_shares(condition, mask, len(names), precision)
        genes = losses.gene_shares(
            jnp.asarray(kept), condition, names.index("ctrl"), len(control), precision
        )
        cells = losses.Cells(y, pred, spread, condition, mask)
        return losses.objective(cells, share, genes, control, losses.Weights(**weights))

    return value, a


def test_losses(compared, precision):
    value, a = compared
    near = partial(np.testing.assert_allclose, rtol={"float64": 1e-10, "float32": 2e-5}[precision])
    for weight in (0.001, 0.1, 1.0):
        near(value(direction_weight=weight)[0], a[f"loss_lambda{weight}"])
    for weight in (0.1, 1.0):
        loss, _ = value(uncertainty="shipped", uncertainty_weight=weight)
        np.testing.assert_allclose(loss, a[f"unc_loss_reg{weight}_lambda0.1"], rtol=1e-6)


def test_losses_of_one_condition(compared, precision):
    value, a = compared
    near = partial(
        np.testing.assert_allclose, rtol={"float64": 1e-7, "float32": 2e-5}[precision], atol=1e-12
    )
    names = sorted(set(a["condition"].tolist()))
    assert len(names) == 4
    for one in names:
        mask = a["condition"] == one
        loss, terms = value(mask, direction_weight=1.0)
        near(loss, a[f"piece/{one}/autofocus_plus_dir1"])
        near(terms["error"], a[f"piece/{one}/autofocus"])
        near(terms["direction"], a[f"piece/{one}/direction"])
        np.testing.assert_allclose(
            value(mask, uncertainty="shipped", direction_weight=0.0)[0],
            a[f"piece/{one}/unc_total_reg1"],
            rtol=1e-6,
        )


def test_initial_values():
    """Spread and range of every parameter at 5,000 genes, 900 nodes and width 64."""
    root = PARITY
    stats = json.loads((root / "gears/init_stats.json").read_text())["init"]
    genes, nodes = (tuple(f"{kind}{i}" for i in range(n)) for kind, n in (("g", 5000), ("p", 900)))
    none = np.zeros(0, int)
    named = {
        "coexpression": (genes, none, none, np.zeros(0)),
        "ontology": (nodes, none, none, np.zeros(0)),
    }
    spec = published.make_spec(
        genes, nodes, {k: published.graphs.named_graph(*v) for k, v in named.items()}
    )
    net = gears.make(spec, uncertainty="shipped")
    made = jax.jit(partial(net.network.init, gene_hops=net.gene_hops, hops=net.hops))(
        jax.random.key(0)
    )["params"]
    count = 0
    for name, (shape, std, low, high) in stats.items():
        if name.split(".")[0] in published.UNUSED:
            continue
        path, like = published.ours(name.split("."), np.zeros(shape))
        leaf = made
        for part in path:
            leaf = leaf[part]
        assert leaf.shape == like.shape, name
        count += leaf.size
        if leaf.size > 1:
            np.testing.assert_allclose(
                leaf.std(), std, rtol=4 / leaf.size**0.5, atol=1e-9, err_msg=name
            )
        if (
            name.endswith("bias") or ".network" in name or "lin" in name
        ):  # uniform within 1 / sqrt(inputs), or constant
            bound = max(abs(low), abs(high)) * 1.3
            assert abs(leaf).max() <= bound, name
    head = 64 * 128 + 128 + 2 * 128 + 128 * 64 + 64 + 2 * 64 + 64 + 1 + 2
    unused = 64 + 64 + 64 + 64
    assert count == 2_293_016 - (9853 - 900) * 64 + head - unused


def test_predictions_of_a_trained_network(gears_arrays):
    """The published mean over 300 drawn controls, of which one sees the co-expression graph;
    float32 at 1e-5."""
    a = gears_arrays("predict_end_to_end")
    genes, nodes = tuple(a["gene_name"].tolist()), tuple(a["pert_names"].tolist())
    named = {
        "coexpression": published.graph(genes, a, "coexp"),
        "ontology": published.graph(nodes, a, "go"),
    }
    net = gears.make(
        published.make_spec(genes, nodes, named, control_mean=a["ctrl_mean"]),
        hidden_dim=8,
        compat="reference",
    )
    params, state = published.translated(a, "weight/", "float32")
    keys = [key.removeprefix("pred/") for key in a if key.startswith("pred/")]
    members = np.array(
        [
            [nodes.index(g) for g in key.split("_")] + [-1] * (2 - len(key.split("_")))
            for key in keys
        ]
    )
    of_sets = jax.jit(partial(changes.changes, net))
    change = of_sets(params, state, jnp.asarray(members)).mean
    for key, row in zip(keys, change, strict=True):
        controls = a["ctrl_X"][a[f"ctrl_rows/{key}"]].mean(0)
        np.testing.assert_allclose(controls + row, a[f"pred/{key}"], rtol=1e-5, atol=1e-5)
    treatment = jnp.asarray(published.multi_hot(members, len(nodes)), "float32")
    rows = len(members)
    request = Request(treatment, jnp.ones(rows), jnp.zeros(rows, "int32"), jnp.zeros(rows))
    predicted = jax.jit(partial(gears.predict, net))(params, state, jax.random.key(0), request)
    np.testing.assert_allclose(predicted, a["ctrl_mean"] + change, rtol=1e-5, atol=1e-6)
    swapped = of_sets(params, state, jnp.asarray(members[:, ::-1])).mean
    np.testing.assert_allclose(swapped, change, rtol=1e-5, atol=1e-6)
