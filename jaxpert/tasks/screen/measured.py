"""What was measured, and what simple baselines make of it: computed once, for scores, figures and
files alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxpert.core.types import Dataset
from jaxpert.data.moments import Pseudobulk
from jaxpert.evaluation import baselines, compare, pseudobulk, strata
from jaxpert.evaluation.baselines.seen import training_of
from jaxpert.evaluation.noise import noise_in

SPLITS = 5
"""Random splits of cells into halves, whose ceilings are averaged."""


@dataclass(frozen=True)
class Measured:
    """The measured effects of a data set's conditions, and predictions of the baselines."""

    dataset: Dataset
    effects: Float[np.ndarray, "C G"]
    """Of QC-passed cells of all splits, as in the CRADLE-VAE paper; NaN without such cells."""
    held_out: Float[np.ndarray, "C G"] | None
    """Of test cells alone, where test conditions have training cells too (a split of cells)."""
    training: baselines.Training
    """What the baselines see: QC-passed training cells."""
    baselines: Mapping[str, Float[np.ndarray, "C G"]]
    """Effects that each baseline predicts, of those that the data allow."""
    notes: tuple[str, ...]
    """Of the baselines, those that are not made included."""
    screen: compare.Screen
    """What scores need to know of the data set beside effects."""
    planted: Float[np.ndarray, "C G"] | None = None
    """True effects of simulated cells."""


def measure(dataset: Dataset, truth: Any = None) -> Measured:
    """Measure a split data set; `truth` is that of simulated cells, pooled over lines."""
    # Baselines see training cells that pass quality, and nothing else.
    training = training_of(dataset)
    made = baselines.make(training)
    # Each baseline predicts a control of its own, from which its effects are taken.
    effects = {}
    for name in tuple(made.baselines):
        # One leaves as the next comes: all of them twice fill the memory in large screens.
        means = made.baselines.pop(name).means
        effects[name] = means - means[dataset.control]
    # Variances tell what the noise of the cells allows (docs/evaluation.md, "Ceiling").
    whole = pseudobulk.observed_means(dataset, variance=True)
    tested = _tested(dataset, training)
    return Measured(
        dataset=dataset,
        effects=pseudobulk.effects(whole, dataset.control),
        held_out=None if tested is None else pseudobulk.effects(tested, dataset.control),
        training=training,
        baselines=effects,
        notes=made.notes,
        screen=_screen(dataset, training)._replace(
            noise=noise_in(dataset, whole),
            noise_held_out=None if tested is None else noise_in(dataset, tested),
        ),
        planted=None if truth is None else planted_effects(dataset, truth),
    )


def beside_itself(measured: Measured, model: str, effects: Float[np.ndarray, "C G"]) -> Measured:
    """The same with the model's own effects for the baseline of its name, if it is one of them: as
    they agree but for rounding, which a comparison could else take for a difference."""
    if model not in measured.baselines:
        return measured
    return replace(measured, baselines={**measured.baselines, model: effects})


def duplicate(
    dataset: Dataset, seed: int | Sequence[int]
) -> tuple[Float[np.ndarray, "C G"], Float[np.ndarray, "C G"]] | None:
    """Effects of two random halves of the held-out cells: how well cells predict themselves. None
    where there are too few control cells for it."""
    # Without test cells, validation cells are what no training has seen.
    if len(dataset.rows("test")):
        rows = pseudobulk.held_out_rows(dataset)
    else:
        rows = pseudobulk.passed_rows(dataset, "val")
    condition = dataset.condition[rows]
    if (condition == dataset.control).sum() < 2:
        # Both halves need a control cell to take effects from.
        return None
    stratum = strata.strata_of(dataset)
    return pseudobulk.technical_duplicate(
        dataset.counts,
        condition,
        len(dataset.conditions),
        dataset.control,
        np.random.default_rng(seed),
        None if stratum is None else stratum[rows],
        pseudobulk.scale_of(dataset),
        chosen=rows,
    )


def duplicates(
    dataset: Dataset, seed: int, splits: int = SPLITS
) -> list[tuple[Float[np.ndarray, "C G"], Float[np.ndarray, "C G"]]] | None:
    """Several random splits of the held-out cells into halves, as of `duplicate`."""
    # The first is that of the run's seed; the others have streams of their own.
    streams = [seed, *([seed, split] for split in range(1, splits))]
    made = [duplicate(dataset, stream) for stream in streams]
    # All of them are there, or none: it depends on the control cells alone.
    return [halves for halves in made if halves is not None] or None


def planted_effects(dataset: Dataset, truth: Any) -> Float[np.ndarray, "C G"]:
    """True effects of the conditions in the data set's order."""
    condition = {str(name): i for i, name in enumerate(truth.conditions)}
    gene = {str(name): i for i, name in enumerate(truth.genes)}
    # Genes and conditions are found by name, since reading sorts and leaves out some.
    mean = truth.mean_log2[[condition[name] for name in dataset.conditions]]
    return (mean - mean[dataset.control])[:, [gene[name] for name in dataset.genes]]


def _tested(dataset: Dataset, training: baselines.Training) -> Pseudobulk | None:
    """Means of test cells alone, where all cells of their conditions hold those of training."""
    if not len(dataset.rows("test")):
        return None
    trained = set(np.flatnonzero(training.cells))
    # Only where test conditions also trained do all cells hold those of training.
    if not set(compare.subsets(dataset)["test"]) & trained:
        return None
    rows = pseudobulk.held_out_rows(dataset)
    return pseudobulk.means_of_rows(dataset, rows, variance=True)


def _screen(dataset: Dataset, training: baselines.Training) -> compare.Screen:
    trained = training.cells > 0
    # The control is no perturbation, so it does not enter the mean effect.
    perturbed = trained & (np.arange(len(trained)) != dataset.control)
    control = training.means[dataset.control]
    return compare.Screen(
        conditions=dataset.conditions,
        control=dataset.control,
        subsets=compare.subsets(dataset),
        trained=trained,
        # A table of effects says nothing of which genes control cells express.
        control_mean=None if dataset.scale == "effects" else control,
        # The reference of Pearson delta: the unweighted mean effect (docs/evaluation.md, Scores).
        reference=training.means[perturbed].mean(0) - control,
        own_genes=compare.own_genes(
            dataset.condition_treatments, dataset.treatments, dataset.genes
        ),
    )
