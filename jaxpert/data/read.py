"""An AnnData file or object -> Dataset."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.counts import Labelled, read_counts
from jaxpert.data.files import Table, column, opened, shown
from jaxpert.data.labels import Labels, guide_columns, parse_guides, parse_labels, text_labels
from jaxpert.data.subset import genes_in_cells, keep_genes


def read(
    source: Any,
    *,
    perturbation: str = "condition",
    control: str = "ctrl",
    separator: str | None = "+",
    layer: str | None = None,
    guide_prefix: str | None = None,
    stratum: str | None = None,
    min_cells_per_gene: int = 0,
    highly_variable: str | bool | None = None,
    name: str | None = None,
) -> Dataset:
    """Read a screen from an .h5ad path or an AnnData object.

    Args:
      source: path or AnnData.
      perturbation: column with one label per cell, such as `ctrl`, `A+ctrl` or `A+B`.
      control: the control label; as a part of a longer label it is no treatment.
      separator: what stands between treatments; None takes each label as one treatment.
      layer: layer with raw counts; None is X, "raw" is `adata.raw`.
      guide_prefix: take the treatments from the 0/1 columns whose names start so; then
        `perturbation`, where the file has it, only names the conditions.
      stratum: column with cell line or batch; None puts all cells into one stratum, "all".
      min_cells_per_gene: leave out genes with counts in fewer cells.
      highly_variable: column of the gene table that is True for genes to keep (True means
          "highly_variable").
      name: name of the data set; None is the file's name.

    Returns a `Dataset` without split and quality; its notes say what was merged or left out. Raises
    `InputError`, one sentence, for anything that cannot be used. Where genes are left out, the
    quality criteria are measured before, on all genes, and kept in `obs` as `unfiltered_*`
    (`add_quality` takes them from there).
    """
    with opened(source, layer) as table:
        check_names(table)
        labels = _labels(table.obs, perturbation, control, separator, guide_prefix)
        strata = _strata(table.obs, stratum)
        keep = _highly_variable(table.var, highly_variable)
        # Last, since it is slow: labels and columns that cannot be used stop the run before.
        counts = load_counts(table)
    dataset = make_dataset(name or table.name, counts, table.obs, table.var.index, labels, strata)
    if min_cells_per_gene > 0:
        keep = keep & genes_in_cells(dataset.counts, min_cells_per_gene)
    return (
        dataset if keep.all() else _select_genes(dataset, keep, min_cells_per_gene, highly_variable)
    )


def load_counts(table: Table, rows: np.ndarray | None = None, columns: np.ndarray | None = None):
    """Read the counts of an opened table (some of its rows and columns), checked; see
    `read_counts`."""
    counts = read_counts(labelled(table), rows, columns)
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


def make_dataset(name: str, counts, obs, genes, labels: Labels, strata=None) -> Dataset:
    """Put the parts together and note what a user should know: rare conditions, empty cells and
    genes."""
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
        notes=labels.notes + _remarks(counts, labels),
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


def _labels(
    obs, perturbation: str, control: str, separator: str | None, guide_prefix: str | None
) -> Labels:
    fix = f"label them or leave them out (adata = adata[adata.obs[{perturbation!r}].notna()])"
    if guide_prefix is None:
        text = text_labels(obs, perturbation, "data.perturbation", fix)
        return parse_labels(text, control=control, separator=separator, name=perturbation)
    columns, notes = guide_columns(obs, guide_prefix)
    names = (
        text_labels(obs, perturbation, "data.perturbation", fix)
        if perturbation in obs.columns
        else None
    )
    labels = parse_guides(
        obs, columns, control=control, separator=separator or "+", prefix=guide_prefix, names=names
    )
    return labels._replace(notes=notes + labels.notes)


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
            f"no gene of {dataset.name!r} is left after the gene filters: lower "
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
