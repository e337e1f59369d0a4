"""All scores at once, from sums over perturbations, so that subsets and bootstrap draws cost next
to nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.evaluation import metrics
from jaxpert.evaluation.metrics import METRICS, Effects

POOLED = {
    "ate_pearson": metrics.pooled_pearson,
    "ate_r2": metrics.pooled_r2,
    "ate_pearson_top20": metrics.pooled_pearson,
    "ate_r2_top20": metrics.pooled_r2,
}
FEWEST_FOR_INTERVAL = 5
"""With fewer perturbations a bootstrap interval over perturbations says nothing."""


class Context(NamedTuple):
    """What scores need beside the two matrices; a score whose part is None is left out."""

    control: Float[np.ndarray, "G"] | None = None
    """Mean expression of control cells, for `l2_expressed`."""
    reference: Float[np.ndarray, "G"] | None = None
    """Unweighted mean effect of the training perturbations, for `pearson_delta_reference`."""
    own_genes: Bool[np.ndarray, "P G"] | None = None
    """The perturbed genes themselves, left out of `discrimination_score`."""
    candidates: Float[np.ndarray, "Q G"] | None = None
    """Observed effects that `centroid_accuracy` tells apart; the scored rows themselves where
    None."""
    own: Int[np.ndarray, "P"] | None = None
    """Place of each scored row in `candidates`."""


PLAIN = Context()


class Scored(NamedTuple):
    """Sufficient statistics of every score; rows may be selected and weighted before they are
    summed."""

    sums: dict[str, Float[np.ndarray, "P K"]]
    """Seven sums for a pooled score, (value or 0, defined, 1) for a mean over perturbations."""
    l1: Float[np.ndarray, "P P"]
    """L1 distance [prediction, observation], ranked anew within each subset."""


def score(observed: Effects, predicted: Effects, context: Context = PLAIN) -> dict[str, float]:
    """Every score of METRICS that `context` allows, NaN where it is undefined.

    Args:
        observed: effects `[P, G]` measured, each row a perturbation; finite.
        predicted: effects `[P, G]` of the model, relative to its own control where it generates
            one; finite.
        context: control means, training reference and the like.

    A mean over perturbations is taken over those where the score is defined, and NaN where those
    are fewer than half.
    """
    scored = statistics(observed, predicted, context)
    return values(select(scored, np.arange(len(observed))))


def statistics(observed: Effects, predicted: Effects, context: Context = PLAIN) -> Scored:
    """The sums behind every score, before any subset is taken."""
    top = metrics.top_k(observed, 20)
    whole, top_sums = (
        metrics.pooled_sums(observed, predicted),
        metrics.pooled_sums(observed, predicted, top),
    )
    candidates = observed if context.candidates is None else context.candidates
    own = np.arange(len(observed)) if context.own is None else context.own
    sums = {
        "ate_pearson": whole,
        "ate_r2": whole,
        "ate_pearson_top20": top_sums,
        "ate_r2_top20": top_sums,
    }
    rows = {
        "jaccard_top20": metrics.jaccard_top_k(observed, predicted, 20),
        "jaccard_top50": metrics.jaccard_top_k(observed, predicted, 50),
        "pearson_delta": metrics.pearson_delta(observed, predicted),
        "centroid_accuracy": metrics.centroid_accuracy(
            metrics.distances(predicted, candidates), own
        ),
        "mse": metrics.squared_error(observed, predicted),
    }
    if context.reference is not None:
        rows["pearson_delta_reference"] = metrics.pearson_delta(
            observed, predicted, context.reference
        )
    if context.control is not None:
        rows["l2_expressed"] = metrics.l2_expressed(observed, predicted, context.control)
    l1 = metrics.distances(predicted, observed, "l1", context.own_genes)
    return Scored(sums | {name: _defined(row) for name, row in rows.items()}, l1)


def select(scored: Scored, rows: Int[np.ndarray, "n"]) -> dict[str, np.ndarray]:
    """Sums of every score for some of the perturbations, in the order of METRICS."""
    sums = {name: values[rows] for name, values in scored.sums.items()}
    sums["discrimination_score"] = _defined(
        metrics.discrimination_score(scored.l1[np.ix_(rows, rows)])
    )
    return {name: sums[name] for name in METRICS if name in sums}


def value(name: str, total: Float[np.ndarray, "*b K"]) -> np.ndarray:
    """A score from its summed statistics."""
    if name in POOLED:
        return POOLED[name](total)
    of, defined, all_rows = total[..., 0], total[..., 1], total[..., 2]
    return np.asarray(of / np.where((defined > 0) & (2 * defined >= all_rows), defined, np.nan))


def values(sums: dict[str, np.ndarray]) -> dict[str, float]:
    """Every score from its statistics per perturbation."""
    return {name: float(value(name, rows.sum(0))) for name, rows in sums.items()}


def undefined(sums: dict[str, np.ndarray]) -> dict[str, int]:
    """Perturbations for which a score averaged over perturbations is undefined; scores without any
    are left out."""
    missing = {
        name: int((rows[:, 1] == 0).sum()) for name, rows in sums.items() if name not in POOLED
    }
    return {name: count for name, count in missing.items() if count}


class Difference(NamedTuple):
    """A score of one predictor minus that of another, with a bootstrap interval over
    perturbations."""

    difference: float
    low: float
    high: float
    """NaN, as `low`, with fewer than FEWEST_FOR_INTERVAL perturbations."""


def difference(
    name: str,
    one: np.ndarray,
    other: np.ndarray,
    weights: Float[np.ndarray, "D P"],
    level: float = 0.95,
) -> Difference:
    """Compare two predictors on the perturbations where the score is defined for both; `weights`
    resample them."""
    return mean_difference(name, [(one, other, weights)], level)


def mean_difference(
    name: str,
    pairs: Sequence[tuple[np.ndarray, np.ndarray, Float[np.ndarray, "D _"]]],
    level: float = 0.95,
) -> Difference:
    """The difference averaged over pairs of runs (seeds): each pair has the sums of one, of the
    other, and weights.

    Row d of all weights must be the same resample of perturbations; the seeds are resampled too, so
    that the interval covers the chance of both.
    """
    found = [_one_difference(name, *pair) for pair in pairs]
    point = float(np.mean([each[0] for each in found]))
    each_drawn = np.stack([each[1] for each in found])
    picked = np.random.default_rng(0).integers(len(found), size=each_drawn.shape)
    drawn = np.take_along_axis(each_drawn, picked, axis=0).mean(0)
    drawn = drawn[np.isfinite(drawn)]
    if min(each[2] for each in found) < FEWEST_FOR_INTERVAL or not len(drawn):
        return Difference(point, float("nan"), float("nan"))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Difference(point, float(low), float(high))


def _one_difference(
    name: str, one: np.ndarray, other: np.ndarray, weights: np.ndarray
) -> tuple[float, np.ndarray, int]:
    """The difference, that of every resample, and the number of perturbations behind it."""
    rows = len(one)
    if name not in POOLED:
        both = one[:, 1] * other[:, 1]
        kept = np.stack([both, both, np.ones_like(both)], axis=1)
        one, other, rows = one * kept, other * kept, int(both.sum())
    point = float(value(name, one.sum(0)) - value(name, other.sum(0)))
    return point, value(name, weights @ one) - value(name, weights @ other), rows


def bootstrap_weights(
    rng: np.random.Generator, perturbations: int, draws: int
) -> Float[np.ndarray, "D P"]:
    """How often each perturbation occurs in each of `draws` samples with replacement."""
    n = max(perturbations, 1)
    return rng.multinomial(n, np.full(n, 1 / n), size=draws)[:, :perturbations].astype(np.float64)


def _defined(row: Float[np.ndarray, "P"]) -> Float[np.ndarray, "P 3"]:
    return np.stack([np.nan_to_num(row), np.isfinite(row), np.ones_like(row)], axis=1).astype(
        np.float64
    )
