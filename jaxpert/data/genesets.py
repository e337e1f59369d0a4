"""Gene sets from GMT files, and which of them name the pathways of a screen's perturbed genes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from jaxpert.core import log
from jaxpert.core.spreadsheets import is_spoiled, unquoted
from jaxpert.core.texts import read_text
from jaxpert.core.types import InputError
from jaxpert.data.files import shown

MOST_PATHWAYS = 7
FEWEST_GENES, LARGEST_SET = 2, 500
"""Perturbed genes that a pathway needs, and genes beyond which a set is too general to be one (as
in GSEA)."""
DECIMAL = re.compile(r"[+-]?[0-9]*[.,][0-9]+")
"""Weights, as tables of edges have them: such a file is no GMT."""
WEIGHTED = re.compile(r".+,[+-]?[0-9]*\.[0-9]+")
"""A gene and its weight, as some files of Enrichr have them: KLF1,1.0."""


def read_gmt(path: str | Path) -> dict[str, frozenset[str]]:
    """Gene sets of a GMT file, plain or gzipped: a line is name, description and genes, separated
    by tabs, or by semicolons as spreadsheets write them.

    Sets of the same name are joined; a file that cannot be read so is an `InputError` naming the
    line.
    """
    text = read_text(path, "a GMT file, plain or gzipped")
    # A semicolon may stand in a description, so it separates only where no tab does.
    separator = "\t" if "\t" in text else ";"
    sets: dict[str, frozenset[str]] = {}
    descriptions: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        # Spreadsheets fill short lines up with separators, so that blank ones hold some.
        if not line.strip(f" {separator}"):
            continue
        name, *rest = [_cell(cell) for cell in line.split(separator)]
        # The second field is a description, and trailing separators make empty names.
        genes = frozenset(rest[1:]) - {""}
        if not name or not genes or any(map(_is_weighted, genes)):
            raise InputError(
                f"line {number} of {path} is no gene set ({line[:40]!r}), expected a name, a "
                f"description and genes, separated by tabs: {_fix(line, separator)}"
            )
        sets[name] = sets.get(name, frozenset()) | genes
        descriptions.append(rest[0])
    if not sets:
        raise InputError(
            f"{path} holds no gene set, expected a GMT file with one in each line: check the path"
        )
    genes = frozenset().union(*sets.values())
    warn_of_spoiled(genes, path)
    _warn_of_descriptions(descriptions, genes, path)
    return sets


def _is_weighted(cell: str) -> bool:
    return bool(DECIMAL.fullmatch(cell) or WEIGHTED.fullmatch(cell))


def _warn_of_descriptions(
    descriptions: Sequence[str], genes: frozenset[str], path: str | Path
) -> None:
    """Say that the first gene of each set is lost in a file that was made without descriptions."""
    # Genes of one set are those of another, too; a description is rarely a gene.
    alike = [text for text in descriptions if text in genes]
    if len(alike) > len(descriptions) / 2:
        log.say(
            f"note: ATTENTION: the second field of {len(alike)} of {len(descriptions)} sets of "
            f"{path} is a gene ({shown(dict.fromkeys(alike), 4)}), where GMT files have a "
            "description, so it counts as none: if it is one of the set, put a description before "
            "it"
        )


def _fix(line: str, separator: str) -> str:
    """What to do about a line that is no gene set."""
    if any(WEIGHTED.fullmatch(cell.strip()) for cell in line.split(separator)):
        return "leave out the weights behind its genes"
    # Commas are no separator of ours, since descriptions are sentences that hold some.
    if separator not in line and line.count(",") > 1:
        return "its commas separate nothing here, so save the file again with tabs in their place"
    return "give a GMT file"


def _cell(text: str) -> str:
    """A cell without the quotes that spreadsheets put around one with a separator or a quote."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1].replace('""', '"').strip()
    return unquoted(text)


def warn_of_spoiled(genes: Iterable[str], path: str | Path) -> None:
    """Name the genes that a spreadsheet has turned into dates or numbers."""
    spoiled = sorted(name for name in set(genes) if is_spoiled(name))
    if spoiled:
        log.say(
            f"note: ATTENTION: {path} holds {len(spoiled)} genes that a spreadsheet has turned "
            f"into dates or numbers ({shown(spoiled)}; 1-Mar was MARCHF1 or MTARC1, 1-Sep was "
            "SEPTIN1, 1-Dec was DELEC1): no gene of the data will match them, so correct the file"
        )


def pathways_of(
    treatments: Iterable[str], sets: Mapping[str, frozenset[str]], most: int = MOST_PATHWAYS
) -> dict[str, str]:
    """One pathway for each perturbed gene that has one among at most `most` sets; the other genes
    are left out.

    Sets are chosen one after the other: the one that holds the most genes still without a pathway,
    of equals the smallest and so most specific. Sets of more than 500 genes name no pathway unless
    no smaller one holds two such genes.
    """
    left = set(treatments)
    if not left & frozenset().union(*sets.values()):
        raise InputError(
            f"none of the {len(left)} perturbed genes ({', '.join(sorted(left)[:4])} ...) is in a "
            "gene set, expected the same gene symbols in both: give a GMT file of the screen's "
            "species and naming"
        )
    chosen: dict[str, str] = {}
    # Greedy: the best cover by few sets is a hard problem, and a close one will do.
    for _ in range(most):
        name = _richest(left, sets)
        if name is None:
            break
        # Sorted, so that the answer has the same order in every process.
        chosen |= dict.fromkeys(sorted(left & sets[name]), name)
        left -= sets[name]
    if not chosen:
        raise InputError(
            f"no gene set holds {FEWEST_GENES} of the perturbed genes "
            f"({', '.join(sorted(left)[:4])} ...), expected pathways of several perturbations: "
            "give another GMT file"
        )
    return chosen


def _richest(genes: set[str], sets: Mapping[str, frozenset[str]]) -> str | None:
    """Name of the set that holds the most of `genes`, two at least; of equals the smallest, then
    the first by name."""
    specific, general = [], []
    for name, members in sets.items():
        held = len(genes & members)
        if held >= FEWEST_GENES:
            ranked = specific if len(members) <= LARGEST_SET else general
            # As a tuple, so that `min` settles equals by size and then by name.
            ranked.append((-held, len(members), name))
    return min(specific or general, default=(0, 0, None))[-1]
