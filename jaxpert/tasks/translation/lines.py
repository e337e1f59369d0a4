"""Several files, or one with several lines, as one `Dataset`: common genes, lines, batch columns,
pooled labels."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.counts import Labelled, smallest_unsigned, stored_blocks
from jaxpert.data.files import Table, opened, shown
from jaxpert.data.labels import Labels, parse_labels, text_labels
from jaxpert.data.read import check_names, load_counts, make_dataset

PLACEHOLDERS = 2
"""Batch columns kept free for lines that come later (fine-tuning, zero-shot)."""
PLACEHOLDER = "placeholder"
TARGETS = ("perturbed", "genes")
ALIGNMENT = 64
"""Bytes; JAX on CPU uses arrays so aligned without copying them."""

Names = str | Sequence[str | None]


class Part(NamedTuple):
    """One source, read: its common genes in the common order."""

    name: str
    counts: Any
    obs: Any
    line: np.ndarray
    batch: np.ndarray | None


def load_lines(
    sources: Any,
    *,
    perturbation: Names = "condition",
    control: Names = "ctrl",
    separator: str | None = "+",
    line: Names | None = "cell_type",
    batch: Names | None = None,
    layer: Names | None = None,
    normalised: bool = False,
    targets: str = "perturbed",
    placeholders: int = PLACEHOLDERS,
    name: str | None = None,
) -> Dataset:
    """Read one or several .h5ad paths or AnnData objects into one data set over the genes that all
    have.

    Every column name, control label and layer is one text for all sources or a sequence of one per
    source.

    Args:
      sources: a path or AnnData, or a sequence of them.
      perturbation: column of labels such as `A+B`; the same label in two files is the same
          perturbation.
      control: the control label.
      separator: what stands between treatments; None takes each label as one treatment.
      line: column of the cell line (or cell type); None takes each file as one line of the file's
          name.
      batch: column of the experimental batch within a line; None takes each line of each file as
        one batch. A column that tells treated from control (one lane each) is none: adjusting for
        it would remove the effect.
      layer: layer with raw counts, X where None.
      normalised: the values are no counts but normalised before (kept as float32); `lognorm` is
          then "given".
      targets: "perturbed" has one treatment per perturbed gene; "genes" one per gene of the data
        set in its order, then the perturbed ones outside it (K_p = N: any gene can be addressed).
      placeholders: free batch columns behind the real ones, for lines that come later
          (`assign_columns`).

    Genes are sorted by name. `stratum` is the batch column, numbered file by file and there by
    label; its name is the line, the batch where there is one, and the file where that leaves two
    alike. `obs` gets the columns `line`, `batch` (the column's name) and `file`; columns of the
    files with these names become `line_in_file` and so on.

    Raises InputError for no common gene, missing labels or columns, and lines without a control
    cell. Notes count and name the genes left out per file and the perturbed genes that are not
    measured.
    """
    if targets not in TARGETS:
        raise InputError(
            f"the targets are {targets!r}, expected one of {', '.join(TARGETS)}: change "
            "data.targets"
        )
    parts, genes, notes = read_parts(
        sources, line=line, batch=batch, layer=layer, normalised=normalised
    )
    columns = per_source(perturbation, len(parts), "data.perturbation")
    controls = per_source(control, len(parts), "data.control")
    texts = []
    for part, column, label in zip(parts, columns, controls, strict=True):
        fix = "label them or leave them out"
        text = text_labels(part.obs, str(column), "data.perturbation", fix).astype(str)
        # Controls of all files get the label of the first.
        texts.append(np.where(text == label, controls[0], text))
    labels = parse_labels(
        np.concatenate(texts),
        control=str(controls[0]),
        separator=separator,
        name=str(columns[0]),
    )
    dataset = join(parts, genes, labels, placeholders, name)
    require_controls(dataset)
    dataset = replace(dataset, notes=(*dataset.notes, *notes, *_unmeasured(dataset)))
    return address_genes(dataset) if targets == "genes" else dataset


def address_genes(dataset: Dataset, *, substring: bool = False) -> Dataset:
    """Give every gene a treatment column (K_p = N), in the order of the genes, then the perturbed
    ones outside it.

    `substring` marks every gene whose name contains a target's, as the published code does (target
    AR also marks PARP1 and SART1), and has no column for targets outside the genes.
    """
    outside = ()
    if not substring:
        outside = tuple(name for name in dataset.treatments if name not in set(dataset.genes))
    columns = (*dataset.genes, *outside)
    table = np.zeros((len(dataset.conditions), len(columns)), np.float32)
    place = {gene: i for i, gene in enumerate(columns)}
    for condition, treatment in zip(*np.nonzero(dataset.condition_treatments), strict=True):
        target = dataset.treatments[treatment]
        if substring:
            hits = [i for i, gene in enumerate(columns) if target in gene]
        else:
            hits = [place[target]]
        table[condition, hits] = 1
    return replace(dataset, treatments=columns, condition_treatments=table)


def assign_columns(dataset: Dataset, columns: Sequence[str], *, as_new: bool = False) -> Dataset:
    """Move the batches of a data set to the batch columns of a trained model: those of the same
    name to their own, new ones to free placeholders in order, which from then on carry the new
    name.

    `as_new` takes every batch for a new one (another experiment on a line of the same name, such as
    a dose series); its column is then called `batch@data set`.

    Raises InputError where the placeholders do not suffice.
    """
    real = [name for name in dataset.strata if not name.startswith(PLACEHOLDER)]
    called = {name: f"{name}@{dataset.name}" if as_new else name for name in real}
    new = [called[name] for name in real if called[name] not in columns]
    free = [i for i, name in enumerate(columns) if name.startswith(PLACEHOLDER)]
    if len(new) > len(free):
        raise InputError(
            f"{dataset.name!r} has {len(new)} batches that the trained model does not know "
            f"({shown(new)}) and the model has {len(free)} free batch columns: pre-train with more "
            "data.placeholders or give fewer new lines"
        )
    names, notes = list(columns), dataset.notes
    moves = []
    for i, name in zip(free, new, strict=False):
        names[i] = name
        moves.append(f"{name} -> {columns[i]}")
    if moves:
        notes = (*notes, f"new batches take placeholder columns: {shown(moves)}")
    place = [names.index(called[name]) if name in called else -1 for name in dataset.strata]
    moved = np.array(place, np.int32)[dataset.stratum]
    return replace(dataset, strata=tuple(names), stratum=moved, notes=notes)


def per_source(value: Any, sources: int, key: str) -> list[Any]:
    """One setting per source: repeated where it is one text (or None)."""
    if value is None or isinstance(value, str):
        return [value] * sources
    if len(value) != sources:
        raise InputError(
            f"{key} names {len(value)} for {sources} files, expected one for all or one per file"
        )
    return list(value)


def read_parts(
    sources: Any, *, line: Names | None, batch: Names | None, layer: Names | None, normalised: bool
) -> tuple[list[Part], tuple[str, ...], tuple[str, ...]]:
    """Read every source over the genes that all have: the parts, the genes, notes on genes left
    out."""
    listed = list(sources) if isinstance(sources, list | tuple) else [sources]
    if not listed:
        raise InputError("there is no file to read, expected at least one: set data.source")
    layers = per_source(layer, len(listed), "data.layer")
    lines = per_source(line, len(listed), "data.line")
    batches = per_source(batch, len(listed), "data.batch")
    with ExitStack() as stack:
        tables = []
        for source, chosen in zip(listed, layers, strict=True):
            tables.append(stack.enter_context(opened(source, chosen)))
            check_names(tables[-1])
        names = _file_names(tables)
        genes = _common_genes(tables)
        parts, lost = [], []
        for name, table, of_line, of_batch in zip(names, tables, lines, batches, strict=True):
            parts.append(_part(table, name, genes, of_line, of_batch, normalised))
            absent = len(table.var) - len(genes)
            if absent:
                lost.append(f"{name} {absent}")
    if not lost:
        return parts, genes, ()
    note = (
        f"{len(genes)} genes are in every file; left out because another file lacks them: "
        f"{shown(lost, 20)}"
    )
    return parts, genes, (note,)


def _part(
    table: Table,
    name: str,
    genes: tuple[str, ...],
    line: str | None,
    batch: str | None,
    normalised: bool,
) -> Part:
    """One open source, read."""
    counts = _read_matrix(table, genes, normalised)
    of_line = np.full(len(table.obs), name)
    if line is not None:
        of_line = _labels(table, line, "data.line")
    of_batch = None if batch is None else _labels(table, batch, "data.batch")
    return Part(name, counts, table.obs, of_line, of_batch)


def join(
    parts: list[Part],
    genes: tuple[str, ...],
    labels: Labels,
    placeholders: int,
    name: str | None = None,
) -> Dataset:
    """Put read parts and the labels of all their cells together."""
    import pandas as pd

    strata, stratum = _batch_columns(parts, placeholders)
    file = np.repeat([part.name for part in parts], [len(part.obs) for part in parts])
    line = np.concatenate([part.line for part in parts])
    frames = [part.obs.rename(columns=_taken(part)) for part in parts]
    if len(frames) == 1:
        obs = frames[0].copy()
    else:
        obs = pd.concat([frame.astype(object) for frame in frames])
    obs = obs.assign(line=line, batch=np.asarray(strata, object)[stratum], file=file)
    if not obs.index.is_unique:
        obs.index = pd.Index([f"{f}/{cell}" for f, cell in zip(file, obs.index, strict=True)])
    title = name or "+".join(part.name for part in parts)
    return make_dataset(title, _stack(parts), obs, genes, labels, (strata, stratum))


def _taken(part: Part) -> dict[str, str]:
    """New names for the file's columns that are called like ours and hold something else."""
    same = "line" in part.obs and part.obs["line"].astype(str).tolist() == part.line.tolist()
    changed = ("batch", "file") if same else ("batch", "file", "line")
    return {name: f"{name}_in_file" for name in changed}


