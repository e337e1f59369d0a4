"""What a split lets through: genes on both sides, groups without conditions, conditions of one
cell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.files import shown

PARTS = ("train", "val", "test")


class Audit(NamedTuple):
    """What to know of a split before believing scores on it; all names."""

    crossing: tuple[str, ...]
    """Treatments of both training and test conditions: what tests their effect in new company, not
    new treatments."""
    crossing_val: tuple[str, ...]
    """The same for training and validation."""
    untrained: tuple[str, ...]
    """Treatments of test conditions that no training cell received."""
    shared: tuple[str, ...]
    """Perturbed conditions with cells in both train and test."""
    empty: tuple[str, ...]
    """Splits and groups of test conditions without any."""
    one_cell: tuple[str, ...]
    """Conditions of a single cell: no variance, hence no ranking of their genes."""


def audit(dataset: Dataset) -> Audit:
    """Audit the split of a data set, whatever made it."""
    if dataset.split is None:
        raise InputError(
            f"data set {dataset.name!r} has no split yet, expected one: call data.add_split first"
        )
    train, val, test = (_given(dataset, part) for part in PARTS)
    both = np.intersect1d(_perturbed(dataset, "train"), _perturbed(dataset, "test"))
    cells = np.bincount(dataset.condition, minlength=len(dataset.conditions))
    empty = [part for part in PARTS if not len(dataset.rows(part))]
    empty += [group for group, members in dataset.subgroups.items() if not members]
    return Audit(
        crossing=_names(dataset.treatments, train & test),
        crossing_val=_names(dataset.treatments, train & val),
        untrained=_names(dataset.treatments, test & ~train),
        shared=tuple(dataset.conditions[c] for c in both),
        empty=tuple(empty),
        one_cell=_names(dataset.conditions, cells == 1),
    )


def audit_notes(audited: Audit) -> tuple[str, ...]:
    """The audit in sentences, those of what is not there left out."""
    notes = []
    if audited.crossing:
        notes.append(
            f"{len(audited.crossing)} genes are perturbed in both train and test: "
            f"{shown(audited.crossing)}"
        )
    if audited.shared:
        notes.append(
            f"{len(audited.shared)} conditions have cells in both train and test: "
            f"{shown(audited.shared)}"
        )
    if audited.empty:
        notes.append(f"nothing is in {shown(audited.empty)}")
    # Without training there are no parameters to choose between.
    if "val" in audited.empty and "train" not in audited.empty:
        notes.append(
            "validation is empty, so the last parameters are kept instead of the best: take "
            "another split.kind or split.seed if that matters"
        )
    if audited.one_cell:
        notes.append(
            f"{len(audited.one_cell)} conditions have a single cell, on which no gene can be "
            f"ranked: {shown(audited.one_cell)}"
        )
    return tuple(notes)


def _perturbed(dataset: Dataset, split: str) -> np.ndarray:
    """Conditions of a split, control excluded."""
    present = np.unique(dataset.condition[dataset.rows(split)])
    # Control is in every split on purpose and no leak.
    return present[present != dataset.control]


def _given(dataset: Dataset, split: str) -> np.ndarray:
    """True for the treatments of a split's conditions."""
    rows = _perturbed(dataset, split)
    return np.asarray(dataset.condition_treatments[rows].any(axis=0), bool)


def _names(names: tuple[str, ...], mask: np.ndarray) -> tuple[str, ...]:
    return tuple(name for name, wanted in zip(names, mask, strict=True) if wanted)
