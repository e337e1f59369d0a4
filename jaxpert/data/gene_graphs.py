"""The gene graphs of a data set: co-expression in its training cells, shared annotations of its
perturbed genes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.aliases import Aliases, annotation_advice, resolve
from jaxpert.data.files import shown
from jaxpert.data.moments import log_normalised_blocks
from jaxpert.data.ontology import read_edges, terms_of
from jaxpert.nn.graphs import NamedGraph, from_edges, named_graph

NEIGHBOURS = 20
CORRELATION, JACCARD = 0.4, 0.1
"""Published thresholds; only values above them make an edge."""
BLOCK_ENTRIES = 2**24
"""Numbers of a dense block that are held at a time."""
TINY_SPREAD = 1e-6
"""Standard deviation relative to the mean below which a gene counts as constant."""

Blocks = Callable[[], Iterable[Any]]

COEXPRESSION, ONTOLOGY = "coexpression", "ontology"
NODES = ("perturbed", "measured", "annotated")


def add_graphs(
    dataset: Dataset,
    *,
    terms: Mapping[str, Collection[str]] | None = None,
    nodes: str | Collection[str] = "measured",
    edges: Mapping[str, Any] | None = None,
    aliases: Aliases | None = None,
    coexpression: bool = True,
    neighbours: int = NEIGHBOURS,
    jaccard: float = JACCARD,
    correlation: float = CORRELATION,
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
        aliases: other names of genes (`data.read_aliases`), by which edges find the perturbed ones.
        coexpression: whether to make that graph.
        neighbours: most neighbours of a gene, in both graphs.
        jaccard: value above which there is an edge of "ontology".
        correlation: value above which there is an edge of "coexpression".
        signed: see `coexpression_graph`.
        all_cells: see `coexpression_graph`.

    Example:
        terms = jaxpert.read_terms("annotations.gmt.gz")
        cells = jaxpert.add_graphs(cells, terms=terms)
    """
    linked: dict[str, NamedGraph] = {}
    if coexpression:
        linked[COEXPRESSION] = coexpression_graph(
            dataset,
            neighbours=neighbours,
            threshold=correlation,
            signed=signed,
            all_cells=all_cells,
        )
    if terms is not None:
        further = _further_nodes(dataset, terms, nodes)
        linked[ONTOLOGY] = ontology_graph(
            dataset, terms, also=further, neighbours=neighbours, threshold=jaccard
        )
    notes: list[str] = []
    for name, given in (edges or {}).items():
        if name in (COEXPRESSION, ONTOLOGY):
            raise InputError(
                f"a graph of edges is called {name!r}, which is taken, expected another name: "
                "rename it in graphs.edges"
            )
        triples = read_edges(given) if isinstance(given, str | Path) else list(given)
        linked[name], more = _edges_graph(name, triples, dataset.treatments, aliases or {})
        notes += more
    for name, graph in linked.items():
        number = len(np.asarray(graph.graph.senders))
        notes.append(f"graph {name}: {len(graph.names):,} genes, {number:,} edges")
    # All terms, since a graph holds the nearest neighbours alone.
    known = terms_of(dataset.treatments, terms or dataset.terms)
    graphs, notes = {**dataset.graphs, **linked}, [*dataset.notes, *notes]
    return replace(dataset, graphs=graphs, terms=known, notes=tuple(notes))


def _edges_graph(
    name: str,
    triples: Sequence[tuple[str, str, float]],
    perturbed: Sequence[str],
    aliases: Aliases,
) -> tuple[NamedGraph, list[str]]:
    """A user's graph with perturbed genes by the names that they have in the data."""
    known = {gene for source, target, _ in triples for gene in (source, target)}
    resolved = resolve(perturbed, known, aliases)
    called = {theirs: ours for ours, theirs in resolved.names.items()}
    renamed = []
    for source, target, weight in triples:
        renamed.append((called.get(source, source), called.get(target, target), weight))
    return from_edges(renamed), resolved.notes(f"graph {name}")


