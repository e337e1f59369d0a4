"""Gene graphs: from correlations, annotations and a user's edges; the operators against jraph and
dense algebra."""

from typing import Any

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest
from scipy import sparse

from jaxpert.core.types import InputError
from jaxpert.data import gene_graphs as networks
from jaxpert.nn import graphs


def dense(graph):
    edges = graphs.edges_of(graph)
    matrix = np.zeros((edges.nodes, edges.nodes))
    matrix[edges.receivers, edges.senders] = edges.weights
    return matrix


def random_graph(nodes=9, seed=0):
    rng = np.random.default_rng(seed)
    index = np.argwhere(rng.random((nodes, nodes)) < 0.3)
    names = [str(i) for i in range(nodes)]
    return graphs.named_graph(names, index[:, 0], index[:, 1], rng.random(len(index)) + 0.1)


def test_user_edges():
    named = graphs.from_edges([("b", "a", 0.5), ("a", "a", 1.0), ("b", "a", 0.5)])
    assert named.names == ("b", "a") and len(graphs.edges_of(named.graph).senders) == 2
    assert dense(named.graph).tolist() == [[0, 0], [0.5, 1]]
    wider = graphs.over(named, ("x", "a", "b"))
    assert dense(wider.graph)[1].tolist() == [0, 1, 0.5]
    with pytest.raises(ValueError, match="not among"):
        graphs.over(named, ("a",))


@pytest.mark.parametrize(
    ("edges", "names", "said"),
    [
        ([("a", "b", 0.0)], None, "above 0"),
        ([("a", "b", float("nan"))], None, "above 0"),
        ([("a", "b", 0.1), ("a", "b", 0.2)], None, "again with 0.2"),
        ([("a", "b", 0.1)], ["a"], "no node"),
    ],
)
def test_wrong_user_edges(edges, names, said):
    with pytest.raises(InputError, match=said):
        graphs.from_edges(edges, names)


def test_correlations_of_constant_signed_and_equal_genes():
    rng = np.random.default_rng(0)
    a = rng.normal(size=50)
    x = np.stack([a, -a, a, np.full(50, 0.1), np.zeros(50), rng.normal(size=50)], 1)
    names = list("abcdef")
    absolute = dense(graphs.coexpression(names, lambda: [x], threshold=0.5).graph)
    np.testing.assert_allclose(absolute[:3, :3], 1, atol=1e-6)
    assert not absolute[3:5].any() and absolute[5, 5] == 1
    signed = dense(graphs.coexpression(names, lambda: [x], threshold=0.5, signed=True).graph)
    np.testing.assert_allclose(signed[:3, :3], [[1, 0, 1], [0, 1, 0], [1, 0, 1]], atol=1e-6)
    with pytest.raises(InputError, match="at least 2"):
        graphs.coexpression(names, lambda: [x[:1]])


def test_correlations_equal_numpys():
    x = sparse.random(300, 40, 0.3, "csr", rng=np.random.default_rng(0))
    got = dense(
        graphs.coexpression(
            [str(i) for i in range(40)], lambda: [x], neighbours=40, threshold=0.0
        ).graph
    )
    expected = np.abs(np.corrcoef(x.toarray(), rowvar=False))
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_annotations():
    terms = {"a": {"1", "2"}, "b": {"2", "3"}, "c": {"9"}, "other": {"1", "2"}}
    got = dense(graphs.ontology(["a", "b", "c", "bare"], terms).graph)
    np.testing.assert_allclose(
        got, [[1, 1 / 3, 0, 0], [1 / 3, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    )
    assert not len(graphs.edges_of(graphs.ontology(["bare"], terms).graph).senders)


def test_gcn_is_jraphs():
    edges = graphs.edges_of(random_graph().graph)
    loops = np.setdiff1d(np.arange(9), edges.senders[edges.senders == edges.receivers])
    x = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)
    layer: Any = jraph.GraphConvolution(lambda nodes: nodes, symmetric_normalization=True)
    whole: Any = graphs.gcn(random_graph().graph)._replace(nodes=jnp.asarray(x), edges=None)
    assert len(whole.senders) == len(edges.senders) + len(loops)
    np.testing.assert_allclose(
        dense(graphs.gcn(random_graph().graph)) @ x, layer(whole).nodes, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("layers", [1, 2])
def test_hops_reach_only_what_is_asked_for(layers):
    operator = graphs.sgconv(random_graph().graph)
    x = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)
    for targets in (None, np.array([7]), np.array([3, 1, 3])):
        hops = graphs.hops(operator, layers, targets)
        y = jnp.asarray(x)[hops.inputs]
        for hop in hops.steps:
            y = graphs.propagate(hop, y)
        expected = np.linalg.matrix_power(dense(operator), layers) @ x
        np.testing.assert_allclose(
            y[hops.outputs], expected[slice(None) if targets is None else targets], rtol=1e-4
        )
    one = graphs.hops(operator, 1, np.array([7])).steps[0]
    assert len(one.senders) == (graphs.edges_of(operator).receivers == 7).sum()


def test_attention_averages():
    hop = graphs.hops(graphs.gat(random_graph().graph), 1).steps[0]
    x = jnp.asarray(np.random.default_rng(1).normal(size=(9, 4)), jnp.float32)
    same = graphs.attend(hop, x, jnp.zeros(len(hop.senders)))
    counts = np.bincount(hop.receivers)
    np.testing.assert_allclose(
        same, jax.ops.segment_sum(x[hop.senders], hop.receivers, 9) / counts[:, None], rtol=1e-5
    )


def test_lognorm_blocks_leave_out_other_and_empty_cells():
    counts = sparse.csr_matrix(np.array([[1, 3], [0, 0], [2, 0], [5, 5]], np.uint8))
    got = np.concatenate(
        [b.toarray() for b in networks.lognorm_blocks(counts, np.array([1, 1, 1, 0], bool))]
    )
    np.testing.assert_allclose(got, np.log1p([[2500, 7500], [10_000, 0]]))
