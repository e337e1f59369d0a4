"""Draw the cells of a simulated screen: condition, basal state, library, and the artifact that
spoils some."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxpert.simulate.settings import FEWEST_CELLS, Settings, line_cells
from jaxpert.simulate.truth import ARTIFACTS

ARTIFACT_SHARES = (0.28, 0.54, 0.045, 0.085, 0.05)
"""Of the cells with an artifact, in the order of ARTIFACTS[1:].

With the default rate about 24, 18 and 14 % of the cells fail quality control at 3, 4 and 5 MAD,
some of them without an artifact; 22, 15 and 12 % where no doublet is called."""
DEADLY = 2
"""The first artifacts of that order, dying and stressed cells, which a toxic target causes."""
ARTIFACT_DEPTH = (1.0, 0.25, 1.0, 0.08, 1.0, 1.0)
"""Share of its counts that a cell of each kind in ARTIFACTS keeps."""
MIXING = {"ambient": (0.5, 0.9), "haemoglobin": (0.005, 0.03)}
"""Range of the share of foreign reads."""
# Some cells of the most toxic condition stay, so that it still has a mean to score.
MAX_KILLED = 0.8
MANY_CELLS = 20
"""A condition has no fewer where there are cells enough."""


def draw_cells(
    rng: np.random.Generator, s: Settings, genes: dict[str, Any], toxicity: np.ndarray
) -> dict[str, Any]:
    """Condition, batch, basal state, library and artifact of every cell, in random order.

    `toxicity` is that of each condition.
    """
    return draw_states(rng, s, genes, toxicity, _draw_conditions(rng, s, len(toxicity)))


def draw_states(
    rng: np.random.Generator,
    s: Settings,
    genes: dict[str, Any],
    toxicity: np.ndarray,
    condition: Int[np.ndarray, "N"],
) -> dict[str, Any]:
    """All that `draw_cells` draws of cells whose conditions are known."""
    # The order of the draws is part of what a seed means, that of conditions being the first.
    batch = rng.integers(s.batches, size=s.cells)
    # Artifacts follow the condition of a cell, so the conditions are drawn before them.
    artifact = _draw_artifacts(rng, toxicity, condition, s.artifact_share)
    # A log-normal library around the median of the cell's batch (docs/simulator.md, Counts).
    spread = np.exp(genes["umis_sd"] * rng.normal(size=s.cells))
    library = s.umis * genes["batch_depth"][batch] * spread
    mixing = np.zeros(s.cells)
    for name, (low, high) in MIXING.items():
        spoilt = artifact == ARTIFACTS.index(name)
        mixing[spoilt] = rng.uniform(low, high, spoilt.sum())
    return {
        "condition": condition.astype(np.int32),
        "batch": batch.astype(np.int32),
        "artifact": artifact.astype(np.int8),
        "library": library.astype(np.float32),
        # Basal states are drawn alike for every condition: only effects tell conditions apart.
        "basal": rng.normal(size=(s.cells, s.basal_programs)).astype(np.float32),
        "technical": (genes["technical_sd"] * rng.normal(size=(s.cells, 2))).astype(np.float32),
        "mixing": mixing.astype(np.float32),
        "partner": _draw_partners(rng, batch, artifact),
    }


def _draw_conditions(
    rng: np.random.Generator, s: Settings, conditions: int
) -> Int[np.ndarray, "N"]:
    """Condition of every cell; conditions are ordered by line, each line's control first."""
    numbers: list[np.ndarray] = []
    for cells in line_cells(s):
        line = replace(s, cells=int(cells))
        numbers.append(_cells_per_condition(rng, line, conditions // s.lines))
    per_condition = np.concatenate(numbers)
    # A random order of cells, since a sorted file would give the conditions away to any batch.
    return rng.permutation(np.repeat(np.arange(conditions), per_condition))


def _cells_per_condition(
    rng: np.random.Generator, s: Settings, conditions: int
) -> Int[np.ndarray, "C"]:
    """Long-tailed numbers, none under 4 nor (where cells allow) 20."""
    control = round(s.control_share * s.cells)
    left = s.cells - control
    # At most half of the cells are dealt evenly, so that a long tail remains.
    floor = min(MANY_CELLS, max(FEWEST_CELLS, left // (2 * (conditions - 1))))
    # Log-normal weights give the long tail of cells per perturbation that real screens have.
    weights = np.exp(rng.normal(0, s.condition_log_sd, conditions - 1))
    numbers = floor + rng.multinomial(left - floor * (conditions - 1), weights / weights.sum())
    return np.concatenate([[control], numbers])


def _draw_artifacts(
    rng: np.random.Generator, toxicity: np.ndarray, condition: np.ndarray, share: float
) -> np.ndarray:
    """Artifact kinds; toxic conditions raise the odds of dying and stressed cells, up to 80 % of
    their cells."""
    # Shares of all cells from shares of the spoilt ones (docs/simulator.md, Artifacts).
    shares = share * np.array(ARTIFACT_SHARES)
    killed = shares[:DEADLY].sum()
    cells = np.bincount(condition, minlength=len(toxicity)) / len(condition)
    by_condition = np.ones((len(toxicity), len(shares))) * shares
    # The split between dying and stressed stays; their sum follows the condition.
    probability = _killed_by_condition(toxicity, cells, killed)
    # Rates of 0 are divided by a tiny number, so that a screen without artifacts works.
    by_condition[:, :DEADLY] *= probability[:, None] / max(killed, 1e-9)
    # One uniform per cell picks its kind: the interval between cumulative shares that it falls in.
    edges = by_condition.cumsum(1)[condition]
    drawn = rng.random((len(condition), 1))
    return np.where(drawn[:, 0] < edges[:, -1], 1 + (drawn >= edges).sum(1), 0)


def _killed_by_condition(
    toxicity: Float[np.ndarray, "C"], cells: Float[np.ndarray, "C"], killed: float
) -> Float[np.ndarray, "C"]:
    """Share of dying and stressed cells of each condition: sigmoid(intercept + toxicity), capped.

    The intercept is solved for, so that over the screen (`cells` are the shares of the conditions)
    `killed` of the cells are, however toxic the targets may be.
    """

    def probability(intercept: float) -> np.ndarray:
        return np.minimum(1 / (1 + np.exp(-intercept - toxicity)), MAX_KILLED)

    # Bisection: the share rises with the intercept.
    # Sixty halvings of the interval reach the precision of float64.
    low, high = -30.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        if cells @ probability(middle) < killed:
            low = middle
        else:
            high = middle
    return probability(low)


def _draw_partners(
    rng: np.random.Generator, batch: np.ndarray, artifact: np.ndarray
) -> Int[np.ndarray, "N"]:
    """For every doublet a cell of its batch: two cells in one droplet come from one suspension."""
    # -1 marks cells that are no doublet.
    partner = np.full(len(batch), -1, np.int32)
    for b in np.unique(batch):
        doublets = np.flatnonzero((batch == b) & (artifact == ARTIFACTS.index("doublet")))
        # The partner's clean counts are added, whatever artifact the partner itself has.
        partner[doublets] = rng.choice(np.flatnonzero(batch == b), len(doublets))
    return partner
