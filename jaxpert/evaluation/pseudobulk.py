"""Average treatment effects: mean expression per condition minus that of the control."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.moments import Pseudobulk, condition_means


def effects(pseudobulk: Pseudobulk, control: int) -> Float[np.ndarray, "C G"]:
    """Average treatment effect of each condition: its mean minus the control's; NaN rows where it
    has no cells."""
    if pseudobulk.cells[control] == 0:
        raise InputError(
            "no control cell with counts is left to compare perturbations with, expected at least "
            "one: check `data.control`, or loosen the quality criteria"
        )
    # Delta_p of docs/evaluation.md, "Effects".
    return pseudobulk.mean - pseudobulk.mean[control]


def passed_rows(dataset: Dataset, split: str = "all") -> Int[np.ndarray, "n"]:
    """Rows of the cells of `split` that pass the quality criteria (all of them where there are no
    labels)."""
    rows = dataset.rows(split)
    return rows if dataset.quality is None else rows[~dataset.quality.failed[rows]]


def observed_means(
    dataset: Dataset, split: str = "all", scale: str = "log2", *, variance: bool = False
) -> Pseudobulk:
    """Pseudobulk of the QC-passed cells of `split`: "all" is the paper's data side, "train" what
    baselines may see."""
    rows = passed_rows(dataset, split)
    # Indexing by all rows would copy the whole matrix.
    whole = len(rows) == dataset.counts.shape[0]
    counts = dataset.counts if whole else dataset.counts[rows]
    return condition_means(
        counts, dataset.condition[rows], len(dataset.conditions), scale, variance=variance
    )


def held_out_rows(dataset: Dataset) -> Int[np.ndarray, "n"]:
    """Rows of the QC-passed test cells, with every QC-passed control cell where the test split has
    no control."""
    rows = passed_rows(dataset, "test")
    if (dataset.condition[rows] == dataset.control).any():
        return rows
    # Splits by perturbation keep all control cells for training.
    passed = passed_rows(dataset)
    # In file order, so that sums are added up in the same order for any split.
    return np.sort(np.concatenate([rows, passed[dataset.condition[passed] == dataset.control]]))


def held_out_effects(dataset: Dataset, scale: str = "log2") -> Float[np.ndarray, "C G"]:
    """Effects measured on test cells only; NaN rows for conditions without any.

    The honest target for a split of cells, where the paper's own target (all splits together) holds
    the very cells that models and baselines were trained on. For a split of combinations the two
    nearly agree.
    """
    rows = held_out_rows(dataset)
    means = condition_means(
        dataset.counts[rows], dataset.condition[rows], len(dataset.conditions), scale
    )
    return effects(means, dataset.control)


def technical_duplicate(
    counts: Any,
    condition: Int[np.ndarray, "N"],
    n_conditions: int,
    control: int,
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "C G"], Float[np.ndarray, "C G"]]:
    """Effects from two random halves of every condition's cells: scored against each other they are
    the ceiling.

    Both halves carry the noise of half the cells, so this is what a repeated experiment of half the
    size would reach, not an upper bound: a model that averages noise away may pass it. Conditions
    of a single cell get a NaN row.
    """
    order = rng.permutation(len(condition))
    # Shuffled and then sorted stably: a random order within each condition.
    order = order[np.argsort(condition[order], kind="stable")]
    # Within each condition the shuffled cells go to the two halves in turn.
    start = np.searchsorted(condition[order], np.arange(n_conditions))
    half = (np.arange(len(order)) - start[condition[order]]) % 2
    halves = []
    for h in (0, 1):
        rows = np.sort(order[half == h])
        means = condition_means(counts[rows], condition[rows], n_conditions)
        halves.append(effects(means, control))
    return halves[0], halves[1]
