"""A control cell for every perturbed cell, drawn once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from jaxpert.core.types import InputError


def pair_controls(
    condition: Int[np.ndarray, "N"],
    control: int,
    *,
    seed: int = 0,
    stratum: Int[np.ndarray, "N"] | None = None,
    pool: Bool[np.ndarray, "N"] | None = None,
) -> Int[np.ndarray, "N"]:
    """Row of the control cell that each cell is paired with; control cells are paired with
    themselves.

    Args:
        condition: condition of each cell.
        control: number of the control condition.
        seed: of NumPy's legacy stream. The published code draws from an unseeded one, so that its
            pairs differ from run to run; with the stream's seed this function draws the same ones.
        pool: the cells that may be drawn, control cells of training as a rule; None for every
            control cell.
        stratum: where given, cells are paired within their own stratum only (the published code has
            no such option).

    Control cells are drawn uniformly and with replacement, one per perturbed cell, for one
    condition after the other in the order of their first cells. An `InputError` where there is no
    control cell to draw.
    """
    # The generator of the published code (docs/models/gears.md, "Control pairing").
    rng = np.random.RandomState(seed)
    # A control cell is its own partner, so that it shows no change.
    pairs = np.arange(len(condition))
    drawable = condition == control
    if pool is not None:
        drawable = drawable & pool
    strata = np.zeros(len(condition), np.int64) if stratum is None else np.asarray(stratum)
    # The order of draws is part of the pairing: conditions come by their first cell.
    present, first = np.unique(condition, return_index=True)
    for c in present[np.argsort(first)]:
        if c == control:
            continue
        # A control of another line would differ by the line and not by the perturbation.
        for s in np.unique(strata[condition == c]):
            cells = np.flatnonzero((condition == c) & (strata == s))
            controls = np.flatnonzero(drawable & (strata == s))
            if not len(controls):
                where = "" if stratum is None else f" in stratum {s}"
                raise InputError(
                    f"there is no control cell{where} to pair cells with, expected one: check "
                    "data.control"
                )
            pairs[cells] = controls[rng.randint(0, len(controls), len(cells))]
    return pairs
