"""Training, validation and test cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxpert.core.types import SPLITS, Dataset, InputError
from jaxpert.data import perturbation_splits
from jaxpert.data.files import shown
from jaxpert.data.labels import text_labels
from jaxpert.data.perturbation_groups import PerturbationSplit
from jaxpert.data.split_audit import audit, audit_notes

BY_PERTURBATION = (*perturbation_splits.KINDS, "custom")
KINDS = ("combinations", "cells", "column", "none", *BY_PERTURBATION)
TRAIN, VAL, TEST, DROPPED = range(4)
WANTED = {"none": (TRAIN,), "passed": (TRAIN, VAL), "no_test": (TRAIN, VAL), "no_split": (TEST,)}
"""Parts that must have cells; train, val and test where not said (splits by perturbation: train and
test)."""
FIXES = dict.fromkeys(
    BY_PERTURBATION, "there are too few perturbations for it, set another split.kind or seed"
) | {
    "column": "give some cells that value or set split.column to another column",
    "combinations": "set split.kind=cells or split.seed to another number",
    "passed": "set quality.training_cells=all or a larger quality.multiplier",
    "custom": "list some conditions for it",
}
"""What helps where a part has no cells."""
TRAIN_SHARE = 0.75
"""Share of the combinations that are trained on."""


def add_split(
    dataset: Dataset,
    *,
    kind: str = "combinations",
    seed: int = 0,
    column: str | None = None,
    **settings: Any,
) -> Dataset:
    """Give every cell its split.

    Args:
      kind: "combinations" holds out a quarter of the conditions with two treatments or more
        (Norman, Dixit); "cells" holds out cells at random, 64/16/20 (Replogle, Adamson, where the
        published seed is 0); "column" takes a column with train, val, test and dropped; "none"
        trains on every cell, leaving nothing to validate on. The GEARS paper's splits hold out
        whole conditions and keep all control cells for training: "simulation", "simulation_single",
        "combo_seen0", "combo_seen1", "combo_seen2", "single", "no_test", "no_split" and "custom"
        (see `data.perturbation_splits`).
      seed: of the random kinds.
      column: name of the column of kind "column".
      settings: of a split by perturbation: `gene_share`, `combination_share`, `share`,
          `test_perts`, `lists` ...

    Raises `InputError` for a split without cells and for training cells without control. Notes name
    the conditions that training does not see, and held-out combinations with a treatment that it
    does not see; for splits by perturbation also the genes perturbed in both train and test, empty
    groups, and conditions of a single cell.

    Example:
        cells = jaxpert.add_split(cells, kind="combinations", seed=1)
    """
    if kind not in KINDS:
        raise InputError(
            f"the split is {kind!r}, expected one of {shown(KINDS, len(KINDS))}: change split.kind"
        )
    if kind in BY_PERTURBATION:
        return _by_perturbation(dataset, kind, seed, settings)
    if settings:
        raise TypeError(f"the split {kind!r} takes no {shown(settings)}")
    if kind == "combinations":
        split = _combinations(dataset, seed)
    elif kind == "cells":
        split = cell_split(len(dataset.cells), seed)
    elif kind == "column":
        split = _column(dataset, column)
    else:
        split = np.full(len(dataset.cells), TRAIN, np.int8)
    _require_cells(dataset, split, kind)
    return replace(dataset, split=split, notes=(*dataset.notes, *_remarks(dataset, split)))


def drop_failed(dataset: Dataset) -> Dataset:
    """Take cells that fail quality out of train and val, as for the paper's model trained on passed
    cells only; test cells and measured effects stay as they are."""
    if dataset.quality is None or dataset.split is None:
        raise InputError(
            f"data set {dataset.name!r} lacks quality labels or a split, expected both: call "
            "add_quality and add_split"
        )
    gone = dataset.quality.failed & np.isin(dataset.split, (TRAIN, VAL))
    split = np.where(gone, DROPPED, dataset.split).astype(np.int8)
    _require_cells(dataset, split, "passed")
    note = (
        f"{int(gone.sum())} cells of train and val fail quality and are trained on by no step "
        "(training_cells)"
    )
    lost = np.setdiff1d(
        dataset.condition[dataset.split == TRAIN], dataset.condition[split == TRAIN]
    )
    if len(lost):
        note += (
            f"; {len(lost)} conditions lose their last training cell: "
            f"{shown(dataset.conditions[c] for c in lost)}"
        )
    return replace(dataset, split=split, notes=(*dataset.notes, note))


def combination_split(
    labels: Sequence[str] | np.ndarray, treatments: Int[np.ndarray, "N"], seed: int
) -> Int[np.ndarray, "N"]:
    """Split cells by their label and their number of treatments, as the published Norman and Dixit
    splits were divided.

    The sorted combination labels are shuffled; the first 3/4 (rounded down) are training
    combinations, the rest test combinations. All cells with combinations are cut 80/20 twice; train
    and val cells count only in training combinations, test cells only in test combinations, other
    cells are dropped. The remaining cells are cut 80/20 into train and val.
    """
    names = np.asarray(labels, dtype=str)
    split = np.full(len(names), DROPPED, np.int8)
    paired = np.flatnonzero(np.asarray(treatments) >= 2)
    # np.unique sorts, so the shuffle starts from one list whatever the order of cells.
    combinations = np.unique(names[paired])
    np.random.default_rng(seed).shuffle(combinations)
    train_combinations = combinations[: int(np.floor(TRAIN_SHARE * len(combinations)))]
    # Two cuts with one seed, as published (docs/models/cradle.md, "Splits").
    rest, test = _cut(paired, seed)
    train, val = _cut(rest, seed)
    for code, rows in ((TRAIN, train), (VAL, val), (TEST, test)):
        trained = np.isin(names[rows], train_combinations)
        # Train and val take trained combinations, test takes the others; the rest stays dropped.
        split[rows[trained != (code == TEST)]] = code
    # Controls and singles are never held out, so training sees every gene that is given alone.
    train, val = _cut(np.flatnonzero(np.asarray(treatments) < 2), seed)
    split[train], split[val] = TRAIN, VAL
    return split


def cell_split(cells: int, seed: int) -> Int[np.ndarray, "N"]:
    """Cut cells 80/20 into the rest and test, the rest 80/20 into train and val: 64/16/20."""
    split = np.full(cells, DROPPED, np.int8)
    rest, test = _cut(np.arange(cells), seed)
    train, val = _cut(rest, seed)
    split[train], split[val], split[test] = TRAIN, VAL, TEST
    return split


def perturbed_genes(dataset: Dataset) -> dict[str, frozenset[str]]:
    """Condition -> its treatments, in the order of the conditions' first cells."""
    # "combo_seen2" and "no_test" depend on this order (docs/models/gears.md, "Splits").
    present, first = np.unique(dataset.condition, return_index=True)
    names, table = np.asarray(dataset.treatments, object), dataset.condition_treatments.astype(bool)
    return {dataset.conditions[c]: frozenset(names[table[c]]) for c in present[np.argsort(first)]}


