"""True effects as they may be, given noisy ones: draws from an empirical Bayes posterior.

The prior of the entries is a mixture of normals around 0 on a fixed grid of widths, whose shares
are fitted by EM (adaptive shrinkage, Stephens, Biostatistics 2017): few strong genes among many
weak ones are no surprise to it, as they would be to one normal.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

STEPS, STEPS_OF_ROW, MOST_ENTRIES = 300, 40, 20_000
"""Of EM for the shares of all rows, for those of one row from there, and the entries looked at."""
SMALLEST = 1e-3
"""Narrowest width of the prior, as a share of the median noise variance: next to no effect, though
never the same for two genes, so that ranks of weak effects have no ties."""
BORROWED = 0.1
"""Weight of the shares of all rows in those of one, in rows: alone, a weak row would seem stronger
than it is, since a width is never below 0."""


class Posterior(NamedTuple):
    """Of a table of estimates: how probable each width of the prior is for each entry."""

    estimate: Float[np.ndarray, "P G"]
    variance: Float[np.ndarray, "P G"]
    widths: Float[np.ndarray, "K"]
    shares: Float[np.ndarray, "P K"]


def posterior(estimate: Float[np.ndarray, "P G"], variance: Float[np.ndarray, "P G"]) -> Posterior:
    """Fit the prior to estimates with known error variances, each row with shares of its own that
    lean on those of all rows.

    Entries without error variance are taken as exact, and say nothing of the prior.
    """
    noisy = variance > 0
    typical = float(np.median(variance[noisy])) if noisy.any() else 1.0
    largest = max(float((estimate**2).max(initial=0)), typical)
    # Widths (variances) that double from next to nothing to the largest effect.
    steps = int(np.ceil(np.log2(largest / typical))) + 4
    widths = np.concatenate([[SMALLEST * typical], typical * 2.0 ** np.arange(-3, steps - 3)])
    start = np.full(len(widths), 1 / len(widths))
    # Some entries fix the shares of all; every entry would only take longer.
    stride = max(1, int(noisy.sum()) // MOST_ENTRIES)
    some = estimate[noisy][::stride], variance[noisy][::stride]
    common = _fit(_density(*some, widths), start, STEPS, 0.0)
    shares = np.tile(common, (len(estimate), 1))
    for p in np.flatnonzero(noisy.any(1)):
        density = _density(estimate[p, noisy[p]], variance[p, noisy[p]], widths)
        shares[p] = _fit(density, common, STEPS_OF_ROW, BORROWED)
    # EM leaves too much in wide components where noise prevails; moments are without bias.
    signal = float((estimate**2 - variance).mean())
    factor = signal / float((shares @ widths).mean())
    return Posterior(estimate, variance, widths * max(factor, 1e-6), shares)


def _density(
    estimate: Float[np.ndarray, "g"], variance: Float[np.ndarray, "g"], widths: np.ndarray
) -> Float[np.ndarray, "g K"]:
    """Of estimates under each width, up to a factor for each of them."""
    total = widths + variance[:, None]
    log_density = -0.5 * (np.log(total) + estimate[:, None] ** 2 / total)
    return np.exp(log_density - log_density.max(1, keepdims=True))


def _fit(
    density: Float[np.ndarray, "g K"], start: Float[np.ndarray, "K"], steps: int, borrowed: float
) -> Float[np.ndarray, "K"]:
    """Shares after so many steps of EM, `start` counting as `borrowed` rows of its own."""
    shares = start
    if len(density):
        for _ in range(steps):
            # The mean probability of each width.
            of_row = shares * ((1 / (density @ shares)) @ density) / len(density)
            shares = (of_row + borrowed * start) / (1 + borrowed)
    return shares


def draw(rng: np.random.Generator, of: Posterior) -> Float[np.ndarray, "P G"]:
    """True effects as they may be."""
    return np.stack([_draw_row(rng, of, p) for p in range(len(of.estimate))])


def _draw_row(rng: np.random.Generator, of: Posterior, row: int) -> Float[np.ndarray, "G"]:
    estimate, variance = of.estimate[row], of.variance[row]
    member = _density(estimate, variance, of.widths) * of.shares[row]
    cumulative = np.cumsum(member, axis=1) / member.sum(1, keepdims=True)
    which = (rng.random(len(estimate))[:, None] > cumulative[:, :-1]).sum(1)
    width = of.widths[which]
    # Normal prior times normal likelihood: mean w x / (w + v), variance w v / (w + v).
    kept = width / (width + variance)
    return kept * estimate + np.sqrt(kept * variance) * rng.normal(size=len(estimate))
