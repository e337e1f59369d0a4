"""Deltas of scGen: which cells stand behind the latent vector of a perturbation, and how it is
drawn from them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.types import InputError, Spec


def delta(
    latent: Float[np.ndarray, "n Z"],
    perturbed: Bool[np.ndarray, "n"],
    cell_type: Int[np.ndarray, "n"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "Z"]:
    """Difference of mean latents between perturbed and control cells (docs/models/scgen.md).

    Args:
        latent: cells of the source set, the cells to be predicted left out; posterior means
            (`latent_means`).
        perturbed: which of them are perturbed; the others are control.
        cell_type: of each; where a side has several, as many cells as its commonest type has are
            drawn of each type with replacement. Then as many cells as the smaller side has are
            drawn of each side without replacement.
        rng: behind the draws.
    """
    # 2. As many cells of each type on each side (docs/models/scgen.md, 7 Delta); the order of the
    # two draws is part of the result.
    sides = [_balanced(np.flatnonzero(perturbed == side), cell_type, rng) for side in (True, False)]
    # 3. As many cells of both sides, so that neither mean is the steadier one.
    count = min(map(len, sides))
    if not count:
        raise InputError(
            f"a delta has {int(perturbed.sum())} perturbed and {int((~perturbed).sum())} control "
            "cells, expected at least one of each: give training cells of both"
        )
    # 4. delta = mean latent of perturbed cells - mean latent of control cells.
    means = []
    for rows in sides:
        drawn = rng.choice(rows, count, replace=False)
        means.append(latent[drawn].mean(0, dtype=np.float64))
    return means[0] - means[1]


def _balanced(
    rows: Int[np.ndarray, "n"], cell_type: np.ndarray, rng: np.random.Generator
) -> Int[np.ndarray, "m"]:
    """Equally many rows of each type, drawn with replacement; the rows themselves where there is
    one type."""
    types, counts = np.unique(cell_type[rows], return_counts=True)
    # A single type needs no balance, and no draw.
    if len(types) < 2:
        return rows
    drawn = []
    for kind in types:
        # The commonest type is drawn too, so that all types have the same noise of drawing.
        drawn.append(rng.choice(rows[cell_type[rows] == kind], counts.max()))
    return np.concatenate(drawn)


def source_rows(
    condition: Int[np.ndarray, "n"],
    stratum: Int[np.ndarray, "n"],
    perturbation: int,
    control: int,
    own: int | None,
) -> Int[np.ndarray, "m"]:
    """Cells behind a delta: the perturbed and control cells of the strata that have both (see
    `model.after_training`)."""
    # 1. Sources are the strata with both (docs/models/scgen.md, 7 Delta).
    either = (condition == perturbation) | (condition == control)
    both = np.intersect1d(stratum[condition == perturbation], stratum[condition == control])
    # Another stratum's cells where there are any: a held-out stratum is predicted by the others.
    others = both[both != own]
    chosen = others if len(others) else both
    # Without a stratum that has both, the delta holds the difference of strata too.
    if not len(chosen):
        return np.flatnonzero(either)
    return np.flatnonzero(either & np.isin(stratum, chosen))


def trained_conditions(spec: Spec) -> Int[np.ndarray, "_"]:
    """Perturbed conditions with training cells."""
    trained = np.flatnonzero(np.asarray(spec.condition_cells) > 0)
    return trained[trained != spec.control]


def single_conditions(spec: Spec) -> Bool[np.ndarray, "T C"]:
    """Trained conditions in which each treatment stands alone."""
    table = np.not_equal(spec.condition_treatments, 0)
    # Conditions without training cells have no delta.
    trained = np.zeros(len(spec.conditions), bool)
    trained[trained_conditions(spec)] = True
    return np.logical_and(table.T, (table.sum(1) == 1) & trained)


def delta_weights(spec: Spec) -> Float[np.ndarray, "T C"]:
    """Share of each condition's delta in that of a treatment given alone: its own conditions, or,
    where training has none, all single (or else all) perturbations."""
    single = single_conditions(spec)
    every = np.isin(np.arange(len(spec.conditions)), trained_conditions(spec))
    # The mean over singles, where there are any, since combinations move farther.
    stand_in = single.any(0) if single.any() else every
    used = np.where(single.any(1, keepdims=True), single, stand_in).astype(float)
    # At least 1, so that training without any perturbation divides nothing by 0.
    return used / np.maximum(used.sum(1, keepdims=True), 1)
