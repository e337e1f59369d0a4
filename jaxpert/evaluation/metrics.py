"""Scores of predicted against observed effects: the papers' metrics and the calibrated ones the
field now trusts.

Effects are means minus the control mean, rows perturbations and columns genes, usually on the log2
scale (multiply `l2_expressed` by ln 2 and `mse` by its square to compare with numbers published on
the natural-log scale). A score that the input leaves undefined (a correlation with a constant, a
ranking of one) is NaN, never 0.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.errors import InputError

CONSTANT = 1e-12
"""Variance below this share of the mean square is rounding: the values count as constant."""
LARGE = 2_000_000_000
"""Differences of predictions and observations beyond which distances are worth a detour."""


class Metric(NamedTuple):
    """How a score is called and read."""

    label: str
    higher_is_better: bool


METRICS = {
    "ate_pearson": Metric("ATE-rho", True),
    "ate_r2": Metric("ATE-R2", True),
    "ate_pearson_top20": Metric("ATE-rho, top 20", True),
    "ate_r2_top20": Metric("ATE-R2, top 20", True),
    "jaccard_top20": Metric("Jaccard, top 20", True),
    "jaccard_top50": Metric("Jaccard, top 50", True),
    "pearson_delta": Metric("Pearson delta", True),
    "pearson_delta_reference": Metric("Pearson delta, perturbed reference", True),
    "centroid_accuracy": Metric("Centroid accuracy", True),
    "discrimination_score": Metric("Discrimination score (L1)", True),
    "l2_expressed": Metric("L2, 1,000 most expressed genes", False),
    "mse": Metric("MSE", False),
}
"""Every score that `score` can give, in the order of reports."""

Effects = Float[np.ndarray, "P G"]
PerPerturbation = Float[np.ndarray, "P"]


def jaccard_top_k(observed: Effects, predicted: Effects, k: int = 50) -> PerPerturbation:
    """Overlap over union of the k genes of largest |effect|, per perturbation.

    NaN for a constant prediction, which ranks nothing, and everywhere when there are no more than k
    genes.
    """
    if k >= observed.shape[1]:
        return np.full(len(observed), np.nan)
    a, b = top_k(observed, k), top_k(predicted, k)
    # |A and B| / |A or B| (docs/evaluation.md, "Scores"), as ties can make a set larger than k.
    jaccard = (a & b).sum(1) / (a | b).sum(1)
    # A constant row ties all genes: it would be the set of all of them, and no ranking.
    constant = (np.ptp(observed, axis=1) == 0) | (np.ptp(predicted, axis=1) == 0)
    return np.where(constant, np.nan, jaccard)


def pearson_delta(
    observed: Effects, predicted: Effects, reference: Float[np.ndarray, "G"] | None = None
) -> PerPerturbation:
    """Pearson correlation over genes, per perturbation; NaN where either side is constant.

    With `reference`, the unweighted mean effect of the training perturbations, this is Systema's
    Pearson-Delta with perturbed reference: it credits only what sets a perturbation apart from the
    average one, so the mean baseline, which predicts the reference itself, has no defined score.
    """
    a, b = observed.astype(np.float64), predicted.astype(np.float64)
    scale_a, scale_b = (a**2).mean(1), (b**2).mean(1)
    if reference is not None:
        a, b = a - reference, b - reference
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    va, vb = (a**2).mean(1), (b**2).mean(1)
    # Taking the reference off may leave rounding only, so spread is judged by the size before it.
    defined = (va > CONSTANT * scale_a) & (vb > CONSTANT * scale_b)
    # The inner `where` keeps 0 / 0 from being computed, which would warn.
    return np.where(defined, (a * b).mean(1) / np.sqrt(np.where(defined, va * vb, 1)), np.nan)


def squared_error(observed: Effects, predicted: Effects) -> PerPerturbation:
    """Mean squared error over genes, per perturbation."""
    return ((observed.astype(np.float64) - predicted) ** 2).mean(1)


def l2_expressed(
    observed: Effects, predicted: Effects, control: Float[np.ndarray, "G"], k: int = 1000
) -> PerPerturbation:
    """Euclidean distance over the k genes of highest mean expression in `control`, per
    perturbation."""
    # The 1,000 most expressed (docs/evaluation.md, "Scores").
    genes = np.argsort(-control, kind="stable")[:k]
    return np.linalg.norm(observed[:, genes].astype(np.float64) - predicted[:, genes], axis=1)


def distances(
    predicted: Effects,
    observed: Float[np.ndarray, "Q G"],
    kind: str = "l2",
    own_genes: Bool[np.ndarray, "P G"] | None = None,
) -> Float[np.ndarray, "P Q"]:
    """Distance ("l1" or "l2") of every prediction to every observation, without each prediction's
    `own_genes`."""
    from scipy.spatial.distance import cdist

    p, q = predicted.astype(np.float64), observed.astype(np.float64)
    if kind == "l2":
        if own_genes is not None:
            raise InputError(
                "own_genes is given for the l2 distance, expected it for l1 alone: leave it out"
            )
        return _euclidean(p, q) if len(p) * q.size > LARGE else cdist(p, q)
    distance = _cityblock(p, q) if len(p) * q.size > LARGE else cdist(p, q, "cityblock")
    if own_genes is not None:
        # Taken off again, since every row leaves out other columns.
        for row, left_out in enumerate(own_genes):
            distance[row] -= np.abs(q[:, left_out] - p[row, left_out]).sum(1)
    return distance


def _euclidean(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """L2 distances through one product of matrices: |p - q|^2 = |p|^2 + |q|^2 - 2 p q."""
    squares = (p**2).sum(1)[:, None] + (q**2).sum(1) - 2 * p @ q.T
    # Rounding can leave a distance of 0 below it.
    return np.sqrt(np.maximum(squares, 0))


def _cityblock(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """L1 distances, of equal predictions once, as baselines have many, and on all cores."""
    from scipy.spatial.distance import cdist

    place: dict[bytes, int] = {}
    of_row = np.array([place.setdefault(row.tobytes(), len(place)) for row in p])
    distinct = p[np.unique(of_row, return_index=True)[1]]
    blocks = np.array_split(distinct, min(len(distinct), 32))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # cdist lets go of the lock of the interpreter while it works.
        found = list(pool.map(lambda block: cdist(block, q, "cityblock"), blocks))
    return np.concatenate(found)[of_row]


def centroid_accuracy(
    distance: Float[np.ndarray, "P Q"], places: Int[np.ndarray, "P"]
) -> PerPerturbation:
    """Systema's share of other observations that lie strictly farther than the prediction's own
    one.

    `distance` is L2 to all Q observed perturbations, training ones included; `places` is each
    prediction's column.
    """
    if distance.shape[1] < 2:
        return np.full(len(distance), np.nan)
    right = distance[np.arange(len(places)), places]
    # Strictly farther (docs/evaluation.md, "Scores"): a tie is not told apart.
    return (distance > right[:, None]).sum(1) / (distance.shape[1] - 1)


def discrimination_score(distance: Float[np.ndarray, "N N"]) -> PerPerturbation:
    """PDS: 1 - rank / N of the own observation among all N by distance from the prediction, 1 at
    best.

    `distance [prediction, observation]` is L1 without the perturbed genes. Differs from cell-eval
    in giving ties their middle rank, so that a constant predictor gets 1/2 + 1/(2N) on average,
    exactly. NaN for N = 1.
    """
    n = len(distance)
    if n < 2:
        return np.full(n, np.nan)
    right = np.diagonal(distance)[:, None]
    # Ties with the own observation (itself among them) count half.
    rank = (distance < right).sum(1) + ((distance == right).sum(1) - 1) / 2
    # Over N and not N - 1, as in cell-eval (docs/evaluation.md, "Scores").
    return 1 - rank / n


def top_k(effects: Effects, k: int) -> Bool[np.ndarray, "P G"]:
    """Mask of each row's k largest |values|; genes tied with the last one are all in, so gene order
    never matters."""
    size = np.abs(effects)
    if k >= size.shape[1]:
        return np.ones(size.shape, bool)
    # The k-th largest as a bound: cheaper than a sort, and ties come in by themselves.
    return size >= -np.partition(-size, k - 1, axis=1)[:, k - 1 : k]


def pooled_sums(
    observed: Effects, predicted: Effects, mask: Bool[np.ndarray, "P G"] | None = None
) -> Float[np.ndarray, "P 7"]:
    """Per perturbation: n and the sums of a, b, aa, bb, ab and (a-b)^2; pooled scores are functions
    of their total."""
    a, b = observed.astype(np.float64), predicted.astype(np.float64)
    w = np.ones_like(a) if mask is None else mask.astype(np.float64)
    # These six moments give every pooled score, and sums can be weighted by resamples.
    terms = (np.ones_like(a), a, b, a * a, b * b, a * b, (a - b) ** 2)
    return np.stack([(w * t).sum(1) for t in terms], axis=1)


def pooled_pearson(sums: Float[np.ndarray, "*b 7"]) -> np.ndarray:
    """ATE-rho: Pearson correlation of all entries flattened together, from summed `pooled_sums`;
    NaN where either side is constant."""
    mean_a, mean_b, aa, bb, ab, _ = _moments(sums)
    # var = E[a^2] - E[a]^2, whose rounding is judged against E[a^2].
    va, vb = aa - mean_a**2, bb - mean_b**2
    defined = (va > CONSTANT * aa) & (vb > CONSTANT * bb)
    covariance = ab - mean_a * mean_b
    return np.where(defined, covariance / np.sqrt(np.where(defined, va * vb, 1)), np.nan)


def pooled_r2(sums: Float[np.ndarray, "*b 7"]) -> np.ndarray:
    """ATE-R2: 1 - SS(observed - predicted) / SS(observed - its mean) over all entries, from summed
    `pooled_sums`; NaN where the observation is constant."""
    mean_a, _, aa, _, _, error = _moments(sums)
    va = aa - mean_a**2
    defined = va > CONSTANT * aa
    # 1 - E[(a - b)^2] / var(a) (docs/evaluation.md, "Scores").
    return np.where(defined, 1 - error / np.where(defined, va, 1), np.nan)


def _moments(sums: np.ndarray) -> tuple[Any, ...]:
    """The sums divided by their number, in the order of `pooled_sums`."""
    # A resample without entries is undefined and not 0.
    n = np.where(sums[..., 0] > 0, sums[..., 0], np.nan)
    return tuple(sums[..., i] / n for i in range(1, 7))
