"""What the genes of a file are called: kind of name, species, and which column fits better."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxpert.core.spreadsheets import is_spoiled
from jaxpert.data.files import Table, column, shown

KINDS = {
    "Ensembl ids": re.compile(r"ENS[A-Z]{0,6}[GTP]\d+(\.\d+)?(_PAR_Y)?"),
    "RefSeq accessions": re.compile(r"[NX][MRP]_\d+(\.\d+)?"),
    "FlyBase ids": re.compile(r"FBgn\d{7}"),
    "WormBase ids": re.compile(r"WBGene\d{8}"),
    "Entrez numbers": re.compile(r"\d+"),
}
"""How names look that are no symbols."""
SYMBOLS = "symbols"
IDS_OF = {
    "human": re.compile(r"ENS[GTP]\d+"),
    "mouse": re.compile(r"ENSMUS[GTP]\d+"),
    "rat": re.compile(r"ENSRNO[GTP]\d+"),
    "zebrafish": re.compile(r"ENSDAR[GTP]\d+"),
    "macaque": re.compile(r"ENSMMU[GTP]\d+"),
    "fruit fly": re.compile(r"FBgn\d{7}"),
    "worm": re.compile(r"WBGene\d{8}"),
}
SPELLINGS = {
    "human": re.compile(r"[A-Z][A-Z0-9.-]*(orf[A-Z0-9]+)?"),
    "mouse or rat": re.compile(r"([A-Z]|mt-[A-Z])[a-z0-9.-]*[a-z]\w*([.-]\w+)*"),
    "zebrafish": re.compile(r"[a-z][a-z0-9.:-]*"),
}
"""How symbols of a species are written; those of mouse and rat alike."""
UNKNOWN = "unknown"
VERSION = re.compile(r"\b(ENS[A-Z]{0,6}[GTP]\d+|[NX][MRP]_\d+)\.\d+")
"""A version behind an identifier. A dot in a symbol, as in AC093323.1, begins none."""
SYMBOL_COLUMNS = (
    "gene_name",
    "gene_names",
    "gene_symbols",
    "gene_symbol",
    "symbol",
    "symbols",
    "feature_name",
    "gene_short_name",
    "hgnc_symbol",
    "mgi_symbol",
)
"""What columns of symbols are called (10x, scanpy, CELLxGENE, Monocle, BioMart), in any case."""
MISSING = ("", "nan", "none", "<na>", "na", "n/a")
"""Texts, in any case, that stand for a missing name."""


class Fit(NamedTuple):
    """A way of naming the genes, and how many of the wanted names it gives."""

    column: str | None
    """Of the gene table; empty for the file's own names, None for those in use."""
    versions: bool
    """Whether versions have to be left out for it."""
    hits: int
    wanted: int

    def where(self) -> str:
        """In words."""
        named = {None: "the gene names", "": "the file's own gene names"}
        text = named.get(self.column) or f"column {self.column!r} of the gene table"
        return f"{text} without versions" if self.versions else text

    def settings(self) -> str:
        """What a config has to say to name the genes so; empty for the names in use."""
        parts = [] if self.column is None else [f"data.gene_names={self.column}"]
        return " ".join(parts + ["data.strip_versions=true"] * self.versions)


class Identifiers(NamedTuple):
    """What can be told of the names of genes."""

    kind: str
    """One of KINDS, or SYMBOLS."""
    species: str
    """By identifiers, else by how symbols are spelled; UNKNOWN where neither tells."""
    versions: int
    """Names with a version behind them."""
    symbols: str
    """The column of symbols where the names in use are none; empty where there is none."""
    perturbed: Fit
    """The perturbed genes among the names in use."""
    best: Fit
    """The naming that holds most of the perturbed genes; the one in use where none holds more."""
    counted: dict[str, int]
    """Genes that each quality criterion sums over, by name."""
    spoiled: tuple[str, ...]
    """Names that a spreadsheet has turned into dates or numbers."""


