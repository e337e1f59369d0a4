"""Choosing perturbations with an effect, and the genes that show it, in one pass over a file of any
size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxpert.core.types import InputError
from jaxpert.data.checks import Labelled
from jaxpert.data.counts import stored_blocks
from jaxpert.data.files import Table
from jaxpert.data.spec import LIBRARY

FEWEST_CELLS = 25
"""Targets with fewer cells are not chosen: their means are noise."""


class Strongest(NamedTuple):
    """Names of the chosen targets and genes."""

    targets: tuple[str, ...]
    genes: tuple[str, ...]


def strongest(
    table: Table,
    target: np.ndarray,
    control: str,
    targets: int,
    genes: int,
    given: Sequence[str] | None = None,
) -> Strongest:
    """Return the `targets` farthest from control and the `genes` that respond most to them (or to
    `given`).

    On y = ln(1 + 1e4 x / sum x), a target's distance is the mean over genes of (difference of
    means)^2 / variance in control cells, less what sampling noise alone would give (1/n + 1/n
    control). Genes are ranked by the mean over the chosen targets of (difference of means)^2.
    """
    names, index = np.unique(np.asarray(target, dtype=str), return_inverse=True)
    if control not in names:
        raise InputError(
            f"{table.source} has no {control} cells, expected some as reference: fetch the whole "
            "file again"
        )
    reference = int(np.flatnonzero(names == control)[0])
    cells, mean, variance = _means(table, index, len(names), reference)
    usable = variance > 0
    difference = (mean - mean[reference])[:, usable]
    distance = (difference**2 / variance[usable]).mean(axis=1) - 1 / cells - 1 / cells[reference]
    distance[(cells < FEWEST_CELLS) | (np.arange(len(names)) == reference)] = -np.inf
    best = np.argsort(-distance, kind="stable")[:targets]
    best = (
        best[np.isfinite(distance[best])]
        if given is None
        else np.flatnonzero(np.isin(names, list(given)))
    )
    response = ((mean[best] - mean[reference]) ** 2).mean(axis=0)
    kept = np.sort(np.argsort(-response, kind="stable")[:genes])
    return Strongest(tuple(map(str, names[np.sort(best)])), tuple(map(str, table.var.index[kept])))


def _means(
    table: Table, index: np.ndarray, groups: int, reference: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells and means `[groups, G]` per target, and the variance over control cells."""
    from scipy import sparse

    total = np.zeros((groups, len(table.var)))
    squares = np.zeros(len(table.var))
    stored = Labelled(
        table.matrix, table.obs.index, table.var.index, table.source, table.layer, table.layers
    )
    for rows, block in stored_blocks(stored):
        library = np.maximum(np.asarray(block.sum(axis=1), np.float64).ravel(), 1e-12)
        values = block.astype(np.float64)
        values.data = np.log1p(LIBRARY * values.data / np.repeat(library, np.diff(values.indptr)))
        own = index[rows]
        grouped = (
            sparse.csr_matrix(
                (np.ones(len(own)), (own, np.arange(len(own)))), shape=(groups, len(own))
            )
            @ values
        )
        total[np.repeat(np.arange(groups), np.diff(grouped.indptr)), grouped.indices] += (
            grouped.data
        )
        controls = values[own == reference]
        squares += np.bincount(controls.indices, controls.data**2, len(squares))
    cells = np.bincount(index, minlength=groups)
    mean = total / cells[:, None]
    return cells, mean, squares / cells[reference] - mean[reference] ** 2
