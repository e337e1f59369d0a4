"""What names look like, though nobody said so: controls, missing labels, guides of one gene, two
spellings of one name, combinations with another separator."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable

from jaxpert.data.labels_split import Match, normal, pieces

CONTROLS = frozenset(
    (
        "nt ntc nontargeting nontarget nontargetingcontrol ntctrl ntcontrol nontreated neg "
        "negative negctrl negcontrol negativecontrol nc ctrl control ctl ctr con cntrl safe "
        "safeharbor safeharbour safetargeting safetarget aavs rosa clybl scramble scrambled "
        "scr shscr siscr sictrl sicontrol sint shctrl shcontrol shnt sgnt sgntc sgctrl "
        "sgcontrol intergenic dmso vehicle veh pbs saline mock water h2o etoh untreated "
        "untransduced uninfected unperturbed unstimulated unstim notreatment wt wildtype "
        "parental baseline empty emptyvector ev lacz luc luciferase gfp egfp rfp bfp noguide "
        "nosgrna nogrna dummy "
    ).split()
)
"""What controls are called, without signs and numbers."""
BEGINNINGS = (
    "nontarget",
    "negctrl",
    "negcontrol",
    "negativecontrol",
    "safeharb",
    "safetarget",
    "scramble",
    "intergenic",
    "untreated",
    "unperturbed",
)
FIRST_WORDS = frozenset(("nt", "ntc", "ctrl", "control", "dmso", "vehicle", "mock", "scr", "safe"))
"""Words that make a control of a longer name: `DMSO 0.1 %`."""
TOOLS = frozenset(("sg", "g", "sh", "si", "sgrna", "grna", "guide", "cas9", "dcas9", "crispri"))
MISSING = frozenset(
    (
        "na n/a #n/a nan none null <na> missing unassigned unknown undetermined undefined unmapped "
        "unlabeled unlabelled ambiguous multiplet multiplets doublet doublets nocall no_call "
        "not_assigned not_available not_applicable - -- ? . *"
    ).split()
)
"""Words for a missing label, in small letters and with _ for blanks."""
GUIDE = re.compile(
    r"(.+?)(?:[_.:|](?:sg|g|sh|gr|guide|sgrna|grna)?|-(?:sg|g|sh|gr|guide|sgrna|grna)|#)[_-]?\d+",
    re.IGNORECASE,
)
"""A gene and the number of its guide: KLF1_g1, KLF1_2, KLF1-sg3, KLF1#1."""
OTHER_SEPARATORS = "+_|;&,/:-"


def means_missing(name: str) -> bool:
    """Whether a name is a word for a missing label, or empty."""
    return not name or normal(name).casefold().replace(" ", "_") in MISSING


def looks_like_control(name: str, controls: Collection[str] = ()) -> bool:
    """Whether a name is one that controls have, or one of `controls`, but for case, signs and
    number."""
    words = _words(name)
    squeezed = "".join(words)
    if squeezed in CONTROLS or squeezed.startswith(BEGINNINGS):
        return True
    if words and words[0] in FIRST_WORDS:
        return True
    return bool(squeezed) and squeezed in {"".join(_words(control)) for control in controls}


def _words(name: str) -> list[str]:
    """Words of a name without their numbers, nor what says that it is a guide."""
    words = []
    for word in re.findall(r"[^\W_]+", name.casefold()):
        stem = word.rstrip("0123456789")
        if stem and word not in TOOLS and stem not in TOOLS:
            words.append(stem)
    return words


def guides_of_genes(names: Iterable[str], is_control: Match) -> dict[str, list[str]]:
    """Gene -> names that look like its guides, where there are two or more."""
    by_gene: dict[str, list[str]] = {}
    for name in sorted(names):
        guide = GUIDE.fullmatch(name)
        if guide:
            by_gene.setdefault(guide[1], []).append(name)
    # One name with a number may be a gene; numbers of one stem are what tells guides.
    return {
        gene: guides
        for gene, guides in by_gene.items()
        if len(guides) > 1 and not any(map(is_control, guides))
    }


def pattern_of_tail(name: str) -> str:
    r"""What follows the gene in a guide's name, as a regular expression: `_g\d+` for `KLF1_g1`."""
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
