"""Predicted changes of every perturbation in every line, for the scores that all families share."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxpert.core.types import SPLITS
from jaxpert.evaluation import compare as benchmark
from jaxpert.tasks import translation as spectra
from jaxpert.tasks.translation.baselines import Groups, Means, Predictor, mean_changes, profiles

CONTROL = "control"


class Changes(NamedTuple):
    """Changes from the control row of the same line, the control itself (no change) in front: [K +
    1, G]."""

    names: tuple[str, ...]
    observed: Float[np.ndarray, "C G"]
    predicted: dict[str, Float[np.ndarray, "C G"]]
    truth: Float[np.ndarray, "C G"] | None


def changes(
    prepared: spectra.Prepared, groups: Groups, means: Means, model: Predictor, truth: Any = None
) -> Changes:
    """Mean rows of perturbed cells less those of their control, measured and predicted (from the
    mean control row)."""
    start = means.lower.astype(np.float32)
    first = np.unique(groups.of_pair, return_index=True)[1]
    made = []
    for block in np.array_split(np.arange(len(first)), max(1, len(first) // 256)):
        rows = spectra.Rows(first[block], means.upper[block].astype(np.float32), start[block])
        made.append(model(rows)["n2p"] - start[block])
    profile, _ = profiles(groups, means, len(prepared.spectra.lines))
    found = {
        benchmark.MODEL: np.concatenate(made),
        "no_change": np.zeros_like(means.upper),
        "mean_perturbation": profile["n2p"][groups.line] - means.lower,
        "mean_change": mean_changes(groups, means)[0],
    }
    front = np.zeros((1, means.upper.shape[1]))
    planted = None if truth is None else planted_changes(prepared, groups, truth)
    return Changes(
        (CONTROL, *groups.names),
        np.concatenate([front, means.upper - means.lower]),
        {name: np.concatenate([front, each]).astype(float) for name, each in found.items()},
        None if planted is None else np.concatenate([front, planted]),
    )


def planted_changes(
    prepared: spectra.Prepared, groups: Groups, truth: Any
) -> Float[np.ndarray, "K G"] | None:
    """True changes in the space of the rows (ComBat's scale included); None where conditions of the
    truth are none of perturbation and line, and on other scales than log2."""
    where = {str(name): i for i, name in enumerate(truth.conditions)}
    if prepared.scale.kind != "log2_cp10k" or prepared.pairs.dose is not None:
        return None
    dataset, lines = prepared.dataset, prepared.spectra.lines
    names = [
        f"{dataset.conditions[c]} in {lines[i]}"
        for c, i in zip(groups.condition, groups.line, strict=True)
    ]
    control = [f"{dataset.conditions[dataset.control]} in {lines[i]}" for i in groups.line]
    if not set(names) | set(control) <= set(where):
        return None
    genes = {str(name): i for i, name in enumerate(truth.genes)}
    mean = truth.mean_log2[:, [genes[name] for name in dataset.genes]]
    change = mean[[where[name] for name in names]] - mean[[where[name] for name in control]]
    return prepared.affine.scale[groups.batch] * change


def compare(
    prepared: spectra.Prepared, groups: Groups, means: Means, found: Changes, seed: int
) -> dict[str, Any]:
    """`benchmark.compare` over pairs of perturbation and line: the main table of the report."""
    pairs, dataset = prepared.pairs, prepared.dataset
    subsets = {"all": np.arange(1, len(found.names))}
    for name in SPLITS[:3]:
        members = np.unique(groups.of_pair[pairs.part == SPLITS.index(name)]) + 1
        if len(members):
            subsets[name] = members
    trained = np.concatenate([[True], groups.trained])
    table = np.zeros((len(found.names), dataset.condition_treatments.shape[1]), np.float32)
    table[1:] = dataset.condition_treatments[groups.condition]
    control = means.lower.mean(0)
    screen = benchmark.Screen(
        conditions=found.names,
        control=0,
        subsets=subsets,
        trained=trained,
        control_mean=control,
        reference=found.observed[1:][groups.trained].mean(0),
        own_genes=benchmark.own_genes(table, dataset.treatments, dataset.genes),
    )
    return benchmark.compare(found.observed, found.predicted, screen, truth=found.truth, seed=seed)
