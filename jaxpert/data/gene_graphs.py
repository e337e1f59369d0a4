"""The gene graphs of a data set: co-expression in its training cells, shared annotations of its
perturbed genes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.counts import row_blocks
from jaxpert.data.files import shown
from jaxpert.data.ontology import read_edges
from jaxpert.data.subset import keep_cells
from jaxpert.nn import graphs

LIBRARY = 1e4
"""Common total of the log-normalised scale."""

COEXPRESSION, ONTOLOGY = "coexpression", "ontology"
NODES = ("perturbed", "measured", "annotated")


def add_graphs(
    dataset: Dataset,
    *,
    terms: Mapping[str, Collection[str]] | None = None,
    nodes: str | Collection[str] = "measured",
    edges: Mapping[str, Any] | None = None,
    coexpression: bool = True,
    neighbours: int = graphs.NEIGHBOURS,
    jaccard: float = graphs.JACCARD,
    correlation: float = graphs.CORRELATION,
    signed: bool = False,
    all_cells: bool = False,
) -> Dataset:
    """Give a split data set its gene graphs: "coexpression", "ontology" and the user's own.

    Args:
        terms: annotation terms of each gene (`data.read_terms`) behind "ontology"; None for no such
            graph.
        nodes: of "ontology": the "perturbed" genes, with them the "measured" ones (as published),
            all "annotated" ones, or names; genes without terms are left out. A gene that is a node
            can be asked for without having been perturbed in any cell.
        edges: further graphs by name: a CSV file (source, target, importance) or such triples.
        coexpression: whether to make that graph.
        neighbours: most neighbours of a gene, in both graphs.
        jaccard, correlation: values above which there is an edge.
        signed, all_cells: see `coexpression_graph`.
    """
    made: dict[str, graphs.NamedGraph] = {}
    if coexpression:
        kept = {
            "neighbours": neighbours,
            "threshold": correlation,
            "signed": signed,
            "all_cells": all_cells,
        }
        made[COEXPRESSION] = coexpression_graph(dataset, **kept)
    if terms is not None:
        further = _further_nodes(dataset, terms, nodes)
        made[ONTOLOGY] = ontology_graph(
            dataset, terms, also=further, neighbours=neighbours, threshold=jaccard
        )
    for name, given in (edges or {}).items():
        if name in (COEXPRESSION, ONTOLOGY):
            raise InputError(
                f"a graph of edges is called {name!r}, which is taken: rename it in graphs.edges"
            )
        made[name] = graphs.from_edges(
            read_edges(given) if isinstance(given, str | Path) else given
        )
    sizes = {
        name: (len(graph.names), len(np.asarray(graph.graph.senders)))
        for name, graph in made.items()
    }
    notes = [
        f"graph {name}: {nodes:,} genes, {edges:,} edges" for name, (nodes, edges) in sizes.items()
    ]
    return replace(dataset, graphs={**dataset.graphs, **made}, notes=(*dataset.notes, *notes))


def _further_nodes(
    dataset: Dataset, terms: Mapping[str, Collection[str]], nodes: str | Collection[str]
) -> set[str]:
    if not isinstance(nodes, str):
        return set(nodes)
    if nodes not in NODES:
        raise InputError(f"graphs.nodes is {nodes!r}, expected one of {', '.join(NODES)}")
    chosen = {"perturbed": (), "measured": dataset.genes, "annotated": terms}[nodes]
    return {name for name in chosen if name in terms}


def drop_unannotated(dataset: Dataset, terms: Mapping[str, Collection[str]]) -> Dataset:
    """Leave out the cells of conditions with a perturbed gene that has no terms, as published; a
    note names them."""
    lost = np.array([name not in terms for name in dataset.treatments], bool)
    if lost.all():
        raise InputError(
            f"none of the {len(lost)} perturbed genes of {dataset.name!r} is annotated, expected "
            "the same gene symbols "
            "in both: give an annotation file of the screen's species and naming (graphs.ontology)"
        )
    reason = (
        "perturbed genes without annotation "
        f"({shown(np.asarray(dataset.treatments, object)[lost])})"
    )
    keep = ~(dataset.condition_treatments[:, lost] != 0).any(1)[dataset.condition]
    return keep_cells(dataset, keep, reason)


def coexpression_graph(
    dataset: Dataset,
    *,
    neighbours: int = graphs.NEIGHBOURS,
    threshold: float = graphs.CORRELATION,
    signed: bool = False,
    all_cells: bool = False,
) -> graphs.NamedGraph:
    """`graphs.coexpression` of ln(1 + 1e4 x / sum x) over the data set's training cells.

    Cells are controls and single perturbations, or all training cells. Cells without counts are
    left out.
    """
    keep = np.zeros(len(dataset.cells), bool)
    keep[dataset.rows("train")] = True
    if not all_cells:
        keep &= (dataset.condition_treatments != 0).sum(1)[dataset.condition] <= 1
    return graphs.coexpression(
        dataset.genes,
        lambda: lognorm_blocks(dataset.counts, keep),
        neighbours=neighbours,
        threshold=threshold,
        signed=signed,
    )


def lognorm_blocks(counts: Any, keep: Bool[np.ndarray, "N"]) -> Iterator[Any]:
    """CSR blocks of ln(1 + 1e4 x / sum x) of the kept rows that have counts."""
    for rows, block in row_blocks(counts):
        kept = block[keep[rows]].astype(np.float64)
        library = np.asarray(kept.sum(1)).ravel()
        kept, library = kept[library > 0], library[library > 0]
        kept.data = np.log1p(LIBRARY * kept.data / np.repeat(library, np.diff(kept.indptr)))
        yield kept


def ontology_graph(
    dataset: Dataset,
    terms: Mapping[str, Collection[str]],
    *,
    also: Collection[str] = (),
    neighbours: int = graphs.NEIGHBOURS,
    threshold: float = graphs.JACCARD,
) -> graphs.NamedGraph:
    """`graphs.ontology` over the perturbed genes that have terms, and over further ones to be asked
    for later.

    Args:
        terms: annotation terms of each gene (`data.ontology.read_terms`).
        also: genes that may be asked for although the data set has no cell of them; each must have
            terms.
    """
    strangers = sorted(set(also) - set(terms))
    if strangers:
        raise InputError(
            f"{len(strangers)} genes have no annotation ({', '.join(strangers[:4])} ...), "
            "expected only annotated "
            "ones: leave them out, or give a larger annotation file"
        )
    nodes = sorted({gene for gene in dataset.treatments if gene in terms} | set(also))
    if not nodes:
        raise InputError(
            f"none of the {len(dataset.treatments)} perturbed genes of {dataset.name!r} is "
            "annotated, expected the "
            "same gene symbols in both: give an annotation file of the screen's species and naming"
        )
    return graphs.ontology(nodes, terms, neighbours=neighbours, threshold=threshold)
