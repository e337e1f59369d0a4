"""The GEARS paper's scores of predicted means on a data set: per condition, on average, and per
subgroup of test."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxpert.core.types import Dataset, InputError
from jaxpert.evaluation import pseudobulk
from jaxpert.evaluation.differential import Ranking, rank
from jaxpert.models.gears import metrics as gears_metrics
from jaxpert.models.gears.metrics import Compat


class Scores(NamedTuple):
    """Values by the name of the score."""

    conditions: dict[str, dict[str, float]]
    mean: dict[str, float]
    """Over the conditions above, each counting once."""
    groups: dict[str, dict[str, float]]
    """Means over the data set's subgroups that have scored conditions (`combo_seen0` ...)."""


class Truth(NamedTuple):
    """What every prediction on one data set is scored against; computed once."""

    means: pseudobulk.Pseudobulk
    ranking: Ranking
    variable: np.ndarray
    """The 200 genes that vary most between conditions."""


def measure(dataset: Dataset) -> Truth:
    """Means, rankings and the most variable genes of all QC-passed cells, on the scale ln(1 + 1e4 x
    / sum x)."""
    means = pseudobulk.observed_means(dataset, "all", "ln", variance=True)
    pseudobulk.effects(means, dataset.control)  # says so where no control cell is left
    return Truth(means, rank(means, dataset.control), gears_metrics.variable_genes(means.mean))


def score_dataset(
    dataset: Dataset,
    predicted: Float[np.ndarray, "C G"],
    truth: Truth,
    *,
    split: str = "test",
    compat: Compat = None,
) -> Scores:
    """Score predicted means against the QC-passed cells of `split`.

    Args:
        dataset: split, with counts.
        predicted: mean of every condition on the scale ln(1 + 1e4 x / sum x); rows of conditions
            without cells in `split` are not read.
        truth: `measure(dataset)`.
        split: "test", "val", "train" or "all".
        compat: "reference" for the shipped behaviour (see `gears_metrics`).

    Cells are normalised condition by condition, so memory is that of the largest condition.
    Control, where the split has it, is scored by `mse` and `pearson` only.
    """
    if predicted.shape != truth.means.mean.shape:
        raise ValueError(
            f"predictions have shape {predicted.shape}, expected {truth.means.mean.shape}"
        )
    rows = pseudobulk.passed_rows(dataset, split)
    present = np.unique(dataset.condition[rows])
    if not len(present):
        raise InputError(
            f"split {split!r} of {dataset.name!r} has no cells to score on: change split.kind"
        )
    found = {}
    for c in present.tolist():
        cells = _cells(dataset, rows[dataset.condition[rows] == c])
        if cells.shape[0]:
            found[dataset.conditions[c]] = _one(dataset, c, predicted[c], cells, truth, compat)
    groups = {
        name: [m for m in members if m in found] for name, members in dataset.subgroups.items()
    }
    means = {
        name: gears_metrics.mean_scores(found, members)
        for name, members in groups.items()
        if members
    }
    return Scores(found, gears_metrics.mean_scores(found), means)


def _one(
    dataset: Dataset, c: int, predicted: np.ndarray, cells, truth: Truth, compat: Compat
) -> dict[str, float]:
    if c == dataset.control:
        return gears_metrics.control_scores(predicted, cells, compat)
    genes = gears_metrics.gene_sets(truth.ranking, c, truth.variable)
    return gears_metrics.condition_scores(
        predicted, cells, truth.means.mean[dataset.control], genes, compat
    )


def _cells(dataset: Dataset, rows: np.ndarray):
    """Normalised CSR cells; those without any counts are left out."""
    y, full = pseudobulk.normalise(dataset.counts[rows], pseudobulk.SCALES["ln"])
    return y[full]
