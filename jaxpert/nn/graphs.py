"""Gene graphs as `jraph.GraphsTuple`s, and the operators that pass messages along them.

An edge runs from a neighbour (sender) to the gene that listens (receiver), with a positive weight;
nodes are known by name. Everything is on the host (NumPy) but for `propagate` and `attend`. How the
graphs of a data set are made is in `data.gene_graphs`; the operators are those of
docs/models/gears.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import jax.numpy as jnp
import jraph
import numpy as np
from jaxtyping import Array, Float, Int

from jaxpert.core.types import InputError


class NamedGraph(NamedTuple):
    """A graph and the names of its nodes, in their order."""

    names: tuple[str, ...]
    graph: jraph.GraphsTuple
    """One directed simple graph: `edges [E]` are weights, `nodes` is None."""


def named_graph(
    names: Sequence[str],
    senders: Int[np.ndarray, "E"],
    receivers: Int[np.ndarray, "E"],
    weights: Float[np.ndarray, "E"],
) -> NamedGraph:
    """A graph from node numbers; nodes without an edge stay."""
    return NamedGraph(
        tuple(names), _tuple(Edges(np.asarray(senders), np.asarray(receivers), weights, len(names)))
    )


class Edges(NamedTuple):
    """The one graph of a `GraphsTuple` on the host."""

    senders: Int[np.ndarray, "E"]
    receivers: Int[np.ndarray, "E"]
    weights: Float[np.ndarray, "E"]
    nodes: int


def edges_of(graph: jraph.GraphsTuple) -> Edges:
    """The edges with their weights, and the number of nodes."""
    ends = np.asarray(graph.senders), np.asarray(graph.receivers)
    return Edges(*ends, np.asarray(graph.edges), int(np.asarray(graph.n_node)[0]))


def _tuple(edges: Edges) -> jraph.GraphsTuple:
    parts: dict[str, Any] = {
        "nodes": None,
        "edges": np.asarray(edges.weights),
        "senders": edges.senders.astype(np.int32),
        "receivers": edges.receivers.astype(np.int32),
        "n_node": np.array([edges.nodes], np.int32),
        "n_edge": np.array([len(edges.senders)], np.int32),
        "globals": None,
    }
    return jraph.GraphsTuple(**parts)


def from_edges(
    edges: Iterable[tuple[str, str, float]], names: Sequence[str] | None = None
) -> NamedGraph:
    """A user's graph from (source, target, importance); an edge that comes twice counts once.

    Args:
        edges: importance is finite and above 0.
        names: the nodes; None takes every name of an edge, in the order in which they first come.

    Raises:
        InputError: for a weight that is not above 0, the same edge with two weights, and a name
            that is no node.
    """
    # A dict keeps the order of the file, which decides the numbers of the nodes.
    given: dict[tuple[str, str], float] = {}
    for source, target, weight in edges:
        if not (np.isfinite(weight) and weight > 0):
            raise InputError(
                f"edge {source} -> {target} has importance {weight}, expected a number above 0: "
                "correct it"
            )
        if given.setdefault((source, target), weight) != weight:
            raise InputError(
                f"edge {source} -> {target} comes with importance {given[source, target]} and "
                f"again with {weight}, expected one: remove either"
            )
    ends = dict.fromkeys(chain.from_iterable(given))
    nodes = tuple(ends) if names is None else tuple(names)
    place = {name: i for i, name in enumerate(nodes)}
    strangers = sorted(set(ends) - set(place))
    if strangers:
        raise InputError(
            f"{len(strangers)} names of edges are no node of the graph ({', '.join(strangers[:4])} "
            "...), expected the names of its genes: use the same gene symbols in both"
        )
    senders, receivers = [], []
    for source, target in given:
        senders.append(place[source])
        receivers.append(place[target])
    weights = np.array(list(given.values()), float)
    return named_graph(nodes, np.array(senders, int), np.array(receivers, int), weights)


def over(graph: NamedGraph, names: Sequence[str]) -> NamedGraph:
    """The same edges over other nodes, which must hold all that have an edge; new ones are
    isolated."""
    place = {name: i for i, name in enumerate(names)}
    edges = edges_of(graph.graph)
    # New number of each old node; -1 for one that the new names lack, which may have no edge.
    number = np.array([place.get(name, -1) for name in graph.names], int)
    senders, receivers = number[edges.senders], number[edges.receivers]
    if (np.concatenate([senders, receivers]) < 0).any():
        raise InputError(
            "an edge's node is not among the new names, expected all of them: name every node of "
            "the graph"
        )
    return named_graph(names, senders, receivers, edges.weights)


class Hop(NamedTuple):
    """One propagation step from some nodes to some nodes, self edges included, edges in the order
    of receivers."""

    senders: Int[np.ndarray, "E"]
    receivers: Int[np.ndarray, "E"]
    weights: Float[np.ndarray, "E"]
    own: Int[np.ndarray, "n"]
    """Where each receiving node stands among the sending ones."""


class Hops(NamedTuple):
    """The steps, one per layer, that reach the wanted nodes."""

    inputs: Int[np.ndarray, "n"]
    """Nodes that the first step reads."""
    steps: tuple[Hop, ...]
    outputs: Int[np.ndarray, "n"]
    """Row of each wanted node in what the last step gives."""


def sgconv(graph: jraph.GraphsTuple) -> jraph.GraphsTuple:
    """Return the graph of the weighted SGConv operator: M[t, s] = w / sqrt(deg_t deg_s).

    A node without a stored self edge gets one of weight 1; deg is the sum of the weights that come
    in, at both ends. (`jraph.GraphConvolution` ignores weights and takes the out-degree at the
    sender.)
    """
    full = _with_self_edges(graph)
    # In-degrees at both ends (docs/models/gears.md, "Propagation operator").
    degree = np.bincount(full.receivers, full.weights, full.nodes)
    weights = full.weights / np.sqrt(degree[full.receivers] * degree[full.senders])
    return _tuple(full._replace(weights=weights))


def gcn(graph: jraph.GraphsTuple) -> jraph.GraphsTuple:
    """Return the graph of Kipf and Welling's operator as `jraph.GraphConvolution` has it: weights
    ignored, 1 / sqrt(in-degree of the receiver, out-degree of the sender), with self edges."""
    full = _with_self_edges(graph)
    # `jraph` takes the in-degree of the receiver and the out-degree of the sender.
    incoming = np.bincount(full.receivers, minlength=full.nodes)
    outgoing = np.bincount(full.senders, minlength=full.nodes)
    weights = 1 / np.sqrt(incoming[full.receivers] * outgoing[full.senders])
    return _tuple(full._replace(weights=weights))


def gat(graph: jraph.GraphsTuple) -> jraph.GraphsTuple:
    """Return the graph over which attention runs: weights ignored, with self edges."""
    full = _with_self_edges(graph)
    return _tuple(full._replace(weights=np.ones(len(full.weights))))


OPERATORS: dict[str, Callable[[jraph.GraphsTuple], jraph.GraphsTuple]] = {
    "sgconv": sgconv,
    "gcn": gcn,
    "gat": gat,
}


def _with_self_edges(graph: jraph.GraphsTuple) -> Edges:
    edges = edges_of(graph)
    # A stored self edge keeps its weight; the others get one of weight 1.
    missing = np.setdiff1d(np.arange(edges.nodes), edges.senders[edges.senders == edges.receivers])
    return edges._replace(
        senders=np.concatenate([edges.senders, missing]),
        receivers=np.concatenate([edges.receivers, missing]),
        weights=np.concatenate([edges.weights, np.ones(len(missing))]),
    )


def hops(
    operator: jraph.GraphsTuple, layers: int, targets: Int[np.ndarray, "n"] | None = None
) -> Hops:
    """Return the `layers` steps that give the values of `targets` (all nodes: None), and of no
    others.

    Values that no target hears of are never computed: one layer and 100 targets make 100 rows of a
    graph of 10,000 nodes. `operator` is what `sgconv`, `gcn` or `gat` returned, so that degrees are
    those of the whole graph.
    """
    edges = edges_of(operator)
    if targets is None:
        targets = np.arange(edges.nodes)
    # A node that is wanted twice is computed once; `outputs` says where each stands.
    nodes, outputs = np.unique(targets, return_inverse=True)
    steps: tuple[Hop, ...] = ()
    # From the last layer back: what a step reads, the step before it has to give.
    for _ in range(layers):
        kept = np.flatnonzero(np.isin(edges.receivers, nodes))
        # By receiver, so that segment sums may rely on sorted indices, which is faster.
        kept = kept[np.argsort(edges.receivers[kept], kind="stable")]
        sources, senders = np.unique(edges.senders[kept], return_inverse=True)
        receivers = np.searchsorted(nodes, edges.receivers[kept])
        steps = (
            Hop(senders, receivers, edges.weights[kept], np.searchsorted(sources, nodes)),
            *steps,
        )
        nodes = sources
    return Hops(nodes, steps, outputs)


def propagate(hop: Hop, x: Float[Array, "m H"]) -> Float[Array, "n H"]:
    """Weighted sums over incoming edges: one segment sum."""
    return _sum(hop, x[hop.senders] * jnp.asarray(hop.weights, x.dtype)[:, None])


def attend(hop: Hop, x: Float[Array, "m H"], logits: Float[Array, "E"]) -> Float[Array, "n H"]:
    """Averages over incoming edges, weighted by the softmax of their logits."""
    ends = jnp.asarray(hop.receivers)
    weights: Any = jraph.segment_softmax(logits, ends, len(hop.own), indices_are_sorted=True)
    return _sum(hop, x[hop.senders] * weights[:, None])


def _sum(hop: Hop, messages: Float[Array, "E H"]) -> Float[Array, "n H"]:
    return jraph.segment_sum(
        messages, jnp.asarray(hop.receivers), len(hop.own), indices_are_sorted=True
    )
