"""Gene graphs as `jraph.GraphsTuple`s: from correlations, from gene annotations, from a user's
edges.

Host side (NumPy) but for `propagate` and `attend`. An edge runs from a neighbour (sender) to the
gene that listens (receiver), with a positive weight; nodes are known by name. Source: GEARS, spec
sections 2 and 3.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import jraph
import numpy as np
from jaxtyping import Array, Float, Int

from jaxpert.core.types import InputError

NEIGHBOURS = 20
CORRELATION, JACCARD = 0.4, 0.1
"""Published thresholds; only values above them make an edge."""
BLOCK_ENTRIES = 2**24
"""Numbers of a dense block that are held at a time."""
TINY_SPREAD = 1e-6
"""Standard deviation relative to the mean below which a gene counts as constant."""

Blocks = Callable[[], Iterable[Any]]


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
    senders, receivers, weights = (
        np.asarray(part) for part in (graph.senders, graph.receivers, graph.edges)
    )
    return Edges(senders, receivers, weights, int(np.asarray(graph.n_node)[0]))


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
    found: dict[tuple[str, str], float] = {}
    for source, target, weight in edges:
        if not (np.isfinite(weight) and weight > 0):
            raise InputError(
                f"edge {source} -> {target} has importance {weight}, expected a number above 0"
            )
        if found.setdefault((source, target), weight) != weight:
            raise InputError(
                f"edge {source} -> {target} comes with importance {found[source, target]} and "
                f"again with {weight}, "
                "expected one: remove either"
            )
    nodes = (
        tuple(dict.fromkeys(name for edge in found for name in edge))
        if names is None
        else tuple(names)
    )
    place = {name: i for i, name in enumerate(nodes)}
    strangers = sorted({name for edge in found for name in edge} - set(place))
    if strangers:
        raise InputError(
            f"{len(strangers)} names of edges are no node of the graph "
            f"({', '.join(strangers[:4])} ...), expected "
            "the names of its genes: use the same gene symbols in both"
        )
    pairs = np.array([[place[a], place[b]] for a, b in found], int).reshape(-1, 2)
    return named_graph(nodes, pairs[:, 0], pairs[:, 1], np.array(list(found.values()), float))


def over(graph: NamedGraph, names: Sequence[str]) -> NamedGraph:
    """The same edges over other nodes, which must hold all that have an edge; new ones are
    isolated."""
    place = {name: i for i, name in enumerate(names)}
    edges = edges_of(graph.graph)
    number = np.array([place.get(name, -1) for name in graph.names], int)
    senders, receivers = number[edges.senders], number[edges.receivers]
    if (np.concatenate([senders, receivers]) < 0).any():
        raise ValueError("an edge's node is not among the new names")
    return named_graph(names, senders, receivers, edges.weights)


def coexpression(
    names: Sequence[str],
    blocks: Blocks,
    *,
    neighbours: int = NEIGHBOURS,
    threshold: float = CORRELATION,
    signed: bool = False,
) -> NamedGraph:
    """Link every gene to those that it correlates with most (spec 2.1).

    For each gene the `neighbours` + 1 largest |Pearson r| (itself among them, with weight 1) that
    exceed `threshold`; of equals the later genes. A constant gene has no edge. Three passes over
    the blocks; held at a time are one dense block of 2^24 numbers and the correlations of as many
    genes as make 2^24 numbers with all genes.

    Args:
        names: gene names, `[G]`.
        blocks: gives the log-normalised expression anew at each call, as CSR matrices or arrays
            `[cells, G]`.
        signed: rank by r instead of |r|, so that only positive correlations make an edge.
    """
    if threshold < 0:
        raise InputError(f"the correlation threshold is {threshold}, expected 0 or more")
    cells, mean = _mean(blocks, len(names))
    if cells < 2:
        raise InputError(
            f"the co-expression graph has {cells} cells, expected at least 2: change split.kind"
        )
    scale = _inverse_spread(blocks, mean, cells)
    width = max(1, BLOCK_ENTRIES // len(names))
    edges = []
    for start in range(0, len(names), width):
        targets = np.arange(start, min(start + width, len(names)))
        r = _correlations(blocks, targets, mean, scale)
        edges.append(
            _largest(r if signed else np.abs(r), neighbours + 1, threshold, targets, last=True)
        )
    return named_graph(names, *map(np.concatenate, zip(*edges, strict=True)))


def _dense(blocks: Blocks, genes: int) -> Iterator[Float[np.ndarray, "b G"]]:
    """Dense pieces of about BLOCK_ENTRIES numbers."""
    step = max(1, BLOCK_ENTRIES // genes)
    for block in blocks():
        for start in range(0, block.shape[0], step):
            part = block[start : start + step]
            yield np.asarray(part.toarray() if hasattr(part, "toarray") else part, np.float32)


def _mean(blocks: Blocks, genes: int) -> tuple[int, Float[np.ndarray, "G"]]:
    total, cells = np.zeros(genes), 0
    for x in _dense(blocks, genes):
        total += x.sum(0, dtype=np.float64)
        cells += len(x)
    return cells, total / max(cells, 1)


def _inverse_spread(
    blocks: Blocks, mean: Float[np.ndarray, "G"], cells: int
) -> Float[np.ndarray, "G"]:
    """Return 1 / sqrt(sum (x - mean)^2), and 0 for genes that are constant but for rounding."""
    squares = np.zeros(len(mean))
    for x in _dense(blocks, len(mean)):
        squares += np.square(x - mean).sum(0)
    varies = np.sqrt(squares / cells) > TINY_SPREAD * np.abs(mean)
    return np.where(varies, 1 / np.sqrt(np.where(varies, squares, 1)), 0)


def _correlations(
    blocks: Blocks,
    targets: Int[np.ndarray, "n"],
    mean: Float[np.ndarray, "G"],
    scale: Float[np.ndarray, "G"],
) -> Float[np.ndarray, "n G"]:
    """Pearson r of the target genes with all genes; 0 for constant genes, exactly 1 with
    themselves."""
    r = np.zeros((len(targets), len(mean)))
    for x in _dense(blocks, len(mean)):
        z = ((x - mean) * scale).astype(np.float32)
        r += z[:, targets].T @ z
    r[np.arange(len(targets)), targets] = scale[targets] > 0
    return r


def _largest(
    values: Float[np.ndarray, "n S"],
    count: int,
    threshold: float,
    targets: Int[np.ndarray, "n"],
    *,
    last: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(senders, receivers, weights) of the `count` largest values of each row that exceed the
    threshold.

    Of equals the first or the `last` senders.
    """
    order = np.argsort(values if last else -values, axis=1, kind="stable")
    order = order[:, -count:] if last else order[:, :count]
    chosen = np.take_along_axis(values, order, 1)
    row, rank = np.nonzero(chosen > threshold)
    return order[row, rank], targets[row], chosen[row, rank]


