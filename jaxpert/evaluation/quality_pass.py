"""QC pass rate: the share of artifact-free generated cells that the data's own quality thresholds
let pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, PRNGKeyArray

from jaxpert.core.types import Model, PyTree, Request
from jaxpert.evaluation.generate import generated_counts

CHUNKS = 10
"""The cells are generated and labelled in so many parts, each with cells of every condition: a
doublet caller sees one part at a time, as in the paper."""


def pass_rate(
    model: Model,
    params: PyTree,
    state: PyTree,
    key: PRNGKeyArray,
    request: Request,
    label: Callable[[Any], Bool[np.ndarray, "n"]],
    *,
    cells_per_condition: int = 100,
    libraries: Float[np.ndarray, "_"] | None = None,
) -> dict[str, Any]:
    """Generate cells for every row of `request` and return the shares that fail none of the
    criteria ("overall", "per_condition"), with the numbers of cells and of empty ones.

    Args:
        model: one that generates counts; `params`, `state` and `key` as in `Model.predict`.
        request: one row per condition, `failed` 0 (the paper's z_a = 0); `library` is used as it
            is, the paper's 10,000, unless `libraries` is given.
        label: CSR counts `[n, G]` of generated cells -> failed `[n]`, by the data set's thresholds.
        cells_per_condition: generated cells per row.
        libraries: library sizes to draw from (those of QC-passed control cells), since cells of one
            fixed size pass more easily. The published code reports the more frequent label's share.
    """
    rows = len(request.library)
    passed, empty = np.zeros(rows), 0
    # Ten parts, as published (docs/evaluation.md, "Quality pass rate").
    parts = np.array_split(np.arange(cells_per_condition), min(CHUNKS, cells_per_condition))
    for number, part in enumerate(parts):
        # A key for each part, so that no cell is generated twice.
        drawn = jax.random.fold_in(key, number)
        options = {"cells_per_row": len(part), "libraries": libraries}
        counts = generated_counts(model, params, state, drawn, request, **options)
        failed = np.asarray(label(counts), bool)
        # Generated rows run through all conditions before the next cell of each.
        passed += (~failed).reshape(len(part), rows).sum(0)
        empty += int((np.diff(counts.indptr) == 0).sum())
    cells = rows * cells_per_condition
    return {
        "overall": float(passed.sum() / cells),
        "per_condition": (passed / cells_per_condition).tolist(),
        "cells": cells,
        "empty": empty,
        "library": "request" if libraries is None else "resampled",
    }
