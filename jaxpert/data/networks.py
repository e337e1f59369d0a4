"""The gene graphs of a data set: co-expression in its training cells, shared annotations of its perturbed genes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool

from jaxpert import graphs
from jaxpert.data.counts import row_blocks
from jaxpert.types import Dataset, InputError

LIBRARY = 1e4
"""Common total of the log-normalised scale."""


def coexpression_graph(
    dataset: Dataset,
    *,
    neighbours: int = graphs.NEIGHBOURS,
    threshold: float = graphs.CORRELATION,
    signed: bool = False,
    all_cells: bool = False,
) -> graphs.NamedGraph:
    """`graphs.coexpression` of ln(1 + 1e4 x / sum x) over the data set's training cells.

    Cells are controls and single perturbations, or all training cells. Cells without counts are left out.
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
    """`graphs.ontology` over the perturbed genes that have terms, and over further ones to be asked for later.

    Args:
        terms: annotation terms of each gene (`data.ontology.read_terms`).
        also: genes that may be asked for although the data set has no cell of them; each must have terms.
    """
    strangers = sorted(set(also) - set(terms))
    if strangers:
        raise InputError(
            f"{len(strangers)} genes have no annotation ({', '.join(strangers[:4])} ...), expected only annotated "
            "ones: leave them out, or give a larger annotation file"
        )
    nodes = sorted({gene for gene in dataset.treatments if gene in terms} | set(also))
    if not nodes:
        raise InputError(
            f"none of the {len(dataset.treatments)} perturbed genes of {dataset.name!r} is annotated, expected the "
            "same gene symbols in both: give an annotation file of the screen's species and naming"
        )
    return graphs.ontology(nodes, terms, neighbours=neighbours, threshold=threshold)
