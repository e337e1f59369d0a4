"""ComBat from moments: batch effects as one affine map per batch and gene, which pseudo-bulk means
share."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.types import InputError
from jaxpert.data.files import shown
from jaxpert.tasks.translation.log_scale import GroupMoments, LogScale

# Relative to the size of each value (docs/models/cycseq.md, ComBat).
TOLERANCE = 1e-4
# A limit, so that a gene that swings between two values cannot block a run.
MOST_ITERATIONS = 1000
CONSTANT = 1e-12
"""A gene whose variance is below this share of its mean square does not vary but for rounding."""


class Affine(NamedTuple):
    """y' = scale[b, g] y + shift[b, g] for every cell, and hence every mean of cells, of batch
    b."""

    scale: Float[np.ndarray, "Q G"]
    shift: Float[np.ndarray, "Q G"]


class Combat(NamedTuple):
    """What ComBat does, and to which genes it does nothing."""

    affine: Affine
    untouched: Bool[np.ndarray, "Q G"]
    """Genes left as they are: constant in the reference (or everywhere), a prior without spread, or
    the reference."""
    iterations: Int[np.ndarray, "Q"]


class CombatReference(NamedTuple):
    """A reference batch kept as its moments, which are all that ComBat needs of it, for data that
    do not hold it."""

    name: str
    cells: int
    mean: Float[np.ndarray, "G"]
    """Over its cells (see `combat_cells`), of log values after cap and z-score; float64, as
    `variance` (ddof 0)."""
    variance: Float[np.ndarray, "G"]
    genes: tuple[str, ...]
    lognorm: str
    combat_cells: str
    """The cells that batches are aligned by, here and in data aligned to it: "controls" or
    "all"."""


class _Prior(NamedTuple):
    """What the genes of one batch say of each other."""

    mean: float
    variance: float
    shape: float
    rate: float


def identity(batches: int, genes: int) -> Affine:
    """The map that leaves every batch as it is."""
    return Affine(np.ones((batches, genes)), np.zeros((batches, genes)))


def combat(
    moments: GroupMoments, reference: int | CombatReference | None, *, stopping: str = "absolute"
) -> Combat:
    """Fit parametric empirical-Bayes ComBat without covariates (Johnson et al. 2007) to the moments
    of each batch.

    With everything fixed the adjustment y' = s (z - g*) / sqrt(d*) + alpha, z = (y - alpha) / s, is
    affine in y. The update of d* needs a batch's cells only by sum (z - g)^2 = n (var z + (mean z -
    g)^2), hence by moments alone.

    Args:
      moments: per batch (ddof 0); batches without cells are left as they are.
      reference: the batch that the others are aligned to. With a kept one, or None for the joint
        form, all of them move.
      stopping: "absolute" ends when no g* or d* changes by more than 1e-4 of its size; "signed"
        divides by the old value with its sign as published implementations do, so that negative
        ones never block stopping.

    A gene of no variance (s = 0), and a batch whose genes all have one variance (its prior has no
    spread), are left untouched.
    """
    if stopping not in ("absolute", "signed"):
        raise ValueError(f"stopping is {stopping!r}, expected 'absolute' or 'signed'")
    # docs/models/cycseq.md, ComBat: z = (y - alpha) / s.
    alpha, s, varies = _standard(moments, reference)
    affine, untouched = identity(*moments.mean.shape), np.ones(moments.mean.shape, bool)
    iterations = np.zeros(len(moments.cells), np.int64)
    for b in np.flatnonzero(moments.cells):
        # The reference stays as it is, and with no varying gene there is nothing to do.
        if _is_reference(int(b), reference) or not varies.any():
            continue
        # Effect and spread of the batch for each gene, standardised.
        shift = (moments.mean[b, varies] - alpha) / s
        spread = moments.variance[b, varies] / s**2
        prior = _prior(shift, spread)
        # Without spread over genes the inverse gamma has no parameters.
        if prior is None:
            continue
        g, d, iterations[b] = _posterior(int(moments.cells[b]), shift, spread, prior, stopping)
        # y' = s (z - g*) / sqrt(d*) + alpha as a map of y.
        scale = 1 / np.sqrt(d)
        # Written into the map of the batch in place; other genes keep the identity.
        affine.scale[b, varies], untouched[b, varies] = scale, False
        affine.shift[b, varies] = alpha - (alpha + s * g) * scale
    return Combat(affine, untouched, iterations)


def standardised_moments(
    moments: GroupMoments, scale: LogScale, file: Int[np.ndarray, "Q"]
) -> GroupMoments:
    """GroupMoments after z-scoring, where the scale has it; `file` is each batch's."""
    if scale.mean is None or scale.std is None:
        return moments
    filled = (moments.cells > 0)[:, None]
    # Batches without cells keep mean 0, as before.
    mean = np.where(filled, (moments.mean - scale.mean[file]) / scale.std[file], 0)
    return GroupMoments(moments.cells, mean, moments.variance / scale.std[file] ** 2)


