"""Predictions and real cells brought to one scale, one set of genes and one total."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.moments import LIBRARY
from jaxpert.data.subset import keep_genes
from jaxpert.tasks.screen import matching, scales
from jaxpert.tasks.screen.real_cells import Real
from jaxpert.tasks.screen.tables import Rows


def common_scale(
    real: Real, rows: Rows, told: scales.Told, asked: float | None, *, means: bool
) -> tuple[float | None, str]:
    """The total that both sides are normalised to (None where values are taken as they are), and a
    sentence where it is not plain.

    Raises:
        InputError: for sides that were normalised to different totals.
    """
    counted = real.dataset.scale == "counts"
    if told.scale in ("counts", *scales.EFFECTS):
        return (LIBRARY if counted else real.total), ""
    # A mean of logarithms adds up to less than its cells, so that means tell no total.
    there = None
    if rows.scale == told.scale:
        # A file of jaxpert says its scale, and with it the total.
        there = LIBRARY
    elif not means:
        there = scales.common_total(scales.totals(rows.values, told.scale))
    for one, other, what in ((there, asked, "--total"), (there, real.total, real.source)):
        if one and other and abs(one - other) > scales.SAME_TOTAL * other:
            raise InputError(
                f"the rows of {rows.source} add up to {one:,.0f} before their logarithm and those "
                f"of {what} to {other:,.0f}, expected one total: normalise both alike, or give "
                "both as counts"
            )
    total = real.total or asked or there
    if total is not None or not counted:
        return total, ""
    return LIBRARY, (
        f"what the rows of {rows.source} were normalised to cannot be told of their values, so "
        f"{LIBRARY:,.0f} is taken (--total says another)"
    )


def on_one_scale(
    real: Real, rows: Rows, told: scales.Told, genes: matching.Genes, total: float | None
) -> tuple[Any, Dataset]:
    """Predictions (CSR, log2) and real cells on the same scale and genes."""
    dataset, to = real.dataset, total or LIBRARY
    both_counts = dataset.scale == "counts" and told.scale == "counts"
    if both_counts:
        # Shared genes first: both sides are then normalised over the same ones.
        values = scales.to_log2(_columns(rows.values, genes.second), "counts", to)
    else:
        values = _columns(scales.to_log2(rows.values, told.scale, to), genes.second)
    if not both_counts and dataset.scale == "counts" and (genes.missing or to != LIBRARY):
        # A logarithm was taken over all genes of its file, and so it is here.
        counts = scales.to_log2(dataset.counts, "counts", to)
        dataset = replace(dataset, counts=counts, scale="log2")
    if genes.missing:
        keep = np.zeros(len(dataset.genes), bool)
        keep[genes.first] = True
        dataset = keep_genes(dataset, keep)
    return values, dataset


def _columns(values: Any, chosen: Int[np.ndarray, "S"]) -> Any:
    """Some columns in an order, the same matrix where these are all as they stand."""
    if len(chosen) == values.shape[1] and (np.diff(chosen) == 1).all():
        return values
    values = values[:, chosen].tocsr()
    values.sort_indices()
    return values
