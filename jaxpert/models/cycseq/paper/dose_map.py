"""Measured and predicted rows of a dose series in two dimensions, by PHATE (the CycSeq paper's
Figure 5)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxpert.core.optional import package
from jaxpert.core.types import InputError

COMPONENTS, NEIGHBOURS, DECAY = 100, 5, 40
FEWEST = 2 * NEIGHBOURS


class DoseMap(NamedTuple):
    """Places of rows; `plots.dose_picture` draws them."""

    lower: Float[np.ndarray, "a 2"]
    higher: Float[np.ndarray, "b 2"]
    predicted: Float[np.ndarray, "c 2"]


def dose_map(
    lower: Float[np.ndarray, "a G"],
    higher: Float[np.ndarray, "b G"],
    predicted: Float[np.ndarray, "c G"],
    *,
    seed: int = 0,
) -> DoseMap:
    """Measured rows of the lower and the higher dose and rows predicted for the higher one, in one
    map.

    PHATE on the union's first 100 principal components (fewer, where there are fewer rows or
    genes), 5 neighbours, decay 40, diffusion time chosen by itself. Distances in such a map are no
    measure of agreement: give the numbers of `evaluation.cycseq_metrics.label_mixing` with it.
    Needs `pip install jaxpert[phate]`.
    """
    parts = lower, higher, predicted
    rows = np.concatenate(parts)
    places = phate(rows, seed=seed)
    ends = np.cumsum([len(part) for part in parts])
    return DoseMap(*np.split(places, ends[:-1]))


def phate(rows: Float[np.ndarray, "n G"], *, seed: int = 0) -> Float[np.ndarray, "n 2"]:
    """Rows in two dimensions by PHATE with the settings of `dose_map`; the same places for the same
    seed."""
    if len(rows) < FEWEST or not np.isfinite(rows).all():
        raise InputError(
            f"the map has {len(rows)} rows, {int((~np.isfinite(rows)).any(1).sum())} of them with "
            "undefined values, "
            f"expected at least {FEWEST} defined ones: leave undefined rows out, or draw more"
        )
    components = min(COMPONENTS, *(size - 1 for size in rows.shape))
    operator = package("phate", "maps of dose series").PHATE(
        n_components=2,
        knn=NEIGHBOURS,
        decay=DECAY,
        t="auto",
        n_pca=components,
        random_state=seed,
        n_jobs=1,
        verbose=0,
    )
    return np.asarray(operator.fit_transform(np.asarray(rows, np.float64)), np.float64)
