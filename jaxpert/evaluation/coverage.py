"""Whether intervals hold: the share of measured effects that lie in them (docs/evaluation.md,
"Coverage")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from jaxpert.core.types import LEVELS, Deviation
from jaxpert.evaluation.noise import Noise

NOMINAL = tuple(round(0.05 * k, 2) for k in range(1, 20))
"""Levels of the reliability plot."""


class Predicted(NamedTuple):
    """Effects of conditions with how unsure they are."""

    effect: Float[np.ndarray, "C G"]
    deviation: Deviation


def coverage(
    predicted: Predicted,
    measured: Float[np.ndarray, "C G"],
    subsets: Mapping[str, np.ndarray],
    noise: Noise | None = None,
) -> dict[str, Any]:
    """Shares of measured effects within the intervals, by subset of conditions.

    Args:
        predicted: effects with their deviations.
        measured: effects `[C, G]`; rows of NaN where there are none.
        subsets: conditions by name.
        noise: that of the measured effects, in place of what is usual in training; None for that.

    Returns:
        {"model": {subset: {"covered_50": share, "covered_90": share}}, "conditions": {subset:
        number}, "curves": {subset: [share at each of NOMINAL]}}, of conditions with a measured
        effect and an interval.
    """
    result: dict[str, Any] = {"model": {}, "baselines": {}, "conditions": {}, "curves": {}}
    spread = _measured_spread(predicted.deviation, noise)
    error = np.abs(predicted.effect - measured)
    # Conditions without a measurement or without an interval say nothing of intervals.
    counted = np.isfinite(error).all(1) & np.isfinite(predicted.deviation.widths).all(1)
    for name, rows in subsets.items():
        rows = np.asarray(rows)[counted[rows]]
        if not len(rows):
            continue
        # How many standard deviations of the standard normal each error is away.
        away = error[rows] / np.maximum(spread[rows], np.finfo(float).tiny)
        curve = [_share(away, predicted.deviation.widths[rows], level) for level in NOMINAL]
        result["model"][name] = {
            f"covered_{round(100 * level)}": _share(away, predicted.deviation.widths[rows], level)
            for level in LEVELS
        }
        result["conditions"][name] = len(rows)
        result["curves"][name] = curve
    return result


def _measured_spread(deviation: Deviation, noise: Noise | None) -> Float[np.ndarray, "C G"]:
    if noise is None:
        return np.asarray(deviation.measured, np.float64)
    # What is usual in training makes way for what these cells have.
    own = np.asarray(deviation.measured, np.float64) ** 2 - np.asarray(deviation.usual) ** 2
    return np.sqrt(np.maximum(own, 0) + np.nan_to_num(noise.total()))


def _share(away: np.ndarray, widths: Float[np.ndarray, "R Q"], level: float) -> float:
    quantile = stats.norm.ppf((1 + level) / 2)
    return float((away <= width_at(widths, level)[:, None] * quantile).mean())


def width_at(widths: Float[np.ndarray, "R Q"], level: float) -> Float[np.ndarray, "R"]:
    """Factor of a level: between those of LEVELS on a straight line, beyond them theirs."""
    low, high = LEVELS
    share = float(np.clip((level - low) / (high - low), 0, 1))
    return (1 - share) * widths[:, 0] + share * widths[:, 1]
