"""What a set of perturbed genes is to training: trained itself, or how many of its genes are new.

Predictions of one kind are wrong by about as much, of different kinds not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxpert.core.types import Dataset
from jaxpert.evaluation.pseudobulk import passed_rows

TRAINED = "trained"
SINGLE = "single of an unseen gene"
NEVER_TRAINED = (
    SINGLE,
    "new set of seen genes",
    "combination with one unseen gene",
    "combination with several unseen genes",
)
"""Kinds of sets without training cells."""


class Known(NamedTuple):
    """What training holds."""

    sets: frozenset[frozenset[str]]
    genes: frozenset[str]
    """Perturbed in any of them."""


def known_of(dataset: Dataset) -> Known:
    """The sets with training cells that pass quality; the control is the empty one."""
    trained = np.unique(dataset.condition[passed_rows(dataset, "train")])
    sets = frozenset(named_sets(dataset, dataset.condition_treatments[trained]))
    return Known(sets, frozenset().union(*sets))


def named_sets(dataset: Dataset, treatment: Float[np.ndarray, "R T"]) -> list[frozenset[str]]:
    """The perturbed genes of multi-hot rows, by name."""
    names = np.asarray(dataset.treatments, object)
    return [frozenset(names[np.asarray(row) != 0].tolist()) for row in treatment]


def kind_of(genes: Iterable[str], known: Known) -> str:
    """TRAINED or one of NEVER_TRAINED."""
    genes = frozenset(genes)
    if genes in known.sets:
        return TRAINED
    new = len(genes - known.genes)
    if new == 1 and len(genes) == 1:
        return SINGLE
    return NEVER_TRAINED[1 + min(new, 2)]
