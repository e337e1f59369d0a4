"""Mitochondrial, ribosomal and haemoglobin genes: by the names of genes, or by flags of the gene
table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.files import column, shown
from jaxpert.data.identifiers import symbols_column, texts

GENOME = r"(?:(?:GRC[hmrz]\d+|hg\d+|mm\d+)_+)?"
"""What stands before names where cells of several species were read together."""
CLASSES = {
    "pct_mt": re.compile(GENOME + r"MT[-.:_]", re.IGNORECASE),
    "pct_ribo": re.compile(GENOME + r"RP[SL]", re.IGNORECASE),
    "pct_hb": re.compile(GENOME + r"HB[^(P)]", re.IGNORECASE),
}
"""Starts of gene symbols, in any case (human MT-ND1, mouse mt-Nd1). The separator tells MT-ND1 from
MTOR; "HB" goes on with anything but "(", "P" and ")", so HBEGF counts and HBP1 does not."""
BARE = frozenset(
    ("ND1", "ND2", "ND3", "ND4", "ND4L", "ND5", "ND6", "COX1", "COX2", "COX3", "ATP6", "ATP8")
)
"""Mitochondrial genes as NCBI names them in rat and macaque, without any mark."""
WORDS = {
    "pct_mt": ("mitochondrial", "MT-ND1 or mt-Nd1"),
    "pct_ribo": ("ribosomal", "RPS3 or Rps3"),
    "pct_hb": ("haemoglobin", "HBA1 or Hba-a1"),
}
FLAG = "counted_in_"
"""Start of the columns of `Dataset.var` that flag the genes of a class."""

Classes = Mapping[str, Bool[np.ndarray, "G"]]


def by_names(names: Sequence[str]) -> Classes:
    """True for the genes of each class, by symbol."""
    classes = {}
    for criterion, start in CLASSES.items():
        # `match` looks at the start of a name, which is where classes are told apart.
        classes[criterion] = np.array([start.match(name) is not None for name in names], bool)
    bare = np.array([name.upper() in BARE for name in names], bool)
    # Only most of them together tell COX2 of the mitochondrion from other uses of that name.
    if not classes["pct_mt"].any() and 2 * bare.sum() > len(BARE):
        classes["pct_mt"] = bare
    return classes


def of_dataset(dataset: Dataset) -> Classes:
    """True for the genes of each class: by the flags that were given for it, else by symbol, which
    may stand in a column beside identifiers."""
    names: Sequence[str] = dataset.genes
    symbols = symbols_column(dataset.genes, dataset.var)
    if symbols:
        names = texts(dataset.var[symbols])
    classes = dict(by_names(names))
    for criterion in CLASSES:
        if dataset.var is not None and FLAG + criterion in dataset.var.columns:
            classes[criterion] = np.asarray(dataset.var[FLAG + criterion], bool)
    return classes


def unrecognised(dataset: Dataset, criteria: Sequence[str]) -> str:
    """A note on the criteria without a single gene; empty for none."""
    classes = of_dataset(dataset)
    empty = [criterion for criterion in criteria if not classes[criterion].any()]
    if not empty:
        return ""
    what = " or ".join(f"{WORDS[name][0]} (such as {WORDS[name][1]})" for name in empty)
    fit = symbols_column(dataset.genes, dataset.var)
    named = f" and of column {fit!r}" if fit else ""
    return (
        f"ATTENTION: none of the {len(dataset.genes)} genes is recognised as {what} by its name "
        f"({shown(dataset.genes, 3)}){named}, so {', '.join(empty)} fails no cell: name the genes "
        f"by a column of symbols with data.gene_names, flag them with "
        f"quality.gene_columns.{empty[0]}, or give percentages with quality.columns.{empty[0]}"
    )


def with_flags(var: Any, columns: Mapping[str, str]) -> Any:
    """The gene table with the flags of the named columns kept for `of_dataset`.

    Args:
        var: of a file.
        columns: {criterion: column}, one of 0 and 1 or of truth values.
    """
    unknown = sorted(set(columns) - set(CLASSES))
    if unknown:
        raise InputError(
            f"quality.gene_columns has the criteria {', '.join(unknown)}, expected some of "
            f"{', '.join(CLASSES)}: choose among these"
        )
    flags = {}
    for criterion, name in columns.items():
        key = f"quality.gene_columns.{criterion}"
        values = column(var, name, key, of="gene")
        if not values.isin([True, False]).all():
            raise InputError(
                f"column {name!r} of the genes holds more than True and False, expected a flag "
                f"for the {WORDS[criterion][0]} genes: choose another one with {key}"
            )
        flags[FLAG + criterion] = np.asarray(values, bool)
    return var.assign(**flags)
