"""What users are told of GEARS and their data."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from jaxpert.core.types import Dataset, InputError
from jaxpert.models.gears.sets import support_of
from jaxpert.models.gears.setup import Gears, treatments_without_node


def support(net: Gears, treatment: Float[np.ndarray, "R T"]) -> tuple[str, ...]:
    """`Model.support`: whether a row's genes, and the row itself, were trained on, or else how near
    they are."""
    names = np.asarray(net.spec.treatments, object)
    return support_of(net, [names[row].tolist() for row in np.asarray(treatment) != 0])


def check(net: Gears, dataset: Dataset) -> tuple[str, ...]:
    """`Model.check`: refuse cells without counts, which have no log-normalised profile; note what
    stands in."""
    empty = np.diff(dataset.counts.indptr) == 0
    # Cells of no part are never read, so they may be empty.
    used = np.concatenate([dataset.rows(split) for split in ("train", "val", "test")])
    if empty[used].any():
        raise InputError(
            f"{int(empty[used].sum())} cells of {dataset.name!r} have no counts in the chosen "
            "genes, expected at least one in each: leave these cells out, or choose more genes"
        )
    notes = []
    absent = treatments_without_node(net)
    if absent:
        notes.append(
            f"{len(absent)} perturbed genes are in no graph; the average stands in: "
            f"{', '.join(absent)}"
        )
    alone = []
    for name in net.spec.treatments:
        # A gene alone in the graph is reached by nobody, which a user should know.
        if name in net.nodes and not net.neighbours.get(name):
            alone.append(name)
    if alone and net.settings.perturbation_graphs:
        notes.append(
            f"{len(alone)} perturbed genes have no neighbour in a graph: {', '.join(alone)}"
        )
    return tuple(notes)
