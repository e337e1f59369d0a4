"""Rows on the host, block by block and exact: for evaluation, per-spectrum means and what scales
them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.types import SPLITS, Dataset, InputError, Spec
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


class SpectrumMeans(NamedTuple):
    """Rows averaged over the replicates of each pair of spectra."""

    condition: Int[np.ndarray, "m"]
    batch: Int[np.ndarray, "m"]
    line: Int[np.ndarray, "m"]
    rows: Int[np.ndarray, "m"]
    """Rows behind each mean."""
    x: Float[np.ndarray, "m G"]
    control: Float[np.ndarray, "m G"]


class ControlMeans(NamedTuple):
    """Adjusted mean of the training control cells of each batch column."""

    mean: Float[np.ndarray, "Q G"]
    """0 where there are no such cells."""
    cells: Int[np.ndarray, "Q"]


def rows(prepared: Prepared, split: str, *, block: int = BLOCK) -> Iterator[Rows]:
    """Go through the rows of the pairs of a split in order, `block` at a time (float32, summed in
    float64)."""
    numbers = prepared.pair_numbers(split)
    if prepared.unit == "cell":
        numbers = np.repeat(numbers, prepared.draws.cells.shape[2])
    pairs, deep = prepared.pairs, prepared.draws.cells.shape[2]
    for start in range(0, len(numbers), block):
        own = numbers[start : start + block]
        place = np.arange(start, start + len(own)) % deep if prepared.unit == "cell" else None
        x, control = (
            drawn_rows(prepared, side[own], pairs.replicate[own], place).astype(np.float32)
            for side in (pairs.upper, pairs.lower)
        )
        yield Rows(own, x, control)


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
    cells = cells if place is None else cells[np.arange(len(pool)), place][:, None]
    distinct, column = np.unique(cells, return_inverse=True)
    part = dataset.counts[distinct]
    y = sparse.csr_matrix(
        (log_values(prepared.scale, part, distinct), part.indices, part.indptr), part.shape
    )
    n, deep = cells.shape
    weights = sparse.csr_matrix(
        (np.full(n * deep, 1 / deep), column.ravel(), np.arange(n + 1) * deep), (n, len(distinct))
    )
    mean: Any = weights @ y
    return apply_affine(
        prepared.affine, prepared.spectra.batch[draws.spectrum[pool]], mean.toarray()
    )


def spectrum_means(prepared: Prepared, split: str) -> SpectrumMeans:
    """Average the rows of each pair of spectra over the replicates that the split has ("mean" level
    of evaluation)."""
    numbers, pairs = prepared.pair_numbers(split), prepared.pairs
    key = np.stack([pairs.upper, pairs.lower], 1)[numbers]
    _, first, group = np.unique(key, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # in the order of the pairs
    group = np.argsort(order)[group.ravel()]
    of_pair = np.full(len(pairs.part), -1)
    of_pair[numbers] = group
    total = np.zeros((2, len(first), len(prepared.dataset.genes)), np.float32)
    count = np.zeros(len(first), np.int64)
    for made in rows(prepared, split):
        own = of_pair[made.pair]
        np.add.at(total[0], own, made.x)
        np.add.at(total[1], own, made.control)
        np.add.at(count, own, 1)
    total /= np.maximum(count, 1)[None, :, None]
    chosen = numbers[first[order]]
    return SpectrumMeans(
        pairs.condition[chosen], pairs.batch[chosen], pairs.line[chosen], count, total[0], total[1]
    )


def control_means(prepared: Prepared) -> ControlMeans:
    """Mean of each batch column's training control cells on the scale of the rows."""
    dataset = prepared.dataset
    keep = (dataset.split == SPLITS.index("train")) & (dataset.condition == dataset.control)
    found = group_moments(
        dataset.counts, prepared.scale, dataset.stratum, len(dataset.strata), keep
    )
    batches = np.arange(len(dataset.strata))
    mean = np.where(
        (found.cells > 0)[:, None], apply_affine(prepared.affine, batches, found.mean), 0
    )
    return ControlMeans(mean, found.cells)


def adjust(
    prepared: Prepared, batch: Int[np.ndarray, "n"], values: Float[np.ndarray, "n G"]
) -> Float[np.ndarray, "n G"]:
    """Bring means of log values (of cells or predictions, on the scale named `lognorm`, before any
    z-score) to rows of the given batch columns, so that every model is scored in one space. Exact
    for means, since the map is affine."""
    return apply_affine(prepared.affine, batch, values)


def unadjust(
    prepared: Prepared, batch: Int[np.ndarray, "n"], rows: Float[np.ndarray, "n G"]
) -> Float[np.ndarray, "n G"]:
    """Inverse of `adjust`: from rows to log values as they were before batch adjustment."""
    return (rows - prepared.affine.shift[batch]) / prepared.affine.scale[batch]


def training_rows_per_gene_scale(prepared: Prepared) -> Float[np.ndarray, "G"]:
    """Largest |x| of each gene over both rows of every training pair, 1 for genes that are always
    0.

    For generators that end in tanh: train on `to_unit(x, scale)`, undo by `from_unit` before any
    metric. Goes through all training rows once.
    """
    largest = np.zeros(len(prepared.dataset.genes))
    for made in rows(prepared, "train"):
        for values in (made.x, made.control):
            np.maximum(largest, np.abs(values).max(axis=0), out=largest)
    return np.where(largest > 0, largest, 1.0)


def to_unit(
    x: Float[np.ndarray, "*b G"], scale: Float[np.ndarray, "G"]
) -> Float[np.ndarray, "*b G"]:
    """Rows divided by the gene's largest training value: within [-1, 1] in training."""
    return x / scale


def from_unit(
    x: Float[np.ndarray, "*b G"], scale: Float[np.ndarray, "G"]
) -> Float[np.ndarray, "*b G"]:
    """Inverse of `to_unit`."""
    return x * scale


def spectra_spec(prepared: Prepared) -> Spec:
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
    if train.sum() < 2:
        raise InputError(
            f"the training cells are {train.sum()}, expected at least 2: hold out less"
        )
    one = np.zeros(len(train), np.int64)
    every = group_moments(dataset.counts, prepared.scale, one, 1, train)
    control = group_moments(
        dataset.counts, prepared.scale, one, 1, train & (dataset.condition == dataset.control)
    )
    return Spec(
        genes=dataset.genes,
        treatments=dataset.treatments,
        conditions=dataset.conditions,
        strata=dataset.strata,
        control=dataset.control,
        condition_treatments=dataset.condition_treatments,
        log_mean=every.mean[0],
        log_std=np.sqrt(every.variance[0] * train.sum() / (train.sum() - 1)),
        control_mean=control.mean[0],
        treatment_cells=treatment_cells(dataset, "train"),
        condition_cells=condition_cells(dataset, "train"),
    )
