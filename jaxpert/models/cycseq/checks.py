"""What users are told of CycSeq and their data."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from jaxpert.core.types import Dataset, Spec
from jaxpert.models.cycseq.setup import CycSeq


def check(net: CycSeq, dataset: Dataset) -> tuple[str, ...]:
    """`Model.check`: a note on perturbations that no measured gene stands for."""
    measured = set(net.spec.genes)
    absent = [name for name in net.spec.treatments if name not in measured]
    if not absent or net.settings.columns != "genes":
        return ()
    return (
        f"{len(absent)} perturbations are no measured gene; each has a column of its own: "
        f"{', '.join(absent)}",
    )


def support(net: CycSeq, treatment: Float[np.ndarray, "R T"]) -> tuple[str, ...]:
    """`Model.support`: whether a row's targets, and the row itself, were trained on."""
    spec = net.spec
    table = np.asarray(spec.condition_treatments) != 0
    # Conditions without cells are in the table but were not trained on.
    trained = {tuple(row) for row in table[np.asarray(spec.condition_cells) > 0]}
    known = np.asarray(spec.treatment_cells) > 0
    words = []
    for row in np.asarray(treatment) != 0:
        words.append(_support(spec, trained, known, row))
    return tuple(words)


def _support(spec: Spec, trained: set[tuple], known: np.ndarray, row: np.ndarray) -> str:
    """What stands behind one row of targets."""
    # The row itself comes first: a trained combination may hold no single that was trained.
    if tuple(row) in trained:
        return "trained"
    new = np.asarray(spec.treatments, object)[row & ~known].tolist()
    if new:
        return f"no training cells: {', '.join(new)}"
    return "new combination of trained targets"
