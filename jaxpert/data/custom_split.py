"""A split by perturbation that the user lists."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxpert.core.types import InputError
from jaxpert.data.files import shown
from jaxpert.data.ontology import read_plain_pickle
from jaxpert.data.perturbation_splits import Genes, PerturbationSplit, gene_sets, seen_groups

PARTS = ("train", "val", "test")


def custom(
    genes: Genes, lists: Mapping[str, Sequence[str]] | str | Path, separator: str = "+"
) -> PerturbationSplit:
    """The user's own lists of conditions for train, val and test; `A+B` and `B+A`, `A` and `A+ctrl`
    mean the same.

    Args:
        genes: condition -> genes.
        lists: {"train": [...], "val": [...], "test": [...]}, or the path of a .json or .pkl file
            that holds it.
        separator: between the genes of a listed condition.

    Control is trained on where it is not listed; other conditions that are not listed are dropped.
    Names that are not in the data, or in two lists, are an `InputError`.
    """
    lists = _checked(lists if isinstance(lists, Mapping) else read_lists(lists))
    place = _places(genes, lists, separator)
    place.setdefault(_control(genes), "train")
    train, val, test = (tuple(sorted(n for n in genes if place.get(n) == part)) for part in PARTS)
    dropped = tuple(sorted(set(genes) - set(place)))
    return PerturbationSplit(train, val, test, dropped, seen_groups(genes, train, test))


def read_lists(path: str | Path) -> Any:
    """What a .json file holds, or a .pkl file of nothing but dictionaries, lists and text (no other
    is opened)."""
    path = Path(os.path.expanduser(path))
    if path.suffix in (".pkl", ".pickle"):
        return read_plain_pickle(path)
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error}), expected JSON such as {{'train': ['ctrl', "
            "'A+ctrl'], 'val': [...], "
            "'test': [...]}: set split.file to such a file"
        ) from error


def _checked(lists: Any) -> Mapping[str, Sequence[str]]:
    if not isinstance(lists, Mapping) or not set(lists) <= set(PARTS) or not lists:
        found = (
            shown(map(repr, lists)) if isinstance(lists, Mapping) else f"a {type(lists).__name__}"
        )
        raise InputError(
            f"the custom split holds {found or 'nothing'}, expected the lists {shown(PARTS)}: "
            "rename them"
        )
    for part, names in lists.items():
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise InputError(
                f"{part} of the custom split is {repr(names)[:60]}, expected a list of conditions"
            )
    return lists


def _places(genes: Genes, lists: Mapping[str, Sequence[str]], separator: str) -> dict[str, str]:
    """Condition -> its part."""
    by_set = {own: name for name, own in genes.items()}
    place: dict[str, str] = {}
    absent: list[str] = []
    for part, names in lists.items():
        for given, own in gene_sets(names, _control(genes), separator).items():
            name = given if given in genes else by_set.get(own)
            if name is None:
                absent.append(given)
            elif place.setdefault(name, part) != part:
                raise InputError(
                    f"condition {given!r} is in the lists {place[name]} and {part} of the custom "
                    "split, expected "
                    "in one: take it out of the other"
                )
    if absent:
        raise InputError(
            f"the custom split names {len(absent)} conditions that are not in the data "
            f"({shown(absent)}), expected "
            f"names such as {shown(list(genes)[:3])}: correct or remove them"
        )
    return place


def _control(genes: Genes) -> str:
    return next(name for name, own in genes.items() if not own)