def after_standardising(affine: Affine, scale: LogScale, file: Int[np.ndarray, "Q"]) -> Affine:
    """The map from (capped) log values to adjusted ones: z-scoring first, where the scale has
    it."""
    if scale.mean is None or scale.std is None:
        return affine
    return Affine(
        affine.scale / scale.std[file],
        affine.shift - affine.scale * scale.mean[file] / scale.std[file],
    )


def apply_affine(affine: Affine, batch: Int[np.ndarray, "n"], values: Any) -> Any:
    """Adjust rows of values `[n, G]` (cells or means of cells) of the given batches."""
    return affine.scale[batch] * values + affine.shift[batch]


def require_comparable(
    reference: CombatReference, genes: tuple[str, ...], lognorm: str, combat_cells: str
) -> None:
    """Refuse a kept reference whose moments are of other genes, on another scale or of other cells
    than asked for."""
    kept = f"the kept ComBat reference {reference.name!r}"
    for key, here in (("lognorm", lognorm), ("combat_cells", combat_cells)):
        there = getattr(reference, key)
        if here != there:
            raise InputError(
                f"{kept} was fitted with data.{key}={there} and here it is {here}, expected the "
                f"same: set data.{key}={there}, or align to a batch of these data "
                "(data.combat_reference=largest)"
            )
    # Moments belong to genes by place, so the order matters too.
    if reference.genes != genes:
        absent = np.asarray(reference.genes)[~np.isin(reference.genes, genes)]
        what = "in another order or fewer"
        if len(absent):
            what = f"{len(absent)} of them missing here ({shown(absent)})"
        raise InputError(
            f"the data have {len(genes)} genes and {kept} {len(reference.genes)}, {what}; expected "
            "the same genes in the same order: choose the genes of its run when reading the data"
        )


def _is_reference(batch: int, reference: int | CombatReference | None) -> bool:
    # A kept reference is none of the batches.
    return not isinstance(reference, CombatReference) and batch == reference


def _standard(
    moments: GroupMoments, reference: int | CombatReference | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Alpha and s of the genes that vary, and which those are: mean and deviation of the reference,
    or pooled over the batches."""
    if isinstance(reference, CombatReference):
        alpha, variance = reference.mean, reference.variance
    elif reference is not None:
        alpha, variance = moments.mean[reference], moments.variance[reference]
    else:
        # The joint form pools within-batch variances, weighted by cells.
        weight = (moments.cells / moments.cells.sum())[:, None]
        alpha, variance = (weight * moments.mean).sum(0), (weight * moments.variance).sum(0)
    # A gene that does not vary in the reference has no scale to be standardised by.
    varies = variance > CONSTANT * alpha**2
    return alpha[varies], np.sqrt(variance[varies]), varies


def _prior(shift: np.ndarray, spread: np.ndarray) -> _Prior | None:
    # Mean u and variance w of the spreads over genes (docs/models/cycseq.md, ComBat).
    mean, variance = float(spread.mean()), float(spread.var())
    if variance <= CONSTANT * mean**2:
        return None
    # Shape and rate of the inverse gamma distribution with the mean and variance of the spreads.
    shape = (2 * variance + mean**2) / variance
    rate = (mean * variance + mean**3) / variance
    return _Prior(float(shift.mean()), float(shift.var()), shape, rate)


def _posterior(
    cells: int, shift: np.ndarray, spread: np.ndarray, prior: _Prior, stopping: str
) -> tuple[np.ndarray, np.ndarray, int]:
    """g*, d* and the number of rounds: each is updated given the other until neither changes."""
    # The estimates themselves are where the rounds start.
    g, d, number = shift, spread, 0
    while number < MOST_ITERATIONS:
        number += 1
        # Conditional posterior mean of the effect, then of the spread around it.
        new_g = (prior.variance * cells * shift + d * prior.mean) / (prior.variance * cells + d)
        squares = cells * (spread + (shift - new_g) ** 2)
        # Mean of the inverse gamma posterior (docs/models/cycseq.md, ComBat).
        new_d = (prior.rate + 0.5 * squares) / (cells / 2 + prior.shape - 1)
        change = max(_change(g, new_g, stopping), _change(d, new_d, stopping))
        g, d = new_g, new_d
        if change <= TOLERANCE:
            break
    return g, d, number


def _change(old: np.ndarray, new: np.ndarray, stopping: str) -> float:
    """Largest change relative to the old value; one from exactly 0 to 0 is none."""
    # Signed as published, so that a negative old value never keeps the rounds going.
    size = old if stopping == "signed" else np.abs(old)
    moved = np.abs(new - old)
    of_zero = np.where(moved > 0, np.inf, 0.0)
    return float(np.divide(moved, size, out=of_zero, where=size != 0).max())
