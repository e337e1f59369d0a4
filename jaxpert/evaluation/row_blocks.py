"""Rows of a request in blocks, for programs that many requests share."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from jaxpert.core.types import Model, PyTree, Request

BUDGET = 2**23
"""Generated values (cells x genes) at a time; a few arrays of that size are alive, so about half a
gigabyte."""
FEW_ROWS, MANY_ROWS = 8, 64
"""Programs are made for these numbers of rows, for the powers of 2 between them, and for multiples
of the second."""


def block_sizes(
    model: Model, params: PyTree, state: PyTree, request: Request, particles: int
) -> tuple[int, int]:
    """Rows and particles at a time: as many rows as BUDGET holds, then as many particles."""
    # The width of an answer, found without computing one.
    genes = jax.eval_shape(model.predict, params, state, jax.random.key(0), request).shape[-1]
    cells = max(1, BUDGET // genes)
    # Rows before particles, since a particle's global draw serves all rows of a block.
    rows = min(shared_rows(len(request.library)), cells)
    return rows, max(1, min(particles, cells // rows))


def shared_rows(rows: int) -> int:
    """Rows that a program is made for, at least these: requests of similar sizes share one, since
    compiling takes longer than generating a few cells more."""
    if rows > MANY_ROWS:
        return -(-rows // MANY_ROWS) * MANY_ROWS
    return max(FEW_ROWS, 1 << (rows - 1).bit_length())


def padded(request: Request, rows: int) -> Request:
    """The request with its last row repeated up to a multiple of `rows`; the draws of a row do not
    depend on how many follow it."""
    missing = -len(request.library) % rows

    def pad(a: Any) -> np.ndarray:
        # On the host, since every size of it would be a program of its own. A repeated row is a
        # valid request, where zeros would be a library of 0.
        return np.pad(a, ((0, missing), *((0, 0),) * (a.ndim - 1)), mode="edge")

    return jax.tree.map(pad, request)


def padded_order(size: int, chunk: int) -> tuple[np.ndarray, np.ndarray]:
    """Mask and index [steps, chunk] that run through `size` particles, the last one repeated as
    padding."""
    place = np.arange(-(-size // chunk) * chunk).reshape(-1, chunk)
    # A scan takes steps of one length, so the last one is filled up.
    return place < size, np.minimum(place, size - 1)


def blocks(request: Request, rows: int) -> Request:
    """The rows of a padded request as [blocks, rows]."""
    return jax.tree.map(lambda a: a.reshape(-1, rows, *a.shape[1:]), request)


def unblock(a: Array) -> Array:
    """[blocks, rows, ...] as the rows of the request again."""
    return a.reshape(-1, *a.shape[2:])
