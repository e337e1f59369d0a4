"""All scores at once, from sums over perturbations, so that subsets and bootstrap draws cost next
to nothing."""

from __future__ import annotations

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
    places: Int[np.ndarray, "P"] | None = None
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
    whole = metrics.pooled_sums(observed, predicted)
    # Top genes go by the measured effect, so that no prediction chooses its own.
    top = metrics.pooled_sums(observed, predicted, metrics.top_k(observed, 20))
    sums = {
        "ate_pearson": whole,
        "ate_r2": whole,
        "ate_pearson_top20": top,
        "ate_r2_top20": top,
    }
    for name, row in _means(observed, predicted, context).items():
        sums[name] = _defined(row)
    # Kept as a matrix, since ranks within a subset are no sums.
    l1 = metrics.distances(predicted, observed, "l1", context.own_genes)
    return Scored(sums, l1)


def _means(observed: Effects, predicted: Effects, context: Context) -> dict[str, np.ndarray]:
    """Scores that are averaged over perturbations, one value for each."""
    candidates, places = context.candidates, context.places
    # Without other candidates the scored rows are told apart among themselves.
    if candidates is None:
        candidates = observed
    if places is None:
        places = np.arange(len(observed))
    l2 = metrics.distances(predicted, candidates)
    rows = {
        "jaccard_top20": metrics.jaccard_top_k(observed, predicted, 20),
        "jaccard_top50": metrics.jaccard_top_k(observed, predicted, 50),
        "pearson_delta": metrics.pearson_delta(observed, predicted),
        "centroid_accuracy": metrics.centroid_accuracy(l2, places),
        "mse": metrics.squared_error(observed, predicted),
    }
    if context.reference is not None:
        delta = metrics.pearson_delta(observed, predicted, context.reference)
        rows["pearson_delta_reference"] = delta
    if context.control is not None:
        rows["l2_expressed"] = metrics.l2_expressed(observed, predicted, context.control)
    return rows


def select(scored: Scored, rows: Int[np.ndarray, "n"]) -> dict[str, np.ndarray]:
    """Sums of every score for some of the perturbations, in the order of METRICS."""
    sums = {name: values[rows] for name, values in scored.sums.items()}
    # A rank is among the perturbations of the subset, so it is no sum that could be stored.
    among = metrics.discrimination_score(scored.l1[np.ix_(rows, rows)])
    sums["discrimination_score"] = _defined(among)
    return {name: sums[name] for name in METRICS if name in sums}


def value(name: str, total: Float[np.ndarray, "*b K"]) -> np.ndarray:
    """A score from its summed statistics."""
    if name in POOLED:
        return POOLED[name](total)
    summed, defined, all_rows = total[..., 0], total[..., 1], total[..., 2]
    # At least half (docs/evaluation.md, "Undefined values"): the rest may be the easy ones.
    enough = (defined > 0) & (2 * defined >= all_rows)
    return np.asarray(summed / np.where(enough, defined, np.nan))


def values(sums: dict[str, np.ndarray]) -> dict[str, float]:
    """Every score from its statistics per perturbation."""
    return {name: float(value(name, rows.sum(0))) for name, rows in sums.items()}


def undefined(sums: dict[str, np.ndarray]) -> dict[str, int]:
    """Perturbations for which a score averaged over perturbations is undefined; scores without any
    are left out."""
    counts = {}
    for name, rows in sums.items():
        if name not in POOLED:
            counts[name] = int((rows[:, 1] == 0).sum())
    return {name: missing for name, missing in counts.items() if missing}


def _defined(row: Float[np.ndarray, "P"]) -> Float[np.ndarray, "P 3"]:
    """(value or 0, whether it is defined, 1), whose sums give the mean and what it rests on."""
    columns = [np.nan_to_num(row), np.isfinite(row), np.ones_like(row)]
    return np.stack(columns, axis=1).astype(np.float64)
