"""Expected log2 counts of Gamma-Poisson genes, exact and from tables.

For x ~ Gamma-Poisson(mean, r) and c = 1e4 / library,

    ln(1 + c x) = int (e^-t / t) (1 - e^(-c t x)) dt

turns the expectation of a logarithm into an integral over the probability generating function, for
which E s^x = (1 + mean (1 - s) / r)^-r. With u = c t it reads

    E ln(1 + c x) = int e^(-u / c) (1 - (1 + mean (1 - e^-u) / r)^-r) du / u

where the library stands in the first factor alone. So the second one is computed once for all
libraries (`generating_table`), and their tables are one matrix product (`log2_tables`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

LOG_MEANS = np.linspace(-14.0, 10.0, 128)
"""Log-means at which expectations are tabulated."""
DISPERSIONS = 24
"""Inverse dispersions at which they are."""
SCALE = 1e4
STEP = 0.25
"""Of ln u, for the trapezoid rule, whose error falls faster than any power of the step."""
LOG_U = np.arange(-25.0, 14.0, STEP)
"""Below, even the largest mean leaves nothing to add; above, libraries over one read do not."""
LIBRARY_STEP = 0.1
"""Of the natural logarithm of libraries, between those that have a table."""


class Generating(NamedTuple):
    """What does not depend on the library: 1 - E s^x over u, and over means and dispersions in one
    row; and where each gene's dispersion lies among those of the table."""

    values: Float[np.ndarray, "U K"]
    low: Int[np.ndarray, "G"]
    weight: Float[np.ndarray, "G"]
    """Of the dispersion above `low`."""


def expected_log2(
    mean: Float[np.ndarray, "..."], r: Float[np.ndarray, "..."], library: float
) -> Float[np.ndarray, "..."]:
    """E log2(1 + c x) for x ~ Gamma-Poisson and c = 1e4 / library (module docstring)."""
    return np.tensordot(_weights(np.array(library)), _generated(mean, r), 1)


def _weights(library: Float[np.ndarray, "..."]) -> Float[np.ndarray, "... U"]:
    """What each point of u adds to log2."""
    # In ln u the factor 1 / u is gone.
    return np.exp(-np.exp(LOG_U) * library / SCALE) * STEP / np.log(2)


def _generated(
    mean: Float[np.ndarray, "..."], r: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "U ..."]:
    """1 - E s^x for s = e^-u."""
    thinned = -np.expm1(-np.exp(LOG_U))  # 1 - s
    thinned = thinned.reshape(-1, *[1] * np.broadcast(mean, r).ndim)
    return -np.expm1(-r * np.log1p(mean * thinned / r))


def generating_table(r: Float[np.ndarray, "G"]) -> Generating:
    """For genes of these inverse dispersions, by interpolation between 24 of them."""
    log_r = np.log(r)
    # The end lies above the largest one, so that every gene has a grid point on either side.
    grid = np.linspace(log_r.min(), log_r.max() + 1e-3, DISPERSIONS)
    values = _generated(np.exp(LOG_MEANS)[:, None], np.exp(grid))
    place = (log_r - grid[0]) / (grid[1] - grid[0])
    low = np.minimum(place.astype(int), len(grid) - 2)
    weight = (place - low).astype(np.float32)
    return Generating(values.reshape(len(LOG_U), -1), low.astype(np.int32), weight)


def log2_tables(
    generating: Generating, libraries: Float[np.ndarray, "N"]
) -> Float[np.ndarray, "N L D"]:
    """`expected_log2` over LOG_MEANS and dispersions, for each library."""
    tables = _weights(libraries[:, None]) @ generating.values
    # Half the memory; interpolation in the tables is coarser than float32 rounding.
    return tables.reshape(-1, len(LOG_MEANS), DISPERSIONS).astype(np.float32)


def log2_of_rows(
    generating: Generating, share: Float[np.ndarray, "R G"], library: Float[np.ndarray, "R 1"]
) -> Float[np.ndarray, "R G"]:
    """`expected_log2` of rows that each have a library: linear in its logarithm between the tables
    of two libraries 10 % apart, which is exact to 5e-4."""
    log_mean = np.log(share * library).astype(np.float32)
    place = np.log(library[:, 0]) / LIBRARY_STEP
    low = np.floor(place)
    levels = np.unique([low, low + 1])
    log2 = np.zeros(share.shape, np.float32)
    tables = log2_tables(generating, np.exp(levels * LIBRARY_STEP))
    for level, table in zip(levels, tables, strict=True):
        # A row reads the table below it and the one above it, each by its nearness.
        weight = np.maximum(0, 1 - np.abs(place - level)).astype(np.float32)
        rows = np.flatnonzero(weight)
        log2[rows] += weight[rows, None] * interpolate(generating, table, log_mean[rows])
    return log2


def interpolate(
    generating: Generating, table: Float[np.ndarray, "L D"], log_mean: Float[np.ndarray, "R G"]
) -> Float[np.ndarray, "R G"]:
    """The table's values at each gene's log-mean and dispersion, linear in both.

    It runs over [R, G] once for every reference state, so arrays are reused in place, and the four
    neighbours are read at flat positions.
    """
    place = (log_mean - np.float32(LOG_MEANS[0])) * np.float32(1 / (LOG_MEANS[1] - LOG_MEANS[0]))
    # Stay below the last row, so that every place has a row above it.
    np.clip(place, 0, len(LOG_MEANS) - 1.001, out=place)
    position = place.astype(np.int32)
    place -= position  # now the weight of the upper row
    # The position in the flat table is row times dispersions plus dispersion, built in one array.
    position *= DISPERSIONS
    position += generating.low
    below = _between_dispersions(generating, table, position)
    position += DISPERSIONS
    place *= _between_dispersions(generating, table, position) - below
    return below + place


def _between_dispersions(
    generating: Generating, table: Float[np.ndarray, "L D"], position: Int[np.ndarray, "R G"]
) -> Float[np.ndarray, "R G"]:
    """Linear between the flat positions and those after them."""
    step = np.diff(table, axis=1, append=0).ravel()
    return table.ravel().take(position) + generating.weight * step.take(position)
