"""Other names of genes, so that MARCH8 is looked up as MARCHF8: from an annotation file's synonyms,
a user's table, or a column of the gene table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from jaxpert.core.paths import path_of
from jaxpert.core.spreadsheets import read_sheet
from jaxpert.core.texts import read_text
from jaxpert.core.types import Dataset, InputError
from jaxpert.data.files import shown
from jaxpert.data.identifiers import fits_of, texts, without_version

Aliases = Mapping[str, Collection[str]]
"""Further names of the gene of each name, whichever of them is the newer."""


def linked(pairs: Iterable[tuple[str, str]]) -> Aliases:
    """Aliases from pairs of names of the same gene."""
    names: dict[str, set[str]] = {}
    for first, second in pairs:
        if first and second and first != second:
            names.setdefault(first, set()).add(second)
            names.setdefault(second, set()).add(first)
    return names


def read_aliases(path: str | Path) -> Aliases:
    """Aliases from a table (.csv, semicolons and tabs too) of two columns; a cell may hold several
    names with | between, and a header does no harm."""
    expected = "a table of two columns, two names of a gene in each line"
    sheet = read_sheet(read_text(path, expected), path)
    pairs = []
    for line, cells in [(1, sheet.header), *sheet.rows]:
        if len(cells) < 2 or not cells[0] or not cells[1]:
            raise InputError(
                f"line {line} of {path} holds {cells[:3]}, expected {expected}: correct the line"
            )
        for first in cells[0].split("|"):
            pairs += [(first.strip(), second.strip()) for second in cells[1].split("|")]
    return linked(pairs)


def aliases_of(dataset: Dataset, source: str) -> Aliases:
    """Aliases from a column of the gene table where it has one of that name, else from a file."""
    if not source:
        return {}
    if dataset.var is not None and source in dataset.var.columns:
        return of_column(dataset, source)
    if not path_of(source).is_file():
        there = [] if dataset.var is None else list(dataset.var.columns)
        raise InputError(
            f"graphs.aliases is {source!r}, expected the path of a table of two columns, or a "
            f"column of the genes ({shown(there) or 'there is none'}): correct it"
        )
    return read_aliases(source)


def of_column(dataset: Dataset, name: str) -> Aliases:
    """Every name that the data have for a gene, beside its name in a column of the gene table."""
    others = texts(dataset.var[name])
    pairs = []
    for names in (dataset.genes, map(str, dataset.var.index)):
        for gene, other in zip(names, others, strict=True):
            pairs += [(gene, other), (without_version(gene), other)]
    return linked(pairs)


class Resolved(NamedTuple):
    """Names that are known by another name."""

    names: dict[str, str]
    """The known name of each."""
    ambiguous: dict[str, list[str]]
    """Names that may stand for several known genes, and so are left as they are."""

    def notes(self, where: str) -> list[str]:
        """What was decided, in sentences."""
        notes = []
        if self.names:
            pairs = (f"{name} is {known}" for name, known in self.names.items())
            notes.append(f"{len(self.names)} genes have another name in {where}: {shown(pairs)}")
        if self.ambiguous:
            pairs = (f"{name} ({', '.join(known)})" for name, known in self.ambiguous.items())
            notes.append(
                f"ATTENTION: {len(self.ambiguous)} genes may be several in {where} and are not "
                f"looked up by a synonym: {shown(pairs)}; say which with graphs.aliases"
            )
        return notes


def resolve(names: Iterable[str], known: Collection[str], *sources: Aliases) -> Resolved:
    """The known name of each name that is not known itself, from the first source that has one."""
    resolved = Resolved({}, {})
    for name in names:
        if name in known:
            continue
        for aliases in sources:
            others = sorted(other for other in aliases.get(name, ()) if other in known)
            if len(others) == 1:
                resolved.names[name] = others[0]
            elif others:
                resolved.ambiguous[name] = others
            # The first source that knows the gene decides: a user's table goes before synonyms.
            if others:
                break
    return resolved


def annotate(
    dataset: Dataset, terms: Mapping[str, Collection[str]], *sources: Aliases
) -> tuple[Dataset, Mapping[str, Collection[str]]]:
    """Terms by the names that a data set has for its genes, and the data set with notes on them.

    Args:
        terms: annotation terms of each gene.
        sources: aliases, those that count most first.
    """
    names = dict.fromkeys((*dataset.treatments, *dataset.genes))
    resolved = resolve(names, terms, *sources)
    # A gene of the annotation stands under one name, so that it is no node twice.
    renamed = set(resolved.names.values()) - set(names)
    here = {name: of for name, of in terms.items() if name not in renamed}
    here |= {name: terms[known] for name, known in resolved.names.items()}
    # Measured genes are many and of less weight: only perturbed ones are named in notes.
    noted = Resolved(
        _only(resolved.names, dataset.treatments), _only(resolved.ambiguous, dataset.treatments)
    )
    return replace(dataset, notes=(*dataset.notes, *noted.notes("the annotation"))), here


def _only(values: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def annotation_advice(dataset: Dataset, terms: Mapping[str, Collection[str]]) -> str:
    """What would make more of the perturbed genes annotated, as the end of a message; empty for
    nothing."""
    missing = [name for name in dataset.treatments if name not in terms]
    best, column = 0, ""
    for fit in fits_of(dataset.genes, dataset.var, set(terms)):
        # Only columns that name annotated genes at all are worth the work.
        if fit.column and fit.hits and not fit.versions:
            count = len(resolve(missing, terms, of_column(dataset, fit.column)).names)
            best, column = max((best, column), (count, fit.column))
    if best:
        return (
            f"; column {column!r} of the gene table names {best} of them as the annotation does: "
            f"set graphs.aliases={column}"
        )
    upper = {name.upper(): name for name in terms}
    others = [name for name in missing if name.upper() in upper]
    if not others:
        return ""
    pairs = (f"{name} is {upper[name.upper()]}" for name in others)
    return f"; {len(others)} differ in upper and lower case alone ({shown(pairs, 3)})"
