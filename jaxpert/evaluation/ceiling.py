"""What a perfect model, which predicts the true effects, would score against the noise of the
cells: from the standard errors of the measured effects (docs/evaluation.md, "Ceiling").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxpert.evaluation import metrics, scoring
from jaxpert.evaluation.intervals import bootstrap_weights
from jaxpert.evaluation.noise import Noise
from jaxpert.evaluation.shrinkage import draw, posterior

CLOSED = ("ate_pearson", "ate_r2", "mse")
"""Scores whose ceiling is a formula of standard errors; the others are drawn."""
ERRORS = ("mse", "l2_expressed")
"""Scores that a perfect model has whether or not there is any signal."""
ROWS_DRAWN, FEWEST_DRAWS, MOST_DRAWS = 1000, 2, 40
"""Perturbations to draw in all: few perturbations are drawn more often."""
RESAMPLES = 25
"""Resamples of perturbations for each draw."""
FEWEST_PERTURBATIONS = 2


class Ceiling(NamedTuple):
    """Of one score: the expected score of a perfect model, and where 95 % of its scores would lie
    over noise and choice of perturbations."""

    value: float
    low: float
    high: float


Sums = Mapping[str, Float[np.ndarray, "P K"]]
"""{score: statistics per perturbation}, as of `scoring.select`."""


class Drawn(NamedTuple):
    """One experiment as it may have been."""

    truth: Float[np.ndarray, "P G"]
    measured: Float[np.ndarray, "P G"]
    """The truth with the noise of this experiment."""
    reference: Float[np.ndarray, "G"] | None
    """Mean training effect, which has the error of the control as the measurement has."""


def draws_for(perturbations: int) -> int:
    """How many truths are drawn for so many perturbations."""
    return int(np.clip(-(-ROWS_DRAWN // max(perturbations, 1)), FEWEST_DRAWS, MOST_DRAWS))


def perfect_pairs(
    observed: Float[np.ndarray, "P G"],
    noise: Noise,
    rng: np.random.Generator,
    draws: int,
    reference: Float[np.ndarray, "G"] | None = None,
) -> Iterator[Drawn]:
    """Truths as they may be and measurements of them, with the noise of this experiment.

    An effect is the mean effect of its gene plus the perturbation's departure from that; both are
    drawn from their posteriors given what was measured. The error of the control is one for all
    rows of a draw.
    """
    rows = len(observed)
    mean, root = observed.mean(0), np.sqrt(noise.share)
    # var(mean of effects) = (mean sqrt share)^2 u + sum v / P^2, with u the control's.
    of_mean = root.mean() ** 2 * noise.control + noise.condition.sum(0) / rows**2
    common = posterior(mean[None], of_mean[None])
    # (1 - 1 / P) v: a departure shares 1 / P of its noise with the mean.
    spread = (root - root.mean())[:, None] ** 2 * noise.control
    spread = spread + (1 - 1 / rows) * noise.condition
    departures = posterior(observed - mean, spread)
    aside = None
    if reference is not None:
        # Mean and reference have the error of the control in common, which so cancels.
        aside = posterior((mean - reference)[None], noise.condition.sum(0)[None] / rows**2)
    for _ in range(draws):
        of_genes = draw(rng, common)[0]
        truth = of_genes + draw(rng, departures)
        of_control = np.sqrt(noise.control) * rng.normal(size=len(mean))
        errors = np.sqrt(noise.condition) * rng.normal(size=observed.shape)
        measured = truth + errors - root[:, None] * of_control
        beside = None
        if aside is not None:
            beside = of_genes - draw(rng, aside)[0] - root.mean() * of_control
        yield Drawn(truth, measured, beside)


def by_errors(
    observed: Float[np.ndarray, "P G"], total: Float[np.ndarray, "P G"]
) -> dict[str, float]:
    """Expected scores of the truth by attenuation, from squared standard errors of the effects.

    NaN for the pooled scores where the noise is as large as all that was measured.
    """
    error, variance = float(total.mean()), float(observed.var())
    # Reliability: the share of the measured variance that is no noise.
    reliability = 1 - error / variance if variance > 0 else float("nan")
    return attenuated(reliability if reliability > 0 else float("nan"), error)


def attenuated(reliability: float, error: float) -> dict[str, float]:
    """corr(truth, measured) = sqrt(reliability), R2 = reliability, E(truth - measured)^2."""
    return {"ate_pearson": float(np.sqrt(reliability)), "ate_r2": reliability, "mse": error}


def ceilings(
    perfect: Sequence[Sums], closed: Mapping[str, float], rng: np.random.Generator
) -> dict[str, Ceiling]:
    """The ceiling of every score on one subset: the closed form where there is one, else the mean
    over draws. Without signal there are those of errors alone.

    Args:
        perfect: of each draw, the statistics of the truth as a prediction of its measurement.
        closed: of `by_errors`.
        rng: of the resampled perturbations behind the intervals.
    """
    count = len(perfect[0]["mse"])
    if count < FEWEST_PERTURBATIONS:
        return {}
    weights = [bootstrap_weights(rng, count, RESAMPLES) for _ in perfect]
    found = {}
    signal = np.isfinite(closed["ate_r2"])
    for name in perfect[0]:
        if not signal and name not in ERRORS:
            continue
        center = float(np.mean([scoring.value(name, sums[name].sum(0)) for sums in perfect]))
        value = closed.get(name, center)
        pairs = zip(weights, perfect, strict=True)
        drawn = [scoring.value(name, resampled @ sums[name]) for resampled, sums in pairs]
        low, high = ends(np.concatenate(drawn))
        # Draws give the width and, where there is a closed form, that gives the place.
        shift = value - center
        if np.isfinite(value) and np.isfinite(low):
            found[name] = Ceiling(value, low + shift, high + shift)
    return found


def tells_from(
    name: str, perfect: Sequence[Sums], rival: np.ndarray, null: float, rng: np.random.Generator
) -> bool:
    """Whether a score tells a perfect model from a rival: whether in 97.5 % of draws and resamples
    of perturbations, the same for both, the perfect one is better.

    Where the rival has no score it stands at `null`.
    """
    sign = 1 if metrics.METRICS[name].higher_is_better else -1
    gaps = []
    for sums in perfect:
        weights = bootstrap_weights(rng, len(rival), RESAMPLES)
        other = scoring.value(name, weights @ rival)
        other = np.where(np.isfinite(other), other, null)
        gaps.append(sign * (scoring.value(name, weights @ sums[name]) - other))
    low, _ = ends(np.concatenate(gaps))
    return bool(low > 0)


def ends(values: np.ndarray) -> tuple[float, float]:
    """2.5 and 97.5 % quantiles of the defined values; NaN where fewer than half are defined."""
    defined = values[np.isfinite(values)]
    if 2 * len(defined) < len(values) or not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [0.025, 0.975])
    return float(low), float(high)
