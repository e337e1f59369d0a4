"""What users are told of scGen and their data."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from jaxpert.core.types import Dataset, InputError, Spec
from jaxpert.models.scgen.deltas import single_conditions, trained_conditions
from jaxpert.models.scgen.setup import ScGen


def support(net: ScGen, treatment: Float[np.ndarray, "R T"]) -> tuple[str, ...]:
    """`Model.support`: whether a row has a delta of its own, the sum of its treatments', or the
    mean one."""
    spec = net.spec
    table = np.asarray(spec.condition_treatments) != 0
    # By whole rows of treatments: the control's row of zeros counts as trained.
    trained = set(map(tuple, table[[spec.control, *trained_conditions(spec)]]))
    words = []
    for row in np.asarray(treatment) != 0:
        words.append(_support_of(spec, row, tuple(row) in trained))
    return tuple(words)


def _support_of(spec: Spec, row: np.ndarray, trained: bool) -> str:
    if trained:
        return "trained"
    # The mean delta stands in for these (docs/models/scgen.md, 7 Delta).
    new = _names(spec, row & ~single_conditions(spec).any(1))
    if new:
        return f"never given alone in training: {', '.join(new)}"
    return "sum of trained treatments"


def _names(spec: Spec, which: np.ndarray) -> list[str]:
    """Names of some treatments."""
    return np.asarray(spec.treatments, object)[which].tolist()


def check(net: ScGen, dataset: Dataset) -> tuple[str, ...]:
    """`Model.check`: refuse cells without counts and training without control or perturbation; note
    stand-ins."""
    # Cells of no part are never read, so they may be empty.
    used = np.concatenate([dataset.rows(split) for split in ("train", "val", "test")])
    empty = int((np.diff(dataset.counts.indptr)[used] == 0).sum())
    if empty:
        raise InputError(
            f"{empty} cells of {dataset.name!r} have no counts in the chosen genes, expected at "
            "least one in each: leave these cells out, or choose more genes"
        )
    spec = net.spec
    controls, perturbations = int(spec.condition_cells[spec.control]), len(trained_conditions(spec))
    if not controls or not perturbations:
        raise InputError(
            f"training has {controls} control cells and {perturbations} perturbations, expected "
            "some of both, between which a delta is the difference: change the split"
        )
    return _stand_in_notes(spec) + _apart_notes(spec, dataset)


def _stand_in_notes(spec: Spec) -> tuple[str, ...]:
    alone = np.asarray(single_conditions(spec).any(1))
    names = _names(spec, ~alone)
    if not names:
        return ()
    return (
        f"{len(names)} treatments were never given alone in training, so the mean delta stands in "
        f"where a prediction needs theirs: {', '.join(names)}",
    )


def _apart_notes(spec: Spec, dataset: Dataset) -> tuple[str, ...]:
    """Perturbations that no stratum has together with control: their delta holds the strata's
    difference too."""
    rows = dataset.rows("train")
    # Which conditions have training cells in each stratum.
    held = np.zeros((len(dataset.strata), len(dataset.conditions)), bool)
    held[dataset.stratum[rows], dataset.condition[rows]] = True
    with_control = held[held[:, spec.control]]
    apart = []
    for c in trained_conditions(spec):
        if not with_control[:, c].any():
            apart.append(dataset.conditions[c])
    if not apart:
        return ()
    return (
        f"{len(apart)} perturbations share no stratum of {dataset.name!r} with control cells, so "
        f"that their delta holds the difference of the strata too: {', '.join(apart)}",
    )
