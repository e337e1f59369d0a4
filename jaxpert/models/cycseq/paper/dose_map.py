"""Measured and predicted rows of a dose series in two dimensions, by PHATE (the CycSeq paper's
Figure 5; docs/models/cycseq.md, Dose series and gene sets)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from jaxpert.core.optional import package
from jaxpert.core.types import InputError

# The settings of the paper's figure.
COMPONENTS, NEIGHBOURS, DECAY = 100, 5, 40
FEWEST = 2 * NEIGHBOURS


def phate(rows: Float[np.ndarray, "n G"], *, seed: int = 0) -> Float[np.ndarray, "n 2"]:
    """Rows in two dimensions; the same places for the same seed.

    PHATE on the first 100 principal components (fewer, where there are fewer rows or genes), 5
    neighbours, decay 40, diffusion time chosen by itself. Distances in such a map are no measure of
    agreement: give the numbers of `tasks.translation.metrics.label_mixing` with it. Needs
    `pip install jaxpert[phate]`.

    Raises:
        InputError: for too few rows, and for undefined ones.
    """
    if len(rows) < FEWEST or not np.isfinite(rows).all():
        undefined = int((~np.isfinite(rows)).any(1).sum())
        raise InputError(
            f"the map has {len(rows)} rows, {undefined} of them with undefined values, expected at "
            f"least {FEWEST} defined ones: leave undefined rows out, or draw more"
        )
    # PCA gives at most one component fewer than rows or genes.
    components = min(COMPONENTS, min(rows.shape) - 1)
    operator = package("phate", "maps of dose series").PHATE(
        n_components=2,
        knn=NEIGHBOURS,
        decay=DECAY,
        t="auto",
        n_pca=components,
        random_state=seed,
        # One thread, so that the seed decides.
        n_jobs=1,
        verbose=0,
    )
    return np.asarray(operator.fit_transform(np.asarray(rows, np.float64)), np.float64)
