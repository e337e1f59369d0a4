"""Pseudo-bulk rows on the host, block by block and exact: for evaluation, and what is computed once
from training rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.types import SPLITS, Dataset, InputError, Spec
from jaxpert.data.mapped import rows_of
from jaxpert.data.spec import condition_cells, make_spec, treatment_cells
from jaxpert.tasks.translation.combat import apply_affine
from jaxpert.tasks.translation.log_scale import group_moments, log_values
from jaxpert.tasks.translation.prepare import Prepared

BLOCK = 256
"""Rows made together."""


class Rows(NamedTuple):
    """Some pairs' rows on the log scale, adjusted for batch."""

    pair: Int[np.ndarray, "n"]
    """Pair numbers; with unit "cell" each is there once per drawn cell."""
    x: Float[np.ndarray, "n G"]
    control: Float[np.ndarray, "n G"]


class ControlMeans(NamedTuple):
    """Adjusted mean of the training control cells of each batch column."""

    mean: Float[np.ndarray, "Q G"]
    """0 where there are no such cells."""
    cells: Int[np.ndarray, "Q"]


def blocks_of_rows(prepared: Prepared, split: str, *, block: int = BLOCK) -> Iterator[Rows]:
    """Go through the rows of the pairs of a split in order, `block` at a time (float32, summed in
    float64)."""
    pairs, deep = prepared.pairs, prepared.draws.cells.shape[2]
    numbers = prepared.pair_numbers(split)
    cells_are_rows = prepared.unit == "cell"
    if cells_are_rows:
        # Each drawn cell of a pair is a row, so pairs are repeated.
        numbers = np.repeat(numbers, deep)
    for start in range(0, len(numbers), block):
        pair = numbers[start : start + block]
        replicate, place = pairs.replicate[pair], None
        if cells_are_rows:
            # Rows are in the order of pairs, so a row's number tells its place among the cells.
            place = np.arange(start, start + len(pair)) % deep
        upper = drawn_rows(prepared, pairs.upper[pair], replicate, place)
        lower = drawn_rows(prepared, pairs.lower[pair], replicate, place)
        # Summed in float64 and stored in float32, in which networks read them.
        yield Rows(pair, upper.astype(np.float32), lower.astype(np.float32))


def drawn_rows(
    prepared: Prepared,
    pool: Int[np.ndarray, "n"],
    replicate: Int[np.ndarray, "n"],
    place: Int[np.ndarray, "n"] | None = None,
) -> Float[np.ndarray, "n G"]:
    """Rows of replicates of pools in float64: the mean of the drawn cells, or the `place`-th of
    them."""
    from scipy import sparse

    draws, dataset = prepared.draws, prepared.dataset
    cells = draws.cells[pool, replicate]
    if place is not None:
        cells = cells[np.arange(len(pool)), place][:, None]
    # A cell that is drawn several times is logged once.
    distinct, column = np.unique(cells, return_inverse=True)
    counts = rows_of(dataset.counts, distinct)
    values = log_values(prepared.scale, counts, distinct)
    logged = sparse.csr_matrix((values, counts.indices, counts.indptr), counts.shape)
    # The mean over drawn cells is a product with a sparse matrix of equal weights, so that each
    # cell's logarithm is taken once.
    n, deep = cells.shape
    weights = sparse.csr_matrix(
        (np.full(n * deep, 1 / deep), column.ravel(), np.arange(n + 1) * deep), (n, len(distinct))
    )
    mean: Any = weights @ logged
    batch = prepared.pseudobulk.batch[draws.group[pool]]
    return apply_affine(prepared.affine, batch, mean.toarray())


def control_means(prepared: Prepared) -> ControlMeans:
    """Mean of each batch column's training control cells on the scale of the rows."""
    dataset = prepared.dataset
    keep = (dataset.split == SPLITS.index("train")) & (dataset.condition == dataset.control)
    # All batch columns keep their place, placeholders included, so numbers stay valid.
    batches = len(dataset.strata)
    moments = group_moments(dataset.counts, prepared.scale, dataset.stratum, batches, keep)
    rows = apply_affine(prepared.affine, np.arange(batches), moments.mean)
    # No cells, no mean: 0 stands in, and `cells` tells.
    return ControlMeans(np.where((moments.cells > 0)[:, None], rows, 0), moments.cells)


def training_rows_per_gene_scale(prepared: Prepared) -> Float[np.ndarray, "G"]:
    """Largest |x| of each gene over both rows of every training pair, 1 for genes that are always
    0.

    Generators that end in tanh are trained on rows divided by it, and what they predict is
    multiplied by it before any metric. Goes through all training rows once.
    """
    # A running maximum over blocks, so that rows are never all in memory.
    largest = np.zeros(len(prepared.dataset.genes))
    for rows in blocks_of_rows(prepared, "train"):
        for values in (rows.x, rows.control):
            np.maximum(largest, np.abs(values).max(axis=0), out=largest)
    # Genes that are always 0 are divided by 1.
    return np.where(largest > 0, largest, 1.0)


def rows_spec(prepared: Prepared) -> Spec:
    """The `Spec` of the training cells; strata are the batch columns, placeholders included.

    For values that were normalised before there is no ln(1 + x): `log_mean`, `log_std` and
    `control_mean` are those of the values as given.
    """
    if prepared.scale.kind != "given":
        return make_spec(prepared.dataset)
    return _given_spec(prepared)


def _given_spec(prepared: Prepared) -> Spec:
    dataset: Dataset = prepared.dataset
    train = np.asarray(dataset.split == SPLITS.index("train"))
    # The sample standard deviation below needs two cells.
    if train.sum() < 2:
        raise InputError(
            f"the training cells are {train.sum()}, expected at least 2: hold out less"
        )
    # One group of all cells, or of all control cells.
    group = np.zeros(len(train), np.int64)
    every = group_moments(dataset.counts, prepared.scale, group, 1, train)
    is_control = dataset.condition == dataset.control
    control = group_moments(dataset.counts, prepared.scale, group, 1, train & is_control)
    return Spec(
        genes=dataset.genes,
        treatments=dataset.treatments,
        conditions=dataset.conditions,
        strata=dataset.strata,
        control=dataset.control,
        condition_treatments=dataset.condition_treatments,
        log_mean=every.mean[0],
        # From ddof 0 to the sample deviation.
        log_std=np.sqrt(every.variance[0] * train.sum() / (train.sum() - 1)),
        control_mean=control.mean[0],
        treatment_cells=treatment_cells(dataset, "train"),
        condition_cells=condition_cells(dataset, "train"),
    )
