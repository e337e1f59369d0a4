"""The four public screens of the CRADLE-VAE paper, prepared as there (its data section and the
files' own columns)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxpert.core.texts import read_text
from jaxpert.core.types import Dataset, InputError, LabelRules
from jaxpert.data.counts import count_blocks
from jaxpert.data.doublets import METHODS, call_doublets
from jaxpert.data.files import Table, opened, shown
from jaxpert.data.gene_classes import by_names
from jaxpert.data.guides import parse_guides
from jaxpert.data.identifiers import renamed, symbols_column
from jaxpert.data.labels import parse_labels, text_labels
from jaxpert.data.moments import add_by_group, gene_sums, log_normalise
from jaxpert.data.quality import keep_unfiltered
from jaxpert.data.read import check_names, labelled, load_counts, make_dataset
from jaxpert.data.subset import genes_in_cells, keep_cells, keep_genes

CONTROL = "non-targeting"
REPLOGLE_CONTROLS = 2_000
REPLOGLE_TARGETS = 681
REPLOGLE_GENES = 1_187
FEWEST_CELLS = 25
"""Targets with fewer cells are not chosen: their means are noise."""


def norman(path: Path, doublets: str = "scrublet") -> Dataset:
    """Norman et al. 2019 (K562, CRISPRa): treatments from the `guide_*` columns, counts from the
    layer "counts".

    A file without that layer is the unfiltered one: then cells with 200 genes, genes in 20 cells,
    cells with at most 15 % mitochondrial counts and at most 6,000 genes are kept, in this order.
    """
    with _counts_layer(path) as table:
        _require(table, ["guide_identity"])
        columns = [name for name in table.obs.columns if "guide_" in name]
        # These two describe the guides of a cell and are no guides.
        columns = [name for name in columns if name not in ("guide_identity", "guide_ids")]
        dataset = _from_guides(table, columns, names="guide_identity", prefix="guide_")
    # A file with that layer was filtered by its makers.
    if table.layer == "counts":
        return dataset
    return _theislab_filters(_measure_first(dataset, doublets))


def dixit(path: Path, doublets: str = "scrublet") -> Dataset:
    """Dixit et al. 2016 (K562 knock-outs): treatments from the 0/1 columns named after genes, at
    most two per cell.

    A guide column is one of 0 and 1 without "_" and "INTERGENIC" in its name; the note lists them.
    """
    with _counts_layer(path) as table:
        _require(table, ["combined_guides"])
        columns = [name for name in table.obs.columns if _is_dixit_guide(table.obs, name)]
        dataset = _from_guides(table, columns, names="combined_guides")
    note = f"treatments are the columns {shown(columns, 30)}"
    dataset = replace(dataset, notes=(*dataset.notes, note))
    few = (dataset.condition_treatments.sum(axis=1) <= 2)[dataset.condition]
    if few.all():
        return dataset
    # Cells of many guides are often doublets, which the caller has to see.
    return keep_cells(_measure_first(dataset, doublets), few, "more than two guides")


def _is_dixit_guide(obs: Any, name: str) -> bool:
    if "_" in name or "INTERGENIC" in name:
        return False
    return obs[name].dtype.kind in "buif" and bool(obs[name].isin([0, 1]).all())


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
    taken (`strongest`): another choice of the same kind. A file that is no larger than these is
    taken whole.
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
        # Rows and genes are chosen before counts are read, since the file has 65 GB.
        rows = np.isin(target, keep_targets) & ~control
        rows[_some(np.flatnonzero(control), REPLOGLE_CONTROLS)] = True
        counts = load_counts(table, rows, keep_columns)
        rules = LabelRules("sgID_AB", (CONTROL,), "")
        labels = parse_labels(np.where(control, CONTROL, guide)[rows], rules)
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
    # Unlabelled cells need some name, since they go only after genes were counted.
    text = np.asarray(obs["perturbation"].astype(object).fillna("missing"), dtype=str)
    unusable = (text == "*") | np.asarray(obs.isna().any(axis=1))
    names = np.where(
        np.char.find(text, "(mod)") >= 0, CONTROL, [label.split("_")[0] for label in text]
    )
    # Cells without a label stay until genes were counted.
    labels = parse_labels(names, LabelRules("perturbation", (CONTROL,), "", missing="keep"))
    dataset = make_dataset("adamson", counts, obs, table.var.index, labels)
    # Genes before cells, as published: cells left out later still count for a gene.
    dataset = _drop_genes(_measure_first(dataset, doublets), 20)
    return keep_cells(dataset, ~unusable, 'labelled "*" or with a missing annotation')


@contextmanager
def _counts_layer(path: Path) -> Iterator[Table]:
    """Open with the layer "counts" where there is one, else X."""
    with opened(path) as table:
        # Only an open file tells its layers, so it is opened twice.
        layer = "counts" if "counts" in table.layers else "X"
    with opened(path, layer) as table:
        check_names(table := _with_symbols(table))
        yield table


def _require(table: Table, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in table.obs.columns]
    if missing:
        raise InputError(
            f"{table.source} has no cell columns {shown(missing)}, expected the file of this "
            "public screen: delete it to have it fetched again, or give it as data.source with "
            "its path"
        )


def _with_symbols(table: Table) -> Table:
    """Index the genes by symbol where the index holds Ensembl identifiers and a column has the
    symbols."""
    symbols = symbols_column(list(map(str, table.var.index)), table.var)
    return renamed(table, symbols, False)[0]


def _from_guides(table: Table, columns: Sequence[str], names: str, prefix: str = "") -> Dataset:
    if not columns:
        raise InputError(
            f"{table.source} has no guide columns of 0 and 1, expected the file of this public "
            "screen: delete it to have it fetched again, or give it as data.source with its path"
        )
    text = text_labels(table.obs, names, names, "delete the file to have it fetched again")
    rules = LabelRules(names, (CONTROL,), "+", guide_prefix=prefix)
    labels = parse_guides(table.obs, columns, rules, text)
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
    # Each filter sees what the last one left, so their order is part of the recipe.
    dataset = keep_cells(dataset, np.diff(dataset.counts.indptr) >= 200, "fewer than 200 genes")
    dataset = _drop_genes(dataset, 20)
    counts = dataset.counts.astype(np.float32)
    total = np.asarray(counts.sum(axis=1)).ravel()
    mitochondrial = counts @ by_names(dataset.genes)["pct_mt"].astype(np.float32)
    # Without a division, which would be 0 / 0 for an empty cell.
    keep = (100 * mitochondrial <= 15 * total) & (np.diff(counts.indptr) <= 6_000)
    return keep_cells(dataset, keep, "more than 15 % mitochondrial counts or 6,000 genes")


def _drop_genes(dataset: Dataset, cells: int) -> Dataset:
    keep = genes_in_cells(dataset.counts, cells)
    if keep.all():
        return dataset
    note = f"{(~keep).sum()} of {len(keep)} genes were left out: seen in fewer than {cells} cells"
    return replace(keep_genes(dataset, keep), notes=(*dataset.notes, note))


def _replogle_lists(
    table: Table, target: np.ndarray, targets, genes
) -> tuple[Any, np.ndarray, tuple[str, ...]]:
    """Targets, the mask of genes, and notes on where they come from."""
    present, symbols = np.setdiff1d(target, [CONTROL]), np.asarray(table.var.index, dtype=str)
    chosen_targets, chosen_genes, notes = targets, genes, []
    # A file no larger than the published choice is one that was cut to it.
    many_targets = targets is None and len(present) > REPLOGLE_TARGETS
    many_genes = genes is None and len(symbols) > REPLOGLE_GENES
    if many_targets or many_genes:
        best = strongest(table, target, CONTROL, REPLOGLE_TARGETS, REPLOGLE_GENES, targets)
        chosen_targets, chosen_genes = targets or best.targets, genes or best.genes
        notes.append(
            "targets and genes not given as replogle_targets.txt and replogle_genes.txt were "
            "chosen by distance from control, which gives other ones than the published lists"
        )
    for what, names, known in (("targets", targets, present), ("genes", genes, symbols)):
        absent = np.setdiff1d(names or [], known)
        if len(absent):
            notes.append(f"{len(absent)} listed {what} are not in the file: {shown(absent)}")
    mask = np.ones(len(symbols), bool)
    if chosen_genes is not None:
        mask = np.isin(symbols, list(chosen_genes))
    return (present if chosen_targets is None else list(chosen_targets)), mask, tuple(notes)


def _lines(path: Path, what: str) -> list[str] | None:
    file = Path(path).parent / f"replogle_{what}.txt"
    return read_text(file, "a list of names").split() if file.exists() else None


def _some(rows: np.ndarray, number: int) -> np.ndarray:
    """A random choice by NumPy's legacy generator, seed 0, as published."""
    # The shuffle works in place.
    rows = rows.copy()
    np.random.RandomState(0).shuffle(rows)
    return rows[:number]


