"""Genetic interactions: how the effect of two perturbations together follows from the effects of
each alone.

Effects are differences of mean expression from control, one number per gene, on the scale of the
model (the published thresholds were made on log-normalised expression). The scores are those of
Norman et al. (Science 2019) as Roohani et al. (Nature Biotechnology 2024) use them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxpert.core.types import InputError
from jaxpert.evaluation.interactions.distance_correlation import distance_correlations
from jaxpert.evaluation.interactions.theil_sen import (
    MOST,
    SEED,
    STEPS,
    TOLERANCE,
    subsets,
    theil_sen,
)

FEWEST_GENES = 3
FITS = ("pearson", "distance")
CHUNK = 256
"""Pairs sent to the device at a time."""

Effects = Float[np.ndarray, "N n"]


class Settings(NamedTuple):
    """How pairs are scored; the defaults are those of the published thresholds."""

    fit: str = "pearson"
    """Correlation behind `corr_fit`: "pearson", or "distance" as the paper words it."""
    tolerance: float | None = TOLERANCE
    """Stop of `theil_sen`."""
    most_steps: int = STEPS
    most_subsets: int = MOST
    """The slopes go through all pairs of genes where there are at most so many, else through that
    many random ones, the same for every pair of perturbations."""
    seed: int = SEED
    """Of the random pairs of genes."""
    precision: str = "float64"
    """In "float32" the published stop may fall on another step, which moves the slopes by about
    1e-3."""


PUBLISHED = Settings()


class Scores(NamedTuple):
    """Interaction scores of a pair (or, with a leading axis, of many) under their published
    names."""

    c1: Float[Array | np.ndarray, "*N"]
    """ab ~ c1 a + c2 b by Theil-Sen, no intercept."""
    c2: Float[Array | np.ndarray, "*N"]
    mag: Float[Array | np.ndarray, "*N"]
    """sqrt(c1^2 + c2^2): large in synergy, small in suppression."""
    dcor: Float[Array | np.ndarray, "*N"]
    """Distance correlation of (a, b) with ab: high where the two singles and the pair say the
    same."""
    dcor_singles: Float[Array | np.ndarray, "*N"]
    """Distance correlation of a with b: how alike the two singles are."""
    dcor_first: Float[Array | np.ndarray, "*N"]
    """Distance correlation of a with ab."""
    dcor_second: Float[Array | np.ndarray, "*N"]
    """Distance correlation of b with ab."""
    corr_fit: Float[Array | np.ndarray, "*N"]
    """Correlation of c1 a + c2 b with ab: low where the pair does something new."""
    dominance: Float[Array | np.ndarray, "*N"]
    """|log10(c1 / c2)|; NaN where the slopes have opposite signs."""
    eq_contr: Float[Array | np.ndarray, "*N"]
    """min / max of dcor_first and dcor_second: low where one of the two masks the other."""


def interaction_scores(
    first: Float[Array, "n"],
    second: Float[Array, "n"],
    both: Float[Array, "n"],
    pairs_of_genes: tuple[Int[Array, "K"], Int[Array, "K"]],
    settings: Settings = PUBLISHED,
) -> Scores:
    """The scores of one pair, pure JAX. NaN where a needed vector is the same for all genes.

    `pairs_of_genes` are those that the slopes go through; of `settings` its number, seed and
    precision are not read.
    """
    stop = {"tolerance": settings.tolerance, "most_steps": settings.most_steps}
    c1, c2, _ = theil_sen(first, second, both, pairs_of_genes, **stop)
    # ab ~ c1 a + c2 b (docs/models/gears.md, "Genetic interactions").
    fitted = c1 * first + c2 * second
    columns = [first, second, both]
    # Asked for together, since all share the distances between genes.
    asked: list[tuple[tuple[int, ...], int]] = [((0, 1), 2), ((0,), 1), ((0,), 2), ((1,), 2)]
    if settings.fit == "distance":
        columns.append(fitted)
        asked.append(((3,), 2))
    dcor, singles, dcor_first, dcor_second, *fits = distance_correlations(jnp.stack(columns), asked)
    corr_fit = fits[0] if fits else _pearson(fitted, both)
    # A difference of logarithms: the quotient would overflow where c2 is nearly 0.
    ratio = jnp.abs(jnp.log10(jnp.abs(c1)) - jnp.log10(jnp.abs(c2)))
    return Scores(
        c1=c1,
        c2=c2,
        mag=jnp.hypot(c1, c2),
        dcor=dcor,
        dcor_singles=singles,
        dcor_first=dcor_first,
        dcor_second=dcor_second,
        corr_fit=corr_fit,
        # Slopes of opposite signs do not say which single dominates.
        dominance=jnp.where(c1 * c2 < 0, jnp.nan, ratio),
        eq_contr=jnp.minimum(dcor_first, dcor_second) / jnp.maximum(dcor_first, dcor_second),
    )


def score_pairs(
    first: Effects,
    second: Effects,
    both: Effects,
    *,
    chunk: int = CHUNK,
    together: int | None = None,
    workers: int | None = None,
    **settings: Any,
) -> Scores:
    """Scores of N pairs from the effects of their singles and of the pairs.

    Args:
        first, second, both: effects `[N, n]`, a row for each pair and a column for each gene.
        chunk: pairs that go to the device at a time.
        together: pairs that the device takes abreast (None: one after the other, fastest on CPUs).
        workers: threads that score parts of a chunk on CPUs (None: one for each core).
        settings: fields of `Settings`.

    Raises:
        InputError: fewer than 3 genes, no pair, values that are not finite, unknown settings.
    """
    chosen = Settings(**settings)
    _check(first, second, both, chosen)
    drawn = subsets(first.shape[1], chosen.most_subsets, chosen.seed)
    workers = workers or _threads()
    size = min(-(-chunk // workers), len(first))

    def score_part(start: int) -> Scores:
        count = min(size, len(first) - start)
        # The last part repeats its last pair: another length would be compiled anew.
        rows = np.minimum(np.arange(start, start + size), len(first) - 1)
        # Inside the thread, since this setting of JAX is one of the thread.
        with jax.enable_x64(chosen.precision == "float64"):
            vectors = jax.tree.map(
                lambda values: jnp.asarray(values[rows], chosen.precision), (first, second, both)
            )
            genes = jnp.asarray(drawn.first), jnp.asarray(drawn.second)
            scores = _score_part(*vectors, genes, settings=chosen, together=together)
            return jax.tree.map(lambda values: np.asarray(values)[:count], scores)

    # JAX lets go of the interpreter while it computes, so threads are enough.
    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(score_part, range(0, len(first), size)))
    return joined(parts)


def joined(parts: Sequence[Scores]) -> Scores:
    """The scores of several parts, one below the other."""
    return Scores(*map(np.concatenate, zip(*parts, strict=True)))


def _threads() -> int:
    # One pair is too small a problem for XLA to keep several cores busy.
    return _cores() if jax.default_backend() == "cpu" else 1


@partial(jax.jit, static_argnames=("settings", "together"))
def _score_part(
    first: Array,
    second: Array,
    both: Array,
    pairs_of_genes: tuple[Array, Array],
    *,
    settings: Settings,
    together: int | None,
) -> Scores:
    def score_pair(vectors: tuple[Array, Array, Array]) -> Scores:
        return interaction_scores(*vectors, pairs_of_genes, settings)

    # map, as 1e5 pairs of genes for every pair at once would not fit.
    return jax.lax.map(score_pair, (first, second, both), batch_size=together)


def deviation(first: Effects, second: Effects, both: Effects) -> Float[np.ndarray, "N n"]:
    """What a pair does beyond the sum of its singles."""
    return both.astype(np.float64) - first - second


def non_additive_genes(
    first: Effects, second: Effects, both: Effects, k: int = 20
) -> Int[np.ndarray, "N k"]:
    """The k genes of largest |ab - (a + b)| of each pair, largest first."""
    return np.argsort(-np.abs(deviation(first, second, both)), axis=1, kind="stable")[:, :k]


def _pearson(x: Float[Array, "n"], y: Float[Array, "n"]) -> Array:
    # The range sees a constant exactly, where a variance has rounding.
    varies = (jnp.ptp(x) > 0) & (jnp.ptp(y) > 0)
    x, y = x - x.mean(), y - y.mean()
    return jnp.where(varies, (x * y).sum() / jnp.sqrt((x * x).sum() * (y * y).sum()), jnp.nan)


def _cores() -> int:
    # Containers and schedulers grant a process fewer cores than there are.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check(first: Effects, second: Effects, both: Effects, settings: Settings) -> None:
    fit, precision = settings.fit, settings.precision
    if fit not in FITS or precision not in ("float64", "float32"):
        raise InputError(
            f"interaction scores were asked for with fit={fit!r} and precision={precision!r}, "
            f"expected fit to be one of {', '.join(FITS)} and precision float64 or float32: "
            "correct it"
        )
    pairs, genes = first.shape
    if pairs < 1 or genes < FEWEST_GENES:
        raise InputError(
            f"interaction scores were asked for {pairs} pairs on {genes} genes, expected at least "
            f"1 pair and {FEWEST_GENES} genes: pass more of the measured genes"
        )
    finite = np.isfinite(first) & np.isfinite(second) & np.isfinite(both)
    wrong = np.flatnonzero(~finite.all(1))
    if len(wrong):
        raise InputError(
            f"the effects of {len(wrong)} of {pairs} pairs (the first is number {wrong[0]}) hold "
            "values that are not finite, expected numbers only: leave out the genes or pairs "
            "without them"
        )
