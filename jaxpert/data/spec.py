"""What a model must know of the data, from training cells only."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.types import Dataset, InputError, Spec
from jaxpert.data.counts import row_blocks
from jaxpert.data.identifiers import advice
from jaxpert.data.mapped import rows_of
from jaxpert.data.moments import log_moments, log_normalised_mean

BLOCK_VALUES = 64_000_000
"""Dense values held at once while medians are taken."""


def make_spec(dataset: Dataset) -> Spec:
    """Return the `Spec` of a data set with a split; its numbers come from training cells, failed
    ones included.

    Moments are summed in float64 over the stored entries, never through a dense matrix. Control
    cells without counts have no place on the log-normalised scale and are left out of
    `control_mean`.
    """
    train = np.zeros(len(dataset.cells), bool)
    # Failed cells included (docs/models/cradle.md, "Encoder input").
    train[dataset.rows("train")] = True
    control = train & (dataset.condition == dataset.control)
    if dataset.scale == "counts":
        mean, std = log_moments(dataset.counts, train)
        control_mean = log_normalised_mean(dataset.counts, control)
    else:
        # Effects are no counts, of which a logarithm could be taken.
        mean, std, control_mean = (np.zeros(len(dataset.genes)) for _ in range(3))
    return Spec(
        genes=dataset.genes,
        treatments=dataset.treatments,
        conditions=dataset.conditions,
        strata=dataset.strata,
        control=dataset.control,
        condition_treatments=dataset.condition_treatments,
        log_mean=mean,
        log_std=std,
        control_mean=control_mean,
        treatment_cells=treatment_cells(dataset, "train"),
        condition_cells=condition_cells(dataset, "train"),
        graphs=dataset.graphs,
        scale=dataset.scale,
        naming=advice(dataset.genes, dataset.var, dataset.treatments),
    )


def split_tables(dataset: Dataset, split: str) -> dict[str, Any]:
    """Return the tables that are the same for every batch of a split, under their names in
    `Batch.extras`.

    `treatment_cells [T]`, `condition_cells [C]`, `expressed [C, G]` (genes with a count in any cell
    of the condition) and, where there are quality labels, `failed_cells []`,
    `reference [C, G]` and `has_reference [C]`.
    """
    tables: dict[str, Any] = {
        "treatment_cells": treatment_cells(dataset, split),
        "condition_cells": condition_cells(dataset, split),
        "expressed": expressed(dataset, split),
    }
    if dataset.quality is None:
        return tables
    reference, has_reference = reference_profiles(dataset, split)
    failed_cells = np.asarray(count_failed(dataset, split), np.int32)
    return tables | {
        "failed_cells": failed_cells,
        "reference": reference,
        "has_reference": has_reference,
    }


def treatment_cells(dataset: Dataset, split: str) -> Int[np.ndarray, "T"]:
    """Cells of `split` that received each treatment; a pair counts for both."""
    # N_t of docs/models/cradle.md, "ELBO", counted in whole numbers.
    given = dataset.condition_treatments.astype(np.int64)
    return (condition_cells(dataset, split) @ given).astype(np.int32)


def condition_cells(dataset: Dataset, split: str) -> Int[np.ndarray, "C"]:
    """Cells of `split` in each condition."""
    condition = dataset.condition[dataset.rows(split)]
    return np.bincount(condition, minlength=len(dataset.conditions)).astype(np.int32)


def expressed(dataset: Dataset, split: str) -> Bool[np.ndarray, "C G"]:
    """Genes with a count in any cell of `split` in each condition."""
    keep = np.zeros(len(dataset.cells), bool)
    keep[dataset.rows(split)] = True
    seen = np.zeros((len(dataset.conditions), len(dataset.genes)), bool)
    for rows, block in row_blocks(dataset.counts):
        part, condition = block[keep[rows]], dataset.condition[rows][keep[rows]]
        # Every stored entry is a count above 0, so no dense matrix is needed.
        seen[np.repeat(condition, np.diff(part.indptr)), part.indices] = True
    return seen


def reference_profiles(
    dataset: Dataset, split: str
) -> tuple[Float[np.ndarray, "C G"], Bool[np.ndarray, "C"]]:
    """Return per condition the gene-wise lower median of its failed cells in `split`, and which
    conditions have one.

    Control is a condition like the others. A condition without failed cells, or whose median is 0
    for every gene, has a zero row and False: it takes no part in the counterfactual term. Source:
    CRADLE-VAE, the counterfactual reference; differs from the published code in taking all failed
    cells of the condition (once, without random draws) where that code, by a slip of an index,
    takes other cells.
    """
    rows = failed_rows(dataset, split)
    profiles = np.zeros((len(dataset.conditions), len(dataset.genes)), np.float32)
    for condition in np.unique(dataset.condition[rows]):
        # x-bar of docs/models/cradle.md, "Reference profiles".
        profiles[condition] = lower_median(
            rows_of(dataset.counts, rows[dataset.condition[rows] == condition])
        )
    # Compared with a profile of zeros, a cell would be drawn to having no counts.
    return profiles, np.asarray(profiles.any(axis=1))


def count_failed(dataset: Dataset, split: str) -> int:
    """Number of failed cells in `split`; 0 leaves the counterfactual term nothing to refer to."""
    return len(failed_rows(dataset, split))


def failed_rows(dataset: Dataset, split: str) -> np.ndarray:
    """Row numbers of the failed cells in `split`."""
    if dataset.quality is None:
        raise InputError(
            f"data set {dataset.name!r} has no quality labels yet, expected some: call "
            "data.add_quality first"
        )
    rows = dataset.rows(split)
    return rows[dataset.quality.failed[rows]]


def lower_median(counts: Any) -> Float[np.ndarray, "G"]:
    """Gene-wise median of a CSR matrix; of an even number of cells the smaller middle value."""
    cells, genes = counts.shape
    # The lower middle is a value that some cell has, and so a whole count.
    middle, columns = (cells - 1) // 2, counts.tocsc()
    # a gene seen in too few of the cells has median 0: only the others are made dense
    candidates = np.flatnonzero(np.diff(columns.indptr) >= cells - middle)
    median = np.zeros(genes, np.float32)
    step = max(1, BLOCK_VALUES // cells)
    for start in range(0, len(candidates), step):
        block = candidates[start : start + step]
        # A partition finds the middle without sorting the rest.
        median[block] = np.partition(columns[:, block].toarray(), middle, axis=0)[middle]
    return median