class Strongest(NamedTuple):
    """Names of the chosen targets and genes."""

    targets: tuple[str, ...]
    genes: tuple[str, ...]


def strongest(
    table: Table,
    target: np.ndarray,
    control: str,
    targets: int,
    genes: int,
    given: Sequence[str] | None = None,
) -> Strongest:
    """Return the `targets` farthest from control and the `genes` that respond most to them (or to
    `given`).

    On y = ln(1 + 1e4 x / sum x), a target's distance is the mean over genes of (difference of
    means)^2 / variance in control cells, less what sampling noise alone would give (1/n + 1/n
    control). Genes are ranked by the mean over the chosen targets of (difference of means)^2.
    """
    names, index = np.unique(np.asarray(target, dtype=str), return_inverse=True)
    if control not in names:
        raise InputError(
            f"{table.source} has no {control} cells, expected some as reference: fetch the whole "
            "file again"
        )
    reference = int(np.flatnonzero(names == control)[0])
    cells, mean, variance = _means(table, index, len(names), reference)
    # A gene that is silent in control has no scale to measure a distance by.
    usable = variance > 0
    difference = (mean - mean[reference])[:, usable]
    # Without any effect the mean of d^2 / v would be 1/n + 1/n_control: that is taken off.
    distance = (difference**2 / variance[usable]).mean(axis=1) - 1 / cells - 1 / cells[reference]
    distance[(cells < FEWEST_CELLS) | (np.arange(len(names)) == reference)] = -np.inf
    if given is None:
        best = np.argsort(-distance, kind="stable")[:targets]
        # Infinity marks what may not be chosen, also where too few are left.
        best = best[np.isfinite(distance[best])]
    else:
        best = np.flatnonzero(np.isin(names, list(given)))
    response = ((mean[best] - mean[reference]) ** 2).mean(axis=0)
    # Back in the order of the file.
    kept = np.sort(np.argsort(-response, kind="stable")[:genes])
    return Strongest(tuple(map(str, names[np.sort(best)])), tuple(map(str, table.var.index[kept])))


def _means(
    table: Table, index: np.ndarray, groups: int, reference: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells and means `[groups, G]` per target, and the variance over control cells."""
    total = np.zeros((groups, len(table.var)))
    squares = np.zeros(len(table.var))
    # One pass: nothing larger than sums by target is held of the file.
    for rows, block in count_blocks(labelled(table)):
        values, _ = log_normalise(block)
        add_by_group(total, values, index[rows])
        controls = values[index[rows] == reference]
        squares += gene_sums(controls, controls.data**2)
    cells = np.bincount(index, minlength=groups)
    mean = total / cells[:, None]
    # E[y^2] - E[y]^2 in float64, from which only ranks are taken.
    return cells, mean, squares / cells[reference] - mean[reference] ** 2
