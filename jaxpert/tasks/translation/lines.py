"""Several files, or one with several lines, as one `Dataset`: common genes, lines, batch columns,
pooled labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.labels import Labels, label_text, parse_labels, rules_of
from jaxpert.tasks.translation.columns import address_genes
from jaxpert.tasks.translation.parts import (
    Names,
    Part,
    SourceSettings,
    cells_of,
    join,
    keep_in_parts,
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
    control: str | Sequence[str] = "ctrl"
    """The control label, or several; each counts in every source, alone and in longer labels."""
    separator: str | None = "+"
    """What stands between treatments; None takes each label as one treatment."""
    treatments: Sequence[str] = ()
    """This one and the next three as in `core.types.LabelRules` (docs/guide/labels.md)."""
    case: str = "keep"
    missing: str = "refuse"
    guide_pattern: str = ""
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
        cells = jaxpert.load_lines("lines.h5ad", perturbation="perturbation", line="line")
    """
    s = LineSettings(**settings)
    if s.targets not in TARGETS:
        raise InputError(
            f"the targets are {s.targets!r}, expected one of {', '.join(TARGETS)}: change "
            "data.targets"
        )
    parts, genes, notes = read_parts(sources, s)
    labels = _perturbations(parts, genes, s)
    parts = keep_in_parts(parts, labels.kept)
    dataset = join(parts, genes, labels, s)
    require_controls(dataset)
    dataset = replace(dataset, notes=(*dataset.notes, *notes))
    if s.targets == "genes":
        return address_genes(dataset)
    return dataset


def _perturbations(parts: list[Part], genes: tuple[str, ...], s: LineSettings) -> Labels:
    """What each cell of all parts was perturbed by."""
    columns = per_source(s.perturbation, len(parts), "data.perturbation")
    texts = []
    for part, column in zip(parts, columns, strict=True):
        texts.append(label_text(part.obs, str(column), "data.perturbation"))
    rules = rules_of(
        s.control,
        s.separator,
        perturbation=str(columns[0]),
        treatments=tuple(s.treatments),
        case=s.case,
        missing=s.missing,
        guide_pattern=s.guide_pattern,
    )
    # All files at once, so that a label means the same in each.
    return parse_labels(np.concatenate(texts), rules, genes, names=cells_of(parts))
