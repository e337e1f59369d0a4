"""Several files, or one with several lines, read over their common genes and put together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.files import Table, opened, shown
from jaxpert.data.identifiers import renamed
from jaxpert.data.kept_counts import store_of
from jaxpert.data.labels import Labels, text_labels
from jaxpert.data.mapped import is_mapped, select, stacked
from jaxpert.data.read import check_names, make_dataset
from jaxpert.tasks.translation.columns import PLACEHOLDER, PLACEHOLDERS
from jaxpert.tasks.translation.common_genes import common_genes
from jaxpert.tasks.translation.matrices import read_matrix, stack

FIX = "label them or leave them out"
"""What to do with cells that have no label."""


Names = str | Sequence[str | None]


@dataclass(frozen=True)
class SourceSettings:
    """How files are read; every column name and layer is one text for all sources or a sequence of
    one per source."""

    line: Names | None = "cell_type"
    """Column of the cell line (or cell type); None takes each file as one line of the file's
    name."""
    batch: Names | None = None
    """Column of the experimental batch within a line; None takes each line of each file as one
    batch. A column that tells treated from control (one lane each) is none: adjusting for it would
    remove the effect."""
    layer: Names | None = None
    """Layer with raw counts, X where None."""
    gene_names: Names | None = None
    """Column of the genes that names them, as for `data.read`."""
    strip_versions: bool = False
    """Whether to leave versions out of gene names."""
    normalised: bool = False
    """The values are no counts but normalised before (kept as float32); `lognorm` is then
    "given"."""
    placeholders: int = PLACEHOLDERS
    """Free batch columns behind the real ones, for lines that come later (`assign_columns`)."""
    name: str | None = None
    """Of the data set; None joins the names of the files."""
    counts: str = "auto"
    """Where the counts of files are to be, as for `data.read`; normalised values are in memory."""
    folder: str | None = None
    """Data folder, as for `data.read`."""


class Part(NamedTuple):
    """One source, read: its common genes in the common order."""

    name: str
    counts: Any
    obs: Any
    line: np.ndarray
    batch: np.ndarray | None
    var: Any
    """Its table of these genes."""


def per_source(value: Any, sources: int, key: str) -> list[Any]:
    """One setting per source: repeated where it is one text (or None)."""
    if value is None or isinstance(value, str):
        return [value] * sources
    if len(value) != sources:
        raise InputError(
            f"{key} names {len(value)} for {sources} files, expected one for all or one per file: "
            "correct it"
        )
    return list(value)


def cells_of(parts: Sequence[Part]) -> list[str]:
    """Names of the cells of all parts."""
    names: list[str] = []
    for part in parts:
        names += map(str, part.obs.index)
    return names


def keep_in_parts(parts: list[Part], keep: np.ndarray | None) -> list[Part]:
    """The parts with some of their cells; None for all."""
    if keep is None:
        return parts
    kept, start = [], 0
    for part in parts:
        rows = keep[start : start + len(part.obs)]
        start += len(part.obs)
        if not rows.any():
            raise InputError(
                f"no cell of {part.name} has a label (data.missing=drop), expected some: leave "
                "that file out"
            )
        batch = None
        if part.batch is not None:
            batch = part.batch[rows]
        chosen = {
            "counts": select(part.counts, rows),
            "obs": part.obs[rows],
            "line": part.line[rows],
        }
        kept.append(part._replace(**chosen, batch=batch))
    return kept


def read_parts(
    sources: Any, s: SourceSettings
) -> tuple[list[Part], tuple[str, ...], tuple[str, ...]]:
    """Read every source over the genes that all have: the parts, the genes, notes on genes left
    out."""
    listed = list(sources) if isinstance(sources, list | tuple) else [sources]
    if not listed:
        raise InputError("there is no file to read, expected at least one: set data.source")
    layers = per_source(s.layer, len(listed), "data.layer")
    lines = per_source(s.line, len(listed), "data.line")
    batches = per_source(s.batch, len(listed), "data.batch")
    named_by = per_source(s.gene_names, len(listed), "data.gene_names")
    # All files are open at once, since the common genes are known only after the last one.
    with ExitStack() as open_files:
        tables, notes = [], []
        for source, chosen, naming in zip(listed, layers, named_by, strict=True):
            opened_table = open_files.enter_context(opened(source, chosen))
            table, more = renamed(opened_table, naming, s.strip_versions)
            check_names(table)
            tables.append(table)
            for note in (*opened_table.notes, *more):
                notes.append(f"{table.name}: {note}")
        names = _file_names(tables)
        genes = common_genes(tables)
        parts, lost = [], []
        for name, table, of_line, of_batch in zip(names, tables, lines, batches, strict=True):
            parts.append(_part(table, name, genes, of_line, of_batch, s))
            absent = len(table.var) - len(genes)
            if absent:
                lost.append(f"{name} {absent}")
    if lost:
        notes.append(
            f"{len(genes)} genes are in every file; left out because another file lacks them: "
            f"{shown(lost, 20)}"
        )
    return parts, genes, tuple(notes)


def _part(
    table: Table,
    name: str,
    genes: tuple[str, ...],
    line: str | None,
    batch: str | None,
    s: SourceSettings,
) -> Part:
    """One open source, read."""
    counts = read_matrix(table, genes, s.normalised, store_of(s.counts, s.folder))
    of_line = np.full(len(table.obs), name)
    if line is not None:
        near = get_close_matches(line, list(map(str, table.obs.columns)), n=1, cutoff=0.5)
        # Of a name that is nearly right the general message says more.
        if line not in table.obs.columns and not near:
            raise InputError(
                f"the cells of {table.name} have no column {line!r}, expected one of "
                f"{shown(table.obs.columns, 20)}: set data.line to the one that names the line of "
                "each cell, or to nothing where each file is one line"
            )
        of_line = _labels(table, line, "data.line")
    of_batch = None
    if batch is not None:
        of_batch = _labels(table, batch, "data.batch")
    return Part(name, counts, table.obs, of_line, of_batch, table.var.loc[list(genes)])


def join(parts: list[Part], genes: tuple[str, ...], labels: Labels, s: SourceSettings) -> Dataset:
    """Put read parts and the labels of all their cells together."""
    import pandas as pd

    strata, stratum = _batch_columns(parts, s.placeholders)
    titles, lines, files, frames = [], [], [], []
    for part in parts:
        titles.append(part.name)
        lines.append(part.line)
        files.append(np.full(len(part.obs), part.name))
        frames.append(part.obs.rename(columns=_taken(part)))
    # Columns of several files may hold different types under one name, so they become objects.
    obs = frames[0].copy()
    if len(frames) > 1:
        obs = pd.concat([frame.astype(object) for frame in frames])
    file, batch = np.concatenate(files), np.asarray(strata, object)[stratum]
    obs = obs.assign(line=np.concatenate(lines), batch=batch, file=file)
    if not obs.index.is_unique:
        # Barcodes repeat from lane to lane; the file in front tells the cells apart.
        obs.index = pd.Index(file.astype(object) + "/" + obs.index.astype(str))
    title = s.name or "+".join(titles)
    strata_of_cells = (strata, stratum)
    matrices = [part.counts for part in parts]
    # What is kept on disk is put together there.
    mapped = any(map(is_mapped, matrices))
    counts = stacked(matrices) if mapped else stack(matrices)
    return make_dataset(title, counts, obs, genes, labels, strata_of_cells, parts[0].var)


def _taken(part: Part) -> dict[str, str]:
    """New names for the file's columns that are called like ours and hold something else."""
    same = "line" in part.obs and part.obs["line"].astype(str).tolist() == part.line.tolist()
    changed = ["batch", "file"]
    # A column of lines that holds the very lines is kept as it is.
    if not same:
        changed.append("line")
    return {name: f"{name}_in_file" for name in changed}


