"""Generated artifact-free cells as AnnData: the cells, and a summary of each condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxpert.core.types import Dataset

if TYPE_CHECKING:
    from anndata import AnnData

INTERVAL = (2.5, 97.5)
"""Percentiles of `lower` and `upper`."""


class Drawn(NamedTuple):
    """One condition over D posterior draws, on the log2(1 + 1e4 x / sum x) scale but for the
    cells."""

    mean: Float[np.ndarray, "D G"]
    """Over the states of each draw."""
    effect: Float[np.ndarray, "D G"]
    """Mean difference to the control cells of the same states."""
    error: Float[np.ndarray, "G"]
    """Monte-Carlo standard error of a draw's `effect` that comes from the finite number of
    states."""
    cells: Float[np.ndarray, "D k G"]
    """Counts of the first states of each draw."""


def cells_table(
    dataset: Dataset, names: Sequence[str], conditions: Sequence[Drawn], wanted: int
) -> AnnData:
    """The first cells, all draws in turn, condition by condition."""
    import anndata
    import pandas
    from scipy import sparse

    draws, kept = conditions[0].cells.shape[:2]
    # The first state of every draw, then the second: few cells still come from many draws.
    state, draw = np.divmod(np.arange(draws * kept)[:wanted], draws)
    blocks, cells = [], []
    for name, drawn in zip(names, conditions, strict=True):
        blocks.append(sparse.csr_matrix(drawn.cells[draw, state].astype(np.int32)))
        for d, s in zip(draw, state, strict=True):
            cells.append(f"{name}-{d}-{s}")
    columns = {
        "condition": np.repeat(np.asarray(names, object), wanted),
        "draw": np.tile(draw, len(names)),
        "state": np.tile(state, len(names)),
    }
    what = (
        "generated artifact-free counts; cells of the same draw and state are one cell under each "
        "condition"
    )
    return anndata.AnnData(
        sparse.vstack(blocks, format="csr"),
        pandas.DataFrame(columns, index=pandas.Index(cells)),
        pandas.DataFrame(index=pandas.Index(dataset.genes)),
        uns={"artifact_free_cells": {"what": what, "data": dataset.name}},
    )


def summary_table(
    dataset: Dataset,
    names: Sequence[str],
    support: Sequence[str],
    conditions: Sequence[Drawn],
    states: int,
) -> AnnData:
    """Posterior means of each condition and their spread over the draws."""
    import anndata
    import pandas

    layers = {}
    # The same four layers of the mean and of its difference to the control.
    for prefix, which in (("", "mean"), ("effect_", "effect")):
        sd, lower, upper = [], [], []
        for drawn in conditions:
            values = getattr(drawn, which)
            sd.append(values.std(0, ddof=1))
            lower.append(np.percentile(values, INTERVAL[0], axis=0))
            upper.append(np.percentile(values, INTERVAL[1], axis=0))
        layers[prefix + "sd"] = np.stack(sd)
        layers[prefix + "lower"] = np.stack(lower)
        layers[prefix + "upper"] = np.stack(upper)
    layers["effect"] = np.stack([drawn.effect.mean(0) for drawn in conditions])
    layers["effect_error"] = np.stack([drawn.error for drawn in conditions])
    # The posterior mean: over draws of the mean over states.
    mean = np.stack([drawn.mean.mean(0) for drawn in conditions])
    about = {
        "scale": "log2(1 + 1e4 x / sum x)",
        "draws": len(conditions[0].mean),
        "states": states,
        "interval": "2.5 to 97.5 % of the draws",
        "data": dataset.name,
    }
    columns = {"condition": list(names), "support": list(support)}
    return anndata.AnnData(
        X=mean.astype(np.float32),
        obs=pandas.DataFrame(columns, index=pandas.Index(names)),
        var=pandas.DataFrame(index=pandas.Index(dataset.genes)),
        layers={name: values.astype(np.float32) for name, values in layers.items()},
        uns={"artifact_free_summary": about},
    )
