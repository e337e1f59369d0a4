"""On which scale the values of a file are: declared, or told from the values, and checked in either
case."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxpert.core.types import InputError
from jaxpert.data.counts import row_blocks
from jaxpert.data.files import shown
from jaxpert.data.moments import LIBRARY

SCALES = ("counts", "log1p", "log2", "effects", "effects_ln")
"""Raw counts; ln(1 + T x / sum x); log2 of the same; differences from the control in log2, and on
the natural logarithm."""
EFFECTS = ("effects", "effects_ln")
LN2 = float(np.log(2.0))
UNIT = {"log1p": LN2, "log2": 1.0, "effects": 1.0, "effects_ln": LN2}
"""What values are divided by to be log2."""
LARGEST_LOG = 15.0
"""No logarithm of normalised counts is larger: ln(1 + 1e6) is 13.8."""
SAME_TOTAL = 0.02
"""Totals count as one where they differ by less than this share."""


class Told(NamedTuple):
    """A scale, and the sentence that says how it is known."""

    scale: str
    sentence: str


class Labels(NamedTuple):
    """What messages call the rows and columns of a matrix."""

    source: str
    rows: Any
    genes: Any
    flag: str
    """That declares the scale."""


def tell(values: Any, labels: Labels, declared: str = "auto") -> Told:
    """The scale of a CSR matrix `[N, G]` of float64.

    Raises:
        InputError: for values that are not finite, that no scale has, that the declared scale does
            not have, or that are on several scales.
    """
    if declared not in ("auto", *SCALES):
        raise InputError(
            f"{labels.flag} is {declared!r}, expected one of auto, {', '.join(SCALES)}: correct it"
        )
    _check_finite(values, labels)
    if declared in EFFECTS:
        return Told(declared, f"{labels.source} holds {declared}, as declared")
    _check_not_negative(values, labels)
    whole = _whole_rows(values, labels)
    # Before powers are taken of the values, which could overflow.
    if not whole and declared != "counts":
        _check_small(values, labels)
    scale = declared
    if declared == "auto":
        scale = "counts" if whole else _which_log(values)
    if scale == "counts":
        return Told(scale, _of_counts(labels, whole, declared))
    if whole:
        raise InputError(
            f"{labels.source} holds whole numbers alone, expected those of {scale}: set "
            f"{labels.flag}=counts"
        )
    how = "as declared"
    if declared == "auto":
        how = f"told from its values (decimals from 0 to {values.data.max():.2f})"
    return Told(scale, f"{labels.source} is on the scale {scale}, {how}")


def to_log2(values: Any, scale: str, total: float = LIBRARY) -> Any:
    """CSR values on the log2 scale: counts as log2(1 + total x / sum x), logarithms with their base
    changed, effects as log2 effects. The indices are shared with `values`."""
    from scipy import sparse

    data = values.data.astype(np.float64)
    if scale == "counts":
        sums = np.asarray(values.sum(axis=1, dtype=np.float64)).ravel()
        factor = total / np.where(sums > 0, sums, 1)
        # ln(1 + 0) = 0, so that only stored entries change.
        data *= np.repeat(factor, np.diff(values.indptr))
        np.log1p(data, out=data)
    # log2 y = ln y / ln 2 (docs/evaluation.md, "Effects").
    data /= LN2 if scale == "counts" else UNIT[scale]
    parts = data, values.indices, values.indptr
    return sparse.csr_matrix(parts, shape=values.shape, copy=False)


def totals(values: Any, scale: str) -> Float[np.ndarray, "N"]:
    """What each row adds up to before the logarithm was taken; the counts themselves."""
    sums = []
    for _, block in row_blocks(values):
        before = block.data
        if scale != "counts":
            # e^y - 1 = T x / sum x, which adds up to T over all genes.
            before = np.expm1(before * (LN2 / UNIT[scale]))
        sums.append(_by_row(np.add, before, block))
    return np.concatenate(sums)


def common_total(sums: Float[np.ndarray, "N"]) -> float | None:
    """The total that rows were normalised to; None where they do not have one."""
    filled = sums[sums > 0]
    if not len(filled):
        return None
    low, middle, high = np.quantile(filled, [0.05, 0.5, 0.95])
    return float(middle) if high - low <= SAME_TOTAL * middle else None


def _check_finite(values: Any, labels: Labels) -> None:
    bad = np.flatnonzero(~np.isfinite(values.data))
    if len(bad):
        row, gene = _place(values, int(bad[0]), labels)
        raise InputError(
            f"{labels.source} holds {len(bad)} values that are not finite (first: "
            f"{values.data[bad[0]]} for gene {gene} in row {row}), expected numbers: mend or leave "
            "out these rows"
        )


def _check_not_negative(values: Any, labels: Labels) -> None:
    bad = np.flatnonzero(values.data < 0)
    if len(bad):
        row, gene = _place(values, int(bad[0]), labels)
        raise InputError(
            f"{labels.source} holds {len(bad)} negative values (first: {values.data[bad[0]]:.4g} "
            f"for gene {gene} in row {row}), expected counts or their logarithm, which are 0 at "
            f"least: set {labels.flag}=effects if these are differences from the control, else set "
            "them to 0"
        )


def _by_row(work: np.ufunc, data: np.ndarray, block: Any) -> Float[np.ndarray, "n"]:
    """Sums or maxima of stored entries by row, 0 for rows without any."""
    made = np.zeros(block.shape[0])
    filled = np.flatnonzero(np.diff(block.indptr))
    # Without entries a row has no place to begin at.
    if len(filled):
        made[filled] = work.reduceat(data, block.indptr[filled])
    return made


def _check_small(values: Any, labels: Labels) -> None:
    parts = [_by_row(np.maximum, block.data, block) for _, block in row_blocks(values)]
    largest = np.concatenate(parts)
    bad = np.flatnonzero(largest >= LARGEST_LOG)
    if not len(bad):
        return
    where = f"{len(bad)} of {len(largest)} rows of {labels.source} ({_rows(labels, bad)}) "
    if len(bad) < len(largest):
        raise InputError(
            f"{where}hold values up to {largest.max():.4g}, the others none above "
            f"{LARGEST_LOG:.0f}, expected one scale for all: take log1p of those rows too"
        )
    raise InputError(
        f"{where}hold decimals up to {largest.max():.4g}, expected whole counts or a logarithm, "
        f"which stays below {LARGEST_LOG:.0f}: take log1p of the values, or set "
        f"{labels.flag}=counts if they are mean counts"
    )


def _whole_rows(values: Any, labels: Labels) -> bool:
    """Whether all rows are whole numbers; InputError where only some are."""
    filled = np.diff(values.indptr) > 0
    parts = []
    for _, block in row_blocks(values):
        parts.append(_by_row(np.add, (block.data != np.rint(block.data)).astype(float), block))
    decimal = np.concatenate(parts) > 0
    if not filled.any():
        raise InputError(
            f"{labels.source} holds only zeros, expected expression: check the layer and the "
            "filter that made it"
        )
    whole = filled & ~decimal
    if whole.any() and decimal.any():
        raise InputError(
            f"{int(whole.sum())} of {int(filled.sum())} rows of {labels.source} "
            f"({_rows(labels, np.flatnonzero(whole))}) hold whole numbers alone and the others "
            "decimals, expected one scale for all: give counts everywhere, or log1p everywhere"
        )
    return not decimal.any()


def _which_log(values: Any) -> str:
    """log2 where that alone makes the rows add up to one total, else log1p."""
    # Logarithms cannot be told apart by size; rows that were normalised tell by their sum.
    natural, binary = (common_total(totals(values, scale)) for scale in ("log1p", "log2"))
    return "log2" if natural is None and binary is not None and values.shape[0] > 1 else "log1p"


def _of_counts(labels: Labels, whole: bool, declared: str) -> str:
    if not whole:
        return (
            f"{labels.source} holds decimals and is declared to hold counts: the logarithm of a "
            "mean count lies above the mean of the logarithms that is measured, so that effects "
            "of rarely seen genes are off"
        )
    how = "told from its values (whole numbers)" if declared == "auto" else "as declared"
    return f"{labels.source} holds counts, {how}"


def _place(values: Any, entry: int, labels: Labels) -> tuple[str, str]:
    row = int(np.searchsorted(values.indptr, entry, side="right")) - 1
    return repr(str(labels.rows[row])), repr(str(labels.genes[values.indices[entry]]))


def _rows(labels: Labels, rows: Bool[np.ndarray, "n"] | np.ndarray) -> str:
    return shown([repr(str(labels.rows[int(row)])) for row in rows], 3)
