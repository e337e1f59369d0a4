"""Scores of predicted expression rows (pseudo-bulk, cells or means) pair by pair, as the CycSeq
comparison needs them.

A pair is an input row, the row predicted from it, and the measured row that it should equal, all on
one log scale: control to perturbed ("n2p"), perturbed to control ("p2n"), or a dose to the next
one. Everything works on blocks of rows: scores are per row, and means of rows add up in `Sums`.
What the input leaves undefined (a correlation with a constant row, a ranking of too few genes) is
NaN, never 0. Source: spec section 9.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from jaxpert.evaluation import differential, mixing
from jaxpert.evaluation.metrics import CONSTANT, Metric

METRICS = {
    "r2": Metric("R2 (squared Pearson)", True),
    "r": Metric("Pearson r", True),
    "r2_det": Metric("R2 (determination)", True),
    "mae": Metric("MAE", False),
    "mse": Metric("MSE", False),
    "change_r": Metric("Pearson r of the change", True),
}
"""Scores of a row: over genes, so R2 is 1 - SSE/SST with SST around the row's own mean."""
TOPS = (20, 100)
SMALLEST_SPREAD = 0.2
"""Of a gene in `signal`, as a share of its mean (and of 1 where that is 0), so that constant genes
do not lead."""

Rows = Float[np.ndarray, "n G"]
PerRow = Float[np.ndarray, "n"]
Tops = Mapping[str, Int[np.ndarray, "K _"] | None]
Scores = dict[str, dict[str, PerRow]]


class Pairs(NamedTuple):
    """Rows to compare, one below the other."""

    predicted: Rows
    target: Rows
    start: Rows
    """What the prediction was made from."""


class Sums(NamedTuple):
    """Pairs added up by group (a perturbation in a line, say), for means over rows that are never
    all in memory."""

    predicted: Float[np.ndarray, "K G"]
    target: Float[np.ndarray, "K G"]
    start: Float[np.ndarray, "K G"]
    rows: Int[np.ndarray, "K"]


class Triangle(NamedTuple):
    """Squared correlations between the three corners of every pair (spec 9.3)."""

    output_target: PerRow
    """a."""
    output_start: PerRow
    """c."""
    start_target: PerRow
    """t: what copying the input would reach."""
    change_r: PerRow
    """Signed correlation of the predicted with the true change, which noise beside the input does
    not raise."""
    nearer_target: Bool[np.ndarray, "n"]
    """a > c: the published criterion."""
    beats_copying: Bool[np.ndarray, "n"]
    """a > t."""


def row_scores(pairs: Pairs, genes: Int[np.ndarray, "n k"] | None = None) -> dict[str, PerRow]:
    """METRICS of every row, over all genes or over its own k `genes` (NaN for a row with a -1 among
    them)."""
    chosen = (
        pairs
        if genes is None
        else Pairs(*(np.take_along_axis(one, genes, axis=1) for one in pairs))
    )
    predicted, target, start = (one.astype(np.float64) for one in chosen)
    error = predicted - target
    mse = (error**2).mean(1)
    variance = _variance(target)
    r = correlation(predicted, target)
    scores = {
        "r2": r**2,
        "r": r,
        "r2_det": 1 - mse / variance,
        "mae": np.abs(error).mean(1),
        "mse": mse,
        "change_r": _change(predicted, target, start),
    }
    if genes is None:
        return scores
    return {name: np.where((genes >= 0).all(1), values, np.nan) for name, values in scores.items()}


