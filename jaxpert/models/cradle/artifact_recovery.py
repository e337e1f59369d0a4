"""How much nearer artifact removal brings failed cells to their true artifact-free expression,
where it is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.types import Dataset, InputError
from jaxpert.simulate.truth import ARTIFACTS, cell_proportions

if TYPE_CHECKING:
    from anndata import AnnData

OBSERVED, KEPT, REMOVED, CORRECTED = "observed", "artifact_kept", "artifact_removed", "corrected"
"""The cell as measured; the model's reconstruction with the artifact; without it; the measured cell
corrected."""
CONDITION = "condition_mean"
"""No model: the mean of the passed cells of the same condition in the cell's place."""
PAIRS = ((KEPT, REMOVED), (CONDITION, REMOVED), (OBSERVED, REMOVED), (OBSERVED, CORRECTED))
"""Distances compared: the first minus the second is what is gained. The first pair judges the
removal, the second asks whether a model was needed; the third says little, since any denoising
beats a measured cell."""
CONFIDENCE = 0.95


def recovery(
    truth: Float[np.ndarray, "n G"],
    estimates: Mapping[str, Float[np.ndarray, "n G"]],
    kind: Int[np.ndarray, "n"],
    condition: Int[np.ndarray, "n"],
    kinds: tuple[str, ...],
) -> dict[str, dict[str, Any]]:
    """Distances of estimates to the truth, for all cells and for the cells of each artifact kind.

    Args:
        truth: expected expression of each failed cell had it no artifact, as counts or shares
            (scaled here).
        estimates: {name: counts or shares} of the same cells; those of PAIRS that are there are
            compared.
        kind: artifact of each cell, an index into `kinds`.
        condition: of each cell, for the means of clusters.
        kinds: names, such as "none" (a clean cell that failed quality) and "dying".

    Returns:
        {"all" or kind: {"cells", "clusters", "cell_distance": {name: number}, "cluster_distance":
        {name: number}, "cell_gain": {"artifact_kept - artifact_removed": {"mean", "low", "high",
        "share"}}, "cluster_gain": ...}}. A distance is the root mean square over genes of the
        difference on log2(1 + 1e4 p), averaged over cells; that of clusters is between the pooled
        profiles (mean shares) of the same cells of each condition, true and estimated. Gains are
        paired, with a 95 % t interval over cells (or clusters), None below two; `share` is the part
        that gained.
    """
    # The truth goes by the empty name, which no estimate has.
    shares = {"": shares_of(truth)}
    for name, values in estimates.items():
        shares[name] = shares_of(values)
    groups = {"all": np.ones(len(kind), bool)}
    for k, name in enumerate(kinds):
        groups[name] = kind == k
    recovered = {}
    for name, keep in groups.items():
        # A kind of artifact that no failed cell has is left out.
        if keep.any():
            recovered[name] = _group(shares, keep, condition)
    return recovered


def removal_recovery(removed: AnnData, dataset: Dataset, truth: Any) -> dict[str, dict[str, Any]]:
    """`recovery` of the failed cells that `remove_artifacts` returned, for a simulated screen.

    Compared are the cells as measured, as reconstructed with the artifact, without it, corrected,
    and the mean of the passed cells of their condition in their place. Cells without counts are
    left out. Raises InputError where the truth is that of other cells.
    """
    if dataset.quality is None or len(truth.condition) != len(dataset.cells):
        raise InputError(
            "the truth is of another screen than the cells, expected that of the run's simulated "
            "screen: load the truth.npz beside the run"
        )
    place = {name: i for i, name in enumerate(dataset.cells)}
    # Shares of a cell without counts are not defined.
    filled = np.asarray(removed.obs["observed_umi_count"]) > 0
    failed = removed[np.asarray(removed.obs["failed"], bool) & filled]
    rows = np.array([place[name] for name in failed.obs_names])
    # The truth knows all simulated genes, of which the run may have modelled fewer.
    gene = {str(name): i for i, name in enumerate(truth.genes)}
    columns = [gene[name] for name in dataset.genes]
    means = passed_means(
        dataset.counts, dataset.condition, ~dataset.quality.failed, len(dataset.conditions)
    )
    estimates = {
        OBSERVED: dataset.counts[rows].toarray().astype(np.float32),
        KEPT: np.asarray(failed.layers["with_artifact"]),
        REMOVED: np.asarray(failed.X),
        CORRECTED: failed.layers["corrected"].toarray(),  # pyright: ignore
        CONDITION: means[dataset.condition[rows]],
    }
    clean = cell_proportions(truth, rows)[:, columns]
    return recovery(clean, estimates, truth.artifact[rows], dataset.condition[rows], ARTIFACTS)


