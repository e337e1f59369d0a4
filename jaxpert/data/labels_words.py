"""What names look like, though nobody said so: missing labels, guides of one gene, two spellings of
one name, combinations with another separator (controls: `data.labels_controls`)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable

from jaxpert.data.labels_split import Match, normal, pieces

MISSING = frozenset(
    (
        # The errors of spreadsheets are no names either.
        "na n/a #n/a #name? #ref! #value! #div/0! #num! #null! nan none null <na> missing "
        "unassigned unknown undetermined undefined unmapped unlabeled unlabelled ambiguous "
        "multiplet multiplets doublet doublets nocall no_call not_assigned not_available "
        "not_applicable not_determined not_detected n.a. n.d. nd unk undef multi multiple ambient "
        "debris filtered tbd - -- ? . *"
    ).split()
)
"""Words for a missing label, in small letters and with _ for blanks."""
TOOL = "(?:sg|g|sh|gr|guide|sgrna|grna)"
# The point of a decimal, as in JQ1@0.5, parts no gene from its guide.
GUIDE = re.compile(
    rf"(.+?)(?:(?<!\d)[.]{TOOL}?|[.]{TOOL}|[_:|]{TOOL}?|-{TOOL}|#|(?-i:(?<=[A-Z0-9])s?g))[_-]?\d+",
    re.IGNORECASE,
)
"""A gene and the number of its guide: KLF1_g1, KLF1_2, KLF1-sg3, KLF1#1, KLF1g1."""
TAILS = (r"_[+-]_\d+\.\d+-\S+", "[_-][ACGT]{6,}", r"[- ]\d+", "_[a-hA-H]")
"""What follows the gene in names of guides that are told by their number alone: `KLF1-1`,
`KLF1_ACGTACGT`, `KLF1_+_129.23-P1`."""
MOST_NAMES = 0.75
"""Of all names, the share that has such a tail where it is one of guides."""
DOSE = re.compile(
    r"(.+?)(?:\s*@\s*|[_ :-])((?<=@)[\d.,]+|[\d.,]+\s*(?:[fpnuµμm]?m|[npuµμm]?g(?:/ml)?|%|h|hr|d|x)"
    r"|\d+[.]\d+)\s*\w*",
    re.IGNORECASE,
)
"""A compound and its dose or time: JQ1@0.5, JQ1_10uM, IL6 24h, JQ1_0.5."""
OTHER_SEPARATORS = "+_|;&,/:-"


def means_missing(name: str) -> bool:
    """Whether a name is a word for a missing label, or several of them (`NA|NA`), or empty."""
    plain = normal(name).casefold().replace(" ", "_")
    if not plain or plain in MISSING:
        return True
    parts = re.split(r"[+_|;&,/:-]+", plain)
    return all(part in MISSING for part in parts)


def guides_of_genes(names: Collection[str], is_control: Match) -> dict[str, list[str]]:
    """Gene -> names that look like its guides, where there are two or more."""
    for tail in TAILS:
        named = [name for name in names if re.fullmatch(f".+{tail}", name)]
        # Names of some genes end so (NKX2-1), but not those of most.
        if len(named) >= MOST_NAMES * len(names):
            return _grouped(named, re.compile(f"(.+?){tail}"), is_control)
    return _grouped(names, GUIDE, is_control)


def _grouped(
    names: Iterable[str], form: re.Pattern[str], is_control: Match
) -> dict[str, list[str]]:
    by_gene: dict[str, list[str]] = {}
    for name in sorted(names):
        guide = form.fullmatch(name)
        if guide:
            by_gene.setdefault(guide[1], []).append(name)
    # One name with a number may be a gene; numbers of one stem are what tells guides.
    return {
        gene: guides
        for gene, guides in by_gene.items()
        if len(guides) > 1 and not any(map(is_control, guides))
    }


def doses_of_compounds(names: Iterable[str]) -> dict[str, list[str]]:
    """Compound -> names that look like its doses or times, where there are two or more."""
    by_compound: dict[str, list[str]] = {}
    for name in sorted(names):
        dose = DOSE.fullmatch(name)
        if dose:
            by_compound.setdefault(dose[1], []).append(name)
    return {compound: doses for compound, doses in by_compound.items() if len(doses) > 1}


def pattern_of_tail(name: str) -> str:
    r"""What follows the gene in a guide's name, as a regular expression: `_g\d+` for `KLF1_g1`."""
    for tail in TAILS:
        if re.fullmatch(f".+{tail}", name) and not GUIDE.fullmatch(name):
            return tail
    guide = GUIDE.fullmatch(name)
    tail = "" if guide is None else name[len(guide[1]) :].rstrip("0123456789")
    return re.escape(tail).replace(r"\-", "-") + r"\d+"


def near_duplicates(names: Iterable[str]) -> list[list[str]]:
    """Names that are alike but for case, blanks, hyphens, underscores and forms of letters."""
    alike: dict[str, list[str]] = {}
    for name in sorted(names):
        plain = unicodedata.normalize("NFKC", name).casefold()
        # Marks without a width (Cf) are no part of what a reader sees.
        seen = "".join(c for c in plain if c not in "-_ " and unicodedata.category(c) != "Cf")
        alike.setdefault(seen, []).append(name)
    return [members for members in alike.values() if len(members) > 1]


def joined_otherwise(labels: Collection[str], separator: str, known: Match) -> dict[str, list[str]]:
    """Other separator -> labels whose parts are all known by themselves when it divides them."""
    seen: dict[str, list[str]] = {}
    for other in OTHER_SEPARATORS:
        if other == separator:
            continue
        for label in sorted(labels):
            cut = list(map(normal, pieces(label, other)))
            if len(cut) > 1 and all(cut) and all(map(known, cut)):
                seen.setdefault(other, []).append(label)
    return seen
