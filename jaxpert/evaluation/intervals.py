"""The difference of two predictors, paired over perturbations, with an interval that holds its
level when perturbations are few."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.evaluation import scoring
from jaxpert.evaluation.influence import gradient

FEWEST_FOR_INTERVAL = 5
"""With fewer perturbations there are too few to say anything of a difference."""
FEWEST_TO_RESAMPLE = 10
"""From this number on the interval is a studentised bootstrap, below it Student's t."""

Pair = tuple[np.ndarray, np.ndarray, Float[np.ndarray, "D _"]]
"""Sums of one predictor, of the other, and weights of resampled perturbations."""


class Difference(NamedTuple):
    """A score of one predictor minus that of another, paired over perturbations."""

    difference: float
    low: float
    high: float
    """Ends of the interval; NaN with fewer than FEWEST_FOR_INTERVAL perturbations."""
    p: float = float("nan")
    """Two-sided p-value of no difference; NaN where there is no interval."""


class _Sides(NamedTuple):
    """Both sides of a pair of runs, on the perturbations where the score is defined for both."""

    first: Float[np.ndarray, "P K"]
    second: Float[np.ndarray, "P K"]
    weights: Float[np.ndarray, "D P"]
    place: Int[np.ndarray, "P"]
    """Which perturbation each row is, of those of all pairs."""


def bootstrap_weights(
    rng: np.random.Generator, perturbations: int, draws: int
) -> Float[np.ndarray, "D P"]:
    """How often each perturbation occurs in each of `draws` samples with replacement."""
    # multinomial needs one category at least; a surplus one is cut off again.
    n = max(perturbations, 1)
    # Counts in place of drawn rows, so that a resample is a weighting of the sums.
    return rng.multinomial(n, np.full(n, 1 / n), size=draws)[:, :perturbations].astype(np.float64)


def difference(
    name: str,
    first: np.ndarray,
    second: np.ndarray,
    weights: Float[np.ndarray, "D P"],
    level: float = 0.95,
) -> Difference:
    """Compare two predictors on the perturbations where the score is defined for both; `weights`
    resample them."""
    return mean_difference(name, [(first, second, weights)], level)


def mean_difference(
    name: str,
    pairs: Sequence[Pair],
    level: float = 0.95,
    places: Sequence[Int[np.ndarray, "_"]] | None = None,
) -> Difference:
    """The difference averaged over pairs of runs (seeds): each pair has the sums of one, of the
    other, and weights.

    Row d of all weights must be the same resample of perturbations. `places` tells which
    perturbation each row of each pair is, by number; None where all pairs have the same rows. The
    spread over seeds widens the interval, which so covers the chance of both.
    """
    if places is None:
        places = [np.arange(len(pair[0])) for pair in pairs]
    sides = [_sides(name, *pair, at) for pair, at in zip(pairs, places, strict=True)]
    points = np.array([_gap(name, of.first.sum(0), of.second.sum(0)) for of in sides])
    point = float(points.mean())
    # Perturbations are counted once, however many seeds have them.
    of_all, inverse = np.unique(np.concatenate([of.place for of in sides]), return_inverse=True)
    n, level_t = len(of_all), (1 + level) / 2
    if n < FEWEST_FOR_INTERVAL or not np.isfinite(point):
        return Difference(point, float("nan"), float("nan"))
    cuts = np.cumsum([len(of.place) for of in sides])[:-1]
    at = np.split(inverse.ravel(), cuts)
    if n < FEWEST_TO_RESAMPLE:
        # Student's t on the pseudo-values of the jackknife.
        spread = float(np.sqrt((n - 1) / n * (_jackknife(name, sides, at, n) ** 2).sum()))
        quantile = _t_quantile(level_t, n - 1)
    else:
        spread = float(_delta_error(_influence(name, sides, at, n)))
        quantile = float(np.quantile(_studentised(name, sides, at, n), level, method="higher"))
    error, wider = _with_seeds(points, spread, n, level_t)
    # Without any spread there is no width either, whatever the quantile.
    reach = quantile * wider * error if error else 0.0
    return Difference(point, point - reach, point + reach, _p_value(point, reach, level_t, n - 1))


def _sides(
    name: str, first: np.ndarray, second: np.ndarray, weights: np.ndarray, place: np.ndarray
) -> _Sides:
    if name in scoring.POOLED:
        return _Sides(first, second, weights, place)
    # A perturbation counts where the score is defined for both sides.
    both = first[:, 1] * second[:, 1]
    kept = np.stack([both, both, np.ones_like(both)], axis=1)
    first, second = first * kept, second * kept
    if 2 * both.sum() < len(both):
        # Too few for a mean (docs/evaluation.md, "Undefined values"), which the sums tell.
        return _Sides(first, second, weights, place)
    there = both > 0
    return _Sides(first[there], second[there], weights[:, there], place[there])


