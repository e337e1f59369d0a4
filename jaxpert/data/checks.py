"""Are these raw counts?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxpert.core.types import InputError


class Labelled(NamedTuple):
    """A stored matrix with the names that its error messages need."""

    matrix: Any
    """Dense array, SciPy CSR/CSC, or the h5py dataset or group of one: anything that can be
    sliced."""
    cells: np.ndarray
    genes: np.ndarray
    source: str
    layer: str
    layers: Sequence[str]
    """All layers of the source, "X" included."""


class Where(NamedTuple):
    """Which matrix a block is of, and whether its rows are genes."""

    stored: Labelled
    transposed: bool


def check_counts(block, where: Where, numbers: np.ndarray) -> None:
    """Raise `InputError` at the first value of a CSR block that is no count; `numbers` are its
    rows' in the matrix."""
    values = block.data
    if values.dtype.kind == "f":
        for bad, problem in ((np.isnan(values), "NaN"), (np.isinf(values), "an infinite value")):
            if bad.any():
                _complain(problem, bad, block, where, numbers)
    if values.dtype.kind in "if" and (bad := values < 0).any():
        _complain(
            f"the negative value {values[bad][0]:g} (scaled or centred data?)",
            bad,
            block,
            where,
            numbers,
        )
    if values.dtype.kind == "f" and (bad := values != np.floor(values)).any():
        _complain(
            f"the fraction {values[bad][0]:g}{_explain_fraction(block, bad)}",
            bad,
            block,
            where,
            numbers,
        )


def _complain(problem: str, bad: np.ndarray, block, where: Where, numbers: np.ndarray) -> None:
    stored, first = where.stored, int(np.argmax(bad))
    row = int(numbers[np.searchsorted(block.indptr, first, side="right") - 1])
    cell, gene = (
        (int(block.indices[first]), row) if where.transposed else (row, int(block.indices[first]))
    )
    raise InputError(
        f"layer {stored.layer!r} of {stored.source} holds {problem} at cell "
        f"{str(stored.cells[cell])!r} and "
        f"gene {str(stored.genes[gene])!r}, expected raw counts (whole numbers from 0): "
        f"{_fix(stored)}"
    )


def _fix(stored: Labelled) -> str:
    others = [layer for layer in stored.layers if layer != stored.layer]
    if others:
        return (
            "set data.layer to the layer with raw counts (others in the file: "
            f"{', '.join(map(repr, others))})"
        )
    return "give the file as it was before normalisation (it has no other layer)"


def _explain_fraction(block, bad: np.ndarray) -> str:
    """Tell log-normalised and library-scaled cells by their values, which are multiples of one unit
    per cell."""
    longest = int(np.argmax(np.diff(block.indptr)))
    values = block.data[block.indptr[longest] : block.indptr[longest + 1]].astype(np.float64)
    if values.max(initial=0) < 30 and _whole_multiples(np.expm1(values)):
        return " (it looks log-normalised: ln(1 + scaled counts))"
    if _whole_multiples(values):
        return " (it looks scaled to a common total per cell)"
    return f" ({bad.sum()} of the {bad.size} values looked at are fractions)"


def _whole_multiples(values: np.ndarray) -> bool:
    if len(values) < 2 or values.min() <= 0:
        return False
    ratio = values / values.min()
    return bool(
        ratio.max() > 1.5
        and (np.abs(ratio - np.round(ratio)) < 1e-2 * np.maximum(1, ratio / 10)).all()
    )
