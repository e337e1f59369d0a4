"""How much annotation each two perturbed genes share."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Float

from jaxpert.core.types import Dataset
from jaxpert.data.gene_graphs import COEXPRESSION, ONTOLOGY
from jaxpert.nn.graphs import NamedGraph


def similarity_of(dataset: Dataset) -> Float[np.ndarray, "T T"] | None:
    """From 0 to 1, between the treatments of a data set: the Jaccard index of their annotation
    terms, of all pairs; without terms the weights of the user's own graphs over their largest. None
    without either.
    """
    if dataset.terms:
        return shared_annotation([dataset.terms.get(name, ()) for name in dataset.treatments])
    # Co-expression is what the cells say, and no annotation.
    own = [graph for name, graph in dataset.graphs.items() if name not in (COEXPRESSION, ONTOLOGY)]
    if not own:
        return None
    return np.max([graph_weights(graph, dataset.treatments) for graph in own], axis=0)


def shared_annotation(terms_of: Sequence[Collection[str]]) -> Float[np.ndarray, "P P"]:
    """Jaccard index |A & B| / |A | B| of the terms of each two genes; 0 where either has none."""
    from scipy import sparse

    place: dict[str, int] = {}
    columns = [place.setdefault(term, len(place)) for terms in terms_of for term in sorted(terms)]
    sizes = np.array([len(terms) for terms in terms_of])
    rows = np.repeat(np.arange(len(sizes)), sizes)
    shape = len(sizes), max(len(place), 1)
    member = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape)
    # Products of 0/1 rows count shared terms.
    shared = (member @ member.T).toarray()
    return shared / np.maximum(sizes[:, None] + sizes - shared, 1)


def graph_weights(graph: NamedGraph, names: tuple[str, ...]) -> Float[np.ndarray, "T T"]:
    """Weights of a graph between some genes over its largest one, the same both ways."""
    place = {name: t for t, name in enumerate(names)}
    # Nodes that are no treatment go to one row more, which is cut off.
    node = np.array([place.get(name, len(names)) for name in graph.names], np.int64)
    weights = np.zeros((len(names) + 1,) * 2)
    edges = np.asarray(graph.graph.edges, np.float64)
    ends = node[np.asarray(graph.graph.senders)], node[np.asarray(graph.graph.receivers)]
    np.maximum.at(weights, ends, edges)
    weights = weights[:-1, :-1] / (edges.max(initial=0) or 1)
    # Alike is alike both ways.
    return np.maximum(weights, weights.T)
