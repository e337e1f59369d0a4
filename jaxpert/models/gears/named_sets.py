"""Sets of genes by the names that users and data give them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.labels_asked import known_names, sets_asked

Sets = Sequence[str | Sequence[str]]
Genes = tuple[str, ...]


def parse_sets(dataset: Dataset, sets: Sets, separator: str | None = None) -> list[Genes]:
    """The genes of each set; condition names of the data, control and any order are understood."""
    if not len(sets):
        raise InputError(
            f"no set of genes was given, expected some such as A{separator or '+'}B: name some"
        )
    asked = texts_of(sets, separator)
    # Rows go by name, so a name twice would be ambiguous.
    if len(set(asked)) < len(asked):
        twice = sorted({name for name in asked if asked.count(name) > 1})
        raise InputError(
            f"sets are asked for twice ({', '.join(twice[:4])}), expected each once: leave one out"
        )
    known = known_names(dataset)

    def genes_of(given: str | Sequence[str]) -> Genes:
        # The genes of a sequence are names already, each understood by itself.
        names = [given] if isinstance(given, str) else list(given)
        genes: list[str] = []
        # Genes without cells are for the graphs to know.
        for asked_set in sets_asked(names, known, separator=separator, also=dataset.genes):
            genes += asked_set.names
        return tuple(genes)

    return list(map(genes_of, sets))


def measured_sets(dataset: Dataset) -> set[frozenset[str]]:
    """The sets of genes that cells of the data have."""
    genes = list(known_names(dataset).conditions.values())
    # Sets, since the order of genes means nothing.
    return {frozenset(genes[c]) for c in np.unique(dataset.condition).tolist()}


def texts_of(sets: Sets, separator: str | None) -> list[str]:
    """The sets as they are called."""
    texts = []
    for given in sets:
        texts.append(given if isinstance(given, str) else (separator or "+").join(given))
    return texts
