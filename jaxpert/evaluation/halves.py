"""Halves of the cells of every condition, scored against each other, and what that says of a
perfect model once it is corrected for the halved number (docs/evaluation.md, "Ceiling")."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxpert.evaluation import metrics
from jaxpert.evaluation.ceiling import FEWEST_PERTURBATIONS, RESAMPLES, Ceiling, attenuated, ends
from jaxpert.evaluation.intervals import bootstrap_weights
from jaxpert.evaluation.subset_names import HELD_OUT
from jaxpert.evaluation.sums import (
    EffectMatrix,
    Screen,
    Subsets,
    by_subset,
    perturbed,
    scored_rows,
    values_of,
)

Halves = tuple[EffectMatrix, EffectMatrix]
"""Effects from either half of the cells, NaN rows where a half has none."""
CORRECTED = ("ate_pearson", "ate_r2", "mse")
"""Scores that can be corrected for the halved number; ranks and overlaps cannot."""


def half_against_half(halves: Halves, screen: Screen) -> dict[str, dict[str, float]]:
    """Scores of one half of the cells as the prediction of the other, uncorrected, on what the
    halves measure."""
    present = _present([halves], screen)
    there = _measured(screen, present)
    # One half is the measurement, the other the prediction.
    scored = scored_rows(halves[1], halves[0], present, screen)
    return values_of(by_subset(scored, present, there))


def ceilings_of_halves(
    splits: Sequence[Halves], screen: Screen, rng: np.random.Generator
) -> dict[str, dict[str, Ceiling]]:
    """The mean over random splits of what a perfect model would score, by subset and score."""
    present = _present(splits, screen)
    made = {}
    for name, rows in _measured(screen, present).items():
        here = np.intersect1d(rows, present)
        made[name] = of_splits([(first[here], second[here]) for first, second in splits], rng)
    return {name: scores for name, scores in made.items() if scores}


def of_splits(
    splits: Sequence[tuple[Float[np.ndarray, "P G"], Float[np.ndarray, "P G"]]],
    rng: np.random.Generator,
) -> dict[str, Ceiling]:
    """Ceilings of one subset from finite effects of both halves for each split; `rng` resamples
    perturbations for the intervals."""
    if not splits or len(splits[0][0]) < FEWEST_PERTURBATIONS:
        return {}
    values: dict[str, list[float]] = {name: [] for name in CORRECTED}
    drawn: dict[str, list[float]] = {name: [] for name in CORRECTED}
    for first, second in splits:
        sums = metrics.pooled_sums(first, second)
        for name, value in corrected(sums.sum(0)).items():
            values[name].append(value)
        for weights in bootstrap_weights(rng, len(first), RESAMPLES):
            for name, value in corrected(weights @ sums).items():
                drawn[name].append(value)
    made = {}
    for name in CORRECTED:
        # Where the halves of any split do not agree at all there is no ceiling.
        value = float(np.mean(values[name]))
        low, high = ends(np.array(drawn[name]))
        if np.isfinite(value) and np.isfinite(low):
            made[name] = Ceiling(value, low, high)
    return made


def corrected(sums: Float[np.ndarray, "7"]) -> dict[str, float]:
    """Scores of a perfect model against all cells, from the pooled sums of two halves.

    Halves have twice the noise variance N of all cells, so E(A - B)^2 = 4 N. Their correlation r is
    V / (V + 2 N) with V the variance of the truth, so 2 r / (1 + r) = V / (V + N) is the
    reliability of all cells (Spearman and Brown); NaN where r is not above 0.
    """
    r = float(metrics.pooled_pearson(sums))
    error = float(sums[6] / sums[0]) / 4
    return attenuated(2 * r / (1 + r) if r > 0 else float("nan"), error)


def _present(splits: Sequence[Halves], screen: Screen) -> np.ndarray:
    """Perturbations that both halves of every split hold."""
    finite = perturbed(splits[0][0], screen)
    for halves in splits:
        for half in halves:
            finite = finite & np.isfinite(half).all(1)
    return np.flatnonzero(finite)


def _measured(screen: Screen, present: np.ndarray) -> Subsets:
    """The subsets that held-out cells measure, of which any perturbation is there."""
    names = set(screen.subsets) - {"all", "train"}
    # Beside test cells alone, every other subset holds cells that are in neither half.
    if HELD_OUT in names:
        names = {HELD_OUT}
    subsets = screen.subsets.items()
    return {name: rows for name, rows in subsets if name in names and np.isin(rows, present).any()}
