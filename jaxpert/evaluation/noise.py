"""How unsure measured effects are: squared standard errors of the means that they are made of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxpert.core.types import Dataset
from jaxpert.data.moments import Pseudobulk

LENT = 10
"""Cells that the variance within all conditions counts for, beside those of a condition."""


class Noise(NamedTuple):
    """Squared standard errors; the variance of an effect is `condition` + `share` x `control`."""

    condition: Float[np.ndarray, "C G"]
    """Of the mean of each condition; NaN rows where it has no cells."""
    control: Float[np.ndarray, "G"]
    """Of the control mean, whose error all effects share."""
    share: Float[np.ndarray, "C"]
    """By how much the control beside a condition is less sure: 1 but for several strata."""

    def total(self) -> Float[np.ndarray, "C G"]:
        """Squared standard error of every effect."""
        return self.condition + self.share[:, None] * self.control


def noise_in(dataset: Dataset, pseudobulk: Pseudobulk) -> Noise | None:
    """Noise of the effects of a pseudobulk of some cells of a data set: from their variance, or
    what a table of effects says of itself."""
    if dataset.scale != "effects":
        return noise_of(pseudobulk, dataset.control)
    if dataset.errors is None:
        return None
    conditions, genes = len(dataset.conditions), len(dataset.genes)
    condition = np.full((conditions, genes), np.nan)
    condition[dataset.condition] = dataset.errors**2
    condition[pseudobulk.cells == 0] = np.nan
    # The table's errors are those of effects, the control's part in them.
    return Noise(condition, np.zeros(genes), np.ones(conditions))


def noise_of(pseudobulk: Pseudobulk, control: int) -> Noise | None:
    """Noise of the effects of a pseudobulk with variances; None where it has none, or fewer than
    two control cells.

    The variance of a condition's cells is drawn towards that within all conditions, the more the
    fewer they are; a single cell has none of its own.
    """
    variance, cells = pseudobulk.variance, pseudobulk.cells
    if variance is None or cells[control] < 2:
        return None
    freedom = np.maximum(cells - 1, 0)[:, None]
    pooled = (freedom * np.nan_to_num(variance)).sum(0) / freedom.sum()
    # The variance of a few cells is known badly, and is 0 where none of them has a count. It is
    # drawn towards that within all conditions, as if LENT more cells had the latter.
    within = (freedom * np.nan_to_num(variance) + LENT * pooled) / (freedom + LENT)
    # se^2 = s^2 / n (docs/evaluation.md, "Ceiling").
    condition = within / np.where(cells > 0, cells, np.nan)[:, None]
    share = np.ones(len(cells))
    if pseudobulk.matched is not None:
        effective = pseudobulk.matched.cells
        share = cells[control] / np.where(effective > 0, effective, np.nan)
    return Noise(condition, variance[control] / cells[control], share)
