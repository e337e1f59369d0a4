"""What a split lets through: genes on both sides, groups without conditions, conditions of one
cell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxpert.core.types import SPLITS, Dataset, InputError
from jaxpert.data.files import shown


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
        raise InputError(f"data set {dataset.name!r} has no split yet: call data.add_split first")
    perturbed = {name: _perturbed(dataset, name) for name in SPLITS}
    given = {
        name: dataset.condition_treatments[rows].any(axis=0) for name, rows in perturbed.items()
    }
    train, val, test = (np.asarray(given[name], bool) for name in ("train", "val", "test"))
    cells = np.bincount(dataset.condition, minlength=len(dataset.conditions))
    empty = [name for name in ("train", "val", "test") if not len(dataset.rows(name))]
    return Audit(
        crossing=_names(dataset.treatments, train & test),
        crossing_val=_names(dataset.treatments, train & val),
        untrained=_names(dataset.treatments, test & ~train),
        shared=tuple(
            dataset.conditions[c] for c in np.intersect1d(perturbed["train"], perturbed["test"])
        ),
        empty=(*empty, *(group for group, members in dataset.subgroups.items() if not members)),
        one_cell=_names(dataset.conditions, cells == 1),
    )


def audit_notes(found: Audit) -> tuple[str, ...]:
    """The audit in sentences, those of what is not there left out."""
    notes = []
    if found.crossing:
        notes.append(
            f"{len(found.crossing)} genes are perturbed in both train and test: "
            f"{shown(found.crossing)}"
        )
    if found.shared:
        notes.append(
            f"{len(found.shared)} conditions have cells in both train and test: "
            f"{shown(found.shared)}"
        )
    if found.empty:
        notes.append(f"nothing is in {shown(found.empty)}")
    if "val" in found.empty and "train" not in found.empty:
        notes.append(
            "validation is empty, so the last parameters are kept instead of the best: take "
            "another split.kind or "
            "split.seed if that matters"
        )
    if found.one_cell:
        notes.append(
            f"{len(found.one_cell)} conditions have a single cell, on which no gene can be ranked: "
            f"{shown(found.one_cell)}"
        )
    return tuple(notes)


def _perturbed(dataset: Dataset, split: str) -> np.ndarray:
    """Conditions of a split, control excluded."""
    present = np.unique(dataset.condition[dataset.rows(split)])
    return present[present != dataset.control]


def _names(names: tuple[str, ...], mask: np.ndarray) -> tuple[str, ...]:
    return tuple(name for name, wanted in zip(names, mask, strict=True) if wanted)
