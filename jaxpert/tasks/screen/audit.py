"""Every demand that evaluation makes of the data, checked before anything is trained.

What no run could be scored on is refused in a sentence that says the fix; what only weakens scores
is a note. docs/guide/check.md lists both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from jaxpert import data
from jaxpert.core.types import SPLITS, Dataset, InputError
from jaxpert.data.feeds import check_counts
from jaxpert.data.files import shown
from jaxpert.evaluation import compare, strata
from jaxpert.evaluation.intervals import FEWEST_FOR_INTERVAL
from jaxpert.tasks.screen import leaks, unnamed_strata
from jaxpert.tasks.screen.keys import ScreenConfig, TrainKeys

FEWEST_CELLS = 10
"""Of fewer control cells a note says so."""
FEWEST_FOR_MAP = 5
"""Fewer cells have no UMAP."""
TOP_GENES = 50
"""The largest set of top genes that scores compare (`jaccard_top50`)."""


class _Passed(NamedTuple):
    """Cells that count as measured at one quality multiplier: they pass and have counts."""

    dataset: Dataset
    measured: Bool[np.ndarray, "N"]

    def cells(self, split: str = "all") -> Int[np.ndarray, "C"]:
        """Cells of each condition that effects of a split can be measured on: those that share a
        stratum with a control cell of the split."""
        dataset = self.dataset
        rows = dataset.rows(split)
        rows = rows[self.measured[rows]]
        stratum = strata.strata_of(dataset)
        if stratum is not None:
            with_control = stratum[rows[dataset.condition[rows] == dataset.control]]
            rows = rows[np.isin(stratum[rows], with_control)]
        return np.bincount(dataset.condition[rows], minlength=len(dataset.conditions))


def multipliers_of(config: ScreenConfig) -> list[int]:
    """MAD multipliers to score at, the run's own first; 0 for no quality labels."""
    first = config.quality.multiplier
    if not first:
        return [0]
    return [first, *(k for k in config.evaluation.multipliers if k != first)]


def labelled(dataset: Dataset, multiplier: int) -> Dataset:
    """The data set with the labels of a MAD multiplier; 0 stands for none."""
    return data.at_multiplier(dataset, multiplier) if multiplier else dataset


def check_cells(dataset: Dataset) -> None:
    """Refuse, before any work, cells in which there is nothing to compare.

    Raises:
        InputError: where all cells are control cells, and where a perturbation shares no stratum
            with any control cell (unless controls are pooled).
    """
    if not dataset.treatments:
        raise InputError(
            f"all {len(dataset.cells)} cells of {dataset.name!r} are control cells "
            f"({dataset.conditions[dataset.control]!r}), expected perturbed ones too: check "
            "data.perturbation and data.control"
        )
    if strata.strata_of(dataset) is None:
        return
    apart = np.flatnonzero(strata.unmatched(dataset))
    if len(apart):
        without = [dataset.strata[s] for s in np.flatnonzero(~_with_control(dataset))]
        raise InputError(
            f"{len(apart)} perturbations of {dataset.name!r} ({shown(_names(dataset, apart))}) "
            f"have no control cell in any stratum of theirs (strata without control: "
            f"{shown(without)}), expected some to compare them with: leave these cells out, name "
            "another column in data.stratum, or compare with the controls of all strata by "
            "evaluation.controls=pooled"
        )


def check_split(config: ScreenConfig, dataset: Dataset) -> None:
    """Refuse a split data set that training or evaluation could not do with.

    Raises:
        InputError: for no control or no perturbation to learn from or to compare with, at any
            quality multiplier that scores are asked for, and for what batches cannot be drawn from.
    """
    for multiplier in multipliers_of(config):
        _check_measured(config, _passed(dataset, multiplier), multiplier)
    _check_batches(config.train, dataset)


def notes_of(config: ScreenConfig, dataset: Dataset) -> tuple[str, ...]:
    """What weakens scores and figures, a sentence each."""
    passed = _passed(dataset, multipliers_of(config)[0])
    return (
        *_notes_of_controls(passed),
        *_notes_of_perturbations(passed),
        *_notes_of_strata(dataset),
        *unnamed_strata.notes_of(dataset),
        *_notes_of_size(config, dataset),
        *filter(None, (leaks.trained_in_company(dataset), leaks.repeated_between_parts(dataset))),
    )


def _passed(dataset: Dataset, multiplier: int) -> _Passed:
    dataset = labelled(dataset, multiplier)
    # A cell without counts has no place on the log-normalised scale.
    measured = np.diff(dataset.counts.indptr) > 0
    if dataset.quality is not None:
        measured = measured & ~dataset.quality.failed
    return _Passed(dataset, measured)


def _check_measured(config: ScreenConfig, passed: _Passed, multiplier: int) -> None:
    dataset, at = passed.dataset, ""
    fix = f"choose another split.kind or split.seed than {config.split.kind}, {config.split.seed}"
    if multiplier:
        at = f" that pass quality at {multiplier} MAD"
        fix += ", or loosen the criteria (quality.multiplier, evaluation.multipliers)"
    label = repr(dataset.conditions[dataset.control])
    if not passed.cells()[dataset.control]:
        raise InputError(
            f"{dataset.name!r} has no control cells ({label}) with counts{at}, expected some to "
            f"compare perturbations with: check data.control, or {fix}"
        )
    trained = passed.cells("train")
    if not trained[dataset.control]:
        raise InputError(
            f"the training split of {dataset.name!r} has no control cells ({label}) with "
            f"counts{at}, expected some as the reference of the baselines: {fix}"
        )
    trained[dataset.control] = 0
    if not trained.any():
        perturbations = len(dataset.conditions) - 1
        beside = "" if strata.strata_of(dataset) is None else " beside control cells of its stratum"
        raise InputError(
            f"none of the {perturbations} perturbations of {dataset.name!r} has training "
            f"cells{at}{beside}, expected one at least, which the baselines learn from: {fix}"
        )


