"""Another file made fit for a trained model: genes, treatments and quality labels as those of the
training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from jaxpert.core.types import Dataset, InputError, Quality
from jaxpert.data.doublets import METHODS
from jaxpert.data.files import shown
from jaxpert.data.identifiers import advice
from jaxpert.data.mapped import select
from jaxpert.data.quality import add_quality, failed, flags, modelled_thresholds


def like_training(
    dataset: Dataset,
    training: Dataset,
    *,
    doublets: str = "scrublet",
    columns: Mapping[str, str] | None = None,
    doublet_group: int | None = None,
) -> Dataset:
    """Bring a data set into the form of the one a model was trained on, and label its quality by
    the same thresholds.

    Args:
        dataset: fresh from `data.read`, unfiltered.
        training: the run's own data, with quality labels.
        doublets, columns, doublet_group: as they were given to `add_quality` for the training data.

    Genes come in the training order; genes that the model does not know are left out, with a note.
    Thresholds are not learned anew, since a file of failed cells would then call them normal:
    criteria of `columns` are held against the run's own thresholds, the others are measured on the
    modelled genes and held against those that the training cells have there. Raises InputError for
    missing genes, unknown treatments or strata, and missing columns.
    """
    if training.quality is None:
        raise InputError(
            f"data set {training.name!r} has no quality labels, expected some: call "
            "data.add_quality first"
        )
    dataset = align_strata(align_treatments(align_genes(dataset, training), training), training)
    multiplier = training.quality.multiplier
    columns = dict(columns or {})
    measured = add_quality(
        # Without notes, so that only new ones come back; those on doublets are taken from them.
        replace(dataset, notes=()),
        multiplier=multiplier,
        doublets=doublets,
        columns=columns,
        scaled=training.quality.scaled,
        doublet_group=doublet_group,
    )
    assert measured.quality is not None
    # On the modelled genes alone, which is all that both files are sure to share.
    bounds = modelled_thresholds(training)
    for k, of in bounds.items():
        # Such columns measure the whole transcriptome in both files.
        of.update({name: training.quality.thresholds[k][name] for name in columns})
    metrics = measured.quality.metrics
    quality = Quality(
        metrics, bounds, multiplier, failed(metrics, bounds[multiplier]), training.quality.scaled
    )
    doublets_called = [note for note in measured.notes if note.startswith((*METHODS, "doublets"))]
    notes = (*dataset.notes, *doublets_called, _count(quality, training.name))
    return replace(dataset, quality=quality, notes=notes)


def _count(quality: Quality, name: str) -> str:
    failing = flags(quality.metrics, quality.thresholds[quality.multiplier])
    detail = ", ".join(f"{criterion} {int(flag.sum())}" for criterion, flag in failing.items())
    return (
        f"{int(quality.failed.sum())} of {len(quality.failed)} cells fail quality by the "
        f"thresholds of {name!r} at {quality.multiplier} MAD ({detail})"
    )


def align_genes(dataset: Dataset, training: Dataset) -> Dataset:
    """The training genes in their order."""
    missing = _absent(training.genes, dataset.genes)
    if missing:
        better = advice(dataset.genes, dataset.var, training.genes)
        better = f" ({better})" if better else ""
        raise InputError(
            f"{dataset.name!r} lacks {len(missing)} of the {len(training.genes)} genes that the "
            f"model was trained on ({shown(missing, 5)}), expected all of them under the same "
            "names: give the file before its genes were filtered, or train on the genes that both "
            f"have{better}"
        )
    notes, left = dataset.notes, _absent(dataset.genes, training.genes)
    if left:
        note = f"{len(left)} genes that the model does not know were left out ({shown(left, 5)})"
        notes = (*notes, note)
    order = _places(training.genes, dataset.genes)
    # Choosing columns leaves the entries of a row unsorted.
    counts = select(dataset.counts, columns=np.asarray(order))
    # The training table knows which of these genes a quality criterion sums over.
    genes, var = training.genes, training.var
    return replace(dataset, counts=counts, genes=genes, var=var, notes=notes)


def align_treatments(dataset: Dataset, training: Dataset) -> Dataset:
    """The training treatments in their order; conditions may be new combinations of them."""
    unknown = _absent(dataset.treatments, training.treatments)
    if unknown:
        raise InputError(
            f"{dataset.name!r} has the perturbations {shown(unknown, 5)}, which the model was not "
            f"trained on, expected some of {shown(training.treatments, 5)}: rename them, or leave "
            "their cells out"
        )
    table = np.zeros((len(dataset.conditions), len(training.treatments)), np.float32)
    # Treatments that this file lacks keep a column of zeros.
    table[:, _places(dataset.treatments, training.treatments)] = dataset.condition_treatments
    return replace(dataset, treatments=training.treatments, condition_treatments=table)


def align_strata(dataset: Dataset, training: Dataset) -> Dataset:
    """The training strata in their order."""
    unknown = _absent(dataset.strata, training.strata)
    if unknown:
        raise InputError(
            f"{dataset.name!r} has the strata {shown(unknown, 5)}, expected some of "
            f"{shown(training.strata, 5)}, which the model was trained on: change data.stratum or "
            "rename them"
        )
    position = np.array(_places(dataset.strata, training.strata), np.int32)
    return replace(dataset, strata=training.strata, stratum=position[dataset.stratum])


def _absent(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Names that are not among the known ones."""
    there = set(known)
    return [name for name in names if name not in there]


def _places(names: Sequence[str], known: Sequence[str]) -> list[int]:
    """Where each name stands among the known ones."""
    place = {name: i for i, name in enumerate(known)}
    return [place[name] for name in names]