def _labels(table: Table, name: str, key: str) -> np.ndarray:
    return text_labels(table.obs, name, key, "fill them in or leave those cells out").astype(str)


def _file_names(tables: Sequence[Table]) -> list[str]:
    """Names of the files, numbered where two are alike."""
    names = [table.name for table in tables]
    distinct = []
    for i, name in enumerate(names):
        if names.count(name) > 1:
            name += str(names[: i + 1].count(name))
        distinct.append(name)
    return distinct


def _batch_columns(
    parts: Sequence[Part], placeholders: int
) -> tuple[tuple[str, ...], Int[np.ndarray, "N"]]:
    """Names of the batch columns, in order of the files and there by label, and each cell's."""
    full, short, index = [], [], []
    for part in parts:
        label = part.line
        if part.batch is not None:
            label = np.char.add(np.char.add(part.line, "/"), part.batch)
        labels, inverse = np.unique(label, return_inverse=True)
        # Numbers go on from file to file, so that equal labels of two files stay two batches.
        index.append(inverse + len(short))
        for name in labels.tolist():
            short.append(name)
            full.append(f"{name}@{part.name}")
    names = []
    for short_name, full_name in zip(short, full, strict=True):
        # The file is named only where the label alone would leave two alike.
        names.append(short_name if short.count(short_name) == 1 else full_name)
    free = [f"{PLACEHOLDER}{i + 1}" for i in range(placeholders)]
    return (*names, *free), np.concatenate(index).astype(np.int32)


def require_controls(dataset: Dataset) -> None:
    """Refuse lines without a control cell."""
    line = np.asarray(dataset.obs["line"], str)
    without = sorted(set(line) - set(line[dataset.condition == dataset.control]))
    if without:
        raise InputError(
            f"{len(without)} lines have no control cell ({shown(without)}), expected some cells "
            f"labelled {dataset.conditions[dataset.control]!r} in each: add them, leave those "
            "lines out, or check data.line"
        )
