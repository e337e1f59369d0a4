"""Draw the cells of a simulated screen: condition, basal state, library, and the artifact that
spoils some."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxpert.simulate.settings import Settings, line_cells
from jaxpert.simulate.truth import ARTIFACTS

ARTIFACT_SHARES = (0.28, 0.54, 0.045, 0.085, 0.05)
"""Of the cells with an artifact, in the order of ARTIFACTS[1:].

With the default rate about 24, 18 and 14 % of the cells fail quality control at 3, 4 and 5 MAD,
some of them without an artifact; 22, 15 and 12 % where no doublet is called."""
ARTIFACT_DEPTH = (1.0, 0.25, 1.0, 0.08, 1.0, 1.0)
MIXING = {"ambient": (0.5, 0.9), "haemoglobin": (0.005, 0.03)}
"""Range of the share of foreign reads."""
MAX_KILLED = 0.8


def draw_cells(
    rng: np.random.Generator, s: Settings, genes: dict[str, Any], toxicity: np.ndarray
) -> dict[str, Any]:
    """Condition, batch, basal state, library and artifact of every cell, in random order;
    `toxicity` is that of each condition."""
    each = [replace(s, cells=int(cells)) for cells in line_cells(s)]
    numbers = np.concatenate(
        [_cells_per_condition(rng, one, len(toxicity) // len(each)) for one in each]
    )
    condition = rng.permutation(np.repeat(np.arange(len(numbers)), numbers))
    batch = rng.integers(s.batches, size=s.cells)
    artifact = _draw_artifacts(rng, toxicity, condition, s.artifact_share)
    library = (
        s.umis * genes["batch_depth"][batch] * np.exp(genes["umis_sd"] * rng.normal(size=s.cells))
    )
    mixing = np.zeros(s.cells)
    for name, (low, high) in MIXING.items():
        cells = artifact == ARTIFACTS.index(name)
        mixing[cells] = rng.uniform(low, high, cells.sum())
    return {
        "condition": condition.astype(np.int32),
        "batch": batch.astype(np.int32),
        "artifact": artifact.astype(np.int8),
        "library": library.astype(np.float32),
        "basal": rng.normal(size=(s.cells, s.basal_programs)).astype(np.float32),
        "technical": (genes["technical_sd"] * rng.normal(size=(s.cells, 2))).astype(np.float32),
        "mixing": mixing.astype(np.float32),
        "partner": _draw_partners(rng, batch, artifact),
    }


def _cells_per_condition(
    rng: np.random.Generator, s: Settings, conditions: int
) -> Int[np.ndarray, "C"]:
    """Long-tailed numbers, none under 4 nor (where cells allow) 20."""
    control = round(s.control_share * s.cells)
    left = s.cells - control
    floor = min(20, max(4, left // (2 * (conditions - 1))))
    weights = np.exp(rng.normal(0, s.condition_log_sd, conditions - 1))
    numbers = floor + rng.multinomial(left - floor * (conditions - 1), weights / weights.sum())
    return np.concatenate([[control], numbers])


def _draw_artifacts(
    rng: np.random.Generator, toxicity: np.ndarray, condition: np.ndarray, share: float
) -> np.ndarray:
    """Artifact kinds; toxic conditions raise the odds of dying and stressed cells, up to 80 % of
    their cells.

    The intercept is solved for, so that over the screen every kind has its share however toxic the
    targets are.
    """
    shares = share * np.array(ARTIFACT_SHARES)
    killed = shares[:2].sum()
    cells = np.bincount(condition, minlength=len(toxicity)) / len(condition)

    def probability(intercept: float) -> np.ndarray:
        return np.minimum(1 / (1 + np.exp(-intercept - toxicity)), MAX_KILLED)

    low, high = -30.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if cells @ probability(middle) < killed else (low, middle)
    by_condition = np.ones((len(toxicity), len(shares))) * shares
    by_condition[:, :2] *= probability(low)[:, None] / max(killed, 1e-9)
    edges = by_condition.cumsum(1)[condition]
    drawn = rng.random((len(condition), 1))
    return np.where(drawn[:, 0] < edges[:, -1], 1 + (drawn >= edges).sum(1), 0)


def _draw_partners(
    rng: np.random.Generator, batch: np.ndarray, artifact: np.ndarray
) -> Int[np.ndarray, "N"]:
    partner = np.full(len(batch), -1, np.int32)
    for b in np.unique(batch):
        cells = np.flatnonzero((batch == b) & (artifact == ARTIFACTS.index("doublet")))
        partner[cells] = rng.choice(np.flatnonzero(batch == b), len(cells))
    return partner
