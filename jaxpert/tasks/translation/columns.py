"""Columns of batches and of treatments: those of the data, and those kept for what comes later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.files import shown

PLACEHOLDERS = 2
"""Batch columns kept free for lines that come later (fine-tuning, zero-shot)."""


PLACEHOLDER = "placeholder"


def address_genes(dataset: Dataset, *, substring: bool = False) -> Dataset:
    """Give every gene a treatment column (K_p = N), in the order of the genes, then the perturbed
    ones outside it.

    `substring` marks every gene whose name contains a target's, as the published code does (target
    AR also marks PARP1 and SART1), and has no column for targets outside the genes.
    """
    columns = dataset.genes
    if not substring:
        # A dict keeps the order of the genes, and each name once.
        columns = tuple(dict.fromkeys((*dataset.genes, *dataset.treatments)))
    table = np.zeros((len(dataset.conditions), len(columns)), np.float32)
    names = np.asarray(columns, str)
    for condition, treatment in zip(*np.nonzero(dataset.condition_treatments), strict=True):
        target = dataset.treatments[treatment]
        hits = names == target
        if substring:
            hits = np.char.find(names, target) >= 0
        table[condition, hits] = 1
    return replace(dataset, treatments=columns, condition_treatments=table)


def assign_columns(dataset: Dataset, columns: Sequence[str], *, as_new: bool = False) -> Dataset:
    """Move the batches of a data set to the batch columns of a trained model: those of the same
    name to their own, new ones to free placeholders in order, which from then on carry the new
    name.

    `as_new` takes every batch for a new one (another experiment on a line of the same name, such as
    a dose series); its column is then called `batch@data set`.

    Raises InputError where the placeholders do not suffice.
    """
    ending = f"@{dataset.name}" if as_new else ""
    called, new = {}, []
    for name in dataset.strata:
        if not name.startswith(PLACEHOLDER):
            called[name] = name + ending
            if called[name] not in columns:
                new.append(called[name])
    free = [i for i, name in enumerate(columns) if name.startswith(PLACEHOLDER)]
    if len(new) > len(free):
        raise InputError(
            f"{dataset.name!r} has {len(new)} batches that the trained model does not know "
            f"({shown(new)}), expected at most as many as it has free batch columns, {len(free)}: "
            "pre-train with more data.placeholders or give fewer new lines"
        )
    names, notes = list(columns), dataset.notes
    moves = []
    for i, name in zip(free, new, strict=False):
        names[i] = name
        moves.append(f"{name} -> {columns[i]}")
    if moves:
        notes = (*notes, f"new batches take placeholder columns: {shown(moves)}")
    # No cell is in a placeholder of its own data, so its -1 is never read.
    place = np.full(len(dataset.strata), -1, np.int32)
    for number, name in enumerate(dataset.strata):
        if name in called:
            place[number] = names.index(called[name])
    moved = place[dataset.stratum]
    return replace(dataset, strata=tuple(names), stratum=moved, notes=notes)
