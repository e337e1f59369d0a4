"""Effects of the training conditions as a few directions, and what these leave
(docs/models/set_gp.md, "Components")."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxpert.evaluation.leading import LARGE, leading_right

TINY = 1e-12


class Components(NamedTuple):
    """Y = mean + (scale z) V' + rest_scale r, for the effects Y of C conditions."""

    mean: Float[np.ndarray, "G"]
    directions: Float[np.ndarray, "G K"]
    """V, orthonormal columns."""
    scale: Float[np.ndarray, "K"]
    """Standard deviation of the scores of each direction."""
    scores: Float[np.ndarray, "C K"]
    """z, of variance 1."""
    rest_scale: Float[np.ndarray, "G"]
    """Standard deviation of what the directions leave of each gene."""
    rest: Float[np.ndarray, "C G"]
    """r, of variance 1."""
    known: Float[np.ndarray, "P C"]
    """Squared standard errors of the scores of each direction, and last of what they leave."""


def components_of(
    effects: Float[np.ndarray, "C G"],
    used: Bool[np.ndarray, "C"],
    most: int,
    errors: Float[np.ndarray, "C G"] | None = None,
) -> Components:
    """The leading directions of the effects of the used conditions around their mean; the others
    have scores of 0. `errors` are squared standard errors of the effects, where they are known.

    There are at most half as many directions as the conditions allow. A direction takes with it the
    noise that lies along it, so what is left is too small by (n - k) / n: it is scaled back.
    """
    n = int(used.sum())
    count = max(1, min(most, (n - 1) // 2))
    mean = effects[used].mean(0)
    centred = effects[used] - mean
    directions = leading(centred, count)
    scores = centred @ directions
    left = centred - scores @ directions.T
    lost = n / max(n - count, 1)
    rest_scale = np.sqrt((left**2).mean(0) * lost)
    # A constant gene, or a direction without length, is divided by next to nothing.
    rest_scale = np.maximum(rest_scale, TINY)
    scale = np.maximum(np.sqrt((scores**2).mean(0)), TINY)
    return Components(
        mean=mean,
        directions=directions,
        scale=scale,
        scores=_spread(scores / scale, used),
        rest_scale=rest_scale,
        rest=_spread(left * np.sqrt(lost) / rest_scale, used),
        known=_known(errors, used, directions, scale, rest_scale),
    )


def _spread(rows: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Rows in their places among all conditions, zeros elsewhere."""
    out = np.zeros((len(used), rows.shape[1]))
    out[used] = rows
    return out


def _known(
    errors: np.ndarray | None,
    used: np.ndarray,
    directions: np.ndarray,
    scale: np.ndarray,
    rest_scale: np.ndarray,
) -> Float[np.ndarray, "P C"]:
    """Squared standard errors in the units of every process."""
    known = np.zeros((len(scale) + 1, len(used)))
    if errors is None:
        return known
    # Var(v' y) = sum_g v_g^2 se_g^2, the errors of genes being taken as independent.
    along = (errors[used] @ directions**2) / scale**2
    known[:-1, used] = along.T
    # The rest has one noise for all genes: the mean over genes with anything left.
    there = rest_scale > TINY
    if there.any():
        known[-1, used] = (errors[used][:, there] / rest_scale[there] ** 2).mean(1)
    return known


def leading(centred: Float[np.ndarray, "C G"], count: int) -> Float[np.ndarray, "G K"]:
    """Right singular vectors, the largest first, through the smaller of the two products."""
    n, genes = centred.shape
    if min(n, genes) > LARGE:
        return leading_right(centred, count)
    if n <= genes:
        _, vectors = np.linalg.eigh(centred @ centred.T)
        vectors = centred.T @ vectors[:, ::-1][:, :count]
        # An orthonormal basis also where directions have no length, as with a constant screen.
        return np.linalg.qr(vectors)[0]
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return vectors[:, ::-1][:, :count]