def _gap(name: str, first: np.ndarray, second: np.ndarray) -> Any:
    return scoring.value(name, first) - scoring.value(name, second)


def _jackknife(
    name: str, sides: Sequence[_Sides], at: Sequence[np.ndarray], n: int
) -> Float[np.ndarray, "n"]:
    """By how much the mean difference over seeds changes without each perturbation."""
    change = np.zeros(n)
    for of, place in zip(sides, at, strict=True):
        totals = of.first.sum(0), of.second.sum(0)
        without = _gap(name, totals[0] - of.first, totals[1] - of.second)
        # A perturbation that a seed lacks changes nothing there.
        change[place] += (without - _gap(name, *totals)) / len(sides)
    return change - change.mean()


def _influence(
    name: str, sides: Sequence[_Sides], at: Sequence[np.ndarray], n: int
) -> Float[np.ndarray, "n"]:
    """What each perturbation adds to the error of the mean difference over seeds."""
    added = np.zeros(n)
    for of, place in zip(sides, at, strict=True):
        added[place] += _influence_of(name, of, of.first.sum(0), of.second.sum(0)) / len(sides)
    return added


def _influence_of(name: str, of: _Sides, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The same for one pair, at totals of any leading axes."""
    # Both sides at once: the difference is a function of the joint sums.
    return gradient(name, first) @ of.first.T - gradient(name, second) @ of.second.T


def _delta_error(influence: np.ndarray, weights: np.ndarray | float = 1.0) -> Any:
    """Delta-method standard error, with n / (n - 1) as for a mean."""
    n = influence.shape[-1]
    return np.sqrt(n / (n - 1) * (weights * influence**2).sum(-1))


def _studentised(
    name: str, sides: Sequence[_Sides], at: Sequence[np.ndarray], n: int
) -> Float[np.ndarray, "d"]:
    """|t| of every resample: how far it lies from the difference itself, in its own standard
    errors."""
    draws = len(sides[0].weights)
    gap = np.zeros(draws)
    influence, weights = np.zeros((draws, n)), np.zeros((draws, n))
    for of, place in zip(sides, at, strict=True):
        # One product makes all resamples, since scores are functions of weighted sums.
        first, second = of.weights @ of.first, of.weights @ of.second
        difference = _gap(name, of.first.sum(0), of.second.sum(0))
        gap += (_gap(name, first, second) - difference) / len(sides)
        of_pair = _influence_of(name, of, first, second)
        if len(sides) == 1:
            # Nothing to put in places, which would copy both tables.
            influence, weights = of_pair, of.weights
        else:
            influence[:, place] += of_pair / len(sides)
            weights[:, place] = of.weights
    gap, error = np.abs(gap), _delta_error(influence, weights)
    # A resample without any spread says nothing of how far off it may be: infinitely far.
    t = np.full(draws, np.inf)
    np.divide(gap, error, out=t, where=error > 1e-9 * gap)
    t[gap == 0] = 0
    # A resample of few different perturbations may leave a correlation undefined.
    known = t[np.isfinite(gap)]
    return known if len(known) else np.full(1, np.inf)


def _with_seeds(
    points: np.ndarray, spread: float, rows: int, level_t: float
) -> tuple[float, float]:
    """The standard error with the spread over seeds in it, and what its quantile is multiplied by
    for having few of them."""
    k = len(points)
    of_seeds = points.var(ddof=1) / k if k > 1 else 0.0
    total = spread**2 + of_seeds
    if of_seeds == 0:
        return spread, 1.0
    # Welch and Satterthwaite's degrees of freedom of a sum of two variances.
    freedom = total**2 / (spread**4 / (rows - 1) + of_seeds**2 / (k - 1))
    wider = _t_quantile(level_t, min(freedom, rows - 1)) / _t_quantile(level_t, rows - 1)
    return float(np.sqrt(total)), wider


def _p_value(point: float, reach: float, level_t: float, freedom: int) -> float:
    """Two-sided p-value: by Student's t, stretched so that the interval is its own.

    Shares of resamples would end at 1 / draws, too coarse for many claims at once.
    """
    from scipy import special

    if point == 0:
        return 1.0
    t = _t_quantile(level_t, freedom) * abs(point) / reach if reach else np.inf
    return float(2 * special.stdtr(freedom, -t))


def _t_quantile(share: float, freedom: float | int) -> float:
    from scipy import special

    return float(special.stdtrit(freedom, share))
