"""What stands beside every model on the same rows: no change, mean perturbation, mean change, all
from training cells."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.tasks.translation.groups import EffectGroups, GroupMeans, Predictor
from jaxpert.tasks.translation.prepare import Prepared
from jaxpert.tasks.translation.rows import Rows


def line_profiles(
    target: Float[np.ndarray, "K G"],
    line: Int[np.ndarray, "K"],
    lines: int,
    trained: Bool[np.ndarray, "K"],
) -> Float[np.ndarray, "L G"]:
    """Unweighted mean of the trained groups' mean targets in every line; NaN for a line without
    any."""
    member = (line == np.arange(lines)[:, None]) & trained
    count = member.sum(1, keepdims=True)
    # NaN of untrained groups would spread through the product even with weight 0.
    total = member.astype(float) @ np.where(trained[:, None], target, 0)
    return total / np.where(count > 0, count, np.nan)


def profiles(
    groups: EffectGroups, means: GroupMeans, lines: int
) -> tuple[dict[str, Float[np.ndarray, "L G"]], tuple[int, ...]]:
    """Mean training target of each line by direction, that of all lines where a line has none, and
    those lines."""
    # A control without training cells has no mean to compare with.
    trained = groups.trained & np.isfinite(means.train_lower).all(1)
    by_direction, without = {}, ()
    for direction, target in (("n2p", means.train_upper), ("p2n", means.train_lower)):
        of_line = line_profiles(target, groups.line, lines, trained)
        without = tuple(np.flatnonzero(np.isnan(of_line).any(1)).tolist())
        # All lines stand in where a line has no training pair (docs/models/cycseq.md, Baselines).
        by_direction[direction] = np.where(np.isnan(of_line), target[trained].mean(0), of_line)
    return by_direction, without


def mean_changes(
    groups: EffectGroups, means: GroupMeans
) -> tuple[Float[np.ndarray, "K G"], Bool[np.ndarray, "K"]]:
    """Mean training change of each group's condition over the lines that have it, that of all
    conditions where none has; and which groups those are."""
    trained = groups.trained & np.isfinite(means.train_lower).all(1)
    change = means.train_upper - means.train_lower
    # The mean over all perturbations stands in until a line has the same one.
    expected = np.tile(change[trained].mean(0), (len(groups.names), 1))
    same = np.zeros(len(groups.names), bool)
    for c in np.unique(groups.condition[trained]):
        members = groups.condition == c
        expected[members] = change[members & trained].mean(0)
        same |= members
    return expected, ~same


def predictors(
    prepared: Prepared, groups: EffectGroups, means: GroupMeans
) -> tuple[dict[str, Predictor], list[str]]:
    """The three baselines, and notes on what stands in where training has nothing to go by."""
    lines, line = prepared.pseudobulk.lines, prepared.pairs.line
    by_direction, without = profiles(groups, means, len(lines))
    change, unseen = mean_changes(groups, means)
    notes = []
    if without:
        notes.append(
            "mean_perturbation takes the mean over all lines where a line has no training pair: "
            + ", ".join(lines[i] for i in without)
        )
    if unseen.any():
        notes.append(
            f"mean_change takes the mean over all perturbations for {int(unseen.sum())} of "
            f"{len(unseen)} pairs of perturbation and line, whose perturbation no line trains"
        )

    def no_change(rows: Rows) -> dict[str, np.ndarray]:
        return {"n2p": rows.control, "p2n": rows.x}

    def mean_perturbation(rows: Rows) -> dict[str, np.ndarray]:
        # A line's profile is the same for every row, whatever its perturbation.
        return {name: profile[line[rows.pair]] for name, profile in by_direction.items()}

    def mean_change(rows: Rows) -> dict[str, np.ndarray]:
        expected = change[groups.of_pair[rows.pair]]
        # Taking a perturbation away is the change with the other sign.
        return {"n2p": rows.control + expected, "p2n": rows.x - expected}

    methods: dict[str, Predictor] = {
        "no_change": no_change,
        "mean_perturbation": mean_perturbation,
        "mean_change": mean_change,
    }
    return methods, notes