def correlation(a: Rows, b: Rows) -> PerRow:
    """Pearson correlation of every row of `a` with that of `b`; NaN where either is constant but
    for rounding."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    spread = np.sqrt(_variance(a) * _variance(b))
    return ((a - a.mean(1, keepdims=True)) * (b - b.mean(1, keepdims=True))).mean(1) / spread


def _variance(rows: Rows, size: PerRow | None = None) -> PerRow:
    """Population variance of every row, NaN where it is rounding beside the mean square (or
    `size`)."""
    variance = rows.var(1)
    return np.where(
        variance > CONSTANT * ((rows**2).mean(1) if size is None else size), variance, np.nan
    )


def _change(predicted: Rows, target: Rows, start: Rows) -> PerRow:
    """Correlation of changes; one that is rounding beside the rows it is the difference of is
    constant."""
    size = (start**2).mean(1)
    changes = predicted - start, target - start
    defined = np.isfinite(_variance(changes[0], size) + _variance(changes[1], size))
    return np.where(defined, correlation(*changes), np.nan)


def score(pairs: Pairs, group: Int[np.ndarray, "n"], tops: Tops) -> Scores:
    """`row_scores` for every gene set: {set: {metric: [n]}}.

    Args:
        pairs: rows to score.
        group: of each row, a row of the tables in `tops`.
        tops: gene sets by name: None for all genes, else genes of every group (`gene_sets`).
    """
    return {
        name: row_scores(pairs, None if genes is None else genes[group])
        for name, genes in tops.items()
    }


def gene_sets(
    ranking: differential.Ranking, sizes: Sequence[int] = TOPS
) -> dict[str, Int[np.ndarray, "K _"] | None]:
    """All genes, and the first of each group's ranking by Welch's t; rank training cells, each
    group (perturbation in a line) against the control of its own line. Groups without a ranking
    have -1."""
    found: dict[str, Int[np.ndarray, "K _"] | None] = {"all": None}
    for k in sizes:
        found[f"top{k}"] = np.where(ranking.ranked[:, None], differential.top(ranking.order, k), -1)
    return found


def join(blocks: Sequence[dict[str, dict[str, np.ndarray]]]) -> Scores:
    """Scores of blocks of rows one below the other."""
    return {
        name: {metric: np.concatenate([block[name][metric] for block in blocks]) for metric in of}
        for name, of in blocks[0].items()
    }


def by_line(
    scores: Scores, line: Int[np.ndarray, "n"], lines: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Mean over the defined pairs of every line: {line: {set: {metric: value}}}, with `pairs`,
    their number, and in each set `undefined`, the number of those for which some metric is not
    defined."""
    table: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(lines):
        own = line == number
        table[name] = {"pairs": int(own.sum())}
        for genes, of in scores.items():
            values = {metric: _mean(each[own]) for metric, each in of.items()}
            unknown = np.any([~np.isfinite(each[own]) for each in of.values()], axis=0)
            table[name][genes] = values | {"undefined": int(unknown.sum())}
    return table


def _mean(values: np.ndarray) -> float:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else float("nan")


# ---- means of rows, and baselines
# ---------------------------------------------------------------------------------


def empty_sums(groups: int, genes: int) -> Sums:
    """Before the first block."""
    none = np.zeros((groups, genes))
    return Sums(none, none, none, np.zeros(groups, np.int64))


def add(sums: Sums, pairs: Pairs, group: Int[np.ndarray, "n"]) -> Sums:
    """With a block of pairs added to their groups."""
    member = np.zeros((len(sums.rows), len(group)))
    member[group, np.arange(len(group))] = 1
    predicted, target, start = (
        old + member @ rows for old, rows in zip(sums[:3], pairs, strict=True)
    )
    return Sums(predicted, target, start, sums.rows + member.sum(1).astype(np.int64))


def means(sums: Sums) -> Pairs:
    """One pair for each group: the level "mean"; NaN for groups without rows."""
    rows = np.where(sums.rows > 0, sums.rows, np.nan)[:, None]
    return Pairs(*(total / rows for total in sums[:3]))


def no_change(pairs: Pairs) -> Pairs:
    """The baseline that predicts the input row itself; its change is constant, so `change_r` is
    NaN."""
    return pairs._replace(predicted=pairs.start)


def line_profiles(
    target: Float[np.ndarray, "K G"],
    line: Int[np.ndarray, "K"],
    lines: int,
    trained: Bool[np.ndarray, "K"],
) -> Float[np.ndarray, "L G"]:
    """Unweighted mean of the trained groups' mean targets in every line (`means(...).target`); NaN
    for a line without any."""
    member = (line == np.arange(lines)[:, None]) & trained
    count = member.sum(1, keepdims=True)
    return (
        member.astype(float)
        @ np.where(trained[:, None], target, 0)
        / np.where(count > 0, count, np.nan)
    )


