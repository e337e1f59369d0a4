"""Gene annotations (GMT, GAF, a pickled dictionary) and gene graphs (CSV edge lists) from a user's
files."""

from __future__ import annotations

import io
import pickle
from collections.abc import Collection, Iterable, Mapping
from numbers import Number
from pathlib import Path
from typing import Any, NamedTuple

from jaxpert.core import spreadsheets
from jaxpert.core.texts import read_bytes, read_text
from jaxpert.core.types import InputError
from jaxpert.data.aliases import Aliases, linked
from jaxpert.data.genesets import read_gmt, warn_of_spoiled

GAF_COLUMNS = 15
"""Columns that a line of a GAF file must have (the last two of the 17 may be missing)."""
SYNONYMS = 10
"""Number of the column with a gene's other names, from 0."""
ASPECTS = ("P", "F", "C")
"""Biological process, molecular function, cellular component."""
PLAIN = {
    ("builtins", "set"),
    ("builtins", "frozenset"),
    ("__builtin__", "set"),
    ("__builtin__", "frozenset"),
}
"""The only names that a pickle may look up; dictionaries, lists, tuples, strings and numbers need
none."""
EDGE_COLUMNS = ("source", "target", "importance")

Terms = dict[str, frozenset[str]]


class Annotations(NamedTuple):
    """What an annotation file says."""

    terms: Terms
    """Annotation terms of each gene symbol."""
    aliases: Aliases
    """Synonyms of the genes; none but in GAF files."""


def read_terms(path: str | Path, aspects: Collection[str] = ASPECTS) -> Terms:
    """Annotation terms of each gene symbol, from a GMT, GAF or pickle file.

    Example:
        terms = jaxpert.read_terms("annotations.gmt.gz")
    """
    return read_annotations(path, aspects).terms


def read_annotations(path: str | Path, aspects: Collection[str] = ASPECTS) -> Annotations:
    """Annotation terms and synonyms of genes, from a GMT, GAF or pickle file, the first two plain
    or gzipped.

    The kind goes by the name: .gmt, .gaf (also .gz), .pkl or .pickle. `aspects` chooses among GAF's
    three ontologies.
    """
    kind = Path(path).name.lower().removesuffix(".gz").rpartition(".")[2]
    if kind == "gmt":
        return Annotations(invert(read_gmt(path)), {})
    if kind == "gaf":
        return read_gaf_annotations(path, aspects)
    if kind in ("pkl", "pickle"):
        return Annotations(read_pickled_terms(path), {})
    raise InputError(
        f"{path} is named as no file of annotations, expected .gmt, .gaf (also with .gz) or .pkl: "
        "give a file of one of these kinds"
    )


def invert(sets: Mapping[str, Iterable[str]]) -> Terms:
    """From the genes of each term to the terms of each gene, and back."""
    inverted: dict[str, set[str]] = {}
    for name, members in sets.items():
        for member in members:
            inverted.setdefault(member, set()).add(name)
    return _frozen(inverted)


def terms_of(
    genes: Iterable[str], terms: Mapping[str, Collection[str]]
) -> dict[str, frozenset[str]]:
    """Terms of those of the genes that have some."""
    return {gene: frozenset(terms[gene]) for gene in genes if gene in terms}


def _frozen(terms: Mapping[str, Iterable[str]]) -> Terms:
    return {gene: frozenset(names) for gene, names in terms.items()}


def read_gaf(path: str | Path, aspects: Collection[str] = ASPECTS) -> Terms:
    """Gene Ontology terms of each gene symbol; see `read_gaf_annotations`."""
    return read_gaf_annotations(path, aspects).terms


def read_gaf_annotations(path: str | Path, aspects: Collection[str] = ASPECTS) -> Annotations:
    """Gene Ontology terms and synonyms of the genes of a GAF 2.x file; annotations qualified by NOT
    are left out."""
    unknown = sorted(set(aspects) - set(ASPECTS))
    if unknown or not aspects:
        raise InputError(
            f"graphs.aspects is {tuple(aspects)!r}, expected some of {', '.join(ASPECTS)}: correct "
            "it"
        )
    terms: dict[str, set[str]] = {}
    synonyms: dict[str, str] = {}
    lines = read_text(path, "a GAF file, plain or gzipped").split("\n")
    for number, line in enumerate(lines, 1):
        # An exclamation mark begins a comment of GAF.
        if not line.strip() or line.startswith("!"):
            continue
        columns = line.split("\t")
        if not _is_annotation(columns):
            raise InputError(
                f"line {number} of {path} is no annotation ({line[:40]!r}), expected at least "
                f"{GAF_COLUMNS} columns separated by tabs with symbol, term and aspect (P, F, C) "
                "in the third, fifth and ninth: give a GAF 2.x file"
            )
        symbol = columns[2].strip()
        synonyms[symbol] = columns[SYNONYMS]
        # NOT says that the gene was shown to lack the term.
        if columns[8] in aspects and "NOT" not in columns[3].split("|"):
            terms.setdefault(symbol, set()).add(columns[4])
    if not terms:
        raise InputError(
            f"{path} holds no annotation of aspect {', '.join(aspects)}, expected some: give a GAF "
            "2.x file that has them, or set graphs.aspects"
        )
    warn_of_spoiled(terms, path)
    pairs = []
    for symbol, joined in synonyms.items():
        pairs += [(symbol, other.strip()) for other in joined.split("|")]
    return Annotations(_frozen(terms), linked(pairs))


