"""Gamma-Poisson counts of simulated cells, drawn in blocks with their own random streams and
gathered as CSR (docs/simulator.md, Counts)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.stages import track
from jaxpert.simulate.cells import ARTIFACT_DEPTH
from jaxpert.simulate.truth import ARTIFACTS, Truth, cell_latent, cell_rates

BLOCK = 256
"""Cells per random stream: part of what a seed means, so changing it changes every simulated
screen."""
DIRECT = 8.0
"""Counts of means above this are drawn as a Poisson of a Gamma; those below (nearly all) by
inversion."""
# The survival function is found by subtraction, whose rounding errors rule far in the tail.
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
    # Positions are flat, so that all genes of a block are handled in one pass.
    gene = at % mean.shape[1]
    mu, r_at = mean.ravel()[at].astype(np.float64), r[gene].astype(np.float64)
    # A float32 uniform has 24 bits; the lower bits are drawn where they matter.
    v = np.maximum(uniform.ravel()[at] + rng.random(len(at)) * 2.0**-24, SMALLEST_TAIL)
    # Inversion takes as many steps as the largest count, so the few large means go another way.
    high = mu > DIRECT
    values = np.zeros(len(at), np.int64)
    # A Gamma-Poisson count is a Poisson one whose mean is drawn from a Gamma of the same mean.
    values[high] = rng.poisson(rng.gamma(r_at[high], mu[high] / r_at[high]))
    low = np.flatnonzero(~high)
    values[low] = _invert(v[low], mu[low], r_at[low])
    # The first comparison lets some zeros pass, since P(x > 0) is below the mean.
    kept = values > 0
    return at[kept], values[kept]


def _invert(
    v: Float[np.ndarray, "k"], mu: Float[np.ndarray, "k"], r: Float[np.ndarray, "k"]
) -> Int[np.ndarray, "k"]:
    """Number of x >= 1 with v < P(X >= x)."""
    values = np.zeros(len(v), np.int64)
    # P(X = 0) = (1 + mu / r)^-r, through log1p and expm1: most means are tiny.
    log_zero = -r * np.log1p(mu / r)
    left = np.arange(len(v))
    # The survival function goes down from P(X >= 1), one mass at a time.
    survival, mass, ratio = -np.expm1(log_zero), np.exp(log_zero), mu / (mu + r)
    x = 0
    while (inside := v < survival).any():
        # Entries that are done leave the arrays, so each round costs what is left.
        left, v, r, ratio = left[inside], v[inside], r[inside], ratio[inside]
        survival, mass = survival[inside], mass[inside]
        values[left] += 1
        # The recursion of the negative binomial: P(x + 1) = P(x) (x + r) / (x + 1) mu / (mu + r).
        mass *= (x + r) / (x + 1) * ratio
        survival -= mass
        x += 1
    return values


def block_counts(truth: Truth, block: int) -> Any:
    """Counts (CSR) of the cells of one block."""
    from scipy.sparse import csr_matrix

    # A block's stream depends on the seed and its number alone: neither threads nor chunks change
    # a count.
    rng = np.random.default_rng(np.random.SeedSequence(int(truth.seed), spawn_key=(1, block)))
    cells = np.arange(block * BLOCK, min((block + 1) * BLOCK, len(truth.condition)))
    doublets = np.flatnonzero(truth.partner[cells] >= 0)
    partners = truth.partner[cells[doublets]]
    # The second cells are drawn with the block, so a doublet needs no stream of its own.
    means = np.concatenate([artifact_means(truth, cells), _clean_means(truth, partners)])
    at, values = gamma_poisson(rng, means, truth.inverse_dispersion)
    row, column = np.divmod(at, means.shape[1])
    # The rows below the block's cells are the second cells of its doublets.
    second = row >= len(cells)
    row[second] = doublets[row[second] - len(cells)]
    # The COO constructor adds the two cells of a doublet up, and sorts.
    return csr_matrix((values, (row, column)), shape=(len(cells), means.shape[1]))


def _clean_means(truth: Truth, cells: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n G"]:
    """Expected counts: library x share."""
    return cell_rates(truth, cells) * truth.library[cells, None]


def artifact_means(truth: Truth, cells: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n G"]:
    """Expected counts of cells as observed, but for the second cell of a doublet
    (docs/simulator.md, Artifacts)."""
    artifact, mixing = truth.artifact[cells], truth.mixing[cells, None]
    # Artifacts shift the state of the cell first, and its reads are mixed and thinned after that.
    latent = cell_latent(truth, cells) + truth.artifact_latent[artifact]
    share = cell_rates(truth, cells, latent)
    for name, profile in (("ambient", truth.ambient), ("haemoglobin", truth.haemoglobin)):
        mixed = artifact == ARTIFACTS.index(name)
        share[mixed] = (1 - mixing[mixed]) * share[mixed] + mixing[mixed] * profile
    depth = np.array(ARTIFACT_DEPTH, np.float32)[artifact]
    # In place, since the array is cells by genes.
    share *= (truth.library[cells] * depth)[:, None]
    return share


def matrix(truth: Truth, workers: int | None = None) -> Any:
    """Counts of all cells."""
    cells = len(truth.condition)
    return _gather(_blocks(truth, 0, -(-cells // BLOCK), workers), cells, len(truth.genes))


def rows(truth: Truth, start: int, stop: int, workers: int | None = None) -> Any:
    """Counts of the cells start .. stop - 1."""
    stop = min(stop, len(truth.condition))
    # Only whole blocks can be drawn: take those that cover the cells, then cut.
    first, last = start // BLOCK, -(-stop // BLOCK)
    covered = min(last * BLOCK, len(truth.condition)) - first * BLOCK
    gathered = _gather(_blocks(truth, first, last, workers), covered, len(truth.genes))
    if covered == stop - start:
        return gathered
    return gathered[start - first * BLOCK : stop - first * BLOCK]


def _blocks(truth: Truth, first: int, last: int, workers: int | None) -> Iterator[Any]:
    """Blocks in order; drawn by threads, since NumPy leaves the interpreter free while it
    computes."""
    # Threads share nothing that they write: each block has a stream and arrays of its own.
    with ThreadPoolExecutor(workers or min(os.cpu_count() or 1, 4)) as pool:
        drawn = pool.map(lambda block: block_counts(truth, block), range(first, last))
        for _ in track(range(first, last), "simulating cells"):
            yield next(drawn)


def _gather(blocks: Iterator[Any], n_cells: int, n_genes: int) -> Any:
    """The blocks as one matrix, with the smallest unsigned integers that hold its counts.

    The arrays grow in place (`ndarray.resize` remaps large ones), so that memory never holds the
    counts twice.
    """
    from scipy.sparse import csr_matrix

    indices, data = np.empty(0, np.int32), np.empty(0, np.uint16)
    indptr = np.zeros(n_cells + 1, np.int32)
    row = 0
    for block in blocks:
        old, new = len(data), len(data) + block.nnz
        # The type grows with the largest count met so far, which is known only block by block.
        needed = np.min_scalar_type(block.data.max(initial=0))
        if needed.itemsize > data.itemsize:
            data = data.astype(needed)
        indices.resize(new, refcheck=False)
        data.resize(new, refcheck=False)
        indices[old:], data[old:] = block.indices, block.data
        # Pointers of a block start at 0, so those of the blocks before it are added.
        indptr[row + 1 : row + 1 + block.shape[0]] = old + block.indptr[1:]
        row += block.shape[0]
    # The start was uint16, which is wider than a screen of small counts needs.
    data = data.astype(np.min_scalar_type(data.max(initial=0)), copy=False)
    counts = csr_matrix((data, indices, indptr), shape=(n_cells, n_genes))
    # The blocks are sorted and without duplicates; saying so spares SciPy a pass over the counts.
    counts.has_sorted_indices = counts.has_canonical_format = True
    return counts
