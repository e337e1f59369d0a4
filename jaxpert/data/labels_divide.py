"""The labels of a file divided into treatments, all at once: they say of each other which names are
treatments."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from jaxpert.core.settings import joined
from jaxpert.core.types import InputError, LabelRules
from jaxpert.data.files import shown
from jaxpert.data.labels_split import (
    Match,
    control_match,
    folded,
    name_match,
    normal,
    parts_of,
    pieces,
)
from jaxpert.data.labels_words import means_missing

IN_NAMES = frozenset("-. ")
"""Characters that names of genes hold too (HLA-A, NKX2-1)."""
GUIDE_NUMBER = re.compile(r"(?:sg|g|sh|gr|guide|sgrna|grna)?[#_-]?\d+", re.IGNORECASE)
"""What tells the guides of one gene apart, such as g1, sg2 or 3."""
AMOUNT = re.compile(
    r"\d+(?:[.,]\d+)?\s*(?:[fpnuµμm]?m|[npuµμm]?g(?:\s*/?\s*m?l)?|%|i?u(?:\s*/?\s*ml)?|x|gy"
    r"|s|sec|min|h|hr|hrs|hours?|d|days?)",
    re.IGNORECASE,
)
"""A dose or a time, which is no treatment by itself: 10uM, 0.5 %, 24h."""


class Divided(NamedTuple):
    """What became of every label, and what was decided where it was not plain."""

    parts: Mapping[str, tuple[str, ...]]
    """Label -> its treatments and control labels, in order."""
    whole: tuple[str, ...] = ()
    """Labels that hold the separator and are taken as one treatment."""
    assumed: tuple[str, ...] = ()
    """Treatments that occur in combinations alone and are no measured gene."""


class _Names(NamedTuple):
    """What is known of the names in a file."""

    separator: str
    is_control: Match
    fold: Callable[[str], str]
    given: Match
    """Measured genes and `data.treatments`."""
    treatments: set[str]
    """Treatments by themselves, folded; labels that are understood add to them."""
    controls: tuple[str, ...]
    """As `data.control` has them."""

    def known(self, name: str) -> bool:
        return self.is_control(name) or self.given(name) or self.fold(name) in self.treatments


def divide(
    labels: Collection[str], rules: LabelRules, genes: Iterable[str] = (), column: str = "condition"
) -> Divided:
    """Divide labels where all their parts are known.

    Known are control labels, labels without separator, measured genes and `rules.treatments`.
    Elsewhere:

    - beside a control label there is one treatment (`HLA-A-ctrl`);
    - a separator that names of genes hold too (IN_NAMES) divides nothing unknown, so that `HLA-A`
      is one treatment;
    - with another separator, such as `+`, a label is divided where some part is known, where every
      part occurs in several labels, where no label has a single treatment, or where the separator
      joins known treatments in more than twice as many labels as stay open.

    Labels that stay open are an InputError that lists them.
    """
    if not rules.separator:
        return Divided({label: (label,) for label in labels})
    names = _names(labels, rules, genes)
    # Shorter labels first, since they may be parts of longer ones; by name, for one order always.
    order = sorted(labels, key=lambda label: (len(pieces(label, rules.separator)), label))
    _refuse_empty(order, names, column)
    strict = set(rules.separator) <= IN_NAMES
    evidence = _Evidence.of(order, names)
    parts: dict[str, tuple[str, ...]] = {}
    pending = order
    # What one label teaches may settle another, so labels are gone through until none is settled.
    while True:
        left = []
        for label in pending:
            divided = _divided(label, names, evidence, strict)
            if not divided:
                left.append(label)
                continue
            parts[label] = divided
            names.treatments.update(names.fold(n) for n in divided if not names.is_control(n))
        if len(left) == len(pending):
            break
        pending = left
    usual = _joined_labels(parts, names) > 2 * len(pending)
    parts |= _leftover(pending, names, evidence, strict, usual, column)
    return _with_decisions(parts, names)


class _Evidence(NamedTuple):
    """What all labels together say of a name."""

    labels: frozenset[str]
    """All labels, folded."""
    several: frozenset[str]
    """Pieces that occur in several combinations."""
    singles: bool
    """Whether some label has one treatment, so that there is something to compare with."""

    @classmethod
    def of(cls, labels: Collection[str], names: _Names) -> _Evidence:
        """Gather it."""
        sets = set()
        for label in labels:
            named = map(normal, pieces(label, names.separator))
            sets.add(frozenset(names.fold(n) for n in named if not names.is_control(n)))
        number = Counter(name for members in sets for name in members)
        several = frozenset(name for name, of in number.items() if of > 1)
        folded_labels = frozenset(map(names.fold, labels))
        return cls(folded_labels, several, any(len(members) == 1 for members in sets))


def _names(labels: Collection[str], rules: LabelRules, genes: Iterable[str]) -> _Names:
    is_control, fold = control_match(rules), folded(rules)
    # A star stands for many names here: data.treatments=* says that every part is one.
    listed = name_match(rules.treatments, rules.separator)
    measured = frozenset(map(fold, genes))
    alone = set()
    for label in labels:
        if len(pieces(label, rules.separator)) == 1 and not is_control(label):
            alone.add(fold(label))
    return _Names(
        rules.separator,
        is_control,
        fold,
        lambda name: fold(name) in measured or listed(name),
        alone,
        rules.control,
    )


def _divided(label: str, names: _Names, evidence: _Evidence, strict: bool) -> tuple[str, ...]:
    """The parts of a label as far as it is understood by now; none where it stays open."""
    if names.known(label) or means_missing(label):
        return (label,)
    best = parts_of(label, names.separator, names.known)
    if not best.unknown:
        return best.names
    # HOXA11-AS is no combination, although HOXA11 is known.
    if strict:
        return _beside_control(best.names, names) or _of_labels(label, names, evidence)
    # Where one name is known, the text beside it is another one, unless it reads like no name.
    some = len(best.unknown) < len(best.names)
    again = evidence.several.issuperset(map(names.fold, best.unknown))
    likely = some or again or not evidence.singles
    if likely and all(map(_plausible, best.unknown)):
        return best.names
    # What no name can be is a part of one: JQ1_1uM_BRD4_1uM beside JQ1_1uM and BRD4_1uM.
    return _of_labels(label, names, evidence)


def _beside_control(parts: Collection[str], names: _Names) -> tuple[str, ...]:
    """The one treatment beside control labels, put together where the separator parted it."""
    runs: list[str] = []
    inside = False
    for part in parts:
        apart = names.is_control(part)
        if inside and not apart:
            runs[-1] = normal(names.separator.join([runs[-1], part]))
        else:
            runs.append(part)
        inside = not apart
    treatments = [part for part in runs if not names.is_control(part)]
    one = len(treatments) == 1 and len(runs) > 1 and _plausible(treatments[0])
    return tuple(runs) if one else ()


def _of_labels(label: str, names: _Names, evidence: _Evidence) -> tuple[str, ...]:
    """The parts of a label where all are labels themselves (KLF1-HLA-A beside HLA-A)."""

    def known(name: str) -> bool:
        return names.known(name) or (name != label and names.fold(name) in evidence.labels)

    best = parts_of(label, names.separator, known)
    return best.names if not best.unknown and len(best.names) > 1 else ()


def _joined_labels(parts: Mapping[str, tuple[str, ...]], names: _Names) -> int:
    """Labels in which the separator joins known treatments."""
    number = 0
    for of in parts.values():
        treatments = [name for name in of if not names.is_control(name)]
        number += len(treatments) > 1
    return number


def _leftover(
    pending: Collection[str],
    names: _Names,
    evidence: _Evidence,
    strict: bool,
    usual: bool,
    column: str,
) -> dict[str, tuple[str, ...]]:
    """Labels without known parts: one treatment where that is the likelier reading, else an
    InputError that asks."""
    parts: dict[str, tuple[str, ...]] = {}
    open_labels = []
    for label in pending:
        cut = tuple(map(normal, pieces(label, names.separator)))
        readable = all(map(_plausible, cut))
        # A star may pass separators where these part no treatments: non-targeting-2.
        control = [wanted for wanted in names.controls if name_match([wanted], "")(label)]
        if control and not readable:
            parts[label] = (control[0],)
        elif strict and readable and not evidence.singles:
            parts[label] = cut
        elif strict or not readable:
            parts[label] = (label,)
        elif usual:
            # Where it joins treatments in most labels, it joins those of the others too.
            parts[label] = cut
        else:
            open_labels.append(label)
    if not open_labels:
        return parts
    example = open_labels[0]
    whole, apart = joined([example]), joined(map(normal, pieces(example, names.separator)))
    raise InputError(
        f"{len(open_labels)} labels in column {column!r} hold the separator {names.separator!r} "
        f"between names that are treatments nowhere else ({shown(map(repr, open_labels))}), "
        f"expected known treatments on both sides: say with data.treatments={whole} that this is "
        f"one treatment, with data.treatments={apart} that it is a combination, or change "
        "data.separator (empty: no label is split)"
    )


def _refuse_empty(labels: Iterable[str], names: _Names, column: str) -> None:
    separator = names.separator
    for label in labels:
        if names.known(label) or all(map(normal, pieces(label, separator))):
            continue
        raise InputError(
            f"label {label!r} in column {column!r} has an empty part between separators "
            f"{separator!r}, expected names such as 'A' or 'A{separator}B': mend the label, change "
            f"data.separator, or say with data.treatments={joined([label])} that this is one name"
        )


def _plausible(name: str) -> bool:
    """Whether a text between separators can be a treatment: it has a letter, begins with no sign,
    and is no number of a guide, no dose and no time."""
    numbers = GUIDE_NUMBER.fullmatch(name) or AMOUNT.fullmatch(name)
    if numbers or not any(map(str.isalpha, name)):
        return False
    return name[0].isalnum() or name[0] in "([{<'"


def _with_decisions(parts: Mapping[str, tuple[str, ...]], names: _Names) -> Divided:
    """The divided labels, with those that were not plain."""
    whole, single, combined = [], set(), set()
    for label, of in parts.items():
        treatments = [name for name in of if not names.is_control(name)]
        (single if len(set(treatments)) == 1 else combined).update(treatments)
        if treatments == [label] and len(pieces(label, names.separator)) > 1:
            whole.append(label)
    assumed = [name for name in sorted(combined - single) if not names.given(name)]
    return Divided(parts, tuple(n for n in sorted(whole) if not names.given(n)), tuple(assumed))
