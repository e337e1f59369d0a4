"""Gene graphs from a user's edges, and the operators against jraph and dense algebra."""

from typing import Any

import jax
import jraph
import numpy as np
import pytest

from jaxpert.core.types import InputError
from jaxpert.nn import graphs
from support.dense_graph import dense

X = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)


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
    ("edges", "names", "message"),
    [
        ([("a", "b", 0.0)], None, "above 0"),
        ([("a", "b", float("nan"))], None, "above 0"),
        ([("a", "b", 0.1), ("a", "b", 0.2)], None, "again with 0.2"),
        ([("a", "b", 0.1)], ["a"], "no node"),
    ],
)
def test_wrong_user_edges(edges, names, message):
    with pytest.raises(InputError, match=message):
        graphs.from_edges(edges, names)


def test_gcn_is_jraphs():
    edges = graphs.edges_of(random_graph().graph)
    loops = np.setdiff1d(np.arange(9), edges.senders[edges.senders == edges.receivers])
    layer: Any = jraph.GraphConvolution(lambda nodes: nodes, symmetric_normalization=True)
    operator = graphs.gcn(random_graph().graph)
    assert len(operator.senders) == len(edges.senders) + len(loops)
    whole: Any = operator._replace(edges=None)
    theirs = jax.jit(lambda x: layer(whole._replace(nodes=x)).nodes)(X)
    np.testing.assert_allclose(dense(operator) @ X, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layers", [1, 2])
def test_hops_reach_only_what_is_asked_for(layers):
    operator = graphs.sgconv(random_graph().graph)
    asked = (np.arange(9), np.array([7]), np.array([3, 1, 3]))
    expected = np.linalg.matrix_power(dense(operator), layers) @ X

    @jax.jit
    def reach(x):
        reached = []
        for targets in (None, *asked[1:]):
            hops = graphs.hops(operator, layers, targets)
            y = x[hops.inputs]
            for hop in hops.steps:
                y = graphs.propagate(hop, y)
            reached.append(y[hops.outputs])
        return reached

    for targets, values in zip(asked, reach(X), strict=True):
        np.testing.assert_allclose(values, expected[targets], rtol=1e-4)
    last = graphs.hops(operator, 1, np.array([7])).steps[0]
    assert len(last.senders) == (graphs.edges_of(operator).receivers == 7).sum()


def test_attention_averages():
    hop = graphs.hops(graphs.gat(random_graph().graph), 1).steps[0]
    even = jax.jit(lambda x, logits: graphs.attend(hop, x, logits))
    sums = np.zeros((9, 4))
    np.add.at(sums, hop.receivers, X[hop.senders])
    counts = np.bincount(hop.receivers)
    logits = np.zeros(len(hop.senders), np.float32)
    np.testing.assert_allclose(even(X, logits), sums / counts[:, None], rtol=1e-5)
