"""The four public screens of the CRADLE-VAE paper, prepared as there (its data section and the
files' own columns)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.doublets import METHODS, call_doublets
from jaxpert.data.files import Table, opened, shown
from jaxpert.data.labels import parse_guides, parse_labels, text_labels
from jaxpert.data.quality import gene_class, keep_unfiltered
from jaxpert.data.read import check_names, load_counts, make_dataset
from jaxpert.data.selection import strongest
from jaxpert.data.subset import genes_in_cells, keep_cells, keep_genes

CONTROL = "non-targeting"
REPLOGLE_CONTROLS = 2_000
REPLOGLE_TARGETS = 681
REPLOGLE_GENES = 1_187


def norman(path: Path, doublets: str = "scrublet") -> Dataset:
    """Norman et al. 2019 (K562, CRISPRa): treatments from the `guide_*` columns, counts from the
    layer "counts".

    A file without that layer is the unfiltered one: then cells with 200 genes, genes in 20 cells,
    cells with at most 15 % mitochondrial counts and at most 6,000 genes are kept, in this order.
    """
    with _counts_layer(path) as table:
        _require(table, ["guide_identity"])
        columns = [
            name
            for name in table.obs.columns
            if "guide_" in name and name not in ("guide_identity", "guide_ids")
        ]
        dataset = _from_guides(table, columns, names="guide_identity", prefix="guide_")
    return (
        dataset if table.layer == "counts" else _theislab_filters(_measure_first(dataset, doublets))
    )


def dixit(path: Path, doublets: str = "scrublet") -> Dataset:
    """Dixit et al. 2016 (K562 knock-outs): treatments from the 0/1 columns named after genes, at
    most two per cell.

    A guide column is one of 0 and 1 without "_" and "INTERGENIC" in its name; the note lists them.
    """
    with _counts_layer(path) as table:
        _require(table, ["combined_guides"])
        columns = [
            name
            for name in table.obs.columns
            if "_" not in name
            and "INTERGENIC" not in name
            and table.obs[name].dtype.kind in "buif"
            and table.obs[name].isin([0, 1]).all()
        ]
        dataset = _from_guides(table, columns, names="combined_guides")
    dataset = replace(
        dataset, notes=(*dataset.notes, f"treatments are the columns {shown(columns, 30)}")
    )
    few = (dataset.condition_treatments.sum(axis=1) <= 2)[dataset.condition]
    return (
        dataset
        if few.all()
        else keep_cells(_measure_first(dataset, doublets), few, "more than two guides")
    )


def replogle(
    path: Path,
    doublets: str = "scrublet",
    targets: Sequence[str] | None = None,
    genes: Sequence[str] | None = None,
) -> Dataset:
    """Replogle et al. 2022 (K562, CRISPRi): cells of strong targets and 2,000 random controls, on
    responding genes.

    Conditions are `sgID_AB`; labels with "non-targeting" are the control. `targets` (values of the
    column `gene`) and `genes` (symbols) are the published lists; None looks for
    replogle_targets.txt and replogle_genes.txt beside the file (one name per line). Where they are
    absent the 681 targets farthest from control and the 1,187 genes that respond most to them are
    taken (`selection.strongest`): another choice of the same kind. A file that is no larger than
        these is taken whole.
    """
    del doublets  # the published labels were made after this selection
    with opened(path) as table:
        _require(table, ["sgID_AB", "gene"])
        table = _with_symbols(table)
        check_names(table)
        target = np.asarray(table.obs["gene"].astype(str), dtype=str)
        guide = np.asarray(table.obs["sgID_AB"].astype(str), dtype=str)
        control = np.char.find(guide, CONTROL) >= 0
        keep_targets, keep_columns, notes = _replogle_lists(
            table,
            np.where(control, CONTROL, target),
            targets or _lines(path, "targets"),
            genes or _lines(path, "genes"),
        )
        rows = np.isin(target, keep_targets) & ~control
        rows[_some(np.flatnonzero(control), REPLOGLE_CONTROLS)] = True
        counts = load_counts(table, rows, keep_columns)
        labels = parse_labels(
            np.where(control, CONTROL, guide)[rows], control=CONTROL, separator=None, name="sgID_AB"
        )
    dataset = make_dataset(
        "replogle", counts, table.obs[rows], table.var.index[keep_columns], labels
    )
    kept = (
        f"{rows.sum()} of {len(rows)} cells and {keep_columns.sum()} of {len(keep_columns)} genes "
        "are taken"
    )
    return replace(dataset, notes=(*notes, kept, *dataset.notes))


def adamson(path: Path, doublets: str = "scrublet") -> Dataset:
    """Adamson et al. 2016 (K562, CRISPRi): treatments are the labels up to the first "_"; "(mod)"
    marks the control.

    The quality criteria and the doublets are measured on everything; then genes in 20 cells are
    kept, and cells labelled "*" or with any missing annotation are left out.
    """
    with opened(path) as table:
        _require(table, ["perturbation"])
        check_names(table)
        counts, obs = load_counts(table), table.obs
    text = np.asarray(obs["perturbation"].astype(object).fillna("missing"), dtype=str)
    unusable = (text == "*") | np.asarray(obs.isna().any(axis=1))
    names = np.where(
        np.char.find(text, "(mod)") >= 0, CONTROL, [label.split("_")[0] for label in text]
    )
    labels = parse_labels(names, control=CONTROL, separator=None, name="perturbation")
    dataset = _drop_genes(
        _measure_first(make_dataset("adamson", counts, obs, table.var.index, labels), doublets), 20
    )
    return keep_cells(dataset, ~unusable, 'labelled "*" or with a missing annotation')


@contextmanager
def _counts_layer(path: Path) -> Iterator[Table]:
    """Open with the layer "counts" where there is one, else X."""
    with opened(path) as table:
        layer = "counts" if "counts" in table.layers else "X"
    with opened(path, layer) as table:
        check_names(table := _with_symbols(table))
        yield table


def _require(table: Table, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in table.obs.columns]
    if missing:
        raise InputError(
            f"{table.source} has no cell columns {shown(missing)}, expected the file of this "
            "public screen: delete "
            "it to have it fetched again, or give it as data.source with its path"
        )


def _with_symbols(table: Table) -> Table:
    """Index the genes by symbol where the index holds Ensembl identifiers and a column has the
    symbols."""
    symbols = [
        name for name in ("gene_name", "gene_symbols", "gene_symbol") if name in table.var.columns
    ]
    if not symbols or not all(str(name).startswith("ENS") for name in table.var.index[:5]):
        return table
    from anndata.utils import make_index_unique

    var = table.var.set_axis(make_index_unique(_index(table.var[symbols[0]].astype(str))), axis=0)
    return table._replace(var=var)


def _index(values: Any) -> Any:
    import pandas as pd

    return pd.Index(np.asarray(values, dtype=object))


def _from_guides(table: Table, columns: Sequence[str], names: str, prefix: str = "") -> Dataset:
    if not columns:
        raise InputError(
            f"{table.source} has no guide columns of 0 and 1, expected the file of this public "
            "screen: delete it to "
            "have it fetched again, or give it as data.source with its path"
        )
    text = text_labels(table.obs, names, names, "delete the file to have it fetched again")
    labels = parse_guides(
        table.obs, columns, control=CONTROL, separator="+", prefix=prefix, names=text
    )
    return make_dataset(table.name, load_counts(table), table.obs, table.var.index, labels)


def _measure_first(dataset: Dataset, doublets: str) -> Dataset:
    """Measure the quality criteria and call doublets while all cells and genes are there."""
    dataset = keep_unfiltered(dataset)
    if doublets not in METHODS or doublets == "none":
        return dataset
    calls, notes = call_doublets(dataset.counts, doublets)
    obs = dataset.obs.assign(**{f"unfiltered_doublet_{doublets}": calls})
    return replace(dataset, obs=obs, notes=dataset.notes + notes)


def _theislab_filters(dataset: Dataset) -> Dataset:
    dataset = keep_cells(dataset, np.diff(dataset.counts.indptr) >= 200, "fewer than 200 genes")
    dataset = _drop_genes(dataset, 20)
    counts = dataset.counts.astype(np.float32)
    total, mitochondrial = (
        np.asarray(counts.sum(axis=1)).ravel(),
        counts @ gene_class(dataset.genes, "pct_mt").astype(np.float32),
    )
    keep = (100 * mitochondrial <= 15 * total) & (np.diff(counts.indptr) <= 6_000)
    return keep_cells(dataset, keep, "more than 15 % mitochondrial counts or 6,000 genes")


def _drop_genes(dataset: Dataset, cells: int) -> Dataset:
    keep = genes_in_cells(dataset.counts, cells)
    note = f"{(~keep).sum()} of {len(keep)} genes were left out: seen in fewer than {cells} cells"
    dataset = keep_genes(dataset, keep)
    return replace(dataset, notes=(*dataset.notes, note)) if not keep.all() else dataset


def _replogle_lists(
    table: Table, target: np.ndarray, targets, genes
) -> tuple[Any, np.ndarray, tuple[str, ...]]:
    """Targets, the mask of genes, and notes on where they come from."""
    present, symbols = np.setdiff1d(target, [CONTROL]), np.asarray(table.var.index, dtype=str)
    chosen_targets, chosen_genes, notes = targets, genes, []
    if (targets is None and len(present) > REPLOGLE_TARGETS) or (
        genes is None and len(symbols) > REPLOGLE_GENES
    ):
        best = strongest(table, target, CONTROL, REPLOGLE_TARGETS, REPLOGLE_GENES, targets)
        chosen_targets, chosen_genes = targets or best.targets, genes or best.genes
        notes.append(
            "targets and genes not given as replogle_targets.txt and replogle_genes.txt were "
            "chosen by distance from "
            "control, which gives other ones than the published lists"
        )
    for what, names, known in (("targets", targets, present), ("genes", genes, symbols)):
        absent = np.setdiff1d(names or [], known)
        notes += (
            [f"{len(absent)} listed {what} are not in the file: {shown(absent)}"]
            if len(absent)
            else []
        )
    mask = (
        np.ones(len(symbols), bool)
        if chosen_genes is None
        else np.isin(symbols, list(chosen_genes))
    )
    return (present if chosen_targets is None else list(chosen_targets)), mask, tuple(notes)


def _lines(path: Path, what: str) -> list[str] | None:
    file = Path(path).parent / f"replogle_{what}.txt"
    return file.read_text().split() if file.exists() else None


def _some(rows: np.ndarray, number: int) -> np.ndarray:
    """A random choice by NumPy's legacy generator, seed 0, as published."""
    rows = rows.copy()
    np.random.RandomState(0).shuffle(rows)
    return rows[:number]
