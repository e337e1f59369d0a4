"""The log scale of rows and the adjustment of batches to one of them, fitted to training cells."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.files import shown
from jaxpert.tasks.translation.combat import (
    Affine,
    Combat,
    CombatReference,
    after_standardising,
    combat,
    identity,
    require_comparable,
    standardised_moments,
)
from jaxpert.tasks.translation.draws import PseudobulkGroups
from jaxpert.tasks.translation.log_scale import (
    GroupMoments,
    LogScale,
    fit_log_scale,
    group_moments,
)
from jaxpert.tasks.translation.splits import TRAIN, Edges

COMBAT_CELLS = ("controls", "all")
LARGEST = "largest"


class Alignment(NamedTuple):
    """How counts become rows."""

    scale: LogScale
    affine: Affine
    """From means of log values to rows."""
    number: int | None
    """Batch column of the reference; None without ComBat, and for a kept reference."""
    reference: CombatReference | None
    """None without ComBat."""


def fit_alignment(
    dataset: Dataset,
    pseudobulk: PseudobulkGroups,
    edges: Edges,
    lognorm: str,
    asked: str | CombatReference | None,
    which: str,
    notes: list[str],
) -> Alignment:
    """Log scale and batch adjustment from the training cells of a split data set.

    Args:
        dataset: its cells are placed into parts; `pseudobulk` and `edges` are its groups and pairs.
        lognorm: one of `log_scale.LOGNORM`.
        asked: a batch column, "largest", moments kept of other data, or None for no ComBat.
        which: "controls" or "all" training cells are what ComBat is fitted to.
        notes: grows by what was decided.
    """
    if isinstance(asked, CombatReference):
        require_comparable(asked, dataset.genes, lognorm, which)
    file = np.unique(np.asarray(dataset.obs["file"], str), return_inverse=True)[1]
    # Only training cells decide the scale, so that nothing is learned of held-out ones.
    train = np.asarray(dataset.split == TRAIN)
    scale = fit_log_scale(dataset.counts, lognorm, file.astype(np.int32), train)
    batches = len(dataset.strata)
    # All cells of a batch column are of one file, so the last one written is right.
    file_of = np.zeros(batches, np.int32)
    file_of[dataset.stratum] = file
    if asked is None:
        unaligned = identity(batches, len(dataset.genes))
        return Alignment(scale, after_standardising(unaligned, scale, file_of), None, None)
    # ComBat takes moments after z-scoring, where the scale has it.
    keep, borrowed = _fitted_cells(dataset, pseudobulk, edges, which, notes)
    moments = group_moments(dataset.counts, scale, dataset.stratum, batches, keep)
    moments = standardised_moments(moments, scale, file_of)
    number, reference = _reference(dataset, moments, asked, lognorm, which)
    _require_adjustable(dataset, keep, number)
    fitted = combat(moments, reference if number is None else number)
    notes.append(_alignment_note(fitted, moments, number, reference))
    # Z-score and ComBat are both affine, so they become one map of each batch and gene.
    affine = after_standardising(fitted.affine, scale, file_of)
    # A batch without cells takes the map of the batch whose controls it is compared with.
    for batch, other in borrowed.items():
        affine.scale[batch], affine.shift[batch] = affine.scale[other], affine.shift[other]
    return Alignment(scale, affine, number, reference)


def _alignment_note(
    fitted: Combat, moments: GroupMoments, number: int | None, reference: CombatReference
) -> str:
    """What batches are aligned to, and how many genes stay as they are."""
    filled = np.flatnonzero(moments.cells)
    # The reference itself does not move, so it is not counted.
    others = filled if number is None else filled[filled != number]
    still = 0
    if len(others):
        still = int(fitted.untouched[others].all(axis=0).sum())
    whose = " of an earlier run" if number is None else ""
    return (
        f"batches are aligned to {reference.name!r}{whose} ({reference.cells} cells); {still} "
        "genes do not vary there and are left as they are"
    )


def _fitted_cells(
    dataset: Dataset,
    pseudobulk: PseudobulkGroups,
    edges: Edges,
    which: str,
    notes: list[str],
) -> tuple[Bool[np.ndarray, "N"], dict[int, int]]:
    """Cells that batches are aligned by, and for batches that have none the batch whose map they
    borrow."""
    batches, control = len(dataset.strata), dataset.condition == dataset.control
    train = np.asarray(dataset.split == TRAIN)
    # A batch that is held out whole has no training cell: its controls may still be looked at.
    bare = np.setdiff1d(np.unique(dataset.stratum), dataset.stratum[train])
    allowed = train | (np.isin(dataset.stratum, bare) & control)
    # Controls align controls with controls, so that no effect counts as a batch effect.
    keep = allowed & control if which == "controls" else allowed
    # Two cells are the fewest with a variance; such batches fall back on all training cells.
    few = np.flatnonzero(np.bincount(dataset.stratum[keep], minlength=batches) < 2)
    keep = np.where(np.isin(dataset.stratum, few), allowed, keep)
    # What is left without cells borrows the map of its controls' batch.
    have = np.unique(dataset.stratum[keep])
    without = np.setdiff1d(dataset.stratum, have)
    reasons: dict[str, np.ndarray] = {}
    # Where controls alone are fitted, it is no news that a held-out batch is fitted by its own.
    if which == "all":
        reasons["are adjusted by their control cells, since they have no training cell"] = bare
    reasons |= {
        "have fewer than two control cells and are adjusted by all their training cells": (
            np.intersect1d(few, have)
        ),
        "have no cell to be adjusted by and take the map of their controls' batch": without,
    }
    for reason, concerned in reasons.items():
        if len(concerned):
            names = shown(np.asarray(dataset.strata)[concerned])
            notes.append(f"{len(concerned)} batches {reason}: {names}")
    # The batch of the paired control group, by batch of the perturbed one.
    upper, lower = pseudobulk.batch[edges.upper].tolist(), pseudobulk.batch[edges.lower].tolist()
    controls_of = dict(zip(upper, lower, strict=True))
    return keep, {b: controls_of[b] for b in without.tolist()}


def _reference(
    dataset: Dataset, moments: GroupMoments, asked: str | CombatReference, lognorm: str, which: str
) -> tuple[int | None, CombatReference]:
    """The batch column of the reference (None for a kept one) and its moments."""
    if isinstance(asked, CombatReference):
        return None, asked
    have = np.asarray(dataset.strata)[np.flatnonzero(moments.cells)].tolist()
    if asked == LARGEST:
        # Most cells to be fitted by, not most cells at all.
        number = int(np.argmax(moments.cells))
    elif asked in have:
        number = dataset.strata.index(asked)
    else:
        raise InputError(
            f"the ComBat reference {asked!r} is no batch with training cells, expected one of "
            f"{shown(have, 20)}: set data.combat_reference to one of these, or to 'largest'"
        )
    reference = CombatReference(
        name=dataset.strata[number],
        cells=int(moments.cells[number]),
        mean=moments.mean[number],
        # Genes and scale go along, so that a later run can tell whether they fit its own.
        variance=moments.variance[number],
        genes=dataset.genes,
        lognorm=lognorm,
        combat_cells=which,
    )
    return number, reference


def _require_adjustable(dataset: Dataset, keep: np.ndarray, reference: int | None) -> None:
    """Refuse batches of one cell, and those whose adjustment would erase the one effect that they
    hold."""
    # A batch of one cell has variance 0, which ComBat would stretch without bound.
    cells = np.bincount(dataset.stratum[keep], minlength=len(dataset.strata))
    single = np.asarray(dataset.strata)[np.flatnonzero(cells == 1)]
    if len(single):
        raise InputError(
            f"{len(single)} batches have one cell to be adjusted by ({shown(single)}), expected at "
            "least 2 for ComBat: leave those cells out, choose another data.batch, or set "
            "data.combat_reference=null"
        )
    for b in np.flatnonzero(cells):
        # The mean of one perturbation alone is its effect, which ComBat would take for the batch's.
        conditions = np.unique(dataset.condition[keep & (dataset.stratum == b)])
        if b != reference and len(conditions) == 1 and conditions[0] != dataset.control:
            raise InputError(
                f"batch {dataset.strata[b]!r} holds cells of {dataset.conditions[conditions[0]]!r} "
                "alone, whose effect ComBat would remove as a batch effect, expected several "
                "conditions: choose another data.batch or set data.combat_reference=null"
            )
