"""Batches and lines that the table of cells has and nobody named as strata, though perturbations
and controls lie apart in them: a difference between batches would be scored as an effect."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Int

from jaxpert.core.types import Dataset
from jaxpert.data.files import shown

BATCHES = frozenset(
    "batch line cellline celltype gemgroup gem lane plate replicate rep donor sample "
    "library channel run experiment dataset pool tissue patient organoid day time timepoint "
    "context species origident biorep techrep biologicalreplicate technicalreplicate".split()
)
"""What such columns are called, without signs and numbers."""
ENDINGS = ("id", "ids", "name", "number", "no", "nr", "num", "label", "key", "index", "idx", "code")
"""What may follow: `batch_id`, `Plate.No`."""
MOST = 500
"""More values are no batches."""
FEWEST = 5
"""Fewer cells of a perturbation may share a batch by chance."""


def notes_of(dataset: Dataset) -> tuple[str, ...]:
    """A note on each column in which perturbations lie apart from controls; none where strata were
    named."""
    if len(dataset.strata) > 1:
        return ()
    notes = []
    for name, cells in _tables(dataset):
        apart = np.flatnonzero(_apart(cells, dataset.control))
        if len(apart):
            names = [dataset.conditions[c] for c in apart]
            notes.append(
                f"ATTENTION: {len(names)} perturbations ({shown(names)}) have all of their cells "
                f"in parts of column {name!r} that not all control cells are in, so that a "
                "difference between these parts counts as their effect: set "
                f"data.stratum={name} if they are batches or lines"
            )
    return tuple(notes)


def _tables(dataset: Dataset) -> Iterator[tuple[str, Int[np.ndarray, "C S"]]]:
    """Columns called like batches, with the cells of each condition in each of their values."""
    import pandas as pd

    for name in map(str, dataset.obs.columns):
        if not _is_called_batch(name):
            continue
        value, distinct = pd.factorize(dataset.obs[name])
        if not 1 < len(distinct) <= MOST:
            continue
        cells = np.zeros((len(dataset.conditions), len(distinct)), np.int64)
        # A missing value is -1.
        np.add.at(cells, (dataset.condition[value >= 0], value[value >= 0]), 1)
        yield name, cells


def _is_called_batch(name: str) -> bool:
    """Whether a column's name is one of BATCHES, by itself or before one of ENDINGS."""
    plain = "".join(filter(str.isalpha, name.casefold()))
    return plain in BATCHES or any(plain.removesuffix(end) in BATCHES for end in ENDINGS)


def _apart(cells: Int[np.ndarray, "C S"], control: int) -> Bool[np.ndarray, "C"]:
    """Conditions without any control cell beside them, and those in a single value of several that
    controls have."""
    with_control = cells[control] > 0
    beside = cells[:, with_control].sum(1) > 0
    single = ((cells > 0).sum(1) == 1) & (with_control.sum() > 1)
    apart = (cells.sum(1) >= FEWEST) & (~beside | single)
    apart[control] = False
    return apart