def describe_recovery(recovered: Mapping[str, Mapping[str, Any]]) -> str:
    """The simulated screen's verdict on the removal, one line per kind of artifact."""
    lines = [
        "Distance of failed cells to their true artifact-free expression (root mean square, log2 "
        "scale):"
    ]
    for kind, group in recovered.items():
        distances = group["cell_distance"].items()
        far = ", ".join(f"{name.replace('_', ' ')} {distance:.3f}" for name, distance in distances)
        # With the artifact kept minus removed: what the removal alone is worth.
        gain = group["cell_gain"][f"{KEPT} - {REMOVED}"]
        interval = ""
        if gain["low"] is not None:
            interval = f" (95 % {gain['low']:+.3f} to {gain['high']:+.3f})"
        lines.append(
            f"  {kind}, {group['cells']} cells: {far}; removal gains {gain['mean']:+.3f}{interval}"
        )
    return "\n".join(lines)


def shares_of(values: Float[np.ndarray, "n G"]) -> Float[np.ndarray, "n G"]:
    """Each cell as shares of its total; a cell without counts cannot be placed and is refused."""
    values = np.asarray(values, np.float64)
    total = values.sum(1, keepdims=True)
    if not (total > 0).all():
        raise InputError(
            f"{int((~(total > 0)).sum())} cells have no counts or are not numbers, expected counts "
            "in each: leave them out"
        )
    return values / total


def passed_means(
    counts: Any, condition: Int[np.ndarray, "N"], passed: Bool[np.ndarray, "N"], conditions: int
) -> Float[np.ndarray, "C G"]:
    """Mean shares of the passed cells of each condition; of all passed cells where a condition has
    none."""
    rows = np.flatnonzero(passed)
    counts = counts[rows].astype(np.float64)
    total = np.asarray(counts.sum(1)).ravel()
    rows, weight = rows[total > 0], 1 / total[total > 0]
    counts = counts[total > 0]
    # One matrix product gives the sums of shares of all conditions, without a dense copy of cells.
    member = (np.arange(conditions)[:, None] == condition[rows]) * weight
    sums = np.asarray(member @ counts)
    cells = np.bincount(condition[rows], minlength=conditions)[:, None]
    return np.where(cells > 0, sums / np.maximum(cells, 1), sums.sum(0) / len(rows))


def _group(
    shares: dict[str, np.ndarray], keep: np.ndarray, condition: Int[np.ndarray, "n"]
) -> dict[str, Any]:
    """What `recovery` returns of the cells to keep."""
    # Numbered anew, so that clusters are those of the cells that are kept.
    _, cluster = np.unique(condition[keep], return_inverse=True)
    cells, pooled = {}, {}
    for name, values in shares.items():
        cells[name] = values[keep]
        # Pooled profiles have little of the noise that a single cell's distance is full of.
        pooled[name] = _pooled(cells[name], cluster)
    far, far_pooled = _distances(cells), _distances(pooled)
    return {
        "cells": int(keep.sum()),
        "clusters": len(pooled[""]),
        "cell_distance": _means(far),
        "cluster_distance": _means(far_pooled),
        "cell_gain": _gains(far),
        "cluster_gain": _gains(far_pooled),
    }


def _means(far: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: float(distances.mean()) for name, distances in far.items()}


def _pooled(
    shares: Float[np.ndarray, "n G"], cluster: Int[np.ndarray, "n"]
) -> Float[np.ndarray, "K G"]:
    """Mean shares of each cluster's cells."""
    member = np.arange(cluster.max() + 1)[:, None] == cluster
    return member @ shares / member.sum(1, keepdims=True)


def _distances(shares: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of each cell, by estimate; the truth goes by the name ""."""
    true = np.log2(1 + 1e4 * shares[""])
    far = {}
    for name, values in shares.items():
        if name:
            # Root mean square over genes, on the scale of the effects (docs/models/cradle.md, 10).
            far[name] = np.sqrt(((np.log2(1 + 1e4 * values) - true) ** 2).mean(1))
    return far


def _gains(far: dict[str, np.ndarray]) -> dict[str, dict[str, float | None]]:
    gains = {}
    for before, after in PAIRS:
        # Differences of the same cell, so that what all estimates miss alike cancels.
        if before in far and after in far:
            gains[f"{before} - {after}"] = paired_gain(far[before] - far[after])
    return gains


def paired_gain(gain: Float[np.ndarray, "n"]) -> dict[str, float | None]:
    """Mean with its t interval, and the share of gains above zero."""
    from scipy import stats

    n, mean = len(gain), float(gain.mean())
    low = high = None
    # A single gain has no spread, and so no interval.
    if n > 1:
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * gain.std(ddof=1) / np.sqrt(n))
        low, high = mean - half, mean + half
    return {"mean": mean, "low": low, "high": high, "share": float((gain > 0).mean())}
