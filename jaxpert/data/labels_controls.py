"""What controls are called in screens, in any case, with or without signs and numbers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

NAMES = frozenset(
    (
        # Guides and hairpins without a target.
        "nt ntc gnt gntc ntctrl ntcontrol neg negative nc scramble scrambled scr random targetless "
        "offtarget dummy modpba "
        # Guides of places that do nothing.
        "safe aavs rosa hrosa clybl cutting olfactory olfactoryreceptor neutral "
        # Genes that the cells have not.
        "lacz bgal luc luciferase fluc rluc nluc firefly renilla gfp egfp rfp bfp tagbfp yfp eyfp "
        "mcherry cherry tdtomato tomato dsred mscarlet neongreen mneongreen venus zsgreen "
        # Solvents, and what stands for a treatment.
        "dmso vehicle veh solvent diluent pbs hbss saline water h2o ddh2o etoh ethanol meoh "
        "methanol buffer medium media mock sham placebo blank isotype igg "
        # Cells as they are.
        "ctrl control controls ctl ctr con cntrl untr unt resting naive wt wildtype parental "
        "parent baseline empty emptyvector ev plko ns "
    ).split()
)
BEGINNINGS = (
    *("nontarget", "nontransd", "nontreat", "nonperturb", "noncutting", "nonsilenc", "nonspecific"),
    *("nonessential", "nongen", "noninfect", "nonstim", "negctrl", "negcontrol", "negativecontrol"),
    *("safeharb", "safetarget", "scramble", "intergenic", "genedesert", "neutralcontrol"),
    *("untreated", "unperturb", "untransduced", "untransfected", "unstim", "uninfected"),
    *("notarget", "noguide", "nogrna", "nosgrna", "nodrug", "nocompound", "notreat", "noperturb"),
    *("nopert", "nostim", "nosite", "noligand", "nocytokine", "novirus", "noinfect", "nottreat"),
    *("nottarget", "notinfect", "notstim", "nottransd", "onesite", "onenongene", "oneintergenic"),
)
"""What their names begin with, put together: `no_target`, `Non-Targeting 12`."""
FIRST_WORDS = frozenset(("nt", "ntc", "ctrl", "control", "dmso", "vehicle", "mock", "scr", "safe"))
"""Words that make a control of a longer name: `DMSO plate 3`."""
BESIDE = frozenset(
    "or na one no human mouse hs mm chr site region cells cell only alone type wild pool group "
    "vector null ns a b c d e f guide oligo plasmid".split()
)
"""Words that change nothing beside one of NAMES: `Chr4_safe`, `OR_control`."""
TOOLS = frozenset(
    "sg g sh si sgrna grna sirna shrna crrna rna guide cas9 dcas9 cas12a crispri crispr".split()
)
TOOL = re.compile(r"(?:sg|sh|si)?(.+?)(?:sgrna|grna|sirna|shrna|s?g)?")
"""What says that a word is a guide stands before or behind it: `sgLacZ`, `NTgRNA`."""
GENES = frozenset(("wt1", "ctr1", "ctr9", "con1", "ns1", "ns2", "ns3", "nsg1", "nsg2"))
"""Genes that would be names of controls without their number."""
ZERO_DOSE = re.compile(
    r".+?(?:@|[_ :-](?=.*[a-zµμ%]$))\s*0+(?:\.0+)?\s*(?:[pnuµμm]?(?:m|g|mol)(?:/ml|/l)?|%|h|hr|x)?",
    re.IGNORECASE,
)
"""A compound at no dose: `JQ1@0`, `JQ1_0uM`."""


def looks_like_control(name: str, controls: Collection[str] = ()) -> bool:
    """Whether a name is one that controls have, or one of `controls`, but for case, signs and
    number, or a compound at no dose."""
    if ZERO_DOSE.fullmatch(name):
        return True
    words = _words(name)
    if GENES & set(words):
        return False
    untold = [word for word in words if word not in TOOLS]
    named = [stem for stem in _stems(untold) if stem not in TOOLS]
    # With and without what says that it is a guide, which is a part of `no guide`.
    squeezed = {"".join(_stems(words)), "".join(named)} - {""}
    if squeezed & NAMES or any(text.startswith(BEGINNINGS) for text in squeezed):
        return True
    if named and (named[0] in FIRST_WORDS or _is_of_controls(named)):
        return True
    # Numbers tell the guides of one control apart.
    return bool(squeezed & {"".join(_stems(_words(control))) for control in controls} - {""})


def _is_of_controls(words: Iterable[str]) -> bool:
    """Whether some word is a control's name, and the others say nothing against it."""
    bare = set(map(_bare, words))
    return bool(bare & NAMES) and bare <= NAMES | BESIDE


def _bare(word: str) -> str:
    """A word without what says that it is a guide; names of controls as they are."""
    tool = None if word in NAMES else TOOL.fullmatch(word)
    return word if tool is None else tool[1]


def _stems(words: Iterable[str]) -> list[str]:
    """Words without their numbers."""
    return [stem for word in words if (stem := word.rstrip("0123456789"))]


def _words(name: str) -> list[str]:
    """Words of a name in small letters, but for those that begin with a number, such as `24h`."""
    words = re.findall(r"[^\W_]+", name.casefold())
    return [word for word in words if not word[0].isdigit()]
