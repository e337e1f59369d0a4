"""Average treatment effects: mean expression per condition minus that of the control of the same
strata."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.moments import Pseudobulk
from jaxpert.evaluation.strata import means_within, strata_of


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
    baselines may see. Of several strata it is taken within each (`strata.means_within`)."""
    return means_of_rows(dataset, passed_rows(dataset, split), scale, variance=variance)


def means_of_rows(
    dataset: Dataset, rows: Int[np.ndarray, "n"], scale: str = "log2", *, variance: bool = False
) -> Pseudobulk:
    """Pseudobulk of some cells; those on a log scale already are averaged as they are."""
    stratum = strata_of(dataset)
    return means_within(
        dataset.counts,
        dataset.condition[rows],
        None if stratum is None else stratum[rows],
        len(dataset.conditions),
        dataset.control,
        scale_of(dataset, scale),
        variance=variance,
        # By number, since choosing all of them at once would copy the matrix.
        chosen=rows,
    )


def scale_of(dataset: Dataset, scale: str = "log2") -> str:
    """The scale to take means on, by its name in `moments.SCALES`: "given" for values that are no
    counts any more."""
    return scale if dataset.scale == "counts" else "given"


def held_out_rows(
    dataset: Dataset, split: str = "test", *, controls: str = "all"
) -> Int[np.ndarray, "n"]:
    """Rows of the QC-passed cells of a held-out split, with every QC-passed control cell (of the
    split `controls`) of the strata where it has no control."""
    rows, stratum = passed_rows(dataset, split), strata_of(dataset)
    passed = passed_rows(dataset, controls)
    # Splits by perturbation keep all control cells for training.
    others = passed[dataset.condition[passed] == dataset.control]
    tested = rows[dataset.condition[rows] == dataset.control]
    if stratum is None and len(tested):
        return rows
    if stratum is not None:
        others = others[~np.isin(stratum[others], stratum[tested])]
    # In file order, so that sums are added up in the same order for any split.
    return np.sort(np.concatenate([rows, others]))


def held_out_effects(dataset: Dataset, scale: str = "log2") -> Float[np.ndarray, "C G"]:
    """Effects measured on test cells only; NaN rows for conditions without any.

    The honest target for a split of cells, where the paper's own target (all splits together) holds
    the very cells that models and baselines were trained on. For a split of combinations the two
    nearly agree.
    """
    return effects(means_of_rows(dataset, held_out_rows(dataset), scale), dataset.control)


def technical_duplicate(
    counts: Any,
    condition: Int[np.ndarray, "N"],
    n_conditions: int,
    control: int,
    rng: np.random.Generator,
    stratum: Int[np.ndarray, "N"] | None = None,
    scale: str = "log2",
    *,
    chosen: Int[np.ndarray, "N"] | None = None,
) -> tuple[Float[np.ndarray, "C G"], Float[np.ndarray, "C G"]]:
    """Effects from two random halves of every condition's cells: scored against each other they are
    the ceiling.

    Both halves carry the noise of half the cells, so this is what a repeated experiment of half the
    size would reach, not an upper bound: a model that averages noise away may pass it. Conditions
    of a single cell get a NaN row. With `stratum` the cells of each condition are halved within
    every stratum. `chosen` are the numbers of the cells in `counts`, None for all.
    """
    group, groups = condition, n_conditions
    if stratum is not None:
        _, group = np.unique(np.stack([condition, stratum]), axis=1, return_inverse=True)
        # Some versions of NumPy give this inverse a second axis.
        group = group.ravel()
        groups = int(group.max()) + 1
    order = rng.permutation(len(condition))
    # Shuffled and then sorted stably: a random order within each group.
    order = order[np.argsort(group[order], kind="stable")]
    # Within each group the shuffled cells go to the two halves in turn.
    start = np.searchsorted(group[order], np.arange(groups))
    half = (np.arange(len(order)) - start[group[order]]) % 2
    halves = []
    for h in (0, 1):
        rows = np.sort(order[half == h])
        where = None if stratum is None else stratum[rows]
        cells = rows if chosen is None else chosen[rows]
        means = means_within(
            counts, condition[rows], where, n_conditions, control, scale, chosen=cells
        )
        halves.append(effects(means, control))
    return halves[0], halves[1]
