"""The GEARS paper's scores of a prediction, on every group of held-out conditions, with its
baselines beside it (docs/models/gears.md, Evaluation)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.gene_graphs import COEXPRESSION
from jaxpert.data.mapped import rows_of
from jaxpert.data.moments import log_normalise, log_normalised_blocks
from jaxpert.evaluation import compare, pseudobulk
from jaxpert.evaluation.differential import Ranking, rank
from jaxpert.models.gears import baselines
from jaxpert.models.gears import metrics as gears_metrics
from jaxpert.models.gears.metrics import Compat
from jaxpert.nn.graphs import edges_of
from jaxpert.tasks.screen.measured import Measured
from jaxpert.tasks.screen.predict import Prediction

LN2 = float(np.log(2))
HOPS = {"linear_propagation": ("paper", 3), "linear_propagation_script": ("script", 1)}
"""Both forms of the paper's linear baseline: as its text has it, and as its scripts ran last."""
FIT_CELLS = 5000
"""Training control cells behind the weights of linear propagation, at most: evenly spaced in file
order."""


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

    def control_of(self, condition: int, control: int) -> Float[np.ndarray, "G"]:
        """Mean of the control cells that a condition is compared with: those of its strata."""
        matched = self.means.matched
        return self.means.mean[control] if matched is None else matched.control[condition]


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
        compat: "reference" for the shipped behaviour (see `models.gears.metrics`).

    Cells are normalised condition by condition, so memory is that of the largest condition.
    Control, where the split has it, is scored by `mse` and `pearson` only.
    """
    if predicted.shape != truth.means.mean.shape:
        raise InputError(
            f"predictions have shape {predicted.shape}, expected {truth.means.mean.shape}: predict "
            "every condition and gene"
        )
    # Cells that fail quality are not scored, whatever the split.
    rows = pseudobulk.passed_rows(dataset, split)
    present = np.unique(dataset.condition[rows])
    if not len(present):
        raise InputError(
            f"split {split!r} of {dataset.name!r} has no cells to score on, expected some: change "
            "split.kind"
        )
    conditions = {}
    for c in present.tolist():
        # One condition at a time, since cells of all are too many to be dense.
        cells = _cells(dataset, rows[dataset.condition[rows] == c])
        # Cells without counts have no profile, and a condition may hold nothing else.
        if cells.shape[0]:
            conditions[dataset.conditions[c]] = _score_condition(
                dataset, c, predicted[c], cells, truth, compat
            )
    groups = _subgroup_means(dataset, conditions)
    return Scores(conditions, gears_metrics.mean_scores(conditions), groups)


def _subgroup_means(
    dataset: Dataset, conditions: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Means over the data set's subgroups that have scored conditions."""
    means = {}
    for name, members in dataset.subgroups.items():
        scored = [member for member in members if member in conditions]
        # A subgroup of another split has no scored condition here.
        if scored:
            means[name] = gears_metrics.mean_scores(conditions, scored)
    return means


def _score_condition(
    dataset: Dataset, c: int, predicted: np.ndarray, cells, truth: Truth, compat: Compat
) -> dict[str, float]:
    # Control changes by nothing, so scores of changes have no meaning for it.
    if c == dataset.control:
        return gears_metrics.control_scores(predicted, cells, compat)
    genes = gears_metrics.gene_sets(truth.ranking, c, truth.variable)
    control = truth.control_of(c, dataset.control)
    if truth.means.matched is not None:
        # Predictions have the control's proportions of strata, the cells those of the condition.
        predicted = predicted + (control - truth.means.mean[dataset.control])
    return gears_metrics.condition_scores(predicted, cells, control, genes, compat)


def _cells(dataset: Dataset, rows: np.ndarray):
    """Normalised CSR cells; those without any counts are left out."""
    y, full = log_normalise(rows_of(dataset.counts, rows))
    return y[full]


