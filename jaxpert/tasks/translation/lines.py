"""Several files, or one with several lines, as one `Dataset`: common genes, lines, batch columns,
pooled labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.files import shown
from jaxpert.data.labels import Labels, parse_labels, text_labels
from jaxpert.tasks.translation.columns import address_genes
from jaxpert.tasks.translation.parts import (
    FIX,
    Names,
    Part,
    SourceSettings,
    join,
    per_source,
    read_parts,
    require_controls,
)

TARGETS = ("perturbed", "genes")


@dataclass(frozen=True)
class LineSettings(SourceSettings):
    """Arguments of `load_lines` beside the sources."""

    perturbation: Names = "condition"
    """Column of labels such as `A+B`; the same label in two files is the same perturbation."""
    control: Names = "ctrl"
    """The control label."""
    separator: str | None = "+"
    """What stands between treatments; None takes each label as one treatment."""
    targets: str = "perturbed"
    """"perturbed" has one treatment per perturbed gene; "genes" one per gene of the data set in its
    order, then the perturbed ones outside it (K_p = N: any gene can be addressed)."""


def load_lines(sources: Any, **settings: Any) -> Dataset:
    """Read one or several .h5ad paths or AnnData objects into one data set over the genes that all
    have.

    Genes are sorted by name. `stratum` is the batch column, numbered file by file and there by
    label; its name is the line, the batch where there is one, and the file where that leaves two
    alike. `obs` gets the columns `line`, `batch` (the column's name) and `file`; columns of the
    files with these names become `line_in_file` and so on. Notes count and name the genes left out
    per file and the perturbed genes that are not measured.

    Args:
        sources: a path or AnnData, or a sequence of them.
        **settings: fields of `LineSettings`; another one is a TypeError.

    Raises:
        InputError: for no common gene, missing labels or columns, and lines without a control cell.

    Example:
        lines = load_lines("lines.h5ad", perturbation="perturbation", line="line")
    """
    s = LineSettings(**settings)
    if s.targets not in TARGETS:
        raise InputError(
            f"the targets are {s.targets!r}, expected one of {', '.join(TARGETS)}: change "
            "data.targets"
        )
    parts, genes, notes = read_parts(sources, s)
    dataset = join(parts, genes, _perturbations(parts, s), s)
    require_controls(dataset)
    dataset = replace(dataset, notes=(*dataset.notes, *notes, *_unmeasured(dataset)))
    if s.targets == "genes":
        return address_genes(dataset)
    return dataset


def _perturbations(parts: list[Part], s: LineSettings) -> Labels:
    """What each cell of all parts was perturbed by."""
    columns = per_source(s.perturbation, len(parts), "data.perturbation")
    controls = per_source(s.control, len(parts), "data.control")
    texts = []
    for part, column, label in zip(parts, columns, controls, strict=True):
        text = text_labels(part.obs, str(column), "data.perturbation", FIX).astype(str)
        # Controls of all files get the label of the first.
        texts.append(np.where(text == label, controls[0], text))
    return parse_labels(
        np.concatenate(texts),
        control=str(controls[0]),
        separator=s.separator,
        name=str(columns[0]),
    )


def _unmeasured(dataset: Dataset) -> tuple[str, ...]:
    outside = sorted(set(dataset.treatments) - set(dataset.genes))
    if not outside:
        return ()
    return (
        f"{len(outside)} perturbed genes are not among the {len(dataset.genes)} common genes and "
        f"are kept as targets: {shown(outside)}",
    )
