"""Names that a user asks for, understood as the labels of the file were: in any order of their
parts, with any blanks, with or without the control."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

import numpy as np

from jaxpert.core.settings import rejoined
from jaxpert.core.types import Dataset, InputError, LabelRules
from jaxpert.data.files import shown
from jaxpert.data.labels_split import Parts, control_match, folded, normal, parts_of, with_genes

COMMON = "+"
"""Separator that is understood beside the file's own."""


class Known(NamedTuple):
    """What names are compared with."""

    conditions: Mapping[str, tuple[str, ...]]
    """Condition -> its treatments, none for the control."""
    rules: LabelRules

    @property
    def treatments(self) -> frozenset[str]:
        """All treatments of the conditions."""
        return frozenset().union(*self.conditions.values())


def known_names(dataset: Dataset) -> Known:
    """The names of a data set."""
    names = np.asarray(dataset.treatments, object)
    rows = dataset.condition_treatments != 0
    conditions = {}
    for condition, row in zip(dataset.conditions, rows, strict=True):
        conditions[condition] = tuple(names[row].tolist())
    control = dataset.conditions[dataset.control]
    # The control's name is understood whatever the rules say, as in data that were not read.
    rules = dataset.label_rules._replace(control=(control, *dataset.label_rules.control))
    return Known(conditions, rules)


def sets_asked(
    names: Iterable[str],
    known: Known,
    *,
    separator: str | None = None,
    also: Collection[str] = (),
) -> list[Parts]:
    """The treatments of each name, in the order of the name, and which of them are unknown.

    Conditions are understood by their whole name first. Else a name is divided by the file's own
    rules: control labels add nothing, guides are their genes, brackets hold together.

    Args:
        names: such as "A", "A+ctrl", "B + A" or a condition.
        known: what they are compared with.
        separator: another one than the file's.
        also: treatments that are known beside those of the conditions.

    Raises:
        InputError: for a name with an empty part.
    """
    understand = _reader(known, separator, also)
    return [understand(name) for name in names]


def treatments_asked(
    names: Iterable[str],
    known: Known,
    *,
    separator: str | None = None,
    also: Collection[str] = (),
    where: str = "the data",
) -> list[tuple[str, ...]]:
    """`sets_asked`; an unknown treatment is an InputError that offers the closest known one."""
    names = list(names)
    asked = sets_asked(names, known, separator=separator, also=also)
    for name, parts in zip(names, asked, strict=True):
        if parts.unknown:
            treatments = sorted(known.treatments)
            raise InputError(
                f"{name!r} asks for {', '.join(map(repr, parts.unknown))}, which no cell of "
                f"{where} received{_meant(parts.unknown[0], treatments)}, expected treatments such "
                f"as {shown(treatments, 5)}: correct it"
            )
    return [parts.names for parts in asked]


def conditions_asked(names: Iterable[str], known: Known) -> list[str | None]:
    """The condition of each name, as the data call it; None where the data have none such."""
    names = list(names)
    by_set = {frozenset(treatments): name for name, treatments in known.conditions.items()}
    conditions = []
    for name, parts in zip(names, sets_asked(names, known), strict=True):
        condition = None if parts.unknown else by_set.get(frozenset(parts.names))
        # Two conditions may have the same treatments, so the name goes before them.
        conditions.append(name if name in known.conditions else condition)
    return conditions


def listed(names: Sequence[str], known: Known) -> tuple[str, ...]:
    """The names of a joined list, those with a comma of their own put together again, their parts
    in any order."""
    fold = folded(known.rules)
    spelled = {fold(normal(name)) for name in (*known.conditions, *known.treatments)}
    sets = set(map(frozenset, known.conditions.values()))
    understand = _reader(known, None, ())

    def is_name(text: str) -> bool:
        if fold(normal(text)) in spelled:
            return True
        try:
            parts = understand(text)
        except InputError:
            return False
        # A control beside treatments adds nothing, so that its comma is one between names.
        inside = sum(name.count(",") for name in parts.names)
        between = (len(parts.names) - 1) * known.rules.separator.count(",")
        whole = text.count(",") in (inside, inside + between)
        return whole and not parts.unknown and frozenset(parts.names) in sets

    return rejoined(tuple(names), is_name)


def _reader(known: Known, separator: str | None, also: Collection[str]) -> Callable[[str], Parts]:
    rules, fold = known.rules, folded(known.rules)
    is_control = control_match(rules)
    # The data's own spelling of every name.
    spelled = {fold(name): name for name in (*also, *known.treatments)}
    by_name = {fold(normal(name)): of for name, of in known.conditions.items()}
    separators = (rules.separator, COMMON) if separator is None else (separator,)

    def is_known(name: str) -> bool:
        return is_control(name) or fold(name) in spelled

    def understand(name: str) -> Parts:
        text = with_genes(normal(name), rules, is_control)
        # Whole names come first, since one may hold the separator.
        for whole in (name, text):
            if fold(normal(whole)) in by_name:
                return Parts(known.conditions.get(whole, by_name[fold(normal(whole))]), ())
        ways: list[Parts] = []
        for cut in dict.fromkeys(separators):
            parts = parts_of(text, cut, is_known)
            if all(parts.names):
                ways.append(parts)
        if not ways:
            raise InputError(
                f"{name!r} has an empty part, expected names such as A or A{separators[0]}B: "
                "correct it"
            )
        # The file's own separator goes first where another one explains no more.
        best = min(ways, key=lambda way: (len(way.unknown), -len(way.names)))
        names = [spelled.get(fold(part), part) for part in best.names if not is_control(part)]
        return Parts(tuple(names), best.unknown)

    return understand


def _meant(name: str, treatments: Sequence[str]) -> str:
    """A question for the closest treatment, if one is close."""
    # Case is what is mistyped most, and to difflib two cases are two letters.
    alike = {other.casefold(): other for other in treatments}
    close = get_close_matches(name.casefold(), list(alike), n=1, cutoff=0.6)
    return f" (did you mean {alike[close[0]]!r}?)" if close else ""
