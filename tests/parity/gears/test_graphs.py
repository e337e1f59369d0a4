"""Both graphs of GEARS and their propagation against the published code: edge sets equal, weights
at 1e-6."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse

from jaxpert.data import gene_graphs
from jaxpert.nn import graphs
from support import gears_published as published

pytestmark = pytest.mark.parity


def edges(graph):
    senders, receivers, weights, _ = graphs.edges_of(graph)
    return dict(zip(zip(senders.tolist(), receivers.tolist(), strict=True), weights, strict=True))


def same_edges(graph, arrays, prefix):
    got, index = edges(graph), arrays[f"{prefix}/edge_index"]
    expected = dict(zip(map(tuple, index.T.tolist()), arrays[f"{prefix}/edge_weight"], strict=True))
    assert got.keys() == expected.keys()
    np.testing.assert_allclose([got[edge] for edge in expected], list(expected.values()), atol=1e-6)


@pytest.mark.parametrize(("neighbours", "threshold"), [(3, 0.2), (3, 0.4), (20, 0.1)])
def test_coexpression(gears_arrays, neighbours, threshold, monkeypatch):
    a = gears_arrays("coexpression_graph")
    used = [name in a["train_conditions"] and "ctrl" in name for name in a["condition"]]
    x: Any = sparse.csr_matrix(a["X"][used])
    names = a["gene_name"].tolist()

    def build():
        blocks = lambda: (x[i : i + 7] for i in range(0, x.shape[0], 7))  # noqa: E731
        return gene_graphs.coexpression(
            names, blocks, neighbours=neighbours, threshold=threshold
        ).graph

    whole = build()
    same_edges(whole, a, f"k{neighbours}_t{threshold}")
    monkeypatch.setattr(gene_graphs, "BLOCK_ENTRIES", 4 * len(names))
    same_edges(build(), a, f"k{neighbours}_t{threshold}")


@pytest.mark.parametrize("neighbours", [3, 20])
def test_ontology(gears_arrays, neighbours, monkeypatch):
    a = gears_arrays("go_graph")
    terms = {
        key.removeprefix("gene2go/"): set(value.tolist()) for key, value in a.items() if "/P" in key
    }
    same_edges(
        gene_graphs.ontology(a["genes"].tolist(), terms, neighbours=neighbours).graph,
        a,
        f"k{neighbours}",
    )
    monkeypatch.setattr(gene_graphs, "BLOCK_ENTRIES", 1)
    same_edges(
        gene_graphs.ontology(a["genes"].tolist(), terms, neighbours=neighbours).graph,
        a,
        f"k{neighbours}",
    )


@pytest.mark.parametrize(("kind", "nodes"), [("coexp", 30), ("go", 12)])
def test_propagation(gears_arrays, kind, nodes, precision):
    a = gears_arrays("graphs_forward")
    names = [str(i) for i in range(nodes)]
    operator = graphs.sgconv(published.graph(names, a, kind).graph)
    expected, x = a[f"{kind}_norm_dense"], np.random.default_rng(0).normal(size=(nodes, 8))
    near = {"float64": 1e-10, "float32": 2e-5}[precision]

    def run(hops):
        y = jnp.asarray(x, precision)[hops.inputs]
        for hop in hops.steps:
            y = graphs.propagate(hop, y)
        return y[hops.outputs]

    np.testing.assert_allclose(
        jax.jit(lambda: run(graphs.hops(operator, 1)))(), expected @ x, atol=near
    )
    wanted = np.array([nodes - 1, 2, 5])
    some = graphs.hops(operator, 2, wanted)
    np.testing.assert_allclose(run(some), (expected @ expected @ x)[wanted], atol=near)
    assert len(some.steps[1].own) == 3 and len(some.steps[0].senders) <= len(
        graphs.edges_of(operator).senders
    )