def ontology(
    names: Sequence[str],
    terms: Mapping[str, Collection[str]],
    *,
    neighbours: int = NEIGHBOURS,
    threshold: float = JACCARD,
) -> NamedGraph:
    """Link every gene to those that share most of its annotation terms (spec 2.2).

    The weight is the Jaccard index |A & B| / |A | B| of the two genes' terms. For each gene the
    `neighbours` + 1 largest (itself among them, with weight 1) that exceed `threshold`; of equals
    the first in `names`. A gene without terms has no edge.

    Args:
        names: the nodes, `[P]`.
        terms: annotation terms of each gene; genes that are no node are ignored.
    """
    if threshold < 0:
        raise InputError(f"the Jaccard threshold is {threshold}, expected 0 or more")
    annotated = _incidence([terms.get(name, ()) for name in names])
    sizes = annotated.sizes[0]
    width = max(1, BLOCK_ENTRIES // 4 // max(len(names), 1))
    edges = [_largest(np.zeros((0, len(names))), 1, threshold, np.arange(0), last=False)]
    for start in range(0, len(names), width):
        targets = np.arange(start, min(start + width, len(names)))
        shared = _shared_terms(annotated, targets)
        union = sizes[targets, None] + sizes - shared
        edges.append(
            _largest(shared / np.maximum(union, 1), neighbours + 1, threshold, targets, last=False)
        )
    return named_graph(names, *map(np.concatenate, zip(*edges, strict=True)))


class _Incidence(NamedTuple):
    """Which genes have which terms, by gene and by term: for each of the two `members` in a row,
    and `sizes`."""

    members: tuple[np.ndarray, np.ndarray]
    sizes: tuple[np.ndarray, np.ndarray]


def _incidence(terms_of: Sequence[Collection[str]]) -> _Incidence:
    place: dict[str, int] = {}
    term = np.array(
        [place.setdefault(t, len(place)) for terms in terms_of for t in sorted(set(terms))], int
    )
    gene = np.repeat(np.arange(len(terms_of)), [len(set(terms)) for terms in terms_of])
    sizes = np.bincount(gene, minlength=len(terms_of)), np.bincount(term, minlength=len(place))
    return _Incidence((term, gene[np.argsort(term, kind="stable")]), sizes)


def _shared_terms(annotated: _Incidence, targets: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n P"]:
    """Number of terms that each target shares with each gene, counted over the genes of its
    terms."""
    (terms, genes), (by_gene, by_term) = annotated
    first, last = by_gene[: targets[0]].sum(), by_gene[: targets[-1] + 1].sum()
    mine = terms[first:last]
    lengths = by_term[mine]
    starts = (np.cumsum(by_term) - by_term)[mine]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    others = genes[np.repeat(starts, lengths) + within]
    rows = np.repeat(np.repeat(np.arange(len(targets)), by_gene[targets]), lengths)
    return np.bincount(rows * len(by_gene) + others, minlength=len(targets) * len(by_gene)).reshape(
        len(targets), -1
    )


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
    """Return the graph of the weighted SGConv operator: M[t, s] = w / sqrt(deg_t deg_s) (spec 3).

    A node without a stored self edge gets one of weight 1; deg is the sum of the weights that come
    in, at both ends. (`jraph.GraphConvolution` ignores weights and takes the out-degree at the
    sender.)
    """
    full = _with_self_edges(graph)
    degree = np.bincount(full.receivers, full.weights, full.nodes)
    return _tuple(
        full._replace(weights=full.weights / np.sqrt(degree[full.receivers] * degree[full.senders]))
    )


def gcn(graph: jraph.GraphsTuple) -> jraph.GraphsTuple:
    """Return the graph of Kipf and Welling's operator as `jraph.GraphConvolution` has it: weights
    ignored, 1 / sqrt(in-degree of the receiver, out-degree of the sender), with self edges."""
    full = _with_self_edges(graph)
    incoming, outgoing = (
        np.bincount(ends, minlength=full.nodes) for ends in (full.receivers, full.senders)
    )
    return _tuple(
        full._replace(weights=1 / np.sqrt(incoming[full.receivers] * outgoing[full.senders]))
    )


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
    nodes, outputs = np.unique(
        np.arange(edges.nodes) if targets is None else targets, return_inverse=True
    )
    steps: tuple[Hop, ...] = ()
    for _ in range(layers):
        kept = np.flatnonzero(np.isin(edges.receivers, nodes))
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