def identify(genes: Sequence[str], var: Any = None, perturbed: Collection[str] = ()) -> Identifiers:
    """What can be told of the names of genes.

    Args:
        genes: the names in use.
        var: the gene table (`Dataset.var`), a row for each gene; None for none.
        perturbed: names of the perturbed genes (`Dataset.treatments`).
    """
    from jaxpert.data.gene_classes import by_names

    symbols = symbols_column(genes, var)
    names = texts(var[symbols]) if symbols else list(genes)
    counted = {criterion: int(flags.sum()) for criterion, flags in by_names(names).items()}
    in_use = next(fits_of(genes, var, perturbed))
    return Identifiers(
        kind=kind_of(genes),
        species=species_of([*genes, *names]),
        versions=sum(VERSION.match(name) is not None for name in genes),
        symbols=symbols,
        perturbed=in_use,
        best=best_fit(genes, var, perturbed) or in_use,
        counted=counted,
        spoiled=tuple(name for name in genes if is_spoiled(name)),
    )


def kind_of(names: Sequence[str]) -> str:
    """What most of the names are: one of KINDS, else SYMBOLS."""
    return _commonest(names, KINDS) or SYMBOLS


def species_of(names: Sequence[str]) -> str:
    """The species of most of the names, by identifiers or else by the spelling of symbols."""
    unversioned = [without_version(name) for name in names]
    ids = _commonest(unversioned, IDS_OF, least=0.3)
    return ids or _commonest(unversioned, SPELLINGS) or UNKNOWN


def _commonest(
    names: Sequence[str], patterns: dict[str, re.Pattern[str]], least: float = 0.5
) -> str:
    """What the largest share of the names is, where that is above `least`; empty for nothing."""
    shares = {}
    for kind, pattern in patterns.items():
        matches = sum(pattern.fullmatch(name) is not None for name in names)
        shares[kind] = matches / max(len(names), 1)
    best = max(shares, key=lambda kind: shares[kind])
    return best if shares[best] > least else ""


def texts(values: Any) -> list[str]:
    """A column of names as text: whole numbers without a point, and "" for missing ones."""
    if values.dtype.kind == "f" and (values.dropna() % 1 == 0).all():
        # Whole numbers turn into floats where a table has gaps.
        values = values.astype("Int64")
    return ["" if name.lower() in MISSING else name for name in map(str, values)]


def symbols_column(genes: Sequence[str], var: Any) -> str:
    """The column with the symbols of genes whose names in use are identifiers; empty for none."""
    if var is None or kind_of(genes) == SYMBOLS:
        return ""
    by_name = {str(name).lower(): name for name in var.columns}
    known = [by_name[name] for name in SYMBOL_COLUMNS if name in by_name]
    for name in known:
        if kind_of(texts(var[name])) == SYMBOLS:
            return str(name)
    return ""


def fits_of(genes: Sequence[str], var: Any, wanted: Collection[str]) -> Iterator[Fit]:
    """How many of the wanted names each way of naming the genes gives: the names in use first, then
    the file's own and every column of text."""
    yield from _fits(None, list(genes), set(wanted))
    if var is None:
        return
    if list(var.index) != list(genes):
        yield from _fits("", list(map(str, var.index)), set(wanted))
    for name in var.columns:
        # Measurements and flags are no names.
        if var[name].dtype.kind not in "bc" and not _is_fractional(var[name]):
            yield from _fits(str(name), texts(var[name]), set(wanted))


def _is_fractional(values: Any) -> bool:
    return values.dtype.kind == "f" and bool((values.dropna() % 1 != 0).any())


def without_version(name: str) -> str:
    """An identifier without its version, also inside a longer label; anything else as it is."""
    return VERSION.sub(r"\1", name)


def _fits(column: str | None, names: list[str], wanted: set[str]) -> Iterator[Fit]:
    yield Fit(column, False, len(wanted & set(names)), len(wanted))
    unversioned = set(map(without_version, names))
    yield Fit(column, True, len(wanted & unversioned), len(wanted))


