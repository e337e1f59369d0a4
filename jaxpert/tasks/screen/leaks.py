"""What would make scores look better than the predictions are, looked for in labelled tables before
anything is scored. Pure functions; each answers with a sentence, or with nothing.

docs/guide/score.md lists what is refused, what is named, and what is scored all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.counts import row_blocks
from jaxpert.data.files import shown
from jaxpert.data.mapped import rows_of

FEWEST_ENTRIES = 10
"""Rows of fewer entries may be equal by chance."""
COMPARED = 4096
"""Rows that are compared together."""
PROJECTIONS = 3
"""Numbers that stand for a row when equal ones are looked for."""
TOLERANCE = 1e-3
"""Rows are equal within so much; float32 and another order of sums change less."""
SURE = 5.0
"""Standard errors that a gene of the predicted control must differ by, to be named."""
SLACK = 0.01
"""And so much on the log2 scale at least, so that genes without variance do not count."""
ALIKE = 0.98
"""Correlation from which two control profiles are the same but for their scale."""
BASES = {
    1 / np.log(2.0): "log2 where ln was understood",
    np.log(2.0): "ln where log2 was understood",
}
"""Slope of predicted on measured control means, and what it comes of."""


def repeated_rows(
    first: Any,
    second: Any,
    tolerance: float = TOLERANCE,
    *,
    of_first: Int[np.ndarray, "n"] | None = None,
    of_second: Int[np.ndarray, "m"] | None = None,
) -> tuple[Int[np.ndarray, "k"], Int[np.ndarray, "k"]]:
    """Rows of a CSR matrix that are also rows of another one: their places in both.

    Each row of `first` is listed once at most. Only the rows `of_first` and `of_second` are looked
    at, where they are given. Rows of fewer than FEWEST_ENTRIES entries are left
    out. Rows are found by a few random projections, a hash that forgives rounding, and then
    compared entry by entry.
    """
    from scipy.spatial import KDTree

    rows, others = _long_rows(first, of_first), _long_rows(second, of_second)
    none = np.zeros(0, np.int64)
    if not len(rows) or not len(others):
        return none, none
    # A fixed stream, so that the same files always give the same answer.
    axes = np.random.default_rng(0).normal(size=(first.shape[1], PROJECTIONS))
    tree = KDTree(_projected(second, axes)[others])
    # An error of `tolerance` in every entry moves a projection by that times sqrt(genes).
    reach = tolerance * np.sqrt(first.shape[1])
    far, near = tree.query(_projected(first, axes)[rows], distance_upper_bound=reach)
    hit = np.isfinite(np.asarray(far))
    rows, others = rows[hit], others[np.asarray(near)[hit]]
    if not len(rows):
        return none, none
    same = np.zeros(len(rows), bool)
    # A few at a time: a file may hold most of its cells twice.
    for start in range(0, len(rows), COMPARED):
        some = slice(start, start + COMPARED)
        # Counts are unsigned, and would not go below 0.
        ours = rows_of(first, rows[some]).astype(np.float64)
        gap = ours - rows_of(second, others[some]).astype(np.float64)
        same[some] = widest(gap) <= tolerance
    return rows[same], others[same]


def _long_rows(matrix: Any, rows: Int[np.ndarray, "n"] | None) -> Int[np.ndarray, "k"]:
    long = np.diff(matrix.indptr) >= FEWEST_ENTRIES
    return np.flatnonzero(long) if rows is None else rows[long[rows]]


def _projected(matrix: Any, axes: Float[np.ndarray, "G K"]) -> Float[np.ndarray, "N K"]:
    # By blocks, as a product takes a copy of the entries as float64.
    return np.concatenate([np.asarray(block @ axes) for _, block in row_blocks(matrix)])


def widest(gap: Any) -> Float[np.ndarray, "n"]:
    """The largest absolute value of each row of a sparse matrix."""
    return np.asarray(abs(gap).max(axis=1).todense()).ravel()


def copied(
    predicted: Any,
    of_predicted: Int[np.ndarray, "N"],
    real: Any,
    of_real: Int[np.ndarray, "M"],
    conditions: Sequence[str],
    control: int,
) -> str:
    """Predicted rows of perturbations that are cells of the real file.

    Args:
        predicted, real: CSR on one scale, the same genes.
        of_predicted, of_real: condition of each row.
        conditions: their names.
        control: whose rows may be the real ones, as in the form of cell-eval.
    """
    perturbed = np.flatnonzero(of_predicted != control)
    here, there = repeated_rows(predicted[perturbed], real)
    if not len(here):
        return ""
    names = sorted({conditions[int(of_real[row])] for row in there})
    return (
        f"{len(here)} of {len(perturbed)} predicted rows of perturbations are cells of the real "
        f"file itself (of {shown(names)}): what is scored was not predicted"
    )


def repeated_between_parts(dataset: Dataset) -> str:
    """Cells of the training part that are also cells of the test part."""
    if dataset.split is None:
        return ""
    train, test = dataset.rows("train"), dataset.rows("test")
    counts = dataset.counts
    # By number, since the training cells are most of what there is.
    here, there = repeated_rows(counts, counts, of_first=test, of_second=train)
    if not len(here):
        return ""
    pairs = [
        f"{dataset.cells[a]} is {dataset.cells[b]}"
        for a, b in zip(here[:3], there[:3], strict=True)
    ]
    return (
        f"{len(here)} of {len(test)} test cells have the very counts of a training cell "
        f"({'; '.join(pairs)}): the file may hold cells twice"
    )


def trained_in_company(dataset: Dataset) -> str:
    """Single perturbations held out for test whose gene was trained on in combinations."""
    if dataset.split is None:
        return ""
    trained, tested = (_conditions_of(dataset, part) for part in ("train", "test"))
    table = dataset.condition_treatments > 0
    single = tested & ~trained & (table.sum(1) == 1)
    in_company = table[trained & (table.sum(1) > 1)].any(0)
    leaked = single & (table & in_company).any(1)
    if not leaked.any():
        return ""
    names = [dataset.conditions[c] for c in np.flatnonzero(leaked)]
    return (
        f"{len(names)} of {int(single.sum())} single perturbations held out for test are of genes "
        f"that training perturbs in combinations ({shown(names)}): their gene is not new"
    )


def changed_control(
    predicted: Float[np.ndarray, "G"],
    real: Float[np.ndarray, "G"],
    error: Float[np.ndarray, "G"],
    genes: Sequence[str],
    flag: str = "--scale",
) -> str:
    """How the predicted control differs from the measured one, both on the log2 scale.

    Args:
        predicted, real: control means.
        error: standard error of their difference.
        genes: names.
        flag: that declares the scale of the predictions.

    Raises:
        InputError: where one is a multiple of the other by the ratio of two logarithms.
    """
    _check_base(predicted, real, flag)
    gap = predicted - real
    sure = np.abs(gap) > SURE * np.nan_to_num(error) + SLACK
    if not sure.any():
        return ""
    worst = np.argsort(-np.abs(gap) * sure, kind="stable")[: int(sure.sum())]
    some = [f"{genes[g]} {gap[g]:+.2f}" for g in worst[:3]]
    return (
        f"the predicted control differs from the measured one in {int(sure.sum())} of {len(gap)} "
        f"genes ({', '.join(some)}; root mean square {np.sqrt((gap**2).mean()):.3f}, log2): "
        "predicted effects are taken from the predicted control, so that an error of it is a part "
        "of all of them"
    )


def missing(wanted: Bool[np.ndarray, "C"], predicted: Bool[np.ndarray, "C"], names: Any) -> str:
    """Perturbations that were asked for and are not predicted."""
    gone = np.flatnonzero(wanted & ~predicted)
    if not len(gone):
        return ""
    return (
        f"{len(gone)} of {int(wanted.sum())} perturbations are not predicted and are scored as if "
        f"no change were predicted for them: {shown(names[c] for c in gone)}"
    )


def unlike_controls(effects: Float[np.ndarray, "G"], source: str) -> None:
    """Refuse effects of the control that are not 0: then they are no effects."""
    largest = float(np.abs(effects).max())
    if largest > TOLERANCE:
        raise InputError(
            f"{source} gives the control an effect of up to {largest:.3g}, expected 0, since "
            "effects are differences from the control: subtract the control row, or declare the "
            "scale of the values as they are"
        )


def _check_base(predicted: np.ndarray, real: np.ndarray, flag: str) -> None:
    spread = predicted.std(), real.std()
    if not min(spread) > 0:
        return
    correlation = np.corrcoef(predicted, real)[0, 1]
    slope = float(correlation * spread[0] / spread[1])
    for ratio, meaning in BASES.items():
        if correlation >= ALIKE and abs(slope / ratio - 1) < 0.05:
            raise InputError(
                f"the predicted control is {slope:.2f} times the measured one in all genes "
                f"(correlation {correlation:.3f}), as {meaning}, expected one logarithm on both "
                f"sides: declare that of the predictions with {flag}"
            )


def _conditions_of(dataset: Dataset, part: str) -> Bool[np.ndarray, "C"]:
    present = np.zeros(len(dataset.conditions), bool)
    present[dataset.condition[dataset.rows(part)]] = True
    present[dataset.control] = False
    return present
