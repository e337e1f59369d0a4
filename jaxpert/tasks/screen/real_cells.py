"""Real cells that predictions of any tool are scored against, with what was trained on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from jaxpert.core.types import SPLITS, Dataset, InputError, LabelRules
from jaxpert.data.labels import read_labels, text_labels
from jaxpert.data.read import make_dataset
from jaxpert.data.subset import keep_cells
from jaxpert.tasks.screen import audit, scales
from jaxpert.tasks.screen.tables import Rows, read_rows
from jaxpert.tasks.screen.trained import is_file_of_cells, join, split_by, split_checked


class Real(NamedTuple):
    """Real cells that predictions are scored against."""

    dataset: Dataset
    source: str
    total: float | None
    """That all cells were normalised to; None for counts, and where there is no one total."""
    sentence: str
    """On their scale."""
    stratum: str = ""
    """Column of cell lines or batches; empty for none."""
    truth: Any = None
    """Planted, of simulated cells."""
    fixed: bool = False
    """Whether genes may not be left out, since other predictions are scored on all of them."""


def read_real(
    source: Any,
    rules: LabelRules,
    *,
    stratum: str | None = None,
    layer: str | None = None,
    scale: str = "auto",
    train: Any = None,
    controls: str = "within",
) -> Real:
    """Real cells of a file or an AnnData, with what was trained on where `train` says so.

    Args:
        source: counts, or their logarithm after normalisation.
        rules: how labels are written.
        stratum: column of cell lines or batches.
        layer: layer of the values; None for X.
        scale: declared; "auto" tells it from the values.
        train: a column of the cells, a .json or .txt file of conditions, lists, or a second file of
            cells; None where nobody knows.
        controls: "within" strata or "pooled".
    """
    rows = read_rows(source, rules.perturbation, layer, "the real cells")
    told = told_of(rows, scale, "--real_scale")
    if told.scale in scales.EFFECTS:
        raise InputError(
            f"{rows.source} holds effects, expected cells to measure them on: give the cells as "
            "--real"
        )
    trained, notes = None, rows.notes
    if train is not None and is_file_of_cells(train):
        other = read_rows(train, rules.perturbation, layer, "the training cells")
        if told_of(other, scale, "--real_scale").scale != told.scale:
            raise InputError(
                f"{other.source} is on another scale than {rows.source} ({told.scale}), expected "
                "the same: give both as counts"
            )
        rows, trained, more = join(rows, other, rules.perturbation)
        notes += more
    total = (
        None
        if told.scale == "counts"
        else scales.common_total(scales.totals(rows.values, told.scale))
    )
    dataset, kept = _dataset(rows, told, rules, stratum)
    dataset = replace(dataset, notes=(*notes, *dataset.notes), controls=controls)
    audit.check_cells(dataset)
    if trained is not None:
        split = np.where(trained[kept], SPLITS.index("train"), SPLITS.index("test"))
        dataset = split_checked(dataset, split, str(getattr(train, "filename", None) or train))
    elif train is not None:
        dataset = split_by(dataset, train)
    return Real(dataset, rows.source, total, told.sentence, stratum or "")


def told_of(rows: Rows, declared: str, flag: str) -> scales.Told:
    """The scale of what was read; a file of jaxpert says its own."""
    labels = scales.Labels(rows.source, rows.names, rows.genes, flag)
    if declared == "auto" and rows.scale:
        told = scales.tell(rows.values, labels, rows.scale)
        return told._replace(sentence=f"{rows.source} is on the scale {told.scale}, as it says")
    return scales.tell(rows.values, labels, declared)


def _dataset(
    rows: Rows, told: scales.Told, rules: LabelRules, stratum: str | None
) -> tuple[Dataset, Bool[np.ndarray, "M"]]:
    """The rows as a data set, and which of them it holds."""
    labels = read_labels(rows.obs, rules, rows.genes)
    kept = np.ones(len(rows.names), bool) if labels.kept is None else labels.kept
    values, obs = rows.values[kept], rows.obs[kept]
    strata_of_cells = None
    if stratum:
        text = text_labels(obs, stratum, "--stratum", "fill them in or leave those cells out")
        names, index = np.unique(text.astype(str), return_inverse=True)
        strata_of_cells = tuple(map(str, names)), index.astype(np.int32)
    counts = values
    if told.scale != "counts":
        counts = scales.to_log2(values, told.scale)
    dataset = make_dataset(rows.name, counts, obs, rows.genes, labels, strata_of_cells, rows.var)
    filled = np.diff(counts.indptr) > 0
    dataset = replace(dataset, scale="counts" if told.scale == "counts" else "log2")
    # Cells without counts have no logarithm, and would be taken for cells of zeros.
    return keep_cells(dataset, filled, "they hold only zeros"), _within(kept, filled)


def _within(kept: Bool[np.ndarray, "M"], filled: Bool[np.ndarray, "N"]) -> Bool[np.ndarray, "M"]:
    both = kept.copy()
    both[kept] = filled
    return both