def _by_perturbation(dataset: Dataset, kind: str, seed: int, settings: dict[str, Any]) -> Dataset:
    genes = perturbed_genes(dataset)
    if kind == "custom":
        if not settings.get("lists"):
            raise InputError(
                "split.kind is 'custom' but there are no lists, expected some: set split.file to "
                "a .json file of them"
            )
        divided = perturbation_splits.custom(genes, rules=dataset.label_rules, **settings)
    else:
        divided = perturbation_splits.split_conditions(kind, genes, seed, **settings)
    split = _codes(dataset, divided)
    _require_cells(dataset, split, kind)
    placed = replace(dataset, split=split, subgroups=divided.groups)
    return replace(
        placed, notes=(*dataset.notes, *_remarks(dataset, split), *audit_notes(audit(placed)))
    )


def _codes(dataset: Dataset, divided: PerturbationSplit) -> Int[np.ndarray, "N"]:
    code = dict.fromkeys(divided.train, TRAIN)
    code |= dict.fromkeys(divided.val, VAL) | dict.fromkeys(divided.test, TEST)
    of_condition = [code.get(name, DROPPED) for name in dataset.conditions]
    return np.array(of_condition, np.int8)[dataset.condition]


def _cut(rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """80/20 by scikit-learn; fewer than two rows cannot be cut and stay in the first part."""
    from sklearn.model_selection import train_test_split

    if len(rows) < 2:
        return rows, rows[:0]
    first, second = train_test_split(rows, test_size=0.2, random_state=seed)
    return np.asarray(first), np.asarray(second)


def _combinations(dataset: Dataset, seed: int) -> np.ndarray:
    treatments = dataset.condition_treatments.sum(axis=1).astype(np.int64)
    pairs = int((treatments >= 2).sum())
    if pairs < 2:
        raise InputError(
            f"{dataset.name!r} has {pairs} conditions with two treatments or more, expected at "
            "least 2 to hold some out: set split.kind=cells (or check data.separator)"
        )
    labels = np.asarray(dataset.conditions, dtype=str)[dataset.condition]
    return combination_split(labels, treatments[dataset.condition], seed)


def _column(dataset: Dataset, name: str | None) -> np.ndarray:
    if not name:
        raise InputError(
            "split.kind is 'column' but no column is named, expected one: set split.column to one "
            f"of {shown(dataset.obs.columns, 40)}"
        )
    text = text_labels(
        dataset.obs, name, "split.column", "write 'dropped' for cells of no split"
    ).astype(str)
    unknown = sorted(set(text.tolist()) - set(SPLITS))
    if unknown:
        raise InputError(
            f"column {name!r} has the values {shown(map(repr, unknown))}, expected "
            f"{shown(SPLITS)}: rename them or set split.column to another column"
        )
    return np.array([SPLITS.index(value) for value in text], np.int8)


def _require_cells(dataset: Dataset, split: np.ndarray, kind: str) -> None:
    cells = np.bincount(split, minlength=4)
    # A small screen may leave a split by perturbation without validation, which is noted.
    usual = (TRAIN, TEST) if kind in BY_PERTURBATION else (TRAIN, VAL, TEST)
    wanted = WANTED.get(kind, usual)
    empty = [SPLITS[code] for code in wanted if cells[code] == 0]
    if empty:
        sizes = ", ".join(f"{name} {number}" for name, number in zip(SPLITS, cells, strict=True))
        raise InputError(
            f"the split of {dataset.name!r} puts no cell into {' and '.join(empty)} ({sizes}), "
            "expected some in each: "
            f"{FIXES.get(kind, 'give more cells, or take all for training with split.kind=none')}"
        )
    if TRAIN in wanted and not ((split == TRAIN) & (dataset.condition == dataset.control)).any():
        raise InputError(
            f"no control cell of {dataset.name!r} is in train, expected some as reference: change "
            "split.seed or split.kind, or the split column"
        )


def _remarks(dataset: Dataset, split: np.ndarray) -> tuple[str, ...]:
    numbers = np.arange(len(dataset.conditions))
    trained = np.isin(numbers, dataset.condition[split == TRAIN])
    evaluated = np.isin(numbers, dataset.condition[(split == VAL) | (split == TEST)])
    held_out = evaluated & ~trained
    seen = np.asarray(dataset.condition_treatments[trained].any(axis=0))
    dropped = int((split == DROPPED).sum())
    remarks = [f"{dropped} cells are in no split"] if dropped else []
    if held_out.any():
        names = np.asarray(dataset.conditions, object)[held_out]
        remarks.append(
            f"{len(names)} conditions are evaluated without having been trained on: {shown(names)}"
        )
    unseen = [_without_training(dataset, int(i), seen) for i in np.flatnonzero(held_out)]
    named = list(filter(None, unseen))
    if named:
        remarks.append(
            f"{len(named)} held-out conditions have treatments that no training cell received, for "
            "which the prediction rests on the model's prior or graph and not on data: "
            f"{shown(named, 20)}"
        )
    gone = ~trained & ~evaluated
    if gone.any():
        names = np.asarray(dataset.conditions, object)[gone]
        remarks.append(f"{len(names)} conditions have no cell in any split: {shown(names)}")
    return tuple(remarks)


def _without_training(dataset: Dataset, condition: int, seen: np.ndarray) -> str:
    """`A+B (B)` where B was given to no training cell, else empty."""
    given = dataset.condition_treatments[condition].astype(bool)
    names = np.asarray(dataset.treatments, object)[given & ~seen]
    return f"{dataset.conditions[condition]} ({' and '.join(names)})" if len(names) else ""