def mean_perturbation(
    pairs: Pairs, line: Int[np.ndarray, "n"], profiles: Float[np.ndarray, "L G"]
) -> Pairs:
    """The baseline that predicts the line's mean training target (`line_profiles`), whatever the
    perturbation."""
    return pairs._replace(predicted=profiles[line])


# ---- triangular validation, mixing, ranking of genes
# --------------------------------------------------------------


def triangle(pairs: Pairs) -> Triangle:
    """Triangular validation of every pair; a prediction should pass both comparisons in both
    directions.

    The published check is only that the output is nearer to the target than to the input (a > c),
    which noise orthogonal to the input passes too; hence the other two.
    """
    predicted, target, start = pairs
    a, c, t = (
        correlation(*two) ** 2 for two in ((target, predicted), (start, predicted), (start, target))
    )
    change = _change(*(one.astype(np.float64) for one in pairs))
    return Triangle(a, c, t, change, a > c, a > t)


def triangle_table(
    found: Triangle, group: Int[np.ndarray, "n"], names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Means of every group's defined pairs, and the shares of all its pairs that pass."""
    passed = {"passed": found.nearer_target & found.beats_copying}
    table = {}
    for number, name in enumerate(names):
        own = group == number
        values = {
            key: _mean(np.asarray(each[own], float))
            for key, each in (found._asdict() | passed).items()
        }
        table[name] = values | {"pairs": int(own.sum())}
    return table


def label_mixing(
    predicted: Float[np.ndarray, "n Z"],
    real: Float[np.ndarray, "m Z"],
    predicted_label: Shaped[np.ndarray, "n"],
    real_label: Shaped[np.ndarray, "m"],
    *,
    neighbours: int = mixing.NEIGHBOURS,
    seed: int = 0,
) -> dict[str, dict[str, float | int]]:
    """How well predicted rows mix with the real ones of each label (dose): {label: scores}.

    `mixing` is the share of nearest neighbours of the other kind (real among predicted, predicted
    among real) over its expectation under chance: 1 well mixed, 0 apart; the rest as in
    `mixing.separation`. Labels that only one side has, or of fewer than two rows on either, are
    left out.
    """
    found: dict[str, dict[str, float | int]] = {}
    for label in np.unique(real_label):
        sides = predicted[predicted_label == label], real[real_label == label]
        if min(map(len, sides)) < 2:
            continue
        kind = np.repeat(["predicted", "real"], [len(side) for side in sides])
        score = mixing.separation(np.concatenate(sides), kind, neighbours=neighbours, seed=seed)
        assert score is not None
        share = (1 - score["same_label_neighbours"]) / (1 - score["chance"])
        found[str(label)] = {"mixing": float(share)} | score
    return found


def signal(
    predicted: Rows, start: Float[np.ndarray, "m G"], kind: str = "difference"
) -> Float[np.ndarray, "G"]:
    """By how much a prediction moves every gene, to rank genes by for an enrichment.

    "difference" is mean predicted - mean input; "signal_to_noise" divides it by the sum of both
    standard deviations (ddof 1), each at least a fifth of its mean, as preranked enrichment is
    usually fed.
    """
    a, b = predicted.astype(np.float64), start.astype(np.float64)
    difference = a.mean(0) - b.mean(0)
    if kind == "difference":
        return difference
    if kind != "signal_to_noise":
        raise ValueError(f"kind is {kind!r}, expected 'difference' or 'signal_to_noise'")
    return difference / (_spread(a) + _spread(b))


def _spread(rows: Rows) -> Float[np.ndarray, "G"]:
    mean = np.abs(rows.mean(0))
    return np.maximum(rows.std(0, ddof=1), SMALLEST_SPREAD * np.where(mean > 0, mean, 1))
