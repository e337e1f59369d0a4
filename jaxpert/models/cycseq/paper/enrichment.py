"""Which gene sets a prediction moves: preranked enrichment (the CycSeq paper's Figure 6), and its
running score (docs/models/cycseq.md, Dose series and gene sets)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxpert.core.optional import package
from jaxpert.core.types import InputError

if TYPE_CHECKING:
    import pandas

SMALLEST, LARGEST = 15, 500
PERMUTATIONS = 1_000


class Term(NamedTuple):
    """One gene set's enrichment."""

    name: str
    es: float
    nes: float
    p: float
    fdr: float
    genes: int
    """Members among the ranked genes."""
    leading: tuple[str, ...]
    """Members up to the extreme of the running score, which carry it."""


def prerank(
    signal: Float[np.ndarray, "G"],
    genes: Sequence[str],
    sets: Mapping[str, Iterable[str]],
    *,
    smallest: int = SMALLEST,
    largest: int = LARGEST,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> list[Term]:
    """Enrichment of gene sets in a ranking, the strongest |NES| first.

    Args:
        signal: what ranks the genes, such as `tasks.translation.metrics.signal`.
        genes: their names.
        sets: gene sets by name, such as `data.genesets.read_gmt` of a file of C2, C5 and C7
            (MSigDB).
        smallest, largest: bounds of a set's size, counted among `genes`.
        permutations: of the gene labels, behind p and NES.
        seed: of the permutations.

    Needs `pip install jaxpert[enrichment]` (gseapy). Genes that the sets name otherwise (Ensembl,
    mouse) match nothing: an InputError when no set is left.
    """
    import pandas

    _check(signal, genes)
    sizes = _sizes(sets, genes)
    # Few members give a score by luck, very many one of nothing in particular.
    kept = {}
    for name, size in sizes.items():
        if smallest <= size <= largest:
            # Sorted, so that the permutations do not depend on the order of a set.
            kept[name] = sorted(sets[name])
    if not kept:
        raise _none_of_size(sizes, len(genes), smallest, largest)
    ranking = pandas.Series(np.asarray(signal, float), index=pandas.Index(genes))
    results = _results(ranking, kept, (smallest, largest), permutations, seed)
    return sorted(_terms(results, sizes), key=lambda term: -abs(term.nes))


def _sizes(sets: Mapping[str, Iterable[str]], genes: Sequence[str]) -> dict[str, int]:
    """Members of each set among the ranked genes, as only these can be hit."""
    ranked = set(genes)
    return {name: len(set(members) & ranked) for name, members in sets.items()}


def _none_of_size(sizes: Mapping[str, int], genes: int, smallest: int, largest: int) -> InputError:
    return InputError(
        f"none of the {len(sizes)} gene sets has {smallest} to {largest} members among the "
        f"{genes} ranked genes (the largest has {max(sizes.values(), default=0)}), expected some: "
        "give sets with the same gene names"
    )


def _results(
    ranking: pandas.Series,
    sets: Mapping[str, list[str]],
    bounds: tuple[int, int],
    permutations: int,
    seed: int,
) -> pandas.DataFrame:
    """What gseapy makes of a ranking, one row for each set."""
    smallest, largest = bounds
    result = package("gseapy", "preranked enrichment").prerank(
        rnk=ranking.sort_values(ascending=False),
        gene_sets=sets,
        min_size=smallest,
        max_size=largest,
        permutation_num=permutations,
        weight=1.0,
        seed=seed,
        # One thread, since the seed is for one stream.
        threads=1,
        outdir=None,
        no_plot=True,
        verbose=False,
    )
    return result.res2d


def _terms(results: pandas.DataFrame, sizes: Mapping[str, int]) -> list[Term]:
    """The rows of a table of gseapy."""
    columns = ["Term", "ES", "NES", "NOM p-val", "FDR q-val", "Lead_genes"]
    terms = []
    for name, es, nes, p, fdr, leading in results[columns].itertuples(index=False):
        # gseapy keeps numbers as objects, and the leading members as one text.
        numbers = float(es), float(nes), float(p), float(fdr)
        terms.append(Term(name, *numbers, sizes[name], tuple(str(leading).split(";"))))
    return terms


def running_score(
    signal: Float[np.ndarray, "G"], genes: Sequence[str], members: Iterable[str]
) -> tuple[Float[np.ndarray, "G"], np.ndarray]:
    """Running score down the ranking (highest signal first), and which places hold members; its
    extreme is the ES.

    A member adds |signal| over the sum of that of all members, another gene takes 1 / (genes -
    members) away.
    """
    _check(signal, genes)
    # Stable, so that ties have one order on every machine.
    order = np.argsort(-np.asarray(signal), kind="stable")
    hits = np.isin(np.asarray(genes, str)[order], list(members))
    if not hits.any() or hits.all():
        raise InputError(
            f"{int(hits.sum())} of the {len(hits)} ranked genes are in the gene set, expected some "
            "but not all: give a set with the same gene names"
        )
    # Weight 1: members count by the size of their signal.
    size = np.abs(np.asarray(signal, float))[order] * hits
    if not size.any():
        size = hits.astype(float)  # a set that nothing moves counts by its places alone
    return np.cumsum(size / size.sum() - ~hits / (~hits).sum()), hits


def _check(signal: np.ndarray, genes: Sequence[str]) -> None:
    undefined = int((~np.isfinite(signal)).sum())
    repeated = len(genes) - len(set(genes))
    if undefined or repeated or len(signal) != len(genes):
        raise InputError(
            f"the ranking has {len(signal)} values ({undefined} undefined) for {len(genes)} genes "
            f"({repeated} named again), expected one value for each of distinct genes: leave the "
            "others out"
        )
