"""QC pass rate: the share of artifact-free generated cells that the data's own quality thresholds
let pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, PRNGKeyArray

from jaxpert.core.types import Model, PyTree, Request
from jaxpert.evaluation.generate import generated_counts

CELLS, PARTS = 100, 10
"""The published numbers: generated cells of each condition, and the parts in which they are
labelled, each with cells of every condition. A doublet caller sees one part at a time."""


def divided(cells_per_condition: int, parts: int = PARTS) -> list[int]:
    """Cells of each condition in every part."""
    cells = np.arange(cells_per_condition)
    return [len(part) for part in np.array_split(cells, min(parts, cells_per_condition))]


def pass_rate(
    model: Model,
    params: PyTree,
    state: PyTree,
    key: PRNGKeyArray,
    request: Request,
    label: Callable[[Any], Bool[np.ndarray, "n"]],
    *,
    parts: Sequence[int] = (CELLS // PARTS,) * PARTS,
    libraries: Float[np.ndarray, "_"] | None = None,
) -> dict[str, Any]:
    """Generate cells for every row of `request` and return the shares that fail none of the
    criteria ("overall", "per_condition"), with the numbers of cells and of empty ones.

    Args:
        model: one that generates counts; `params`, `state` and `key` as in `Model.predict`.
        request: one row per condition, `failed` 0 (the paper's z_a = 0); `library` is used as it
            is, the paper's 10,000, unless `libraries` is given.
        label: CSR counts `[n, G]` of generated cells -> failed `[n]`, by the data set's thresholds.
        parts: generated cells per row in each of the parts that are labelled by themselves
            (`divided`).
        libraries: library sizes to draw from (those of QC-passed control cells), since cells of one
            fixed size pass more easily. The published code reports the more frequent label's share.
    """
    rows = len(request.library)
    passed, empty = np.zeros(rows), 0
    # Ten parts, as published (docs/evaluation.md, "Quality pass rate").
    for number, part in enumerate(parts):
        # A key for each part, so that no cell is generated twice.
        drawn = jax.random.fold_in(key, number)
        options = {"cells_per_row": part, "libraries": libraries}
        counts = generated_counts(model, params, state, drawn, request, **options)
        failed = np.asarray(label(counts), bool)
        # Generated rows run through all conditions before the next cell of each.
        passed += (~failed).reshape(part, rows).sum(0)
        empty += int((np.diff(counts.indptr) == 0).sum())
    cells = rows * sum(parts)
    return {
        "overall": float(passed.sum() / cells),
        "per_condition": (passed / sum(parts)).tolist(),
        "cells": cells,
        "empty": empty,
        "parts": len(parts),
        "library": "request" if libraries is None else "resampled",
    }
