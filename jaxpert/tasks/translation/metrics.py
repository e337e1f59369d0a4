"""Scores of predicted expression rows (pseudo-bulk, cells or means) pair by pair.

A pair is an input row, the row predicted from it, and the measured row that it should equal, all on
one log scale: control to perturbed ("n2p"), perturbed to control ("p2n"), or a dose to the next
one. Everything works on blocks of rows: scores are per row, and means of rows add up in `Sums`.
What the input leaves undefined (a correlation with a constant row, a ranking of too few genes) is
NaN, never 0. See docs/models/cycseq.md for the scores of the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from jaxpert.core.errors import InputError
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

RowValues = Float[np.ndarray, "n G"]
PerRow = Float[np.ndarray, "n"]
Tops = Mapping[str, Int[np.ndarray, "K _"] | None]
Scores = dict[str, dict[str, PerRow]]


class Comparison(NamedTuple):
    """Rows to compare, one below the other."""

    predicted: RowValues
    target: RowValues
    start: RowValues
    """What the prediction was made from."""


class Sums(NamedTuple):
    """Rows added up by group (a perturbation in a line, say), for means over rows that are never
    all in memory."""

    predicted: Float[np.ndarray, "K G"]
    target: Float[np.ndarray, "K G"]
    start: Float[np.ndarray, "K G"]
    rows: Int[np.ndarray, "K"]


class Triangle(NamedTuple):
    """Squared correlations between the three corners of every pair: the paper's triangular
    validation (docs/models/cycseq.md)."""

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


def row_scores(pairs: Comparison, genes: Int[np.ndarray, "n k"] | None = None) -> dict[str, PerRow]:
    """METRICS of every row, over all genes or over its own k `genes` (NaN for a row with a -1 among
    them)."""
    chosen = pairs
    if genes is not None:
        chosen = map_rows(lambda rows: np.take_along_axis(rows, genes, axis=1), pairs)
    # float64, since correlations of nearly equal rows lose their digits in float32.
    predicted, target, start = map_rows(_doubles, chosen)
    error = predicted - target
    mse = (error**2).mean(1)
    # NaN for a constant row makes every score that divides by it undefined, never infinite.
    variance = _variance(target)
    r = correlation(predicted, target)
    # docs/models/cycseq.md, Row scores.
    scores = {
        "r2": r**2,
        "r": r,
        "r2_det": 1 - mse / variance,
        "mae": np.abs(error).mean(1),
        "mse": mse,
        "change_r": _change(predicted, target, start),
    }
    # Rows without a ranking carry -1, which would silently read the last gene.
    if genes is None:
        return scores
    ranked = (genes >= 0).all(1)
    return {name: np.where(ranked, values, np.nan) for name, values in scores.items()}


def map_rows(function: Callable[[RowValues], RowValues], pairs: Comparison) -> Comparison:
    """The same done to predicted, target and input rows."""
    return Comparison(function(pairs.predicted), function(pairs.target), function(pairs.start))


def _doubles(rows: RowValues) -> RowValues:
    return rows.astype(np.float64)


def correlation(a: RowValues, b: RowValues) -> PerRow:
    """Pearson correlation of every row of `a` with that of `b`; NaN where either is constant but
    for rounding."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    # NaN spreads from either side, so a constant row has no correlation.
    spread = np.sqrt(_variance(a) * _variance(b))
    return ((a - a.mean(1, keepdims=True)) * (b - b.mean(1, keepdims=True))).mean(1) / spread


def _variance(rows: RowValues, size: PerRow | None = None) -> PerRow:
    """Population variance of every row, NaN where it is rounding beside the mean square (or
    `size`)."""
    beside = (rows**2).mean(1) if size is None else size
    variance = rows.var(1)
    return np.where(variance > CONSTANT * beside, variance, np.nan)


def _change(predicted: RowValues, target: RowValues, start: RowValues) -> PerRow:
    """Correlation of changes; one that is rounding beside the rows it is the difference of is
    constant."""
    # Rounding of a difference is that of the rows, not of the small change that is left.
    size = (start**2).mean(1)
    changes = predicted - start, target - start
    defined = np.isfinite(_variance(changes[0], size) + _variance(changes[1], size))
    return np.where(defined, correlation(*changes), np.nan)


def score(pairs: Comparison, group: Int[np.ndarray, "n"], tops: Tops) -> Scores:
    """`row_scores` for every gene set: {set: {metric: [n]}}.

    Args:
        pairs: rows to score.
        group: of each row, a row of the tables in `tops`.
        tops: gene sets by name: None for all genes, else genes of every group (`gene_sets`).
    """
    scores = {}
    for name, genes in tops.items():
        of_row = None if genes is None else genes[group]
        scores[name] = row_scores(pairs, of_row)
    return scores


def gene_sets(
    ranking: differential.Ranking, sizes: Sequence[int] = TOPS
) -> dict[str, Int[np.ndarray, "K _"] | None]:
    """All genes, and the first of each group's ranking by Welch's t; rank training cells, each
    group (perturbation in a line) against the control of its own line. Groups without a ranking
    have -1."""
    sets: dict[str, Int[np.ndarray, "K _"] | None] = {"all": None}
    # Gene sets rest on measured cells alone, so no method can choose its own.
    for k in sizes:
        sets[f"top{k}"] = np.where(ranking.ranked[:, None], differential.top(ranking.order, k), -1)
    return sets


