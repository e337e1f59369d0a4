"""Some cells or genes of a Dataset."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from jaxpert.core.types import Dataset, InputError, Quality
from jaxpert.data.aliases import annotation_advice
from jaxpert.data.counts import row_blocks
from jaxpert.data.files import shown
from jaxpert.data.mapped import select


def genes_in_cells(counts, cells: int) -> Bool[np.ndarray, "G"]:
    """True for genes with a count in at least `cells` cells."""
    seen = np.zeros(counts.shape[1], np.int64)
    for _, block in row_blocks(counts):
        # An entry is a count above 0 and comes once per cell, so entries count cells.
        seen += np.bincount(block.indices, minlength=len(seen))
    return seen >= cells


def keep_genes(dataset: Dataset, keep: Bool[np.ndarray, "G"]) -> Dataset:
    """Keep some genes; the caller notes why."""
    var = None if dataset.var is None else dataset.var[keep]
    counts, genes = select(dataset.counts, columns=keep), _chosen(dataset.genes, keep)
    return replace(dataset, counts=counts, genes=genes, var=var)


def keep_cells(dataset: Dataset, keep: Bool[np.ndarray, "N"], reason: str) -> Dataset:
    """Keep some cells; the rest, and conditions and treatments that lose all their cells, are
    counted in a note."""
    if keep.all():
        return dataset
    condition = dataset.condition[keep]
    used = np.isin(np.arange(len(dataset.conditions)), condition)
    # Every effect is a difference from control, so no filter may empty it.
    if not used[dataset.control]:
        raise InputError(
            f"no control cell of {dataset.name!r} is left after leaving out cells ({reason}), "
            "expected some: loosen that filter"
        )
    table = dataset.condition_treatments[used]
    # A treatment without conditions would be a parameter that no cell trains.
    given = np.asarray(table.any(axis=0))
    note = f"{(~keep).sum()} of {len(keep)} cells were left out: {reason}"
    if not used.all():
        lost = _chosen(dataset.conditions, ~used)
        note += f"; with them went the conditions {shown(lost)}"
    split = None if dataset.split is None else dataset.split[keep]
    quality = None if dataset.quality is None else _keep_quality(dataset.quality, keep)
    # The running number of kept conditions is what each is called from now on.
    position = np.cumsum(used) - 1
    return replace(
        dataset,
        counts=select(dataset.counts, keep),
        cells=dataset.cells[keep],
        obs=dataset.obs[keep],
        conditions=_chosen(dataset.conditions, used),
        condition=position[condition].astype(np.int32),
        control=int(position[dataset.control]),
        treatments=_chosen(dataset.treatments, given),
        condition_treatments=table[:, given],
        stratum=dataset.stratum[keep],
        split=split,
        quality=quality,
        notes=(*dataset.notes, note),
    )


def _chosen(names: tuple[str, ...], keep: Bool[np.ndarray, "n"]) -> tuple[str, ...]:
    return tuple(np.asarray(names, object)[keep])


def _keep_quality(quality: Quality, keep: Bool[np.ndarray, "N"]) -> Quality:
    metrics = {name: values[keep] for name, values in quality.metrics.items()}
    return replace(quality, metrics=metrics, failed=quality.failed[keep])


def drop_unannotated(dataset: Dataset, terms: Mapping[str, Collection[str]]) -> Dataset:
    """Leave out the cells of conditions with a perturbed gene that has no terms, as published; a
    note names them.

    Example:
        cells = jaxpert.drop_unannotated(cells, jaxpert.read_terms("annotations.gmt.gz"))
    """
    lost = np.array([name not in terms for name in dataset.treatments], bool)
    if lost.all():
        raise InputError(
            f"none of the {len(lost)} perturbed genes of {dataset.name!r} "
            f"({shown(dataset.treatments, 3)}) is annotated, expected the same gene names in both: "
            "give an annotation file of the screen's species and naming (graphs.ontology)"
            f"{annotation_advice(dataset, terms)}"
        )
    reason = (
        "perturbed genes without annotation "
        f"({shown(np.asarray(dataset.treatments, object)[lost])})"
    )
    if lost.any():
        reason += annotation_advice(dataset, terms)
    # Any such gene is enough (docs/models/gears.md, "Genes without annotation").
    keep = ~(dataset.condition_treatments[:, lost] != 0).any(1)[dataset.condition]
    return keep_cells(dataset, keep, reason)
