"""Means of distances and kernels over pairs of cells, by products of dense blocks of cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.data.moments import Pseudobulk
from jaxpert.evaluation.schools.cells import Cells, dense_rows
from jaxpert.evaluation.schools.evidence import Kernels

ENTRIES = 2**24
"""Values of a dense block of cells: 128 MiB."""
HELD = 2**25
"""Values of a group of cells that stays dense while it is compared: 256 MiB; larger ones are made
dense block by block, each time again."""
MOST = 4096
"""Cells of a block, so that the distances between two blocks fit as well."""
ROUNDING = 1e-13
"""A squared distance below this share of both squared norms is 0: products round that much."""
GAMMAS = (2.0, 1.0, 0.5, 0.1, 0.01, 0.005)

Array = np.ndarray
KERNELS: dict[str, Callable[[Array, Array], Any]] = {
    "euclidean": lambda squared, product: np.sqrt(squared),
    "rbf": lambda squared, product: np.exp(-squared),
    "rbf_cellflow": lambda squared, product: _mean_gaussian(squared),
    "poly": lambda squared, product: product**2,
}
"""By name, from squared distances and inner products: Euclidean distance, Gaussian kernel of width
1, CellFlow's mean of six of them, square of the product."""


def _mean_gaussian(squared: Array) -> Array:
    """Mean of the Gaussian kernels of all GAMMAS."""
    total = np.zeros_like(squared)
    for gamma in GAMMAS:
        total += np.exp(-gamma * squared)
    return total / len(GAMMAS)


class Block(NamedTuple):
    """Some cells as a dense array, and their squared norms."""

    values: Float[np.ndarray, "n D"]
    size: Float[np.ndarray, "n"]


Points = Callable[[], Iterable[Block]]
"""Gives the blocks of a group of cells, anew each time."""


def kernels(
    real: Cells, predicted: Cells, perturbations: Sequence[str], wanted: set[str], control: str
) -> Kernels:
    """The wanted kernels within and between both files for each perturbation, and, where
    "to_control" is wanted, the energy distances from the control of each file."""
    names = [name for name in KERNELS if name in wanted]
    files = real, predicted
    rows = [_rows(cells, perturbations) for cells in files]
    controls = [_points(cells, _rows(cells, [control])[0]) for cells in files]
    values = np.zeros((3, len(names), len(perturbations)))
    distances = np.zeros((2, len(perturbations)))
    for place, of_sides in enumerate(zip(*rows, strict=True)):
        # Made dense once for all that is asked of these cells.
        x, y = (_points(cells, group) for cells, group in zip(files, of_sides, strict=True))
        if names:
            values[:, :, place] = [mean_kernels(names, *pair) for pair in ((x, x), (y, y), (x, y))]
        if "to_control" in wanted:
            pairs = zip((x, y), controls, strict=True)
            distances[:, place] = [_from_control(group, other) for group, other in pairs]
    of_real, of_predicted, between = (dict(zip(names, side, strict=True)) for side in values)
    if "to_control" not in wanted:
        return Kernels(of_real, of_predicted, between)
    within = [_mean_distance(points, points) for points in controls]
    from_real, from_predicted = distances - np.array(within)[:, None]
    return Kernels(of_real, of_predicted, between, from_real, from_predicted)


def mean_kernels(names: Sequence[str], x: Points, y: Points) -> Float[np.ndarray, "k"]:
    """Mean of each kernel over all pairs of a cell of x and one of y."""
    sums, pairs = np.zeros(len(names)), 0
    for left in x():
        for right in y():
            squared, product = _pairs(left, right)
            sums += [KERNELS[name](squared, product).sum() for name in names]
            pairs += squared.size
    return sums / pairs


def _from_control(group: Points, control: Points) -> float:
    """2 E|x - c| - E|x - x'|, the part of an energy distance that changes with the group."""
    return 2 * _mean_distance(group, control) - _mean_distance(group, group)


def _mean_distance(x: Points, y: Points) -> float:
    return float(mean_kernels(["euclidean"], x, y)[0])


def gap(
    cells: tuple[Cells, Cells], moments: tuple[Pseudobulk, Pseudobulk], perturbations: Sequence[str]
) -> tuple[Float[np.ndarray, "P"], Float[np.ndarray, "2 P"] | None]:
    """Squared distance of the mean of predicted from that of real cells, and the squared standard
    errors of both means summed over coordinates (None without variances)."""
    means, errors = [], []
    for side, of_side in zip(cells, moments, strict=True):
        mean, variance, number = of_side.mean, of_side.variance, of_side.cells
        if side.embedding is not None:
            mean, variance = _embedded(side, number)
        places = [side.names.index(name) for name in perturbations]
        means.append(mean[places])
        if variance is not None:
            errors.append(variance[places].sum(1) / number[places])
    squared = ((means[0] - means[1]) ** 2).sum(1)
    return squared, np.stack(errors) if len(errors) == 2 else None


def _embedded(cells: Cells, number: Int[np.ndarray, "K"]) -> tuple[Array, Array]:
    """Means and sample variances by label of the embedded cells."""
    assert cells.embedding is not None
    mean = np.zeros((len(number), cells.embedding.shape[1]))
    np.add.at(mean, cells.code, cells.embedding)
    mean /= number[:, None]
    variance = np.zeros_like(mean)
    np.add.at(variance, cells.code, (cells.embedding - mean[cells.code]) ** 2)
    return mean, variance / np.where(number > 1, number - 1, np.nan)[:, None]


def _rows(cells: Cells, names: Sequence[str]) -> list[Int[np.ndarray, "n"]]:
    """Rows of the cells of each label."""
    order = np.argsort(cells.code, kind="stable")
    place = {name: code for code, name in enumerate(cells.names)}
    codes = np.array([place[name] for name in names])
    sorted_code = cells.code[order]
    starts, stops = (np.searchsorted(sorted_code, codes, side) for side in ("left", "right"))
    return [order[a:b] for a, b in zip(starts, stops, strict=True)]


def _points(cells: Cells, rows: Array) -> Points:
    """The blocks of these cells, held where they are not too many."""
    if len(rows) * _width(cells) > HELD:
        return lambda: _blocks(cells, rows)
    held = list(_blocks(cells, rows))
    return lambda: held


def _width(cells: Cells) -> int:
    return len(cells.genes) if cells.embedding is None else cells.embedding.shape[1]


def _blocks(cells: Cells, rows: Array) -> Iterator[Block]:
    """Cells as dense blocks."""
    step = int(np.clip(ENTRIES // max(_width(cells), 1), 1, MOST))
    for start in range(0, len(rows), step):
        values = dense_rows(cells, rows[start : start + step])
        yield Block(values, np.einsum("ij,ij->i", values, values))


def _pairs(left: Block, right: Block) -> tuple[Array, Array]:
    """Squared distances and inner products of all pairs."""
    product = left.values @ right.values.T
    size = left.size[:, None] + right.size
    squared = size - 2 * product
    return np.where(squared > ROUNDING * size, squared, 0.0), product
