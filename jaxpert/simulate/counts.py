"""Gamma-Poisson counts of simulated cells, drawn in blocks with their own random streams and
gathered as CSR."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxpert.simulate.cells import ARTIFACT_DEPTH
from jaxpert.simulate.truth import ARTIFACTS, Truth, cell_latent, cell_proportions

BLOCK = 256
"""Cells per random stream: part of what a seed means, so changing it changes every simulated
screen."""
DIRECT = 8.0
"""Counts of means above this are drawn as a Poisson of a Gamma; those below (nearly all) by
inversion."""
SMALLEST_TAIL = 1e-12


def gamma_poisson(
    rng: np.random.Generator, mean: Float[np.ndarray, "n G"], r: Float[np.ndarray, "G"]
) -> tuple[Int[np.ndarray, "k"], Int[np.ndarray, "k"]]:
    """Flat positions and values of the nonzero Gamma-Poisson counts with the given means and
    inverse dispersions.

    P(x > 0) <= mean, so one comparison of a uniform with the mean leaves out most zeros before any
    power is taken; the same uniform is then inverted through the exact survival function (cut where
    it falls under 1e-12).
    """
    uniform = rng.random(mean.shape, dtype=np.float32)
    at = np.flatnonzero(uniform < mean)
    gene = at % mean.shape[1]
    mu, r_at = mean.ravel()[at].astype(np.float64), r[gene].astype(np.float64)
    # A float32 uniform has 24 bits; the lower bits are drawn where they matter.
    v = np.maximum(uniform.ravel()[at] + rng.random(len(at)) * 2.0**-24, SMALLEST_TAIL)
    high = mu > DIRECT
    values = np.zeros(len(at), np.int64)
    values[high] = rng.poisson(rng.gamma(r_at[high], mu[high] / r_at[high]))
    low = np.flatnonzero(~high)
    values[low] = _invert(v[low], mu[low], r_at[low])
    kept = values > 0
    return at[kept], values[kept]


def _invert(
    v: Float[np.ndarray, "k"], mu: Float[np.ndarray, "k"], r: Float[np.ndarray, "k"]
) -> Int[np.ndarray, "k"]:
    """Number of x >= 1 with v < P(X >= x)."""
    values = np.zeros(len(v), np.int64)
    log_zero = -r * np.log1p(mu / r)
    left = np.arange(len(v))
    survival, mass, ratio = -np.expm1(log_zero), np.exp(log_zero), mu / (mu + r)
    x = 0
    while (inside := v < survival).any():
        left, v, r, ratio = left[inside], v[inside], r[inside], ratio[inside]
        survival, mass = survival[inside], mass[inside]
        values[left] += 1
        mass *= (x + r) / (x + 1) * ratio
        survival -= mass
        x += 1
    return values


def block_counts(truth: Truth, block: int) -> Any:
    """Counts (CSR) of the cells of one block."""
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(np.random.SeedSequence(int(truth.seed), spawn_key=(1, block)))
    rows = np.arange(block * BLOCK, min((block + 1) * BLOCK, len(truth.condition)))
    doublets = np.flatnonzero(truth.partner[rows] >= 0)
    means = np.concatenate(
        [artifact_means(truth, rows), _clean_means(truth, truth.partner[rows[doublets]])]
    )
    at, values = gamma_poisson(rng, means, truth.inverse_dispersion)
    row, column = np.divmod(at, means.shape[1])
    row[row >= len(rows)] = doublets[row[row >= len(rows)] - len(rows)]
    # The COO constructor adds the two cells of a doublet up, and sorts.
    return csr_matrix((values, (row, column)), shape=(len(rows), means.shape[1]))


def _clean_means(truth: Truth, rows: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n G"]:
    return cell_proportions(truth, rows) * truth.library[rows, None]


def artifact_means(truth: Truth, rows: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n G"]:
    """Expected counts of cells as observed, but for the second cell of a doublet."""
    artifact, mixing = truth.artifact[rows], truth.mixing[rows, None]
    share = cell_proportions(
        truth, rows, cell_latent(truth, rows) + truth.artifact_latent[artifact]
    )
    for name, profile in (("ambient", truth.ambient), ("haemoglobin", truth.haemoglobin)):
        cells = artifact == ARTIFACTS.index(name)
        share[cells] = (1 - mixing[cells]) * share[cells] + mixing[cells] * profile
    share *= (truth.library[rows] * np.array(ARTIFACT_DEPTH, np.float32)[artifact])[:, None]
    return share


def _blocks(truth: Truth, first: int, last: int, workers: int | None) -> Iterator[Any]:
    """Blocks in order; drawn by threads, since NumPy leaves the interpreter free while it
    computes."""
    with ThreadPoolExecutor(workers or min(os.cpu_count() or 1, 4)) as pool:
        yield from pool.map(lambda block: block_counts(truth, block), range(first, last))


def matrix(truth: Truth, workers: int | None = None) -> Any:
    """Counts of all cells.

    The arrays grow in place (`ndarray.resize` remaps large ones), so that memory never holds the
    counts twice.
    """
    blocks = _blocks(truth, 0, -(-len(truth.condition) // BLOCK), workers)
    return _gather(blocks, len(truth.condition), len(truth.genes))


def rows(truth: Truth, start: int, stop: int, workers: int | None = None) -> Any:
    """Counts of the cells start .. stop - 1."""
    stop = min(stop, len(truth.condition))
    first = start // BLOCK
    last = -(-stop // BLOCK)
    covered = min(last * BLOCK, len(truth.condition)) - first * BLOCK
    gathered = _gather(_blocks(truth, first, last, workers), covered, len(truth.genes))
    return (
        gathered
        if covered == stop - start
        else gathered[start - first * BLOCK : stop - first * BLOCK]
    )


def _gather(blocks: Iterator[Any], n_cells: int, n_genes: int) -> Any:
    from scipy.sparse import csr_matrix

    indices, data = np.empty(0, np.int32), np.empty(0, np.uint16)
    indptr = np.zeros(n_cells + 1, np.int32)
    row = 0
    for block in blocks:
        old, new = len(data), len(data) + block.nnz
        largest = np.min_scalar_type(block.data.max(initial=0))
        data = data if largest.itemsize <= data.itemsize else data.astype(largest)
        indices.resize(new, refcheck=False)
        data.resize(new, refcheck=False)
        indices[old:], data[old:] = block.indices, block.data
        indptr[row + 1 : row + 1 + block.shape[0]] = old + block.indptr[1:]
        row += block.shape[0]
    smallest = np.min_scalar_type(data.max(initial=0))
    counts = csr_matrix(
        (data.astype(smallest, copy=False), indices, indptr), shape=(n_cells, n_genes)
    )
    counts.has_sorted_indices = counts.has_canonical_format = True
    return counts
