"""Which pairs and triples of genes a screen predicts, and what they are put together from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jaxpert.core.types import Dataset, InputError
from jaxpert.models.gears.named_sets import Genes, Sets, measured_sets, parse_sets


class Units(NamedTuple):
    """What the rows of a screen are put together from: single genes and, for triples, pairs."""

    genes: list[Genes]
    rows: Int[np.ndarray, "m 2"]
    """The two units of each row."""


def measured_singles(dataset: Dataset) -> list[str]:
    """Genes that some cells have as their only perturbation, in the order of the treatments."""
    known = measured_sets(dataset)
    return [name for name in dataset.treatments if frozenset([name]) in known]


def asked_sets(
    dataset: Dataset, genes: Sequence[str] | None, sets: Sets | None, separator: str | None
) -> list[Genes]:
    """The sets to screen, each once."""
    if genes is not None and sets is not None:
        raise InputError(
            "genes and sets were both given, expected one of them: all pairs of genes, or chosen "
            "sets"
        )
    if sets is not None:
        return _given_sets(dataset, sets, separator)
    # An empty list of genes is refused below, and does not stand for all of them.
    single_sets: Sets = genes or ()
    if genes is None:
        single_sets = [(name,) for name in measured_singles(dataset)]
    singles = parse_sets(dataset, single_sets, separator)
    wrong = ["+".join(genes) or "control" for genes in singles if len(genes) != 1]
    if wrong or len(set(singles)) < len(singles) or len(singles) < 2:
        raise InputError(
            f"the genes to pair are {len(singles)}, {len(set(singles))} of them different and "
            f"{len(wrong)} no single gene ({', '.join(wrong[:4])}), expected two single genes or "
            "more: give combinations as sets"
        )
    return [(a, b) for (a,), (b,) in combinations(singles, 2)]


def _given_sets(dataset: Dataset, sets: Sets, separator: str | None) -> list[Genes]:
    parsed = parse_sets(dataset, sets, separator)
    wrong = ["+".join(genes) or "control" for genes in parsed if len(genes) not in (2, 3)]
    if wrong:
        raise InputError(
            f"{', '.join(wrong[:4])} cannot be screened, expected pairs and triples: see "
            "predict_sets"
        )
    if len(set(map(frozenset, parsed))) < len(parsed):
        raise InputError(
            "a set is given twice, perhaps in another order, expected each once: leave one out"
        )
    return parsed


def units_of(sets: Sequence[Genes]) -> Units:
    """Every gene of the sets, and the pairs within triples."""
    # A dict numbers units as they first come, so that each is predicted once.
    place: dict[Genes, int] = {}
    rows = []
    for genes in sets:
        for name in genes:
            place.setdefault((name,), len(place))
        if len(genes) == 2:
            rows.append([place[genes[:1]], place[genes[1:]]])
            continue
        for out in range(3):
            # A pair stands once, in the order of the triple that asked for it first.
            pair = genes[:out] + genes[out + 1 :]
            if pair[::-1] in place:
                pair = pair[::-1]
            rows.append([place[(genes[out],)], place.setdefault(pair, len(place))])
    return Units(list(place), np.array(rows, int))
