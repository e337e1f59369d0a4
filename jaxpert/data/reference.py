"""Reference counterfactual profiles: the typical failed cell of each perturbation."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxpert.core.types import Dataset, InputError

BLOCK_VALUES = 64_000_000
"""Dense values held at once while medians are taken."""


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
        profiles[condition] = lower_median(
            dataset.counts[rows[dataset.condition[rows] == condition]]
        )
    return profiles, np.asarray(profiles.any(axis=1))


def count_failed(dataset: Dataset, split: str) -> int:
    """Number of failed cells in `split`; 0 leaves the counterfactual term nothing to refer to."""
    return len(failed_rows(dataset, split))


def failed_rows(dataset: Dataset, split: str) -> np.ndarray:
    """Row numbers of the failed cells in `split`."""
    if dataset.quality is None:
        raise InputError(
            f"data set {dataset.name!r} has no quality labels yet: call data.add_quality first"
        )
    rows = dataset.rows(split)
    return rows[dataset.quality.failed[rows]]


def lower_median(counts: Any) -> Float[np.ndarray, "G"]:
    """Gene-wise median of a CSR matrix; of an even number of cells the smaller middle value."""
    cells, genes = counts.shape
    middle, columns = (cells - 1) // 2, counts.tocsc()
    # a gene seen in too few of the cells has median 0: only the others are made dense
    candidates = np.flatnonzero(np.diff(columns.indptr) >= cells - middle)
    median = np.zeros(genes, np.float32)
    step = max(1, BLOCK_VALUES // cells)
    for start in range(0, len(candidates), step):
        block = candidates[start : start + step]
        median[block] = np.partition(columns[:, block].toarray(), middle, axis=0)[middle]
    return median
