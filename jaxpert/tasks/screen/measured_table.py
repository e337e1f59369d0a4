"""Measured effects as an AnnData, to be laid beside predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxpert.core.errors import InputError
from jaxpert.core.types import Dataset
from jaxpert.data.labels_asked import known_names, listed, treatments_asked
from jaxpert.evaluation import pseudobulk
from jaxpert.evaluation.noise import noise_in
from jaxpert.tasks.screen.predict import SCALE_WORDS, splits_of

if TYPE_CHECKING:
    from anndata import AnnData


def measured_effects(dataset: Dataset, perturbations: str | Sequence[str] | None = None) -> AnnData:
    """What was measured of each perturbation, as an AnnData in the form of `jaxpert.predict`.

    Args:
        dataset: from `jaxpert.read`; cells that fail quality, where they are labelled, do not
            count.
        perturbations: names such as "KLF1" or "KLF1+FAR2"; None for all of the data.

    Returns:
        `X` is the mean of log2(1 + 1e4 x / sum x); the layer `effect` is that minus the mean of the
        control cells (within strata, where there are several), `effect_error` its standard error.
        `obs` says how many cells are behind each row, and in which splits.

    Raises:
        InputError: for a perturbation that was not measured.

    Example:
        measured = jaxpert.measured_effects(cells, ["KLF1", "KLF1+FAR2"])
        measured.to_df(layer="effect").loc["KLF1"].nlargest(10)
    """
    import anndata
    import pandas

    bulk = pseudobulk.observed_means(dataset, variance=True)
    effects, noise = pseudobulk.effects(bulk, dataset.control), noise_in(dataset, bulk)
    names, rows = _rows(dataset, perturbations)
    layers = {"effect": effects[rows]}
    if noise is not None:
        layers["effect_error"] = np.sqrt(noise.total())[rows]
        # The control's effect is 0 by definition, and has no error.
        layers["effect_error"][rows == dataset.control] = 0.0
    columns = {
        "condition": [dataset.conditions[row] for row in rows],
        "cells": bulk.cells[rows],
        "split": pandas.Categorical(
            [splits_of(dataset, dataset.condition_treatments[row]) for row in rows]
        ),
    }
    return anndata.AnnData(
        X=bulk.mean[rows].astype(np.float32),
        obs=pandas.DataFrame(columns, index=pandas.Index(names)),
        var=pandas.DataFrame(index=pandas.Index(dataset.genes)),
        layers={name: values.astype(np.float32) for name, values in layers.items()},
        uns={"scale": SCALE_WORDS[dataset.scale], "data": dataset.name},
    )


def _rows(
    dataset: Dataset, perturbations: str | Sequence[str] | None
) -> tuple[list[str], np.ndarray]:
    """Names as they were asked for, and their conditions."""
    if perturbations is None:
        return list(dataset.conditions), np.arange(len(dataset.conditions))
    known = known_names(dataset)
    asked = (perturbations,) if isinstance(perturbations, str) else tuple(perturbations)
    names = listed(asked, known)
    by_set = {frozenset(of): name for name, of in known.conditions.items()}
    # An unknown name is refused here, with the closest known one.
    found = [by_set.get(frozenset(of)) for of in treatments_asked(names, known)]
    missing = [name for name, condition in zip(names, found, strict=True) if condition is None]
    if missing:
        raise InputError(
            f"{dataset.name!r} holds no cells of {', '.join(missing)}, expected perturbations that "
            "were measured: leave them out, or ask jaxpert.predict"
        )
    return list(names), np.array([dataset.conditions.index(str(name)) for name in found])
