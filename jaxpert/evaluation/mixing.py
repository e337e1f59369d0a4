"""How well labels separate in a latent space, as numbers beside a picture: nearest neighbours and
silhouette."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

NEIGHBOURS = 15
SHUFFLES = 200
SILHOUETTE_CELLS = 5_000
"""The silhouette compares all pairs of cells, so larger sets are sampled."""


def separation(
    points: Float[np.ndarray, "n Z"],
    labels: Shaped[np.ndarray, "n"],
    *,
    neighbours: int = NEIGHBOURS,
    seed: int = 0,
) -> dict[str, float | int] | None:
    """How far cells of one label keep to themselves: 1 is apart, `chance` is well mixed.

    Args:
        points: cells in the space that is judged (a latent, principal components), compared by
            Euclidean distance.
        labels: one for each cell; cells of a label that no other cell has are left out.
        neighbours: so many nearest cells are asked, fewer where the label has no more cells.
        seed: of the shuffles behind the interval of chance, and of the cells behind the silhouette
            of large sets.

    Returns:
        `same_label_neighbours` in [0, 1]: the share of neighbours with the cell's own label,
        averaged within each label and then over labels, so that rare labels count as much as common
        ones; `chance`, its expectation under shuffled labels, with their central 95 % in
        `chance_low` and `chance_high`; `silhouette` in [-1, 1]; `cells` and `labels` that were
        compared. None where fewer than two labels are left.
    """
    _, code, count = np.unique(labels.astype(str), return_inverse=True, return_counts=True)
    # A cell alone with its label could never find a fellow.
    kept = count[code] > 1
    if len(np.unique(code[kept])) < 2:
        return None
    points, (names, code) = points[kept], np.unique(code[kept], return_inverse=True)
    near = _nearest(points, min(neighbours, len(points) - 1))
    rng = np.random.default_rng(seed)
    # Labels move and neighbours stay, so the search is made once for all shuffles.
    shuffled = [_agreement(near, rng.permutation(code)) for _ in range(SHUFFLES)]
    low, high = np.quantile(shuffled, (0.025, 0.975)).tolist()
    return {
        "same_label_neighbours": _agreement(near, code),
        # A random other cell is of the same label with (n_label - 1) / (n - 1).
        "chance": float(np.mean((np.bincount(code) - 1) / (len(code) - 1))),
        "chance_low": low,
        "chance_high": high,
        "silhouette": _silhouette(points, code, seed),
        "cells": len(code),
        "labels": len(names),
    }


def _nearest(points: Float[np.ndarray, "n Z"], neighbours: int) -> Int[np.ndarray, "n k"]:
    """Other cells, the nearest first."""
    from sklearn.neighbors import NearestNeighbors

    # Asked without points, scikit-learn leaves each cell itself out.
    return NearestNeighbors(n_neighbors=neighbours).fit(points).kneighbors(return_distance=False)


def _agreement(near: Int[np.ndarray, "n k"], code: Int[np.ndarray, "n"]) -> float:
    """Share of neighbours with the cell's own label, averaged within labels and then over them."""
    cells = np.bincount(code)
    # A cell of a rare label has fewer fellows than neighbours: only so many are asked.
    width = np.minimum(near.shape[1], cells[code] - 1)
    asked: Bool[np.ndarray, "n k"] = np.arange(near.shape[1]) < width[:, None]
    share = ((code[near] == code[:, None]) & asked).sum(1) / width
    return float(np.mean(np.bincount(code, share) / cells))


def _silhouette(points: Float[np.ndarray, "n Z"], code: Int[np.ndarray, "n"], seed: int) -> float:
    from sklearn.metrics import silhouette_score

    # Time grows with the square of the cells.
    if len(code) > SILHOUETTE_CELLS:
        chosen = np.random.default_rng(seed).choice(len(code), SILHOUETTE_CELLS, replace=False)
        points, code = points[chosen], code[chosen]
    return float(silhouette_score(points, code))
