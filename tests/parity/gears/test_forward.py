"""The GEARS network against the published one: activations, losses, gradients and remembered
moments.

float64 at 1e-10 (uncertainty losses and gradients at 1e-6: the published ones were summed in
float32), float32 at 2e-5.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert.models.gears import changes
from jaxpert.models.gears import model as gears
from jaxpert.models.gears.layers import project
from support import gears_published as published

EVERY = (0, 1, 2, 3, 4, 5)


class Case(NamedTuple):
    cells: tuple[int, ...] = EVERY
    condition: str = "condition"
    layers: int = 1
    spare: int = 0
    settings: dict = {"compat": "reference"}

    @property
    def uncertain(self) -> bool:
        return "uncertainty" in self.settings


OURS: dict = {}
UNCERTAIN = {"compat": "reference", "uncertainty": "shipped"}
TWO = {"compat": "reference", "gene_layers": 2, "perturbation_layers": 2}
CASES = {
    "forward_train": Case(),
    "forward_eval": Case(),
    "forward_train_f32": Case(),
    "forward_eval_f32": Case(),
    "forward_uncertainty_train": Case(settings=UNCERTAIN),
    "forward_uncertainty_eval": Case(settings=UNCERTAIN),
    "forward_two_layer_train": Case(layers=2, settings=TWO),
    "forward_two_layer_eval": Case(layers=2, settings=TWO),
    "forward_allctrl_eval": Case(cells=(0, 4)),
    "forward_onepert_train": Case(cells=(0, 1, 4)),
    "forward_onepert_eval": Case(cells=(0, 1, 4)),
    "forward_grouped_train": Case(condition="condition_grouped"),
    "forward_order_eval": Case(cells=EVERY[::-1]),
    "forward_allcellgraph_train": Case(settings=OURS),
    "forward_allcellgraph_eval": Case(settings=OURS),
    "forward_allcellgraph_train, a row per cell": Case(settings=OURS, spare=3),
    "forward_allcellgraph_eval, a row per cell": Case(settings=OURS, spare=3),
}
GROUPED = [[], [3, 7], [3, 7], [0], [], [3, 7]]
IN_FLOAT32 = (
    "forward_train_f32",
    "forward_eval_f32",
    "forward_uncertainty_train",
    "forward_allcellgraph_train",
)
"""Each fixture is compared in float64, and these in float32 too, as widely as single precision
allows."""
RUNS = [(name, "float64") for name in CASES if "f32" not in name] + [
    (name, "float32") for name in IN_FLOAT32
]


pytestmark = pytest.mark.parity


@pytest.fixture(params=RUNS, ids="-".join)
def precision(request):
    with jax.enable_x64(request.param[1] == "float64"):
        yield request.param[1]


@pytest.fixture
def name(request, precision):
    return request.node.callspec.params["precision"][0]


class Run(NamedTuple):
    """Ours on a fixture's batch, and the fixture."""

    train: bool
    case: Case
    net: gears.Gears
    params: dict
    state: dict
    batch: gears.Batch
    x: jax.Array
    y: jax.Array
    expected: dict


@pytest.fixture
def run(gears_arrays, name, precision) -> Run:
    case, file = CASES[name], name.split(",")[0]
    inputs, networks, expected = (gears_arrays(one) for one in ("inputs", "graphs_forward", file))
    condition = inputs[case.condition]
    treatment = published.multi_hot(
        inputs["pert_idx"] if case.condition == "condition" else GROUPED, 12
    )
    net = published.toy(inputs, networks, condition, treatment, spare=case.spare, **case.settings)
    params, state = published.translated(gears_arrays("weights"), "", precision, case.layers)
    if not case.uncertain:
        del params["uncertainty_mlp"], state["uncertainty_mlp"]
    batch = published.make_batch(net, inputs, condition, treatment, case.cells, precision)
    x, y = (jnp.asarray(inputs[which][list(case.cells)], precision) for which in "xy")
    return Run("train" in file, case, net, params, state, batch, x, y, expected)


def whole(run: Run, params):
    """(loss, (cells, state)) as `Model.loss` and `evaluate` compute them, from log-normalised
    profiles."""
    pooled = changes.pool(run.net, run.batch)
    assert len(pooled.cells) == (
        5 if run.case.settings == OURS and not run.case.spare else len(run.batch.mask)
    )
    if run.train:
        change, state = changes.changes_in_training(run.net, params, run.state, pooled)
    else:
        change, state = changes.changes_in_evaluation(run.net, params, run.state, pooled), run.state
    cells = gears.compare(pooled, change, run.batch, run.x, run.y)
    return gears.total(run.net, cells, run.batch)[0], (cells, state)


