"""An AnnData file or object -> Dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.counts import read_counts
from jaxpert.data.files import Table, column, opened, shown
from jaxpert.data.gene_classes import with_flags
from jaxpert.data.identifiers import name_notes, renamed
from jaxpert.data.kept_counts import is_large, keep_counts, store_of
from jaxpert.data.labels import Labels, read_labels, rules_of, text_labels
from jaxpert.data.mapped import Store
from jaxpert.data.stored import Labelled
from jaxpert.data.subset import genes_in_cells, keep_genes


def read(
    source: Any,
    *,
    perturbation: str = "condition",
    control: str | Sequence[str] = "ctrl",
    separator: str | None = "+",
    layer: str | None = None,
    guide_prefix: str | None = None,
    stratum: str | None = None,
    min_cells_per_gene: int = 0,
    highly_variable: str | bool | None = None,
    gene_names: str | None = None,
    strip_versions: bool = False,
    gene_columns: Mapping[str, str] | None = None,
    name: str | None = None,
    counts: str = "auto",
    folder: str | Path | None = None,
    **label_rules: Any,
) -> Dataset:
    """Read a screen from a file or an AnnData object.

    Args:
      source: path of an .h5ad, .zarr or .h5mu file, or AnnData.
      perturbation: column with one label per cell, such as `ctrl`, `A+ctrl` or `A+B`.
      control: the control label, or several, `*` standing for any text; as a part of a longer label
        it is no treatment.
      separator: what stands between treatments; None takes each label as one treatment.
      layer: layer with raw counts; None is X, "raw" is `adata.raw`.
      guide_prefix: take the treatments from the columns of 0/1 or counts whose names start so; then
        `perturbation`, where the file has it, only names the conditions.
      stratum: column with cell line or batch; None puts all cells into one stratum, "all".
      min_cells_per_gene: leave out genes with counts in fewer cells.
      highly_variable: column of the gene table that is True for genes to keep (True means
          "highly_variable").
      gene_names: column of the gene table that names the genes; None is the file's own names.
      strip_versions: leave the versions of Ensembl and RefSeq identifiers out of gene names.
      gene_columns: {criterion: column} of the gene table that flags mitochondrial (pct_mt),
          ribosomal (pct_ribo) or haemoglobin (pct_hb) genes; the others go by their symbols.
      name: name of the data set; None is the file's name.
      counts: where the counts of a file are to be: "memory", "disk" (in another file, which is
          mapped into memory), or "auto" (disk where they would take more than a quarter of the
          memory).
      folder: data folder, in which such files are kept; None as for `load_screen`.
      **label_rules: more of `core.types.LabelRules`: `treatments`, `case`, `missing`,
        `guide_pattern`, `guide_threshold`, `no_guide` (docs/guide/labels.md).

    Returns a `Dataset` without split and quality; its notes say what was merged or left out. Raises
    `InputError`, one sentence, for anything that cannot be used. Where genes are left out, the
    quality criteria are measured before, on all genes, and kept in `obs` as `unfiltered_*`
    (`add_quality` takes them from there).

    Example:
        cells = jaxpert.read("screen.h5ad", perturbation="gene", control="ctrl")
        print("; ".join(cells.notes))
    """
    rules = rules_of(
        control, separator, perturbation=perturbation, guide_prefix=guide_prefix, **label_rules
    )
    store = store_of(counts, folder)
    with opened(source, layer) as table:
        var = with_flags(table.var, dict(gene_columns or {}))
        table, notes = renamed(table, gene_names, strip_versions)
        check_names(table)
        labels = read_labels(table.obs, rules, table.var.index)
        obs = table.obs if labels.kept is None else table.obs[labels.kept]
        strata = _strata(obs, stratum)
        keep = _highly_variable(table.var, highly_variable)
        # Last, since it is slow: labels and columns that cannot be used stop the run before.
        matrix = load_counts(table, labels.kept, store=store)
    genes = table.var.index
    dataset = make_dataset(name or table.name, matrix, obs, genes, labels, strata, var)
    dataset = replace(dataset, notes=table.notes + notes + dataset.notes)
    if min_cells_per_gene > 0:
        keep = keep & genes_in_cells(dataset.counts, min_cells_per_gene)
    return (
        dataset if keep.all() else _select_genes(dataset, keep, min_cells_per_gene, highly_variable)
    )


def load_counts(
    table: Table,
    rows: np.ndarray | None = None,
    columns: np.ndarray | None = None,
    store: Store | None = None,
):
    """Read the counts of an opened table (some of its rows and columns), checked; see
    `read_counts`, and `keep_counts` for a `store`."""
    stored = labelled(table)
    if table.path is not None and store is not None and (store.always or is_large(stored)):
        counts = keep_counts(stored, table.path, store.folder, rows, columns)
    else:
        counts = read_counts(stored, rows, columns)
    if counts.nnz == 0:
        raise InputError(
            f"layer {table.layer!r} of {table.source} holds only zeros, expected raw counts: set "
            f"data.layer to one of {shown(map(repr, table.layers))}"
        )
    return counts


def labelled(table: Table) -> Labelled:
    """The matrix of an opened table with the names that messages about it need."""
    return Labelled(
        table.matrix,
        np.asarray(table.obs.index),
        np.asarray(table.var.index),
        table.source,
        table.layer,
        table.layers,
    )


def make_dataset(name: str, counts, obs, genes, labels: Labels, strata=None, var=None) -> Dataset:
    """Put the parts together and note what a user should know: rare conditions, empty cells and
    genes, perturbations that are no gene."""
    names = name_notes(list(map(str, genes)), var, labels.treatments)
    strata_names, stratum = strata or (("all",), np.zeros(len(obs), np.int32))
    return Dataset(
        name=name,
        counts=counts,
        cells=np.asarray(obs.index, dtype=str),
        genes=tuple(map(str, genes)),
        conditions=labels.conditions,
        condition=labels.condition,
        control=labels.control,
        treatments=labels.treatments,
        condition_treatments=labels.condition_treatments,
        strata=strata_names,
        stratum=stratum,
        obs=obs,
        notes=labels.notes + _remarks(counts, labels) + names,
        var=var,
        label_rules=labels.rules,
    )


def check_names(table: Table) -> None:
    """Refuse empty axes and names that are not unique."""
    for axis, frame, fix in (
        ("cell", table.obs, "obs_names_make_unique"),
        ("gene", table.var, "var_names_make_unique"),
    ):
        if len(frame) == 0:
            raise InputError(
                f"{table.source} has no {axis}s (shape {len(table.obs)} x {len(table.var)}), "
                "expected at least one: check the filter that made it"
            )
        repeated = frame.index[frame.index.duplicated()].unique()
        if len(repeated):
            raise InputError(
                f"{table.source} has {len(repeated)} {axis} names that occur more than once "
                f"({shown(repeated, 5)}), expected unique names: call adata.{fix}() and write the "
                "file again"
            )


def _strata(obs, stratum: str | None) -> tuple[tuple[str, ...], np.ndarray] | None:
    if stratum is None:
        return None
    text = text_labels(obs, stratum, "data.stratum", "fill them in or leave those cells out")
    # Sorted by name, so that numbers do not depend on the order of cells.
    names, index = np.unique(text.astype(str), return_inverse=True)
    return tuple(map(str, names)), index.astype(np.int32)


def _highly_variable(var, name: str | bool | None) -> np.ndarray:
    if not name:
        return np.ones(len(var), bool)
    values = column(
        var, "highly_variable" if name is True else name, "data.highly_variable", of="gene"
    )
    if not values.isin([True, False]).all():
        raise InputError(
            f"column {values.name!r} of the genes holds more than True and False, expected a flag: "
            "choose another one with data.highly_variable"
        )
    return np.asarray(values, bool)


def _select_genes(dataset: Dataset, keep: np.ndarray, min_cells: int, highly_variable) -> Dataset:
    from jaxpert.data.quality import keep_unfiltered

    if not keep.any():
        raise InputError(
            f"no gene of {dataset.name!r} is left after the gene filters, expected some: lower "
            f"data.min_cells_per_gene (now {min_cells}) or change data.highly_variable (now "
            f"{highly_variable!r})"
        )
    reasons = [f"seen in fewer than {min_cells} cells"] * (min_cells > 0) + [
        "not highly variable"
    ] * bool(highly_variable)
    note = (
        f"{(~keep).sum()} of {len(keep)} genes were left out ({' or '.join(reasons)}); quality "
        "criteria were measured before, on all genes"
    )
    # Measured first, since library sizes and percentages mean all genes of a cell.
    selected = keep_genes(keep_unfiltered(dataset), keep)
    return replace(selected, notes=(*selected.notes, note))


def _remarks(counts, labels: Labels) -> tuple[str, ...]:
    cells = np.bincount(labels.condition, minlength=len(labels.conditions))
    single = [labels.conditions[i] for i in np.flatnonzero(cells == 1)]
    # Stored zeros are gone, so a cell without entries is one without counts.
    empty_cells = int((np.diff(counts.indptr) == 0).sum())
    unseen = int(counts.shape[1] - genes_in_cells(counts, 1).sum())
    remarks = (
        (
            len(single),
            f"conditions with a single cell, not both trained on and evaluated: {shown(single)}",
        ),
        (empty_cells, f"cells without any count, kept: {empty_cells}"),
        (unseen, f"genes without a count in any cell, kept: {unseen}"),
    )
    return tuple(text for number, text in remarks if number)
