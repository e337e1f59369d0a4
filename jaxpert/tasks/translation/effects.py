"""Predicted changes of every perturbation in every line, for the scores that all families share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxpert.core.types import SPLITS
from jaxpert.evaluation import compare as comparison
from jaxpert.evaluation.by_perturbation import by_perturbation, target_of
from jaxpert.tasks.translation.baselines import mean_changes, profiles
from jaxpert.tasks.translation.groups import EffectGroups, GroupMeans, Predictor
from jaxpert.tasks.translation.prepare import Prepared
from jaxpert.tasks.translation.rows import Rows

CONTROL = "control"


class Changes(NamedTuple):
    """Changes from the control row of the same line, the control itself (no change) in front: [K +
    1, G]."""

    names: tuple[str, ...]
    observed: Float[np.ndarray, "C G"]
    predicted: dict[str, Float[np.ndarray, "C G"]]
    truth: Float[np.ndarray, "C G"] | None


def changes(
    prepared: Prepared, groups: EffectGroups, means: GroupMeans, model: Predictor, truth: Any = None
) -> Changes:
    """Mean rows of perturbed cells less those of their control, measured and predicted (from the
    mean control row)."""
    # The model reads float32 in training, so it is given the same here.
    start = means.lower.astype(np.float32)
    # Any row of a pair carries its condition and batch; the first stands for all.
    first = np.unique(groups.of_pair, return_index=True)[1]
    made = []
    # In blocks, since there may be thousands of pairs with as many genes.
    for block in np.array_split(np.arange(len(first)), max(1, len(first) // 256)):
        rows = Rows(first[block], means.upper[block].astype(np.float32), start[block])
        # The prediction less its input is the effect (docs/evaluation.md, Effects).
        made.append(model(rows)["n2p"] - start[block])
    profile, _ = profiles(groups, means, len(prepared.pseudobulk.lines))
    predicted = {
        comparison.MODEL: np.concatenate(made),
        "no_change": np.zeros_like(means.upper),
        "mean_perturbation": profile["n2p"][groups.line] - means.lower,
        "mean_change": mean_changes(groups, means)[0],
    }
    planted = None
    if truth is not None:
        planted = planted_changes(prepared, groups, truth)
    if planted is not None:
        planted = _behind_control(planted)
    return Changes(
        (CONTROL, *groups.names),
        _behind_control(means.upper - means.lower),
        {name: _behind_control(change).astype(float) for name, change in predicted.items()},
        planted,
    )


def _behind_control(change: Float[np.ndarray, "K G"]) -> Float[np.ndarray, "C G"]:
    """The control in front with no change, as the shared scores expect it."""
    return np.concatenate([np.zeros((1, change.shape[1])), change])


def planted_changes(
    prepared: Prepared, groups: EffectGroups, truth: Any
) -> Float[np.ndarray, "K G"] | None:
    """True changes in the space of the rows (ComBat's scale included); None where conditions of the
    truth are none of perturbation and line, and on other scales than log2."""
    # Other scales and doses have no counterpart among the planted means.
    if prepared.scale.kind != "log2_cp10k" or prepared.pairs.dose is not None:
        return None
    dataset, lines = prepared.dataset, np.asarray(prepared.pseudobulk.lines)[groups.line]
    perturbed, control = [], []
    for condition, line in zip(groups.condition, lines, strict=True):
        perturbed.append(f"{dataset.conditions[condition]} in {line}")
        control.append(f"{dataset.conditions[dataset.control]} in {line}")
    # A truth of other conditions, such as one without lines, cannot be compared.
    if not {*perturbed, *control} <= set(map(str, truth.conditions)):
        return None
    mean = truth.mean_log2[:, _places(truth.genes, dataset.genes)]
    before, after = _places(truth.conditions, control), _places(truth.conditions, perturbed)
    change = mean[after] - mean[before]
    # ComBat's shift cancels in a difference and its scale does not.
    return prepared.affine.scale[groups.batch] * change


def _places(names: Any, wanted: Sequence[str]) -> list[int]:
    """Where each of the wanted names stands among others."""
    place = {str(name): i for i, name in enumerate(names)}
    return [place[name] for name in wanted]


def screen_of(
    prepared: Prepared, groups: EffectGroups, means: GroupMeans, changes: Changes
) -> comparison.Screen:
    """What shared scores need to know of pairs of perturbation and line."""
    pairs, dataset = prepared.pairs, prepared.dataset
    # Row 0 is the control, so pairs are counted from 1.
    subsets = {"all": np.arange(1, len(changes.names))}
    for name in SPLITS[:3]:
        members = np.unique(groups.of_pair[pairs.part == SPLITS.index(name)]) + 1
        if len(members):
            subsets[name] = members
    # Only treatments of the pairs stand in the table; the control has none.
    table = np.zeros((len(changes.names), dataset.condition_treatments.shape[1]), np.float32)
    table[1:] = dataset.condition_treatments[groups.condition]
    return comparison.Screen(
        conditions=changes.names,
        control=0,
        subsets=subsets,
        trained=np.concatenate([[True], groups.trained]),
        # Expressed genes are those of the mean control row over all pairs.
        control_mean=means.lower.mean(0),
        reference=changes.observed[1:][groups.trained].mean(0),
        own_genes=comparison.own_genes(table, dataset.treatments, dataset.genes),
    )


def compare(changes: Changes, screen: comparison.Screen, seed: int) -> dict[str, Any]:
    """`comparison.compare` over pairs of perturbation and line: the main table of the report."""
    return comparison.compare(
        changes.observed, changes.predicted, screen, truth=changes.truth, seed=seed
    )


def each(
    prepared: Prepared, groups: EffectGroups, changes: Changes, screen: comparison.Screen
) -> dict[str, Any]:
    """The part `each` of metrics.json: every pair of perturbation and line by itself."""
    sizes = np.diff(prepared.pseudobulk.start)
    facts = {
        # The control in front is never shown.
        "split": ["", *splits_of(prepared, groups)],
        "cells": np.concatenate([[0], sizes[groups.upper]]),
    }
    target = target_of(changes.observed, screen, None)
    return by_perturbation(target, changes.predicted, screen, facts)


def effects_arrays(prepared: Prepared, changes: Changes, seed: int) -> dict[str, np.ndarray]:
    """effects.npz: predicted changes `[1, K, G]` and those that were `measured` `[K, G]`, with the
    names of pairs and genes."""
    return {
        "effect": changes.predicted[comparison.MODEL][None, 1:].astype(np.float32),
        "measured": changes.observed[1:].astype(np.float32),
        "seeds": np.array([seed]),
        "conditions": np.array(changes.names[1:]),
        "genes": np.array(prepared.dataset.genes),
    }


def splits_of(prepared: Prepared, groups: EffectGroups) -> list[str]:
    """Splits that hold pairs of each group, joined by "+"."""
    joined = []
    for k in range(len(groups.names)):
        parts = np.unique(prepared.pairs.part[groups.of_pair == k])
        joined.append("+".join(np.asarray(SPLITS)[parts]))
    return joined