def best_fit(genes: Sequence[str], var: Any, wanted: Collection[str]) -> Fit | None:
    """The naming that holds most of the wanted names, where it holds more than the one in use."""
    fits = list(fits_of(genes, var, wanted))
    # Of equals the first, so that nothing is advised that gains nothing.
    best = max(fits, key=lambda fit: fit.hits)
    return best if best.hits > fits[0].hits else None


def advice(genes: Sequence[str], var: Any, wanted: Collection[str]) -> str:
    """What would name more of the wanted genes, as a clause of a message; empty for nothing."""
    # The search through a large table takes a second, and usually nothing is missing.
    if set(wanted) <= set(genes):
        return ""
    best = best_fit(genes, var, wanted)
    if best is not None:
        return f"{best.where()} would name {best.hits} of the {best.wanted}: set {best.settings()}"
    # What differs in case alone may be of another species, so it is shown and not mended.
    spelled = {name.lower(): name for name in genes}
    others = []
    for name in sorted(set(wanted) - set(genes)):
        if name.lower() in spelled:
            others.append(f"{name} is {spelled[name.lower()]}")
    if not others:
        return ""
    return f"{len(others)} of them differ in upper and lower case alone ({shown(others, 3)})"


def name_notes(genes: Sequence[str], var: Any, perturbed: Collection[str]) -> tuple[str, ...]:
    """Notes on perturbations that are not among the names in use, and on spoiled names."""
    spoiled = [name for name in dict.fromkeys((*genes, *perturbed)) if is_spoiled(name)]
    damage = (
        f"ATTENTION: {len(spoiled)} genes or perturbations have names that a spreadsheet has made "
        f"of others, dates or numbers ({shown(spoiled, 5)}): name them as they were"
    )
    unmeasured = _unmeasured_note(genes, var, perturbed)
    return tuple(note for note in (unmeasured, damage if spoiled else "") if note)


def _unmeasured_note(genes: Sequence[str], var: Any, perturbed: Collection[str]) -> str:
    """Empty where all are measured."""
    missing = sorted(set(perturbed) - set(genes))
    if not missing:
        return ""
    better = advice(genes, var, perturbed)
    note = (
        f"{len(missing)} of {len(perturbed)} perturbations are not named as any of the "
        f"{len(genes)} genes (perturbations {shown(missing)}; genes {shown(genes, 2)})"
    )
    return f"ATTENTION: {note}: {better}" if better else note


def renamed(table: Table, names: str | None, strip_versions: bool) -> tuple[Table, tuple[str, ...]]:
    """An opened table with its genes named by a column of the gene table, or without versions, and
    notes on what had to be decided."""
    if not names and not strip_versions:
        return table, ()
    notes: list[str] = []
    chosen = list(map(str, table.var.index))
    if names:
        given = texts(column(table.var, names, "data.gene_names", of="gene"))
        lacking = [name for name, new in zip(chosen, given, strict=True) if not new]
        # A gene without a symbol is measured all the same.
        chosen = [new or name for name, new in zip(chosen, given, strict=True)]
        if lacking:
            notes.append(
                f"{len(lacking)} genes have no name in column {names!r} and keep their own "
                f"({shown(lacking, 5)})"
            )
    if strip_versions:
        stripped = [without_version(name) for name in chosen]
        count = int((np.array(stripped) != np.array(chosen)).sum())
        notes.append(f"versions were left out of the names of {count} of {len(chosen)} genes")
        chosen = stripped
    unique, more = _unique(chosen)
    return table._replace(var=table.var.set_axis(unique, axis=0)), (*notes, *more)


def _unique(names: list[str]) -> tuple[Any, list[str]]:
    """The names with a number behind those that came before, and a note on them."""
    import pandas as pd
    from anndata.utils import make_index_unique

    index = pd.Index(np.array(names, object))
    twice = index[index.duplicated()].unique()
    if not len(twice):
        return index, []
    note = (
        f"{len(twice)} gene names come more than once ({shown(twice, 5)}): the first gene of each "
        f"keeps it, the others have a number behind it ({twice[0]}-1 and so on)"
    )
    return make_index_unique(index), [note]
