"""What a model must know of the data, from training cells only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.types import Dataset, InputError, Spec
from jaxpert.data.counts import row_blocks
from jaxpert.data.reference import count_failed, reference_profiles

LIBRARY = 1e4
"""Common total of the log-normalised scale."""


def make_spec(dataset: Dataset) -> Spec:
    """Return the `Spec` of a data set with a split; its numbers come from training cells, failed
    ones included.

    Moments are summed in float64 over the stored entries, never through a dense matrix. Control
    cells without counts have no place on the log-normalised scale and are left out of
    `control_mean`.
    """
    train = np.zeros(len(dataset.cells), bool)
    train[dataset.rows("train")] = True
    mean, std = log_moments(dataset.counts, train)
    control = train & (dataset.condition == dataset.control)
    return Spec(
        genes=dataset.genes,
        treatments=dataset.treatments,
        conditions=dataset.conditions,
        strata=dataset.strata,
        control=dataset.control,
        condition_treatments=dataset.condition_treatments,
        log_mean=mean,
        log_std=std,
        control_mean=log_normalized_mean(dataset.counts, control),
        treatment_cells=treatment_cells(dataset, "train"),
        condition_cells=condition_cells(dataset, "train"),
        graphs=dataset.graphs,
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
    return (condition_cells(dataset, split) @ dataset.condition_treatments.astype(np.int64)).astype(
        np.int32
    )


def condition_cells(dataset: Dataset, split: str) -> Int[np.ndarray, "C"]:
    """Cells of `split` in each condition."""
    found = np.bincount(dataset.condition[dataset.rows(split)], minlength=len(dataset.conditions))
    return found.astype(np.int32)


def expressed(dataset: Dataset, split: str) -> Bool[np.ndarray, "C G"]:
    """Genes with a count in any cell of `split` in each condition."""
    keep = np.zeros(len(dataset.cells), bool)
    keep[dataset.rows(split)] = True
    found = np.zeros((len(dataset.conditions), len(dataset.genes)), bool)
    for rows, block in row_blocks(dataset.counts):
        part, condition = block[keep[rows]], dataset.condition[rows][keep[rows]]
        found[np.repeat(condition, np.diff(part.indptr)), part.indices] = True
    return found


def log_moments(
    counts: Any, keep: Bool[np.ndarray, "N"] | None = None
) -> tuple[Float[np.ndarray, "G"], Float[np.ndarray, "G"]]:
    """Gene-wise mean and sample standard deviation (ddof 1) of ln(1 + x) over the kept rows of a
    CSR matrix.

    Two passes in float64 over the stored entries: the spread is summed around the mean, so that a
    constant gene gets 0 but for rounding.
    """
    cells, genes = counts.shape[0] if keep is None else int(keep.sum()), counts.shape[1]
    if cells < 2:
        raise InputError(
            f"the training cells are {cells}, expected at least 2 to standardise by: change "
            "split.kind"
        )
    total, seen, spread = np.zeros(genes), np.zeros(genes), np.zeros(genes)
    for block in _kept_blocks(counts, keep):
        total += np.bincount(block.indices, np.log1p(block.data.astype(np.float64)), genes)
        seen += np.bincount(block.indices, minlength=genes)
    mean = total / cells
    for block in _kept_blocks(counts, keep):
        deviation = np.log1p(block.data.astype(np.float64)) - mean[block.indices]
        spread += np.bincount(block.indices, deviation * deviation, genes)
    spread += (cells - seen) * mean * mean
    return mean, np.sqrt(spread / (cells - 1))


def log_normalized_mean(
    counts: Any, keep: Bool[np.ndarray, "N"] | None = None
) -> Float[np.ndarray, "G"]:
    """Gene-wise mean of ln(1 + 1e4 x / sum x) over the kept rows of a CSR matrix that have
    counts."""
    total, cells = np.zeros(counts.shape[1]), 0
    for block in _kept_blocks(counts, keep):
        library = np.add.reduceat(np.append(block.data, 0).astype(np.float64), block.indptr[:-1])
        filled = np.diff(block.indptr)
        values = np.log1p(LIBRARY * block.data / np.repeat(library, filled))
        total += np.bincount(block.indices, values, len(total))
        cells += int((filled > 0).sum())
    return total / max(cells, 1)


def _kept_blocks(counts: Any, keep: Bool[np.ndarray, "N"] | None) -> Iterator[Any]:
    """Blocks of rows, cut before rows are chosen, so that the kept rows are never copied all at
    once."""
    for rows, block in row_blocks(counts):
        yield block if keep is None else block[keep[rows]]