def _is_annotation(columns: list[str]) -> bool:
    """Whether symbol, term and aspect stand where GAF has them."""
    if len(columns) < GAF_COLUMNS:
        return False
    symbol, term, aspect = columns[2], columns[4], columns[8]
    return bool(symbol.strip()) and ":" in term and aspect in ASPECTS


def read_edges(path: str | Path) -> list[tuple[str, str, float]]:
    """Edges (source, target, importance) of a CSV file with these three columns, plain or gzipped;
    others are ignored.

    Semicolons and tabs may stand for commas, and then decimal commas for points, as spreadsheets
    write them.
    """
    text = read_text(path, "a CSV file of edges, plain or gzipped")
    sheet = spreadsheets.read_sheet(text, path)
    wrong = [name for name in EDGE_COLUMNS if sheet.header.count(name) != 1]
    if wrong:
        names = ", ".join(wrong)
        raise InputError(
            f"line 1 of {path} names {sheet.header.count(wrong[0]) or 'no'} column {names}, "
            f"expected a header with each of {', '.join(EDGE_COLUMNS)} once: correct the file"
        )
    places = [sheet.header.index(name) for name in EDGE_COLUMNS]
    weights = [row[places[2]] for _, row in sheet.rows if len(row) > places[2]]
    sign = spreadsheets.decimal_sign(weights, sheet.separator)
    edges = [_edge(row, places, sign, f"line {line} of {path}") for line, row in sheet.rows]
    if not edges:
        raise InputError(
            f"{path} holds no edge, expected one in each line below its header: check the path"
        )
    warn_of_spoiled((gene for edge in edges for gene in edge[:2]), path)
    return edges


def _edge(row: list[str], places: list[int], sign: str, where: str) -> tuple[str, str, float]:
    cells = [row[place] if place < len(row) else "" for place in places]
    weight = spreadsheets.number(cells[2], sign)
    if not (cells[0] and cells[1] and weight is not None and 0 < weight < float("inf")):
        raise InputError(
            f"{where} is no edge ({','.join(row)[:40]!r}), expected two gene names and an "
            f"importance above 0 such as 0{sign}5: correct the line"
        )
    return cells[0], cells[1], weight


def read_pickled_terms(path: str | Path) -> Terms:
    """Terms of each gene from a pickled dictionary (such as GEARS' gene2go), without running
    anything in it."""
    content = read_plain_pickle(path)
    expected = InputError(
        f"{path} holds a {type(content).__name__}, expected a dictionary of gene symbol to set of "
        "terms: give such a pickle, or a GMT or GAF file instead"
    )
    if not isinstance(content, dict) or not content:
        raise expected
    for gene, terms in content.items():
        if not isinstance(gene, str) or not isinstance(terms, set | frozenset | list | tuple):
            raise expected
        if not all(isinstance(term, str) for term in terms):
            raise InputError(
                f"the terms of {gene} in {path} are not all text, expected names such as "
                "GO:0006915: correct them, or give a GMT or GAF file instead"
            )
    return _frozen(content)


def read_plain_pickle(path: str | Path) -> Any:
    """Read a pickle of nothing but dictionaries, sets, lists, tuples, strings and numbers; refuse
    any other.

    A pickle is a program: one that asks for any other name of any module is refused before that is
    looked up.
    """
    try:
        value = _Plain(io.BytesIO(read_bytes(path, "a pickle file"))).load()
    # Our refusal names the look-up, which the clause for damaged pickles would hide.
    except InputError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} cannot be read ({reason}), expected a pickle of terms: give a GMT or GAF file "
            "instead"
        ) from error
    _check_plain(value, path)
    return value


class _Plain(pickle.Unpickler):
    """Looks up no name but those of `PLAIN`."""

    def find_class(self, module: str, name: str) -> Any:
        # Looked-up names are how a pickle runs code, so all but four are refused.
        if (module, name) not in PLAIN:
            raise InputError(
                f"the pickle asks for {module}.{name}, expected only dictionaries, sets, lists, "
                "tuples, text and numbers, as anything else could run a program: do not trust the "
                "file, give a GMT or GAF file instead"
            )
        return super().find_class(module, name)


def _check_plain(value: Any, path: str | Path) -> None:
    """Refuse what a pickle can hold without a look-up but is no data of ours (bytes, a class of
    `PLAIN` itself)."""
    # A list and no recursion: deep nesting must not exhaust Python's stack.
    waiting, seen = [value], set()
    while waiting:
        item = waiting.pop()
        if isinstance(item, str | Number) or item is None or id(item) in seen:
            continue
        # A pickle can hold itself, so what was seen is not walked again.
        seen.add(id(item))
        if isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, set | frozenset | list | tuple):
            waiting += item
        else:
            raise InputError(
                f"{path} holds a {type(item).__name__}, expected only dictionaries, sets, lists "
                "and text: give a GMT or GAF file instead"
            )