def join(blocks: Sequence[dict[str, dict[str, np.ndarray]]]) -> Scores:
    """Scores of blocks of rows one below the other."""
    joined: Scores = {}
    for name, of_metric in blocks[0].items():
        joined[name] = {}
        for metric in of_metric:
            joined[name][metric] = np.concatenate([block[name][metric] for block in blocks])
    return joined


def by_line(
    scores: Scores, line: Int[np.ndarray, "n"], lines: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Mean over the defined pairs of every line: {line: {set: {metric: value}}}, with `pairs`,
    their number, and in each set `undefined`, the number of those for which some metric is not
    defined."""
    table: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(lines):
        members = line == number
        table[name] = {"pairs": int(members.sum())}
        for genes, of_metric in scores.items():
            means: dict[str, Any] = {}
            undefined = np.zeros(int(members.sum()), bool)
            for metric, values in of_metric.items():
                means[metric] = _mean(values[members])
                undefined |= ~np.isfinite(values[members])
            # One mean hides which pairs lack a score, so they are counted beside it.
            table[name][genes] = means | {"undefined": int(undefined.sum())}
    return table


def _mean(values: np.ndarray) -> float:
    """Mean of the defined values, NaN where there is none."""
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def empty_sums(groups: int, genes: int) -> Sums:
    """Before the first block."""
    # The three sums may share one array of zeros, since sums are replaced and never changed.
    none = np.zeros((groups, genes))
    return Sums(none, none, none, np.zeros(groups, np.int64))


def add(sums: Sums, pairs: Comparison, group: Int[np.ndarray, "n"]) -> Sums:
    """With a block of pairs added to their groups."""
    # A product with a membership matrix adds rows up by group.
    member = np.zeros((len(sums.rows), len(group)))
    member[group, np.arange(len(group))] = 1
    return Sums(
        sums.predicted + member @ pairs.predicted,
        sums.target + member @ pairs.target,
        sums.start + member @ pairs.start,
        sums.rows + member.sum(1).astype(np.int64),
    )


def means(sums: Sums) -> Comparison:
    """One pair for each group: the level "mean"; NaN for groups without rows."""
    # NaN and not 0, so that a group without rows has no mean that looks like one.
    rows = np.where(sums.rows > 0, sums.rows, np.nan)[:, None]
    return Comparison(sums.predicted / rows, sums.target / rows, sums.start / rows)


def triangle(pairs: Comparison) -> Triangle:
    """Triangular validation of every pair; a prediction should pass both comparisons in both
    directions.

    The published check is only that the output is nearer to the target than to the input (a > c),
    which noise orthogonal to the input passes too; hence the other two.
    """
    predicted, target, start = pairs
    # Squares, as in the paper's criterion (docs/models/cycseq.md, Triangular validation).
    a = correlation(target, predicted) ** 2
    c = correlation(start, predicted) ** 2
    t = correlation(start, target) ** 2
    change = _change(*map_rows(_doubles, pairs))
    return Triangle(a, c, t, change, a > c, a > t)


def triangle_table(
    triangles: Triangle, group: Int[np.ndarray, "n"], names: Sequence[str]
) -> dict[str, dict[str, float | int]]:
    """Means of every group's defined pairs, and the shares of all its pairs that pass."""
    scores = triangles._asdict()
    scores["passed"] = triangles.nearer_target & triangles.beats_copying
    table: dict[str, dict[str, float | int]] = {}
    for number, name in enumerate(names):
        members = group == number
        table[name] = {}
        for key, values in scores.items():
            # A truth value becomes 0 or 1, whose mean is the share that pass.
            table[name][key] = _mean(np.asarray(values[members], float))
        table[name]["pairs"] = int(members.sum())
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
    table: dict[str, dict[str, float | int]] = {}
    for label in np.unique(real_label):
        sides = predicted[predicted_label == label], real[real_label == label]
        # One row has no neighbour of its own kind, so chance would be undefined.
        if min(map(len, sides)) < 2:
            continue
        kind = np.repeat(["predicted", "real"], list(map(len, sides)))
        score = mixing.separation(np.concatenate(sides), kind, neighbours=neighbours, seed=seed)
        # Both sides have two rows or more, for which a score is always defined.
        assert score is not None
        # The share of the other kind over its expectation, so that class sizes do not matter.
        share = (1 - score["same_label_neighbours"]) / (1 - score["chance"])
        table[str(label)] = {"mixing": float(share)} | score
    return table


def signal(
    predicted: RowValues, start: Float[np.ndarray, "m G"], kind: str = "difference"
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
        raise InputError(
            f"kind is {kind!r}, expected 'difference' or 'signal_to_noise': correct it"
        )
    return difference / (_spread(a) + _spread(b))


def _spread(rows: RowValues) -> Float[np.ndarray, "G"]:
    mean = np.abs(rows.mean(0))
    return np.maximum(rows.std(0, ddof=1), SMALLEST_SPREAD * np.where(mean > 0, mean, 1))