def _check_batches(train: TrainKeys, dataset: Dataset) -> None:
    """What the feeds of training would refuse."""
    check_counts(dataset)
    rows = dataset.rows("train")
    if train.drop_last and len(rows) < train.batch_size:
        raise InputError(
            f"the training split of {dataset.name!r} holds {len(rows)} cells, which fill no batch "
            f"of {train.batch_size}, expected one at least: lower train.batch_size or set "
            "train.drop_last=False"
        )
    control = rows[dataset.condition[rows] == dataset.control]
    used = dataset.split != SPLITS.index("dropped")
    alone = np.setdiff1d(dataset.stratum[used], dataset.stratum[control])
    if train.pairing == "cell" and len(alone):
        raise InputError(
            f"train.pairing is 'cell', but {len(alone)} strata of {dataset.name!r} "
            f"({shown(dataset.strata[s] for s in alone)}) have no training control cell to pair "
            "cells with, expected one in each: set train.pairing=step, or name another column in "
            "data.stratum"
        )


def _notes_of_controls(passed: _Passed) -> list[str]:
    controls = int(passed.cells()[passed.dataset.control])
    # A table of effects has been compared with its controls before.
    if controls >= FEWEST_CELLS or passed.dataset.scale == "effects":
        return []
    note = (
        f"every effect is compared with {controls} control cells that pass quality, so that their "
        "noise is a part of all effects"
    )
    # Welch's t needs a variance, and the ceiling a control in each half.
    if controls < 2:
        note += "; with a single one no gene can be ranked and there is no ceiling"
    return [note]


def _notes_of_perturbations(passed: _Passed) -> list[str]:
    dataset, notes = passed.dataset, []
    subsets = compare.subsets(dataset)
    measured = passed.cells()
    unseen = [c for c in subsets["all"] if not measured[c]]
    if unseen:
        notes.append(
            f"{len(unseen)} perturbations have no cell with counts that passes quality and will "
            f"not be scored: {shown(_names(dataset, unseen))}"
        )
    if len(subsets["all"]) < 2:
        notes.append(
            "there is a single perturbation, so scores that tell perturbations apart are undefined "
            "and the mean baseline is that perturbation itself"
        )
    tested = len(subsets.get("test", ()))
    if not tested:
        notes.append(
            "no perturbation has test cells, so scores say how well seen cells are described and "
            "not how well new ones are predicted"
        )
    elif tested < FEWEST_FOR_INTERVAL:
        notes.append(
            f"{tested} perturbations have test cells, fewer than {FEWEST_FOR_INTERVAL}, so that no "
            "interval can be given and the verdict claims nothing"
        )
    return notes


def _notes_of_strata(dataset: Dataset) -> list[str]:
    if len(dataset.strata) < 2:
        return []
    cells = _table(dataset)
    perturbed = np.arange(len(cells)) != dataset.control
    notes = []
    # Confounded: one stratum has them all, while the control has cells in others too.
    confounded = perturbed & ((cells > 0).sum(1) == 1)
    if confounded.any() and (cells[dataset.control] > 0).sum() > 1:
        names = _names(dataset, np.flatnonzero(confounded))
        notes.append(
            f"{len(names)} perturbations have all of their cells in one of {len(dataset.strata)} "
            f"strata: {shown(names)}; {_meaning(dataset)}, while a model that is not told of "
            "strata may take the difference between them for an effect"
        )
    without = ~_with_control(dataset)
    if without.any():
        names = [dataset.strata[s] for s in np.flatnonzero(without)]
        partly = int(cells[perturbed][:, without].sum())
        what = "are compared with controls of other strata"
        if strata.strata_of(dataset) is not None:
            what = "are compared with nothing and count in no measured effect"
        notes.append(
            f"{len(names)} strata have no control cell ({shown(names)}): their {partly} perturbed "
            f"cells {what}"
        )
    return notes


def _meaning(dataset: Dataset) -> str:
    """What confounded perturbations are compared with."""
    if strata.strata_of(dataset) is None:
        return "their measured effect holds the difference of that stratum from the others too"
    return "their effect is measured against the control cells of that stratum alone"


def _notes_of_size(config: ScreenConfig, dataset: Dataset) -> list[str]:
    notes = []
    if len(dataset.genes) <= TOP_GENES:
        notes.append(
            f"there are {len(dataset.genes)} genes, so that the Jaccard index of the top "
            f"{TOP_GENES} is undefined"
        )
    trained = len(dataset.rows("train"))
    if config.evaluation.umap_cells and trained < FEWEST_FOR_MAP:
        notes.append(
            f"{trained} training cells are too few for a map of the latent space, which is left out"
        )
    return notes


def _table(dataset: Dataset) -> Int[np.ndarray, "C S"]:
    """Cells of each condition in each stratum."""
    cells = np.zeros((len(dataset.conditions), len(dataset.strata)), np.int64)
    np.add.at(cells, (dataset.condition, dataset.stratum), 1)
    return cells


def _with_control(dataset: Dataset) -> Bool[np.ndarray, "S"]:
    return _table(dataset)[dataset.control] > 0


def _names(dataset: Dataset, conditions: Sequence[int] | np.ndarray) -> list[str]:
    return [dataset.conditions[int(c)] for c in conditions]


def with_controls(config: ScreenConfig, dataset: Dataset) -> Dataset:
    """The data set with the config's word on which controls effects are measured against."""
    return replace(dataset, controls=config.evaluation.controls)