def _labels(table: Table, name: str, key: str) -> np.ndarray:
    return text_labels(table.obs, name, key, "fill them in or leave those cells out").astype(str)


def _file_names(tables: Sequence[Table]) -> list[str]:
    """Names of the files, numbered where two are alike."""
    names = [table.name for table in tables]
    distinct = []
    for i, name in enumerate(names):
        number = names[: i + 1].count(name)
        distinct.append(f"{name}{number}" if names.count(name) > 1 else name)
    return distinct


def _common_genes(tables: Sequence[Table]) -> tuple[str, ...]:
    common = set(map(str, tables[0].var.index)).intersection(
        *(map(str, table.var.index) for table in tables[1:])
    )
    if not common:
        firsts = [f"{table.source} (such as {shown(table.var.index[:2])})" for table in tables]
        raise InputError(
            f"no gene is in all of {shown(firsts, 20)}, expected common gene names: give all files "
            "the same kind of name (symbols or identifiers) as var_names"
        )
    return tuple(sorted(common))


def _read_matrix(table: Table, genes: tuple[str, ...], normalised: bool) -> Any:
    """The matrix of one source, its genes in the common order."""
    names = np.asarray(table.var.index, dtype=str)
    wanted = np.isin(names, genes)
    counts = _read_values(table)[:, wanted] if normalised else load_counts(table, None, wanted)
    order = np.argsort(names[wanted])
    counts = counts if (order == np.arange(len(order))).all() else counts[:, order]
    counts.sort_indices()
    return counts