def scores(measured: Measured, prediction: Prediction) -> dict[str, Any]:
    """`Family.scores`: {"model": {group: {score: value}}, "baselines": {name: the same},
    "conditions": {group: number}, "notes": [...]}.

    Groups are "test" and "val" (all their conditions, the control left out) and the data set's
    subgroups of test. Scores are those of `models.gears.metrics` on ln(1 + 1e4 x / sum x), and
    `normalised_<mse ...>`: each squared error divided by that of no change. Everything is scored on
    all cells of the condition (QC-passed where there are labels); baselines see training cells
    only.
    """
    dataset = measured.dataset
    truth = measure(dataset)
    predicted, notes = baseline_means(measured)
    # Predictions of all models are in log2, the paper's scores on the natural scale.
    predicted[compare.MODEL] = LN2 * prediction.effects.moments.mean[prediction.rows_of(dataset)]
    by_method: dict[str, dict[str, dict[str, float]]] = {name: {} for name in predicted}
    sizes: dict[str, int] = {}
    for split in ("test", "val"):
        # A split without cells has no group.
        if not len(pseudobulk.passed_rows(dataset, split)):
            continue
        for name, means in predicted.items():
            scored = score_dataset(dataset, means, truth, split=split).conditions
            for group, members in _groups(dataset, scored, split).items():
                by_method[name][group] = gears_metrics.mean_scores(scored, members)
                sizes[group] = len(members)
    # Relative to no change, as in the paper's figures (docs/models/gears.md, Scores).
    no_change = by_method["no_change"]
    for name, groups in by_method.items():
        by_method[name] = _with_normalised(groups, no_change)
    model = by_method.pop(compare.MODEL)
    return compare.json_safe(
        {"model": model, "baselines": by_method, "conditions": sizes, "notes": notes}
    )


def _groups(dataset: Dataset, scored: Mapping[str, Any], split: str) -> dict[str, list[str]]:
    """The scored conditions of a split and of its subgroups, without the control; no empty
    groups."""
    control = dataset.conditions[dataset.control]
    # Means leave control out (docs/models/gears.md, Scores).
    groups = {}
    perturbed = [name for name in scored if name != control]
    if perturbed:
        groups[split] = perturbed
    # Subgroups are of the test conditions alone.
    if split != "test":
        return groups
    for group, members in dataset.subgroups.items():
        held = [name for name in members if name in scored]
        if held:
            groups[group] = held
    return groups


def _with_normalised(
    groups: Mapping[str, dict[str, float]], no_change: Mapping[str, dict[str, float]]
) -> dict[str, dict[str, float]]:
    """The scores of each group, with the errors relative to those of no change."""
    whole = {}
    for group, scores in groups.items():
        whole[group] = dict(scores)
        for name, value in gears_metrics.normalised(scores, no_change[group]).items():
            whole[group][f"normalised_{name}"] = value
    return whole


def baseline_means(measured: Measured) -> tuple[dict[str, Float[np.ndarray, "C G"]], list[str]]:
    """Predicted means of every baseline on the natural log scale, those of the paper among them;
    notes on what stands in."""
    dataset, training = measured.dataset, measured.training
    control = training.means[dataset.control]
    means = {name: LN2 * (control + effect) for name, effect in measured.baselines.items()}
    notes = list(measured.notes)
    # Linear propagation needs the graph that it spreads along.
    if COEXPRESSION not in dataset.graphs:
        return means, notes
    weights = propagation_weights(dataset)
    for name, (form, hops) in HOPS.items():
        propagated = baselines.linear_propagation(
            LN2 * control,
            weights,
            dataset.condition_treatments,
            dataset.treatments,
            dataset.genes,
            form=form,
            hops=hops,
        )
        means[name] = propagated.means
    return means, [*notes, *propagated.notes]


def propagation_weights(dataset: Dataset) -> Float[np.ndarray, "G G"]:
    """Weights of the co-expression edges, from training control cells."""
    from scipy import sparse

    rows = dataset.rows("train")
    rows = rows[dataset.condition[rows] == dataset.control]
    # Evenly spaced cells in file order; repeated places are taken once.
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, FIT_CELLS).astype(int))]
    # In blocks, so that no dense matrix of cells by genes is made.
    blocks = log_normalised_blocks(rows_of(dataset.counts, rows), np.ones(len(rows), bool))
    expression = sparse.vstack(list(blocks), format="csr")
    edges = edges_of(dataset.graphs[COEXPRESSION].graph)
    return baselines.fit_weights(expression, edges.senders, edges.receivers)
