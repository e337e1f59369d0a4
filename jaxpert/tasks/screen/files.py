"""Arrays that a run leaves beside its predictions, from which other runs are compared with it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from jaxpert.core.types import Dataset
from jaxpert.evaluation import compare
from jaxpert.tasks.screen.measured import Measured

Effects = Mapping[int, Float[np.ndarray, "C G"]]
"""Predicted effects of each seed."""


def effects_arrays(
    dataset: Dataset, effects: Effects, measured: Float[np.ndarray, "C G"] | None = None
) -> dict[str, np.ndarray]:
    """effects.npz: predicted effects `[seeds, C, G]` as float32, with the seeds, conditions and
    genes, and what was `measured` `[C, G]`."""
    arrays = {} if measured is None else {"measured": measured.astype(np.float32)}
    return arrays | {
        # float32 halves the file, and effects are not known to more digits.
        "effect": np.stack(list(effects.values())).astype(np.float32),
        "seeds": np.array(list(effects)),
        "conditions": np.array(dataset.conditions),
        "genes": np.array(dataset.genes),
    }


def statistics_arrays(measured: Mapping[int, Measured], effects: Effects) -> dict[str, np.ndarray]:
    """statistics.npz: sums per perturbation behind every score, from which other runs on the same
    data are compared with intervals.

    `sums|PREDICTOR|SEED|MULTIPLIER|SUBSET|SCORE` is an array of `evaluation.scoring` (baselines
    have the seed "any"), `conditions|MULTIPLIER|SUBSET` names its rows, and `measured|MULTIPLIER`
    is a digest of the measured effects, equal for runs that may be compared.

    Args:
        measured: at each quality multiplier.
        effects: of each seed.
    """
    arrays: dict[str, np.ndarray] = {}
    for multiplier, of in measured.items():
        # Baselines do not depend on the seed, so they are kept once, under "any".
        predictions = {f"model|{seed}": values for seed, values in effects.items()}
        predictions |= {f"{name}|any": values for name, values in of.baselines.items()}
        names, sums = compare.statistics(
            of.effects, predictions, of.screen, held_out=of.held_out, truth=of.planted
        )
        for subset, conditions in names.items():
            arrays[f"conditions|{multiplier}|{subset}"] = np.array(conditions)
        arrays[f"measured|{multiplier}"] = np.array(_digest(of.effects))
        for predictor, subsets in sums.items():
            # Names of predictors are made of two parts for this.
            who, seed = predictor.split("|")
            for subset, scores in subsets.items():
                where = f"sums|{who}|{seed}|{multiplier}|{subset}"
                arrays |= {f"{where}|{score}": rows for score, rows in scores.items()}
    return arrays


def _digest(effects: Float[np.ndarray, "C G"]) -> str:
    # Rounded, so that machines that sum in another order agree.
    return hashlib.sha256(np.round(effects, 6).tobytes()).hexdigest()
