"""Names in a label: which stand for control cells, where a label may be cut, what a guide's gene
is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from jaxpert.core.types import InputError, LabelRules
from jaxpert.data.labels_controls import looks_like_control

BRACKETS = {"(": ")", "[": "]", "{": "}"}
UNSEEN = dict.fromkeys(map(ord, "\u200b\u2060\ufeff\u00ad"))
"""Characters without a width that come with copied text and join or change no letters."""
WHOLE_NUMBER = re.compile(r"(-?\d+)\.0+")

Match = Callable[[str], bool]


class Parts(NamedTuple):
    """A label divided."""

    names: tuple[str, ...]
    unknown: tuple[str, ...]
    """Those of the names that are no known ones."""


def normal(text: str) -> str:
    """A name without blanks at its ends, with one blank where it has several, and without
    characters that nobody sees."""
    # Few names have other letters than ASCII's, and these nothing to take out.
    seen = text if text.isascii() else text.translate(UNSEEN)
    return " ".join(seen.split())


def folded(rules: LabelRules) -> Callable[[str], str]:
    """What two spellings of one name have in common."""
    return str.casefold if rules.case == "ignore" else str


def control_match(rules: LabelRules) -> Match:
    """Whether a name is a control label, as `name_match` compares them, or a part of one that joins
    controls alone (NT of `NT_NT`)."""
    # A label of nothing but stars means itself, since it would match every cell.
    stars = {label.casefold() for label in rules.control if not set(label) - set("*? ")}
    others = [label for label in rules.control if label.casefold() not in stars]
    for label in tuple(others):
        parts = [normal(part) for part in pieces(label, rules.separator)]
        # Two controls in a cell are a control, so either of them beside a treatment adds nothing.
        if len(parts) > 1 and all(map(looks_like_control, parts)):
            others += parts
    match = name_match(others, rules.separator)
    return lambda name: match(name) or name.casefold() in stars


def name_match(labels: Iterable[str], separator: str) -> Match:
    """Whether a name is one of the labels; case does not matter, and `*` and `?` stand for any text
    and any character without the separator."""
    exact = {normal(label).casefold() for label in labels}
    # Whole numbers of a float column are read as integers, and were called 0.0 before.
    exact |= {number[1] for label in exact if (number := WHOLE_NUMBER.fullmatch(label))}
    patterns = [_pattern(label, separator) for label in exact if set(label) & set("*?")]

    def match(name: str) -> bool:
        name = normal(name).casefold()
        # The same numbers may be texts in the file.
        number = WHOLE_NUMBER.fullmatch(name)
        if number and number[1] in exact:
            return True
        return name in exact or any(pattern.fullmatch(name) for pattern in patterns)

    return match


def _pattern(label: str, separator: str) -> re.Pattern[str]:
    """A label with `*` and `?` as a regular expression."""
    # No star passes a separator, else NT-* would match a combination such as NT-1-KLF1.
    character = f"(?:(?!{re.escape(separator.casefold())}).)" if separator else "."
    text = re.escape(label).replace(r"\*", f"{character}*").replace(r"\?", character)
    return re.compile(text, re.DOTALL)


def pieces(label: str, separator: str) -> list[str]:
    """What stands between those separators of a label that are outside brackets."""
    if not separator or separator not in label:
        return [label]
    # Most labels have no brackets, and one call in C cuts them.
    if not set(label) & set(BRACKETS):
        return label.split(separator)
    depth = _depths(label)
    cut: list[str] = []
    start = at = 0
    while at < len(label):
        if depth[at] or not label.startswith(separator, at):
            at += 1
            continue
        cut.append(label[start:at])
        at += len(separator)
        start = at
    return [*cut, label[start:]]


def _depths(label: str) -> list[int]:
    """How many brackets stand around each character; none where brackets do not pair up."""
    awaited: list[str] = []
    depths = []
    for character in label:
        if character in BRACKETS.values() and (not awaited or awaited.pop() != character):
            return [0] * len(label)
        depths.append(len(awaited))
        if character in BRACKETS:
            awaited.append(BRACKETS[character])
    return [0] * len(label) if awaited else depths


def parts_of(label: str, separator: str, known: Match) -> Parts:
    """Divide a label so that the fewest pieces are unknown, and then into the fewest names.

    A name may hold the separator itself (`KLF1-non-targeting`, `KLF1-HLA-A`), so that several
    pieces may be one known name; the longest one is taken.
    """
    cut = pieces(label, separator)
    # From the back: the cost of the best way to divide what is left, and that way.
    best = [((0, 0), Parts((), ()))]
    for start in reversed(range(len(cut))):
        ways = []
        for stop in range(len(cut), start, -1):
            name = normal(separator.join(cut[start:stop]))
            fits = known(name)
            # Only a single piece may be unknown.
            if fits or stop == start + 1:
                (strange, number), rest = best[len(cut) - stop]
                unknown = rest.unknown if fits else (name, *rest.unknown)
                cost = (strange + (not fits), number + 1)
                ways.append((cost, Parts((name, *rest.names), unknown)))
        # `min` keeps the first of equals, which has the longest name in front.
        best.append(min(ways, key=lambda way: way[0]))
    return best[-1][1]


def gene_expression(pattern: str) -> re.Pattern[str]:
    """The compiled `data.guide_pattern`; InputError where it is no expression of one group."""
    example = r"(.+)_g\d+"
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"data.guide_pattern is {pattern!r}, which is no regular expression ({error}), "
            f"expected one with one group around the gene, such as {example}: correct it"
        ) from error
    if expression.groups != 1:
        raise InputError(
            f"data.guide_pattern is {pattern!r}, which has {expression.groups} groups, expected "
            f"one around the gene, such as {example}: correct it"
        )
    return expression


def with_genes(label: str, rules: LabelRules, is_control: Match) -> str:
    """A label with the genes of its guides in their places; control labels stay as they are."""
    if not rules.guide_pattern or is_control(label):
        return label
    expression = gene_expression(rules.guide_pattern)
    genes, guides = [], 0
    for piece in map(normal, pieces(label, rules.separator)):
        guide = None if is_control(piece) else expression.fullmatch(piece)
        genes.append(normal(guide[1]) if guide else piece)
        guides += guide is not None
    if guides:
        return rules.separator.join(genes)
    # A guide's name may hold the separator.
    whole = expression.fullmatch(label)
    return normal(whole[1]) if whole else label
