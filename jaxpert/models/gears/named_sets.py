"""Sets of genes by the names that users and data give them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxpert.core.types import Dataset, InputError

Sets = Sequence[str | Sequence[str]]
Genes = tuple[str, ...]


def parse_sets(dataset: Dataset, sets: Sets, separator: str = "+") -> list[Genes]:
    """The genes of each set; condition names of the data, control and any order are understood."""
    if not len(sets):
        raise InputError(f"no set of genes was given, expected some such as A{separator}B")
    asked = texts_of(sets, separator)
    # Rows go by name, so a name twice would be ambiguous.
    if len(set(asked)) < len(asked):
        twice = sorted({name for name in asked if asked.count(name) > 1})
        raise InputError(
            f"sets are asked for twice ({', '.join(twice[:4])}), expected each once: leave one out"
        )
    control = dataset.conditions[dataset.control]
    by_name = genes_by_condition(dataset)

    def genes_of(given: str | Sequence[str]) -> Genes:
        # Names of the data come first, since one may hold the separator.
        if isinstance(given, str) and given in by_name:
            return by_name[given]
        parts = given
        if isinstance(given, str):
            parts = given.split(separator)
        parts = list(map(str.strip, parts))
        if not all(parts):
            raise InputError(
                f"{given!r} has an empty part, expected names of genes such as A{separator}B: "
                "correct it"
            )
        # The control adds nothing, so that "A+ctrl" is "A".
        return tuple(part for part in parts if part != control)

    return list(map(genes_of, sets))


def genes_by_condition(dataset: Dataset) -> dict[str, Genes]:
    """The genes that each condition perturbs."""
    names = np.asarray(dataset.treatments, object)
    rows = dataset.condition_treatments != 0
    by_condition = {}
    for condition, row in zip(dataset.conditions, rows, strict=True):
        by_condition[condition] = tuple(names[row].tolist())
    return by_condition


def measured_sets(dataset: Dataset) -> set[frozenset[str]]:
    """The sets of genes that cells of the data have."""
    genes = list(genes_by_condition(dataset).values())
    # Sets, since the order of genes means nothing.
    return {frozenset(genes[c]) for c in np.unique(dataset.condition).tolist()}


def texts_of(sets: Sets, separator: str) -> list[str]:
    """The sets as they are called."""
    texts = []
    for given in sets:
        texts.append(given if isinstance(given, str) else separator.join(given))
    return texts
