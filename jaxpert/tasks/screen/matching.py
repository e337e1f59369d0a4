"""Names of one file found in another: genes in any order and case, conditions by the rules of the
labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.files import shown
from jaxpert.data.labels_asked import Known, conditions_asked, known_names

NOT_MEASURED = -1
"""Stands for a condition that the real cells have none of."""


class Genes(NamedTuple):
    """Genes that both sides have, in the order of the first."""

    first: Int[np.ndarray, "S"]
    second: Int[np.ndarray, "S"]
    missing: tuple[str, ...]
    """Genes that only the first has."""
    notes: tuple[str, ...]


class Conditions(NamedTuple):
    """Labels of one side as conditions of the other."""

    of_row: Int[np.ndarray, "N"]
    """NOT_MEASURED for what the other side does not have."""
    invented: tuple[str, ...]
    notes: tuple[str, ...]


def match_genes(first: Sequence[str], second: Sequence[str], source: str) -> Genes:
    """Find the genes `first` (measured) in `second` (of `source`).

    Raises:
        InputError: where they share no gene, or where genes that differ in case alone leave more
            than one way.
    """
    column = {gene: g for g, gene in enumerate(second)}
    places = [column.get(gene, -1) for gene in first]
    recased = _recased(first, second, places)
    for g, place in recased.items():
        places[g] = place
    found = np.array(places, np.int64)
    shared = np.flatnonzero(found >= 0)
    if not len(shared):
        raise InputError(
            f"{source} has none of the {len(first)} measured genes (measured: {shown(first, 3)}; "
            f"there: {shown(second, 3)}), expected the same names: give both files the same kind "
            "of gene names"
        )
    missing = tuple(first[int(g)] for g in np.flatnonzero(found < 0))
    extra = sorted(set(range(len(second))) - set(found.tolist()))
    notes = _gene_notes(first, second, found, recased, missing, extra, source)
    return Genes(shared, found[shared], missing, notes)


def _recased(first: Sequence[str], second: Sequence[str], places: Sequence[int]) -> dict[int, int]:
    """Genes of `first` that `second` has in another case alone."""
    used = set(places)
    free: dict[str, list[int]] = {}
    for place, gene in enumerate(second):
        if place not in used:
            free.setdefault(gene.casefold(), []).append(place)
    recased: dict[int, int] = {}
    taken: set[int] = set()
    for g, gene in enumerate(first):
        ways = free.get(gene.casefold(), []) if places[g] < 0 else []
        if len(ways) > 1 or (ways and ways[0] in taken):
            raise InputError(
                f"gene {gene!r} is written {shown(repr(second[way]) for way in ways)} in the "
                "predictions, expected one gene that differs in case alone: write genes alike in "
                "both files"
            )
        if ways:
            recased[g] = ways[0]
            taken.add(ways[0])
    return recased


def _gene_notes(
    first: Sequence[str],
    second: Sequence[str],
    found: np.ndarray,
    recased: dict[int, int],
    missing: tuple[str, ...],
    extra: Sequence[int],
    source: str,
) -> tuple[str, ...]:
    notes = []
    inside = found[found >= 0]
    if recased:
        pairs = [f"{second[place]} as {first[g]}" for g, place in recased.items()]
        notes.append(
            f"{len(recased)} genes of {source} are matched in another case than they are measured "
            f"in ({shown(pairs, 4)}), which may mean another species"
        )
    if (np.diff(inside) < 0).any():
        notes.append(f"the genes of {source} are in another order and are matched by name")
    if missing:
        notes.append(
            f"{len(missing)} of {len(first)} measured genes are not in {source} and are left out "
            f"of every score: {shown(missing)}"
        )
    if extra:
        notes.append(
            f"{len(extra)} genes of {source} are not measured and are left out: "
            f"{shown(second[place] for place in extra)}"
        )
    return tuple(notes)


def match_conditions(
    labels: Sequence[str] | np.ndarray, dataset: Dataset, source: str
) -> Conditions:
    """Which condition of a data set each label means: in any order of its parts, with or without
    the control, and in another case where only one condition can be meant.

    Raises:
        InputError: where no label is a condition, or where none is the control's.
    """
    distinct, of_row = np.unique(np.asarray(labels, str), return_inverse=True)
    known = known_names(dataset)
    names = conditions_asked(distinct.tolist(), known)
    recased = _in_another_case(distinct.tolist(), names, known)
    names = [recased.get(label, name) for label, name in zip(distinct, names, strict=True)]
    place = {name: c for c, name in enumerate(dataset.conditions)}
    numbers = [NOT_MEASURED if name is None else place[name] for name in names]
    invented = [str(label) for label, n in zip(distinct, numbers, strict=True) if n < 0]
    if not any(n not in (NOT_MEASURED, dataset.control) for n in numbers):
        raise InputError(
            f"{source} has none of the {len(dataset.conditions) - 1} perturbations that were "
            f"measured (measured: {shown(dataset.conditions, 4)}; there: {shown(distinct, 4)}), "
            "expected some: check --perturbation, --control and --separator"
        )
    notes = []
    if recased:
        pairs = [f"{label} as {name}" for label, name in recased.items()]
        notes.append(
            f"{len(recased)} labels of {source} are matched in another case: {shown(pairs)}"
        )
    if invented:
        notes.append(
            f"{len(invented)} perturbations of {source} were never measured and cannot be scored: "
            f"{shown(invented)}"
        )
    return Conditions(np.array(numbers)[of_row.ravel()], tuple(invented), tuple(notes))


def _in_another_case(
    labels: Sequence[str], names: Sequence[str | None], known: Known
) -> dict[str, str]:
    """Labels without a condition that have one when case is ignored."""
    folded = {name.casefold() for name in (*known.conditions, *known.treatments)}
    # Names that the data tell apart by case alone cannot be told when it is ignored.
    if len(folded) < len({*known.conditions, *known.treatments}):
        return {}
    open_labels = [label for label, name in zip(labels, names, strict=True) if name is None]
    again = conditions_asked(open_labels, known._replace(rules=known.rules._replace(case="ignore")))
    pairs = zip(open_labels, again, strict=True)
    return {label: name for label, name in pairs if name is not None}
