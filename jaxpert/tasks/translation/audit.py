"""Every demand that evaluation makes of paired rows, checked before anything is trained, and what
was understood of the data (docs/guide/check.md)."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxpert.core.types import SPLITS, InputError
from jaxpert.data.files import shown
from jaxpert.evaluation.intervals import FEWEST_FOR_INTERVAL
from jaxpert.tasks.translation.groups import EffectGroups, find_effect_groups, groups_asked
from jaxpert.tasks.translation.keys import TranslationConfig
from jaxpert.tasks.translation.prepare import Prepared

TRAIN = SPLITS.index("train")
NAMED = 16
"""Lines that are listed."""


def check_rows(config: TranslationConfig, prepared: Prepared) -> None:
    """Refuse rows that training or evaluation could not do with.

    Raises:
        InputError: for no pair of rows to train on or to score, fewer training pairs than a batch,
            and unknown names to show.
    """
    part, batch = prepared.pairs.part, config.train.batch_size
    # A drawn cell is a row for itself where rows are cells.
    per_pair = prepared.draws.cells.shape[2] if prepared.unit == "cell" else 1
    trained = per_pair * int((part == TRAIN).sum())
    # With no epochs nothing is trained: a finished run is scored as it is.
    if config.train.epochs and trained < batch:
        raise InputError(
            f"{prepared.dataset.name!r} gives {trained} training rows, expected at least "
            f"a batch of {batch}: lower train.batch_size, raise data.replicates, or hold out less "
            "(split.kind, split.test_share)"
        )
    if not (part != TRAIN).any():
        raise InputError(
            f"split.kind is {config.split.kind!r}, which leaves no rows to score, expected "
            "replicate, perturbation, cell_line or perturbation_in_line: correct it"
        )
    groups = find_effect_groups(prepared)
    _check_baselines(prepared, groups)
    groups_asked(prepared, groups, config.evaluation.shown)


def notes_of(prepared: Prepared) -> tuple[str, ...]:
    """What weakens scores, a sentence each."""
    notes, lines = [], prepared.pseudobulk.lines
    if len(lines) < 2 and prepared.pairs.dose is None:
        notes.append(
            f"there is one line ({shown(lines)}), so nothing is translated between lines: a line "
            "is named by data.line, or by a file of its own in data.source"
        )
    scored = np.unique(find_effect_groups(prepared).of_pair[prepared.pairs.part != TRAIN])
    if len(scored) < FEWEST_FOR_INTERVAL:
        notes.append(
            f"{len(scored)} pairs of perturbation and line are scored, fewer than "
            f"{FEWEST_FOR_INTERVAL}, so that no interval can be given and the verdict claims "
            "nothing"
        )
    return tuple(notes)


def facts_of(prepared: Prepared) -> dict[str, Any]:
    """The data in words and numbers: lines, controls, pairs of rows and genes."""
    dataset, groups = prepared.dataset, prepared.pseudobulk
    size = np.diff(groups.start)
    is_control = groups.condition == dataset.control
    lines = {}
    for number, name in enumerate(groups.lines[:NAMED]):
        here = groups.line == number
        lines[name] = {
            "cells": int(size[here].sum()),
            "control cells": int(size[here & is_control].sum()),
            "perturbations": len(np.unique(groups.condition[here & ~is_control])),
        }
    pairs = [f"{name} {len(prepared.pair_numbers(name))}" for name in SPLITS[:3]]
    measured = sorted(set(dataset.treatments) & set(dataset.genes))
    perturbed = [name for name in dataset.conditions if name != dataset.conditions[dataset.control]]
    return {
        "cells": len(dataset.cells),
        "control": repr(dataset.conditions[dataset.control]),
        "perturbations": f"{len(perturbed)}: {shown(perturbed, 8)}",
        "genes": (
            f"{len(dataset.genes)} ({shown(dataset.genes, 4)}); {len(measured)} of the "
            f"{len(dataset.treatments)} treatments are measured genes"
        ),
        "cells of a group": f"{size.min()} to {size.max()}, median {np.median(size):.0f}",
        "pairs of rows": ", ".join(pairs),
        "lines": lines,
    }


def _check_baselines(prepared: Prepared, groups: EffectGroups) -> None:
    """Baselines learn from groups whose control has training cells too."""
    dataset = prepared.dataset
    rows = dataset.rows("train")
    of_cell = np.full(len(dataset.cells), -1)
    sizes = np.diff(prepared.pseudobulk.start)
    of_cell[prepared.pseudobulk.cells] = np.repeat(np.arange(len(sizes)), sizes)
    drawn = np.isin(groups.lower, of_cell[rows])
    if not (groups.trained & drawn).any():
        raise InputError(
            f"no pair of perturbation and line of {dataset.name!r} has training rows whose control "
            "has training cells, expected one at least, which the baselines learn from: hold out "
            "less or take another split.kind"
        )
