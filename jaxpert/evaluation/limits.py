"""Where the best and the simplest prediction stand on each score of a screen: the ceiling, the mean
baseline, and whether the score tells them apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxpert.evaluation import ceiling, scoring
from jaxpert.evaluation.ceiling import Ceiling
from jaxpert.evaluation.metrics import METRICS
from jaxpert.evaluation.sums import (
    EffectMatrix,
    Screen,
    Sums,
    by_subset,
    present_rows,
    scored_rows,
)

MEAN, NULL = "mean_perturbation", "no_change"
"""The baselines that a score should tell from a perfect model, and that it starts from."""


class Calibration(NamedTuple):
    """One score on one subset: where the mean baseline stands between nothing and everything."""

    null: float
    """What predicting no change scores, or chance where that has no score."""
    mean: float
    """NaN where the mean baseline has no score."""
    ceiling: float
    share: float
    """Of the way from null to ceiling that the mean baseline goes."""
    range: float
    """Of the way from the mean baseline to a perfect score that the noise leaves (DRF)."""
    counted: bool
    """Whether the score tells a perfect model from the mean baseline."""


class Limits(NamedTuple):
    """By subset and score."""

    ceilings: dict[str, dict[str, Ceiling]]
    calibration: dict[str, dict[str, Calibration]]
    notes: list[str]


def limits(observed: EffectMatrix, screen: Screen, sums: Sums, seed: int) -> Limits:
    """The ceiling and the calibration of every score on the subsets of a screen.

    Args:
        observed: measured effects `[C, G]`, as of `compare`.
        screen: with `noise`; without it there are no limits.
        sums: of the baselines.
        seed: of drawn truths and resampled perturbations.
    """
    noise = screen.noise
    present, _ = present_rows(observed, screen)
    if noise is None or not len(present):
        return Limits({}, {}, [])
    rng = np.random.default_rng([seed, len(present)])
    here = noise._replace(condition=noise.condition[present], share=noise.share[present])
    perfect = _perfect(observed, screen, present, here, rng)
    total = here.total()
    made, calibrated, notes = {}, {}, []
    for subset, rows in screen.subsets.items():
        members = np.isin(present, rows)
        if members.sum() < ceiling.FEWEST_PERTURBATIONS:
            continue
        closed = ceiling.by_errors(observed[present][members], total[members])
        if math.isnan(closed["ate_r2"]):
            notes.append(
                f"the measured effects of {subset} vary no more than their standard errors, so "
                "that no ceiling but that of errors is defined"
            )
        drawn = [of[subset] for of in perfect]
        made[subset] = ceiling.ceilings(drawn, closed, rng)
        of_subset = {name: subsets[subset] for name, subsets in sums.items()}
        genes = observed.shape[1]
        calibrated[subset] = _calibrated(made[subset], drawn, of_subset, genes, rng)
    return Limits(made, calibrated, notes)


def joined_limits(first: Limits, second: Limits) -> Limits:
    """The subsets of both."""
    return Limits(
        first.ceilings | second.ceilings,
        first.calibration | second.calibration,
        first.notes + second.notes,
    )


def uncounted(calibration: Mapping[str, Calibration]) -> list[str]:
    """Scores of a subset that cannot tell a perfect model from the mean baseline."""
    return [name for name, of in calibration.items() if not of.counted]


def progress(
    model: Mapping[str, float],
    baselines: Mapping[str, Mapping[str, float]],
    ceilings: Mapping[str, float],
) -> dict[str, dict[str, Any]]:
    """For each score of a subset the share of the way from the best baseline to the ceiling that
    the model goes: 0 at the baseline, 1 at the ceiling, below 0 behind the baseline.

    Scores whose ceiling is not beyond the best baseline are left out.
    """
    shares = {}
    for name, limit in ceilings.items():
        sign = 1 if METRICS[name].higher_is_better else -1
        rivals = {who: sign * scores.get(name, math.nan) for who, scores in baselines.items()}
        rivals = {who: value for who, value in rivals.items() if math.isfinite(value)}
        value = model.get(name, math.nan)
        if not rivals or not math.isfinite(value):
            continue
        best = max(rivals, key=rivals.__getitem__)
        way = sign * limit - rivals[best]
        if way > 0:
            shares[name] = {"baseline": best, "share": (sign * value - rivals[best]) / way}
    return shares


def _perfect(
    observed: EffectMatrix, screen: Screen, present: np.ndarray, noise: Any, rng: Any
) -> list[dict[str, dict[str, np.ndarray]]]:
    """Of each draw, the statistics of the truth against its measurement, by subset."""
    made = []
    count = ceiling.draws_for(len(present))
    pairs = ceiling.perfect_pairs(observed[present], noise, rng, count, screen.reference)
    for drawn in pairs:
        # In the places of the screen, whose perturbed genes and so on are by row.
        both = np.full((2, *observed.shape), np.nan)
        both[0, present], both[1, present] = drawn.truth, drawn.measured
        there = screen._replace(reference=drawn.reference)
        scored = scored_rows(both[1], both[0], present, there)
        made.append(by_subset(scored, present, screen.subsets))
    return made


def _calibrated(
    ceilings: Mapping[str, Ceiling],
    drawn: list[dict[str, np.ndarray]],
    sums: Mapping[str, Mapping[str, np.ndarray]],
    genes: int,
    rng: np.random.Generator,
) -> dict[str, Calibration]:
    """Calibration of every score; none without the mean baseline."""
    if MEAN not in sums:
        return {}
    made = {}
    for name in drawn[0]:
        rows = sums[MEAN][name]
        # Without signal a score has no ceiling, and tells nothing apart either.
        limit = ceilings[name].value if name in ceilings else math.nan
        null = _value(name, sums.get(NULL, {}).get(name))
        if math.isnan(null):
            null = chance(name, genes, len(rows))
        mean = _value(name, rows)
        best = 1.0 if METRICS[name].higher_is_better else 0.0
        start = mean if math.isfinite(mean) else null
        made[name] = Calibration(
            null,
            mean,
            limit,
            share=_ratio(start - null, limit - null),
            range=_ratio(limit - start, best - start),
            counted=ceiling.tells_from(name, drawn, rows, null, rng),
        )
    return made


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _value(name: str, rows: np.ndarray | None) -> float:
    return math.nan if rows is None else float(scoring.value(name, rows.sum(0)))


def chance(name: str, genes: int, perturbations: int) -> float:
    """What a prediction that knows nothing scores where predicting no change has no score."""
    if name.startswith("jaccard_top"):
        k = int(name.removeprefix("jaccard_top"))
        # Two random sets of k of G genes share k^2 / G of them.
        return k / (2 * genes - k)
    if name == "centroid_accuracy":
        return 0.5
    if name == "discrimination_score":
        return 0.5 + 0.5 / perturbations
    return 0.0