def _further_nodes(
    dataset: Dataset, terms: Mapping[str, Collection[str]], nodes: str | Collection[str]
) -> set[str]:
    if not isinstance(nodes, str):
        return set(nodes)
    if nodes not in NODES:
        raise InputError(f"graphs.nodes is {nodes!r}, expected one of {', '.join(NODES)}: set it")
    chosen = {"perturbed": (), "measured": dataset.genes, "annotated": terms}[nodes]
    # A gene without terms shares none, so no edge could ever reach it.
    return {name for name in chosen if name in terms}


def coexpression_graph(
    dataset: Dataset,
    *,
    neighbours: int = NEIGHBOURS,
    threshold: float = CORRELATION,
    signed: bool = False,
    all_cells: bool = False,
) -> NamedGraph:
    """`coexpression` of ln(1 + 1e4 x / sum x) over the data set's training cells.

    Cells are controls and single perturbations, or all training cells. Cells without counts are
    left out.
    """
    keep = np.zeros(len(dataset.cells), bool)
    # Held-out cells would carry what is to be predicted into the graph.
    keep[dataset.rows("train")] = True
    # The paper's choice of cells (docs/models/gears.md, "Co-expression graph").
    if not all_cells:
        keep &= (dataset.condition_treatments != 0).sum(1)[dataset.condition] <= 1
    return coexpression(
        dataset.genes,
        lambda: log_normalised_blocks(dataset.counts, keep),
        neighbours=neighbours,
        threshold=threshold,
        signed=signed,
    )


def ontology_graph(
    dataset: Dataset,
    terms: Mapping[str, Collection[str]],
    *,
    also: Collection[str] = (),
    neighbours: int = NEIGHBOURS,
    threshold: float = JACCARD,
) -> NamedGraph:
    """`ontology` over the perturbed genes that have terms, and over further ones to be asked
    for later.

    Args:
        terms: annotation terms of each gene (`data.ontology.read_terms`).
        also: genes that may be asked for although the data set has no cell of them; each must have
            terms.
    """
    strangers = sorted(set(also) - set(terms))
    if strangers:
        raise InputError(
            f"{len(strangers)} genes have no annotation ({', '.join(strangers[:4])} ...), expected "
            "only annotated ones: leave them out, or give a larger annotation file"
        )
    nodes = sorted({gene for gene in dataset.treatments if gene in terms} | set(also))
    if not nodes:
        raise InputError(
            f"none of the {len(dataset.treatments)} perturbed genes of {dataset.name!r} "
            f"({shown(dataset.treatments, 3)}) is annotated, expected the same gene names in both: "
            "give an annotation file of the screen's species and naming"
            f"{annotation_advice(dataset, terms)}"
        )
    return ontology(nodes, terms, neighbours=neighbours, threshold=threshold)


