"""The logarithmic scale of cells of several lines: from stored counts, block by block, never
dense."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.types import InputError
from jaxpert.data.counts import row_blocks

LIBRARY = 1e4
LOGNORM = ("log2_cp10k", "log2_raw", "ln_cp10k_zscore", "given")
"""log2(1 + 1e4 x / sum x), log2(1 + x), ln(1 + 1e4 x / sum x) z-scored over the file, and values
left as they are."""
CLIP = 10.0
"""Largest z-score."""


class GroupMoments(NamedTuple):
    """Gene-wise mean and variance (ddof 0) over the cells of each group, in float64; zeros for a
    group of no cells."""

    cells: Int[np.ndarray, "Q"]
    mean: Float[np.ndarray, "Q G"]
    variance: Float[np.ndarray, "Q G"]


class LogScale(NamedTuple):
    """From counts to log values: y = min(ln(1 + factor x) / unit, cap) at a stored entry and 0
    elsewhere.

    A z-score that is clipped from above, min((y - mean) / std, 10), is the affine image of min(y,
    mean + 10 std). A gene that is not stored has y = 0 <= mean and is never clipped. So the clip is
    `cap` on stored entries, and what follows is affine: the mean of clipped z-scores is exactly the
    image of the mean of capped values.
    """

    kind: str
    factor: Float[np.ndarray, "N"]
    """1e4 / sum x, or 1; 0 for cells without counts, which stay at y = 0."""
    unit: float
    file: Int[np.ndarray, "N"]
    """The file (data set) of each cell, by which z-scores are taken."""
    mean: Float[np.ndarray, "F G"] | None = None
    std: Float[np.ndarray, "F G"] | None = None
    """Sample standard deviation (ddof 1); 1 where it is 0."""
    cap: Float[np.ndarray, "F G"] | None = None


def fit_log_scale(
    counts: Any, lognorm: str, file: Int[np.ndarray, "N"], keep: Bool[np.ndarray, "N"]
) -> LogScale:
    """Return the scale called `lognorm` (one of LOGNORM); z-scores take the moments of the kept
    cells of each file.

    Differs from the published helper, which scales by every cell of a file, held-out ones included.
    """
    if lognorm not in LOGNORM:
        raise InputError(
            f"the log transform is {lognorm!r}, expected one of {', '.join(LOGNORM)}: change "
            "data.lognorm"
        )
    whole = counts.dtype.kind in "ui"
    if whole == (lognorm == "given"):
        held, fix = "values normalised before", "given"
        if whole:
            held, fix = "counts", LOGNORM[0]
        raise InputError(
            f"the log transform is {lognorm!r} but the cells hold {held}, expected the scale that "
            f"they have: set data.lognorm={fix}"
        )
    factor = np.ones(counts.shape[0])
    # Cells without counts get factor 0 and stay at 0 instead of dividing by it.
    if "cp10k" in lognorm:
        total = library(counts)
        factor = np.divide(LIBRARY, total, out=np.zeros_like(total), where=total > 0)
    # Logarithms are natural inside; the base is a division by ln 2.
    unit = np.log(2.0) if lognorm.startswith("log2") else 1.0
    scale = LogScale(lognorm, factor, unit, file)
    if lognorm == "ln_cp10k_zscore":
        return _with_z_score(counts, scale, keep)
    return scale


def library(counts: Any) -> Float[np.ndarray, "N"]:
    """Total of each cell, block by block."""
    totals = np.empty(counts.shape[0])
    for rows, block in row_blocks(counts):
        totals[rows] = np.asarray(block.sum(axis=1), np.float64).ravel()
    return totals


def log_values(
    scale: LogScale, block: Any, rows: slice | Int[np.ndarray, "n"]
) -> Float[np.ndarray, "nnz"]:
    """Log values of a CSR block's stored entries; `rows` are the numbers of its cells."""
    values = block.data.astype(np.float64)
    if scale.kind == "given":
        return values
    # Only stored entries are touched: a zero stays zero under ln(1 + x).
    stored = np.diff(block.indptr)
    # In place: a block is large, and each of these would else be a copy.
    values *= np.repeat(scale.factor[rows], stored)
    np.log1p(values, out=values)
    values /= scale.unit
    if scale.cap is not None:
        np.minimum(
            values, scale.cap[np.repeat(scale.file[rows], stored), block.indices], out=values
        )
    return values


def group_moments(
    counts: Any,
    scale: LogScale,
    group: Int[np.ndarray, "N"],
    groups: int,
    keep: Bool[np.ndarray, "N"],
) -> GroupMoments:
    """Moments of log values over the kept cells of each group: two passes over the stored entries.

    The spread is summed around the mean, so that a gene without counts in a group has variance 0
    exactly.
    """
    genes = counts.shape[1]
    size = groups * genes
    # The group of a cell without one is never counted, since `keep` leaves it out.
    cells = np.bincount(group[keep], minlength=groups)
    total, stored, spread = np.zeros(size), np.zeros(size), np.zeros(size)
    # First pass: means; second pass: spread around them.
    for place, value in _entries(counts, scale, group, keep):
        total += np.bincount(place, value, size)
        stored += np.bincount(place, minlength=size)
    # At least 1, so that an empty group has moments 0 and no division by 0.
    count = np.maximum(cells, 1)[:, None]
    mean = total.reshape(groups, genes) / count
    flat = mean.ravel()
    for place, value in _entries(counts, scale, group, keep):
        spread += np.bincount(place, (value - flat[place]) ** 2, size)
    # Entries that are not stored are 0 and lie the whole mean away from it.
    spread += (np.repeat(cells, genes) - stored) * flat**2
    return GroupMoments(cells, mean, spread.reshape(groups, genes) / count)


def _entries(
    counts: Any, scale: LogScale, group: Int[np.ndarray, "N"], keep: Bool[np.ndarray, "N"]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of (group * G + gene, log value) of the stored entries of kept cells."""
    for rows, block in row_blocks(counts):
        number = np.flatnonzero(keep[rows]) + rows.start
        # A block that is kept whole is not copied.
        part = block if len(number) == block.shape[0] else block[keep[rows]]
        # int64, since groups times genes may pass 2^31.
        of_entry = np.repeat(group[number].astype(np.int64), np.diff(part.indptr))
        place = of_entry * part.shape[1] + part.indices
        yield place, log_values(scale, part, number)


def _with_z_score(counts: Any, scale: LogScale, keep: Bool[np.ndarray, "N"]) -> LogScale:
    files = int(scale.file.max()) + 1
    kept = np.bincount(scale.file[keep], minlength=files)
    if (kept < 2).any():
        raise InputError(
            f"file {int(np.argmin(kept)) + 1} of {files} has {kept.min()} training cells, expected "
            "at least 2 to z-score by: set data.lognorm=log2_cp10k or hold out less"
        )
    moments = group_moments(counts, scale, scale.file, files, keep)
    # Sample standard deviation, from the population variance.
    std = np.sqrt(moments.variance * (kept / (kept - 1))[:, None])
    # A gene that does not vary keeps its values instead of becoming infinite.
    std = np.where(std > 0, std, 1.0)
    return scale._replace(mean=moments.mean, std=std, cap=moments.mean + CLIP * std)
