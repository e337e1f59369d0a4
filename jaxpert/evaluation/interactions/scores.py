"""Genetic interactions: how the effect of two perturbations together follows from the effects of
each alone.

Effects are differences of mean expression from control, one number per gene, on the scale of the
model (the published thresholds were made on log-normalised expression). The scores are those of
Norman et al. (Science 2019) as GEARS uses them (Roohani et al., Nature Biotechnology 2024).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

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
    *,
    fit: str = "pearson",
    tolerance: float | None = TOLERANCE,
    most_steps: int = STEPS,
) -> Scores:
    """The scores of one pair, pure JAX. NaN where a needed vector is the same for all genes.

    `fit` is the correlation behind `corr_fit`: "pearson" as published thresholds were made,
    "distance" as the paper words it. `tolerance` and `most_steps` are those of `theil_sen`.
    """
    c1, c2, _ = theil_sen(
        first, second, both, pairs_of_genes, tolerance=tolerance, most_steps=most_steps
    )
    fitted = c1 * first + c2 * second
    columns = jnp.stack(
        [first, second, both, fitted] if fit == "distance" else [first, second, both]
    )
    asked: list[tuple[tuple[int, ...], int]] = [((0, 1), 2), ((0,), 1), ((0,), 2), ((1,), 2)]
    asked += [((3,), 2)] if fit == "distance" else []
    dcor, singles, dcor_first, dcor_second, *fits = distance_correlations(columns, asked)
    return Scores(
        c1=c1,
        c2=c2,
        mag=jnp.hypot(c1, c2),
        dcor=dcor,
        dcor_singles=singles,
        dcor_first=dcor_first,
        dcor_second=dcor_second,
        corr_fit=fits[0] if fits else _pearson(fitted, both),
        dominance=jnp.where(
            c1 * c2 < 0, jnp.nan, jnp.abs(jnp.log10(jnp.abs(c1)) - jnp.log10(jnp.abs(c2)))
        ),
        eq_contr=jnp.minimum(dcor_first, dcor_second) / jnp.maximum(dcor_first, dcor_second),
    )


def score_pairs(
    first: Effects,
    second: Effects,
    both: Effects,
    *,
    fit: str = "pearson",
    tolerance: float | None = TOLERANCE,
    most_steps: int = STEPS,
    most_subsets: int = MOST,
    seed: int = SEED,
    precision: str = "float64",
    chunk: int = CHUNK,
    together: int | None = None,
    workers: int | None = None,
) -> Scores:
    """Scores [N] of N pairs from the effects [N, n] of their singles and of the pairs.

    The slopes go through all pairs of genes where there are at most `most_subsets`, else through
    that many random ones drawn with `seed`, the same for every pair. `chunk` pairs at a time go to
    the device, which takes `together` of them abreast (None: one after the other, fastest on CPUs);
    on CPUs, where one pair keeps one core busy, that many `workers` (None: one for each core) score
    parts of a chunk at the same time. In "float32" the published stop may fall on another step,
    which moves the slopes by about 1e-3. Raises InputError for fewer than 3 genes or values that
    are not finite.
    """
    _check(first, second, both, fit, precision)
    drawn = subsets(first.shape[1], most_subsets, seed)
    score = partial(
        _score_chunk, fit=fit, tolerance=tolerance, most_steps=most_steps, together=together
    )
    workers = workers or (_cores() if jax.default_backend() == "cpu" else 1)
    size = min(-(-chunk // workers), len(first))

    def one(bounds: tuple[int, int]) -> list[np.ndarray]:
        start, stop = bounds
        with jax.enable_x64(precision == "float64"):
            rows = np.minimum(np.arange(start, start + size), len(first) - 1)
            vectors = (jnp.asarray(effects[rows], precision) for effects in (first, second, both))
            part = score(*vectors, (jnp.asarray(drawn.first), jnp.asarray(drawn.second)))
            return [np.asarray(values)[: stop - start] for values in part]

    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(one, _chunks(len(first), size)))
    return Scores(*(np.concatenate(values) for values in zip(*found, strict=True)))


@partial(jax.jit, static_argnames=("fit", "tolerance", "most_steps", "together"))
def _score_chunk(
    first: Array,
    second: Array,
    both: Array,
    pairs_of_genes: tuple[Array, Array],
    *,
    fit: str,
    tolerance: float | None,
    most_steps: int,
    together: int | None,
) -> Scores:
    def one(vectors: tuple[Array, Array, Array]) -> Scores:
        return interaction_scores(
            *vectors, pairs_of_genes, fit=fit, tolerance=tolerance, most_steps=most_steps
        )

    return jax.lax.map(one, (first, second, both), batch_size=together)


def deviation(first: Effects, second: Effects, both: Effects) -> Float[np.ndarray, "N n"]:
    """What a pair does beyond the sum of its singles."""
    return both.astype(np.float64) - first - second


def non_additive_genes(
    first: Effects, second: Effects, both: Effects, k: int = 20
) -> Int[np.ndarray, "N k"]:
    """The k genes of largest |ab - (a + b)| of each pair, largest first."""
    return np.argsort(-np.abs(deviation(first, second, both)), axis=1, kind="stable")[:, :k]


def non_additive_error(
    observed: Effects, predicted: Effects, first: Effects, second: Effects, k: int = 20
) -> Float[np.ndarray, "N"]:
    """Mean squared error of the predicted pair over its k most non-additive genes in the data.

    `first` and `second` are the observed effects of the singles.
    """
    genes = non_additive_genes(first, second, observed, k)
    miss = np.take_along_axis(observed.astype(np.float64) - predicted, genes, axis=1)
    return (miss**2).mean(1)


def _pearson(x: Float[Array, "n"], y: Float[Array, "n"]) -> Array:
    varies = (jnp.ptp(x) > 0) & (jnp.ptp(y) > 0)
    x, y = x - x.mean(), y - y.mean()
    return jnp.where(varies, (x * y).sum() / jnp.sqrt((x * x).sum() * (y * y).sum()), jnp.nan)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chunks(count: int, size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + size, count)) for start in range(0, count, size))


def _check(first: Effects, second: Effects, both: Effects, fit: str, precision: str) -> None:
    if fit not in FITS or precision not in ("float64", "float32"):
        raise InputError(
            f"interaction scores were asked for with fit={fit!r} and precision={precision!r}, "
            "expected fit to be one "
            f"of {', '.join(FITS)} and precision float64 or float32"
        )
    pairs, genes = first.shape
    if pairs < 1 or genes < FEWEST_GENES:
        raise InputError(
            f"interaction scores were asked for {pairs} pairs on {genes} genes, expected at least "
            "1 pair and "
            f"{FEWEST_GENES} genes: pass more of the measured genes"
        )
    wrong = [
        row
        for row in range(pairs)
        if not all(np.isfinite(effects[row]).all() for effects in (first, second, both))
    ]
    if wrong:
        raise InputError(
            f"the effects of {len(wrong)} of {pairs} pairs (the first is number {wrong[0]}) hold "
            "values that are not "
            "finite, expected numbers only: leave out the genes or pairs without them"
        )