def coexpression(
    names: Sequence[str],
    blocks: Blocks,
    *,
    neighbours: int = NEIGHBOURS,
    threshold: float = CORRELATION,
    signed: bool = False,
) -> NamedGraph:
    """Link every gene to those that it correlates with most.

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
    # Constant genes have r = 0, which must not make an edge.
    if threshold < 0:
        raise InputError(f"graphs.correlation is {threshold}, expected 0 or more: correct it")
    # The spread is summed around the mean: one pass of squares would cancel digits.
    cells, mean = _mean(blocks, len(names))
    if cells < 2:
        raise InputError(
            f"the co-expression graph has {cells} cells, expected at least 2: change split.kind"
        )
    scale = _inverse_spread(blocks, mean, cells)
    # Targets are taken some at a time, as all G x G correlations need not fit in memory.
    width = max(1, BLOCK_ENTRIES // len(names))
    edges = []
    for start in range(0, len(names), width):
        targets = np.arange(start, min(start + width, len(names)))
        r = _correlations(blocks, targets, mean, scale)
        edges.append(
            # One more for the gene itself (docs/models/gears.md, "Co-expression graph").
            _largest(r if signed else np.abs(r), neighbours + 1, threshold, targets, last=True)
        )
    return named_graph(names, *map(np.concatenate, zip(*edges, strict=True)))


def _dense(blocks: Blocks, genes: int) -> Iterator[Float[np.ndarray, "b G"]]:
    """Dense pieces of about BLOCK_ENTRIES numbers."""
    # Blocks are cut by stored entries, so one may hold more rows than fit when dense.
    step = max(1, BLOCK_ENTRIES // genes)
    for block in blocks():
        for start in range(0, block.shape[0], step):
            part = block[start : start + step]
            dense = part.toarray() if hasattr(part, "toarray") else part
            yield np.asarray(dense, np.float32)


def _mean(blocks: Blocks, genes: int) -> tuple[int, Float[np.ndarray, "G"]]:
    total, cells = np.zeros(genes), 0
    for x in _dense(blocks, genes):
        # In float32 a sum over many cells would lose the digits of the last ones.
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
    # Rounding leaves a constant gene a spread, by which dividing would make a correlation of noise.
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
        # Each column of z has length 1 over all cells, so that products of columns are Pearson's r.
        z = ((x - mean) * scale).astype(np.float32)
        # Products in float32 for speed, their sums over blocks in float64.
        r += z[:, targets].T @ z
    # Set and not computed: rounding must not push a gene off its own first place.
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
    # Stable, so that which of equal neighbours is kept does not depend on the machine.
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
    """Link every gene to those that share most of its annotation terms.

    The weight is the Jaccard index |A & B| / |A | B| of the two genes' terms. For each gene the
    `neighbours` + 1 largest (itself among them, with weight 1) that exceed `threshold`; of equals
    the first in `names`. A gene without terms has no edge.

    Args:
        names: the nodes, `[P]`.
        terms: annotation terms of each gene; genes that are no node are ignored.
    """
    # Genes that share no term have weight 0, which must not make an edge.
    if threshold < 0:
        raise InputError(f"graphs.jaccard is {threshold}, expected 0 or more: correct it")
    annotated = _incidence([terms.get(name, ()) for name in names])
    sizes = annotated.sizes[0]
    # A quarter, since several arrays of 8 bytes a number are alive at once.
    width = max(1, BLOCK_ENTRIES // 4 // max(len(names), 1))
    # An empty part first, so that joining works where there are no nodes.
    edges = [_largest(np.zeros((0, len(names))), 1, threshold, np.arange(0), last=False)]
    for start in range(0, len(names), width):
        targets = np.arange(start, min(start + width, len(names)))
        shared = _shared_terms(annotated, targets)
        # |A or B| = |A| + |B| - |A and B| (docs/models/gears.md, "Ontology graph").
        union = sizes[targets, None] + sizes - shared
        edges.append(
            # Two genes without terms have an empty union, and weight 0.
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
    numbers: list[int] = []
    for terms in terms_of:
        # Sorted, since a set of texts has another order in every process.
        numbers += [place.setdefault(name, len(place)) for name in sorted(set(terms))]
    term = np.array(numbers, int)
    gene = np.repeat(np.arange(len(terms_of)), [len(set(terms)) for terms in terms_of])
    sizes = np.bincount(gene, minlength=len(terms_of)), np.bincount(term, minlength=len(place))
    # Sorted by term, the genes of each term are one run.
    return _Incidence((term, gene[np.argsort(term, kind="stable")]), sizes)


def _shared_terms(annotated: _Incidence, targets: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n P"]:
    """Number of terms that each target shares with each gene, counted over the genes of its
    terms."""
    (terms, genes), (by_gene, by_term) = annotated
    # The targets are consecutive genes, so their terms are one run.
    first, last = by_gene[: targets[0]].sum(), by_gene[: targets[-1] + 1].sum()
    theirs = terms[first:last]
    # For each of these terms the run of its genes, all runs end to end: without a loop over terms.
    lengths = by_term[theirs]
    starts = (np.cumsum(by_term) - by_term)[theirs]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    others = genes[np.repeat(starts, lengths) + within]
    rows = np.repeat(np.repeat(np.arange(len(targets)), by_gene[targets]), lengths)
    # Each (target, other gene) comes once per shared term; counting them counts the terms.
    pairs = rows * len(by_gene) + others
    shared = np.bincount(pairs, minlength=len(targets) * len(by_gene))
    return shared.reshape(len(targets), -1)