def _read_values(table: Table) -> Any:
    """Normalised values as float32; they may be negative but not missing."""
    from scipy import sparse

    stored = Labelled(
        table.matrix,
        np.asarray(table.obs.index),
        np.asarray(table.var.index),
        table.source,
        table.layer,
        table.layers,
    )
    blocks = []
    for _, block in stored_blocks(stored):
        if not np.isfinite(block.data).all():
            raise InputError(
                f"layer {table.layer!r} of {table.source} holds NaN or infinite values, expected "
                "normalised expression: fill them in or leave those genes out"
            )
        blocks.append(block.astype(np.float32))
    return sparse.vstack(blocks, format="csr")


def _stack(parts: Sequence[Part]) -> Any:
    """All cells in one CSR matrix of the smallest type, aligned so that JAX on CPU can use it in
    place."""
    from scipy import sparse

    entries = sum(part.counts.nnz for part in parts)
    kind = np.dtype(np.float32)
    if all(part.counts.dtype.kind == "u" for part in parts):
        kind = smallest_unsigned(max(int(part.counts.data.max(initial=0)) for part in parts))
    # Written into one array part by part, so that counts are never held twice for long.
    data = aligned(entries, kind)
    indices = aligned(entries, np.dtype(np.int32))
    start, stops = 0, [np.zeros(1, np.int64)]
    for part in parts:
        stop = start + part.counts.nnz
        data[start:stop], indices[start:stop] = part.counts.data, part.counts.indices
        stops.append(part.counts.indptr[1:].astype(np.int64) + start)
        start = stop
    indptr = np.concatenate(stops)
    # 32-bit pointers where they suffice, as JAX reads them.
    indptr = indptr.astype(np.int32) if entries <= np.iinfo(np.int32).max else indptr
    return sparse.csr_matrix(
        (data, indices, indptr), shape=(len(indptr) - 1, parts[0].counts.shape[1]), copy=False
    )


def aligned(size: int, dtype: np.dtype) -> np.ndarray:
    """Uninitialised array that starts at a multiple of 64 bytes."""
    # Of the type itself, not of bytes: SciPy copies an array that has less than half the elements
    # of its base.
    raw = np.empty(size + ALIGNMENT // dtype.itemsize, dtype)
    offset = -raw.ctypes.data % ALIGNMENT // dtype.itemsize
    return raw[offset : offset + size]


def _batch_columns(
    parts: Sequence[Part], placeholders: int
) -> tuple[tuple[str, ...], Int[np.ndarray, "N"]]:
    """Names of the batch columns, in order of the files and there by label, and each cell's."""
    full, short, index = [], [], []
    for part in parts:
        label = part.line
        if part.batch is not None:
            label = np.char.add(np.char.add(part.line, "/"), part.batch)
        names, inverse = np.unique(label, return_inverse=True)
        index.append(inverse + len(short))
        short += [str(n) for n in names]
        full += [f"{n}@{part.name}" for n in names]
    names = [s if short.count(s) == 1 else f for s, f in zip(short, full, strict=True)]
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


def _unmeasured(dataset: Dataset) -> tuple[str, ...]:
    outside = sorted(set(dataset.treatments) - set(dataset.genes))
    if not outside:
        return ()
    return (
        f"{len(outside)} perturbed genes are not among the {len(dataset.genes)} common genes and "
        f"are kept as targets: {shown(outside)}",
    )
