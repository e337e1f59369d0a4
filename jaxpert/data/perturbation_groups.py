"""Conditions as sets of perturbed genes, and the groups that a split makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

Genes = Mapping[str, frozenset[str]]
"""Condition -> its perturbed genes, none for control; in the order of first appearance."""
Groups = Mapping[str, tuple[str, ...]]
"""Conditions by how many of their genes are seen: `unseen_single`, `seen_single`, `combo_seen0` to
`combo_seen2` (pairs), `combo_seen1of3` ... (larger sets)."""
NO_GROUPS: Groups = {}
PAIRS_AND_SINGLES = ("combo_seen0", "combo_seen1", "combo_seen2", "unseen_single")


class PerturbationSplit(NamedTuple):
    """Names of conditions, sorted; every condition is in exactly one of the first four."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    dropped: tuple[str, ...] = ()
    groups: Groups = NO_GROUPS
    """Of test conditions, by the genes that training saw; "simulation" names empty groups too."""
    val_groups: Groups = NO_GROUPS
    """The same for val."""


def assembled(
    genes: Genes,
    train: Iterable[str],
    val: Iterable[str],
    test: Iterable[str],
    groups: Groups = NO_GROUPS,
    val_groups: Groups = NO_GROUPS,
) -> PerturbationSplit:
    """Sorted lists; what is in no list is dropped, and groups are made where none are given."""
    train, val, test = sorted(train), sorted(val), sorted(test)
    dropped = sorted(set(genes) - {*train, *val, *test})
    groups = groups or seen_groups(genes, train, test)
    lists = (tuple(train), tuple(val), tuple(test), tuple(dropped))
    return PerturbationSplit(*lists, groups, val_groups)


def groups_of(genes: Genes, held: Iterable[str], seen: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Held-out conditions by the number of their genes that are seen; the groups of pairs are there
    even when empty."""
    seen = set(seen)
    # Groups of pairs are there even when empty, so that all reports have the same rows.
    groups: dict[str, list[str]] = {name: [] for name in PAIRS_AND_SINGLES}
    for name in sorted(held):
        groups.setdefault(_group(genes[name], seen), []).append(name)
    return {group: tuple(members) for group, members in groups.items()}


def seen_groups(
    genes: Genes, train: Iterable[str], test: Iterable[str]
) -> dict[str, tuple[str, ...]]:
    """Groups of test conditions where a gene is seen that any training condition perturbs; none
    that are empty."""
    groups = groups_of(genes, test, names_of(genes, train))
    return {name: members for name, members in groups.items() if members}


def names_of(genes: Genes, conditions: Iterable[str]) -> list[str]:
    """Sorted genes of some conditions."""
    # Draws go by position, and a set has another order in every process.
    return sorted(frozenset().union(*(genes[name] for name in conditions)))


def _group(perturbed: frozenset[str], seen: set[str]) -> str:
    known = len(perturbed & seen)
    if len(perturbed) == 1:
        return "seen_single" if known else "unseen_single"
    if len(perturbed) == 2:
        return f"combo_seen{known}"
    return f"combo_seen{known}of{len(perturbed)}"