@pytest.fixture
def near(precision):
    # Digits of 32 bits depend on the CPU: batch moments of six cells left 2.6e-5 on one of them.
    tolerance = {"float64": 1e-10, "float32": 4e-5}[precision]
    return partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance)


def test_predictions_loss_moments_and_gradients(run, near, precision):
    has_slopes = any(key.startswith("grad/") for key in run.expected)
    function = partial(whole, run)
    if has_slopes:
        (loss, (cells, state)), slopes = jax.jit(jax.value_and_grad(function, has_aux=True))(
            run.params
        )
        same_slopes(slopes, run, precision)
    else:
        loss, (cells, state) = jax.jit(function)(run.params)
    near(cells.predicted, run.expected["pred"])
    if run.case.uncertain:
        near(cells.log_variance, run.expected["logvar"])
    # The published uncertainty loss was summed in float32, so it is known to 1e-6 of itself; a
    # float32 loss of ours has rounding of its own beside that.
    exact = 1e-6 if run.case.uncertain else 1e-10
    np.testing.assert_allclose(
        loss, run.expected["loss"], rtol={"float64": exact, "float32": 2e-5}[precision]
    )
    tables, expected = published.translated(run.expected, "after/", precision)
    assert len(tables) == 3
    jax.tree.map(near, gears.cap({name: run.params[name] for name in tables}), tables)
    assert bool(expected) == run.train
    if run.train:
        assert jax.tree.structure(state) == jax.tree.structure(expected)
        jax.tree.map(near, state, expected)


def same_slopes(slopes, run, precision):
    expected, _ = published.translated(run.expected, "grad/", precision, run.case.layers)
    assert jax.tree.structure(slopes) == jax.tree.structure(expected)
    largest = max(float(abs(leaf).max()) for leaf in jax.tree.leaves(expected))
    relative = 1e-3 if precision == "float32" else 1e-6 if run.case.uncertain else 1e-10
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=relative, atol=relative * largest * 0.1),
        slopes,
        expected,
    )


BETWEEN = (
    "forward_train",
    "forward_two_layer_eval",
    "forward_onepert_train",
    "forward_allcellgraph_train",
)


@pytest.mark.parametrize(
    "precision", [(name, "float64") for name in BETWEEN], indirect=True, ids="-".join
)
def test_what_lies_between(run, near):
    """Activations on the way, each row of the published B x G where ours has it once."""
    pooled, genes = changes.pool(run.net, run.batch), len(run.net.spec.genes)
    counts = (
        jax.ops.segment_sum(pooled.cells, pooled.variant, len(run.net.gene_hops))
        if run.train
        else None
    )
    variables = {"params": run.params, "batch_stats": run.state}
    call = partial(run.net.network.apply, variables, mutable=["batch_stats", "intermediates"])
    base, inside = jax.jit(partial(call, run.net.gene_hops, method="base"))(counts)
    rows = changes.rows_of(run.net, run.params, run.state, pooled)
    _, later = jax.jit(partial(call, method="decode"))(
        base, rows, pooled.cells if run.train else None
    )
    got = {
        name: value[0] for part in (inside, later) for name, value in part["intermediates"].items()
    }

    def cells(key):
        return run.expected[key].reshape(len(run.batch.mask), genes, -1)

    near(got["gene_relu"], cells("gene_emb_relu")[0])
    which = np.asarray(pooled.variant[pooled.row])
    near(got["position"][which], cells(f"pos_gnn_layer{run.case.layers - 1}"))
    near(base[which], cells("base_after_mlp"))
    full = changes.apply(run.net, run.params, run.state, "perturbations", run.net.every)
    near(full, run.expected[f"go_gnn_layer{run.case.layers - 1}"])
    near(changes.embeddings(run.net, run.params, run.state), full)
    near(got["z"][pooled.row], run.expected["z_first_decoder"])
    if "pert_fuse_out" in run.expected:
        perturbed = np.flatnonzero(rows.perturbed[pooled.row])
        wanted = run.expected["pert_fuse_out"][: len(perturbed)]  # a single one is there twice
        near(got["fused"][pooled.row][perturbed], wanted)


def test_stored_tables_are_projected_rows(gears_arrays):
    weights = gears_arrays("weights")["gene_emb.weight"]
    norms = np.linalg.norm(weights, axis=1)
    assert 0 < (norms > 1).sum() < len(norms)
    with jax.enable_x64(True):
        once = project(jnp.asarray(weights))
        np.testing.assert_allclose(np.linalg.norm(once, axis=1), np.minimum(norms, 1), rtol=1e-6)
        np.testing.assert_array_equal(project(once), once)
