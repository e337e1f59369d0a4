"""What baselines see, what they return, and what several of them share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.types import InputError

Means = Float[np.ndarray, "C G"]


class Training(NamedTuple):
    """What baselines may know: training pseudobulk and what each condition perturbs."""

    means: Means
    """Mean log expression of each condition's training cells; rows without cells are never read."""
    cells: Int[np.ndarray, "C"]
    """Training cells behind each mean."""
    condition_treatments: Float[np.ndarray, "C T"]
    """Multi-hot; the control's row is zero."""
    control: int
    conditions: Sequence[str]
    treatments: Sequence[str]
    genes: Sequence[str]


class Baseline(NamedTuple):
    """Predicted means and what they rest on."""

    means: Means
    fallback: Bool[np.ndarray, "C"]
    """Conditions for which training held too little, so that (part of) the mean effect stands
    in."""
    notes: tuple[str, ...] = ()
    """One sentence for each thing that had to be replaced."""


def control_of(training: Training) -> np.ndarray:
    """Mean of the training control `[G]`; an InputError where training holds no control cell."""
    if training.cells[training.control] == 0:
        raise InputError(
            "the training split holds no control cell that passes quality control, expected at "
            "least one for the baselines: check `data.control`, `split.kind` or loosen the "
            "quality criteria"
        )
    return training.means[training.control]


def seen_in(training: Training) -> np.ndarray:
    """Numbers of the perturbations with training cells; an InputError where there are none."""
    seen = np.flatnonzero(training.cells > 0)
    seen = seen[seen != training.control]
    if not len(seen):
        raise InputError(
            "no perturbation has a training cell that passes quality control, expected at least "
            "one for the baselines: check `split.kind` or loosen the quality criteria"
        )
    return seen


def uses(training: Training, treatments: Int[np.ndarray, "_"]) -> Bool[np.ndarray, "C"]:
    """Conditions that contain any of the treatments."""
    return training.condition_treatments[:, treatments].sum(1) > 0


def constant(training: Training, profile: np.ndarray) -> Baseline:
    """One profile `[G]` for every perturbation, and the control for itself."""
    means = np.tile(profile, (len(training.cells), 1))
    return Baseline(keep_control(training, means), np.zeros(len(training.cells), bool))


def keep_control(training: Training, means: np.ndarray) -> np.ndarray:
    """The control row is always the training control itself, so that effects are differences to
    it."""
    means[training.control] = control_of(training)
    return means


def note_on(
    baseline: str, which: np.ndarray, treatments: Sequence[str], what: str
) -> tuple[str, ...]:
    """One sentence that names the treatments of which `what` holds; none where there are none."""
    if not len(which):
        return ()
    names = ", ".join(np.asarray(treatments, str)[which])
    return (f"baseline {baseline}: {len(which)} treatments are {what}: {names}",)
