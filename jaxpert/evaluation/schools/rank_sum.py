"""Rank-sum tests of every perturbation against control, gene by gene, as pdex has them.

Wilcoxon-Mann-Whitney with mid-ranks, the normal approximation with its correction for ties and for
continuity, two-sided, then Benjamini-Hochberg over genes.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.data.moments import Pseudobulk
from jaxpert.evaluation.schools.cells import Cells, blocks
from jaxpert.evaluation.schools.evidence import Differential

ENTRIES = 16_000_000
"""Stored entries of a block of genes."""
WORKERS = 2
"""NumPy sorts and searches outside the interpreter's lock, so two threads use two cores."""


class RankSums(NamedTuple):
    """What the test of each group and gene is made from."""

    u: Float[np.ndarray, "K G"]
    """Pairs of a cell of the group and a control cell in which the first is larger, ties half."""
    ties: Float[np.ndarray, "K G"]
    """Sum of t^3 - t over the distinct values of both, t cells sharing one."""


def differential(cells: Cells, control: int, rows: Int[np.ndarray, "P"], means: Pseudobulk):
    """Tests of the groups `rows` against the group `control`, from all cells.

    The fold change is pdex's: log2 of (e^m - 1) / (e^c - 1) with m and c the means of ln(1 + x);
    0 where both are 0.
    """
    sums = rank_sums(cells, control)
    u, ties = sums.u[rows], sums.ties[rows]
    p = p_values(u, ties, means.cells[rows][:, None], int(means.cells[control]))
    natural = np.expm1(means.mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        fold = np.log2(natural[rows] / natural[control])
    # In single precision, in which cell-eval ranks and compares.
    fold = np.where(np.isnan(fold), 0, fold).astype(np.float32)
    return Differential(fold, benjamini_hochberg(p).astype(np.float32))


def p_values(
    u: np.ndarray, ties: np.ndarray, n: np.ndarray, n_control: int
) -> Float[np.ndarray, "P G"]:
    """Two-sided p-values by the normal approximation; 1 where all values are equal."""
    from scipy.special import ndtr

    total = n + n_control
    middle = n * n_control / 2
    variance = n * n_control / 12 * ((total + 1) - ties / (total * (total - 1)))
    # Half a step towards the middle, for a normal has no steps.
    distance = np.abs(u - middle) - 0.5
    z = distance / np.sqrt(np.where(variance > 0, variance, np.inf))
    return np.where(variance > 0, np.minimum(2 * ndtr(-z), 1), 1.0)


def benjamini_hochberg(p: Float[np.ndarray, "P G"]) -> Float[np.ndarray, "P G"]:
    """False discovery rates over the genes of each row."""
    order = np.argsort(p, axis=1)
    scaled = np.take_along_axis(p, order, axis=1) * p.shape[1] / np.arange(1, p.shape[1] + 1)
    # The least over all larger p-values keeps the rates in the order of the p-values.
    least = np.minimum.accumulate(scaled[:, ::-1], axis=1)[:, ::-1]
    rates = np.empty_like(p)
    np.put_along_axis(rates, order, np.minimum(least, 1), axis=1)
    return rates


def rank_sums(cells: Cells, control: int) -> RankSums:
    """Go through all genes in blocks; a group of no cells gets zeros."""
    number = np.bincount(cells.code, minlength=len(cells.names))
    shape = len(number), len(cells.genes)
    sums = RankSums(np.zeros(shape), np.zeros(shape))

    def fill(where: slice, block: Any) -> None:
        for gene in range(where.start, where.stop):
            values, code = _column(block, int(gene - where.start), cells.code)
            sums.u[:, gene], sums.ties[:, gene] = of_gene(values, code, number, control)

    with ThreadPoolExecutor(WORKERS) as pool:
        for where, block in _gene_blocks(cells):
            edges = np.linspace(where.start, where.stop, WORKERS + 1).astype(int).tolist()
            parts = zip(edges[:-1], edges[1:], strict=True)
            work = [(slice(a, b), block[:, a - where.start : b - where.start]) for a, b in parts]
            list(pool.map(lambda part: fill(*part), work))
    return sums


def of_gene(
    values: np.ndarray, code: np.ndarray, number: Int[np.ndarray, "K"], control: int
) -> tuple[Float[np.ndarray, "K"], Float[np.ndarray, "K"]]:
    """U and ties of every group from the values above 0 of one gene and the groups of their cells.

    The zeros of a group are those that are left of its `number` of cells; being the smallest
    values, they need no sorting.
    """
    groups = len(number)
    runs, times = np.unique(_keys(values, code), return_counts=True)
    group, value = (runs >> np.uint64(32)).astype(np.intp), runs.astype(np.uint32)
    count = times.astype(np.float64)
    zeros = number - np.bincount(group, count, groups)
    first, last = np.searchsorted(group, [control, control + 1])
    other, other_count = value[first:last], count[first:last]
    place = np.searchsorted(other, value)
    # Above the zeros of control and its smaller values, and half above the equal ones.
    below = np.concatenate([[0], np.cumsum(other_count)])[place] + zeros[control]
    u = np.bincount(group, count * below, groups) + zeros * zeros[control] / 2
    ties = _cubes(other_count).sum() + _cubes(zeros + zeros[control])
    equal = np.zeros(len(value))
    met = np.append(other, np.uint32(0))[place] == value
    equal[met] = other_count[place[met]]
    # Most values of normalised cells occur once and add nothing below.
    shared = np.flatnonzero(met | (times > 1))
    group, count, equal = group[shared], count[shared], equal[shared]
    u += np.bincount(group, count * equal / 2, groups)
    # Values of control alone tie among themselves; the others change what they meet.
    return u, ties + np.bincount(group, _cubes(count + equal) - _cubes(equal), groups)


def _cubes(t: np.ndarray) -> np.ndarray:
    return t * (t * t - 1)


def _keys(values: np.ndarray, code: np.ndarray) -> np.ndarray:
    """Whole numbers that sort by group first and value then, equal where both are."""
    if values.dtype == np.float32:
        # The bits of positive floats, read as whole numbers, are in the order of the floats.
        low = values.view(np.uint32)
    else:
        # Double precision does not fit beside the group; ranks among the distinct values do, from 1
        # as 0 stands for no value.
        low = 1 + np.unique(values, return_inverse=True)[1].astype(np.uint32)
    return (code.astype(np.uint64) << np.uint64(32)) | low


def _column(block: Any, gene: int, code: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values of one gene above 0, and the groups of their cells."""
    if isinstance(block, np.ndarray):
        values = np.ascontiguousarray(block[:, gene])
    else:
        part = slice(block.indptr[gene], block.indptr[gene + 1])
        values, code = block.data[part], code[block.indices[part]]
    above = values > 0
    if above.all():
        return values, code
    return values[above], code[above]


def _gene_blocks(cells: Cells) -> Iterator[tuple[slice, Any]]:
    """All cells at some genes: CSC, or dense with genes contiguous."""
    genes = len(cells.genes)
    step = max(1, int(genes * ENTRIES / max(_entries(cells), 1)))
    for start in range(0, genes, step):
        where = slice(start, min(start + step, genes))
        yield where, _genes(cells, where)


def _entries(cells: Cells) -> int:
    """Entries of the whole matrix: stored ones where it is sparse."""
    if hasattr(cells.matrix, "nnz"):
        return int(cells.matrix.nnz)
    if hasattr(cells.matrix, "group"):
        return int(cells.matrix.group["data"].shape[0])
    return int(np.prod(cells.matrix.shape))


def _genes(cells: Cells, where: slice) -> Any:
    from scipy import sparse

    if cells.scale == "log1p" and not cells.backed:
        parts = [cells.matrix[:, where]]
    else:
        # Cells of a file are read in order, as often as there are blocks of genes.
        parts = [values[:, where] for _, values in blocks(cells)]
    if isinstance(parts[0], np.ndarray):
        return np.asfortranarray(np.concatenate(parts))
    return sparse.vstack(parts, format="csc")
