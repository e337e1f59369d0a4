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


class Moments(NamedTuple):
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
        found, fix = ("counts", LOGNORM[0]) if whole else ("values normalised before", "given")
        raise InputError(
            f"the log transform is {lognorm!r} but the cells hold {found}: set data.lognorm={fix}"
        )
    factor = np.ones(counts.shape[0])
    if "cp10k" in lognorm:
        total = library(counts)
        factor = np.divide(LIBRARY, total, out=np.zeros_like(total), where=total > 0)
    scale = LogScale(lognorm, factor, np.log(2.0) if lognorm.startswith("log2") else 1.0, file)
    return _with_z_score(counts, scale, keep) if lognorm == "ln_cp10k_zscore" else scale


def library(counts: Any) -> Float[np.ndarray, "N"]:
    """Total of each cell, block by block."""
    return np.concatenate(
        [np.asarray(block.sum(axis=1), np.float64).ravel() for _, block in row_blocks(counts)]
    )


def log_values(
    scale: LogScale, block: Any, rows: slice | Int[np.ndarray, "n"]
) -> Float[np.ndarray, "nnz"]:
    """Log values of a CSR block's stored entries; `rows` are the numbers of its cells."""
    values = block.data.astype(np.float64)
    if scale.kind == "given":
        return values
    stored = np.diff(block.indptr)
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
) -> Moments:
    """Moments of log values over the kept cells of each group: two passes over the stored entries.

    The spread is summed around the mean, so that a gene without counts in a group has variance 0
    exactly.
    """
    genes = counts.shape[1]
    cells = np.bincount(group[keep], minlength=groups)
    total, stored, spread = (
        np.zeros(groups * genes),
        np.zeros(groups * genes),
        np.zeros(groups * genes),
    )
    for place, value in _entries(counts, scale, group, keep):
        total += np.bincount(place, value, len(total))
        stored += np.bincount(place, minlength=len(total))
    mean = total.reshape(groups, genes) / np.maximum(cells, 1)[:, None]
    flat = mean.ravel()
    for place, value in _entries(counts, scale, group, keep):
        spread += np.bincount(place, (value - flat[place]) ** 2, len(spread))
    spread += (np.repeat(cells, genes) - stored) * flat**2
    return Moments(cells, mean, spread.reshape(groups, genes) / np.maximum(cells, 1)[:, None])


def _entries(
    counts: Any, scale: LogScale, group: Int[np.ndarray, "N"], keep: Bool[np.ndarray, "N"]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of (group * G + gene, log value) of the stored entries of kept cells."""
    for rows, block in row_blocks(counts):
        number = np.flatnonzero(keep[rows]) + rows.start
        part = block if len(number) == block.shape[0] else block[keep[rows]]
        yield (
            np.repeat(group[number].astype(np.int64), np.diff(part.indptr)) * part.shape[1]
            + part.indices,
            log_values(scale, part, number),
        )


def _with_z_score(counts: Any, scale: LogScale, keep: Bool[np.ndarray, "N"]) -> LogScale:
    files = int(scale.file.max()) + 1
    kept = np.bincount(scale.file[keep], minlength=files)
    if (kept < 2).any():
        raise InputError(
            f"file {int(np.argmin(kept)) + 1} of {files} has {kept.min()} training cells, "
            "expected at least 2 to "
            "z-score by: set data.lognorm=log2_cp10k or hold out less"
        )
    found = group_moments(counts, scale, scale.file, files, keep)
    std = np.sqrt(found.variance * (kept / (kept - 1))[:, None])
    std = np.where(std > 0, std, 1.0)
    return scale._replace(mean=found.mean, std=std, cap=found.mean + CLIP * std)
