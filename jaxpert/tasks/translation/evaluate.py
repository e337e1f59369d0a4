"""Scores of predicted rows in both directions, beside baselines, line by line
(docs/models/cycseq.md, Evaluation)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.evaluation import compare, differential, pseudobulk
from jaxpert.tasks.translation import metrics as row_metrics
from jaxpert.tasks.translation.groups import EffectGroups, Predictor, moments_of
from jaxpert.tasks.translation.prepare import Prepared
from jaxpert.tasks.translation.rows import Rows, blocks_of_rows

DIRECTIONS = ("n2p", "p2n")
ALL = "all"
BLOCK = 256
UNITS_NOTE = (
    "all methods are scored on the same rows and in the same units; published MAE and MSE are in "
    "units that the paper does not state and very probably differ between its methods, so only R2 "
    "can be set beside them"
)


class Facets(NamedTuple):
    """What tables are made for: lines, or with doses compounds."""

    names: tuple[str, ...]
    of_group: Int[np.ndarray, "K"]


class Scored(NamedTuple):
    """What `score` finds."""

    table: dict[str, Any]
    """The part of metrics.json that has the family's name."""
    rows: dict[str, dict[str, row_metrics.Scores]]
    """{direction: {method: scores of every evaluated row}}."""
    pair: Int[np.ndarray, "n"]
    """Pair of each row."""


class _Collected(NamedTuple):
    """Scores by row, and sums for scores of means, by direction and method."""

    rows: dict[str, dict[str, row_metrics.Scores]]
    sums: dict[str, dict[str, row_metrics.Sums]]
    pair: Int[np.ndarray, "n"]


def evaluated_split(prepared: Prepared) -> str:
    """The split that is scored: test where there are such pairs."""
    # Where nothing is held out, the replicate that validates is scored.
    return "test" if len(prepared.pair_numbers("test")) else "val"


def facets_of(prepared: Prepared, groups: EffectGroups) -> Facets:
    """Lines, or with doses compounds, and the one of each group."""
    if prepared.pairs.dose is None:
        return Facets(prepared.pseudobulk.lines, groups.line)
    # A condition is called compound@dose, and compounds are what the tables are for.
    names = [prepared.dataset.conditions[c].rsplit("@", 1)[0] for c in groups.condition]
    compounds, number = np.unique(names, return_inverse=True)
    return Facets(tuple(compounds.tolist()), number)


def gene_sets(prepared: Prepared, groups: EffectGroups) -> tuple[row_metrics.Tops, int]:
    """Genes that differ most between the cells of each group and of its control (Welch's t), for
    scoring only; and the number of groups with too few cells for a ranking."""
    # Controls serve many groups, so every group's moments are taken once.
    wanted = np.unique([groups.upper, groups.lower])
    upper, lower = np.searchsorted(wanted, groups.upper), np.searchsorted(wanted, groups.lower)
    moments = moments_of(prepared, wanted)
    # From the variance of the cells at hand (ddof 0) to that of Welch's t (ddof 1).
    correction = moments.cells / np.maximum(moments.cells - 1, 1)
    variance = moments.variance * correction[:, None]
    # One cell has no variance, so its group has no ranking.
    variance = np.where((moments.cells > 1)[:, None], variance, np.nan)
    # A group is ranked against its own control; controls stand for themselves.
    reference = np.arange(len(wanted))
    reference[upper] = lower
    means = pseudobulk.Pseudobulk(moments.mean, moments.cells, np.zeros(len(wanted), int), variance)
    ranking = differential.rank(means, reference)
    # A set of all genes would repeat the scores over all genes.
    sizes = [k for k in row_metrics.TOPS if k < len(prepared.dataset.genes)]
    tops: row_metrics.Tops = {}
    for name, genes in row_metrics.gene_sets(ranking, sizes).items():
        # None stands for all genes, which need no table.
        tops[name] = genes if genes is None else genes[upper]
    return tops, int((~ranking.ranked[upper]).sum())


def score(
    prepared: Prepared, groups: EffectGroups, methods: Mapping[str, Predictor], facets: Facets
) -> Scored:
    """Score "model" and baselines on every row of the evaluated split, row by row and as means of
    each group; a method has no entry in a direction that it does not predict.

    Groups of the table are "DIRECTION all" and "DIRECTION FACET"; scores are those of
    `row_metrics.METRICS`, with `_top20` and `_top100` for the genes that differ most, and
    `mean_` in front at the level of means.
    """
    tops, unranked = gene_sets(prepared, groups)
    collected = _collect(prepared, groups, methods, tops)
    # Only groups with scored rows have means.
    group = groups.of_pair[collected.pair]
    present = np.unique(group)
    row_facet, group_facet = facets.of_group[group], facets.of_group[present]
    tables: dict[str, dict[str, Any]] = {name: {} for name in methods}
    # Pairs are kept apart by direction, facet and level, as the paper's tables are.
    for direction, by_method in collected.rows.items():
        for name, scores in by_method.items():
            by_row = _tables(scores, row_facet, facets.names)
            means = row_metrics.means(collected.sums[direction][name])
            # Groups without rows would be NaN and make every mean over groups undefined.
            means = row_metrics.map_rows(lambda rows: rows[present], means)
            of_means = row_metrics.score(means, present, tops)
            by_mean = _tables(of_means, group_facet, facets.names, prefix="mean_")
            for where, values in by_row.items():
                tables[name][f"{direction} {where}"] = values | by_mean[where]
    notes = [UNITS_NOTE]
    if unranked:
        notes.append(
            f"{unranked} of {len(groups.names)} groups have too few cells for their most changed "
            "genes"
        )
    table = {
        "model": tables.pop(compare.MODEL),
        "baselines": tables,
        "conditions": _sizes(group_facet, facets.names),
        "notes": notes,
        "split": evaluated_split(prepared),
    }
    return Scored(table, collected.rows, collected.pair)


def as_pairs(
    rows: Rows, direction: str, predicted: Float[np.ndarray, "n G"]
) -> row_metrics.Comparison:
    """Predicted, target and input rows of a direction."""
    # The direction says which of both rows is the input.
    if direction == "n2p":
        return row_metrics.Comparison(predicted, target=rows.x, start=rows.control)
    return row_metrics.Comparison(predicted, target=rows.control, start=rows.x)


def triangular(
    prepared: Prepared, groups: EffectGroups, model: Predictor, named: tuple[str, ...]
) -> dict[str, Any]:
    """Triangular validation (docs/models/cycseq.md, Evaluation) of every evaluated group, those of
    `named` genes first, by direction."""
    triangles: dict[str, list[row_metrics.Triangle]] = {d: [] for d in DIRECTIONS}
    numbers = []
    for rows in blocks_of_rows(prepared, evaluated_split(prepared), block=BLOCK):
        predicted = model(rows)
        numbers.append(groups.of_pair[rows.pair])
        for direction, parts in triangles.items():
            pairs = as_pairs(rows, direction, predicted[direction])
            parts.append(row_metrics.triangle(pairs))
    used, place = np.unique(np.concatenate(numbers), return_inverse=True)
    names = np.asarray(groups.names)[used].tolist()
    # Named genes come first, in either order of the file, then by name.
    order = sorted(names, key=lambda name: (name.rsplit(" in ", 1)[0] not in named, name))
    tables = {}
    for direction, parts in triangles.items():
        # Columns of all blocks, one below the other.
        whole = row_metrics.Triangle(*map(np.concatenate, zip(*parts, strict=True)))
        table = row_metrics.triangle_table(whole, place.ravel(), names)
        tables[direction] = {name: table[name] for name in order}
    return tables


def _collect(
    prepared: Prepared,
    groups: EffectGroups,
    methods: Mapping[str, Predictor],
    tops: row_metrics.Tops,
) -> _Collected:
    """Go through the rows once, a block at a time, and score every method on each block."""
    blocks: dict[str, dict[str, list]] = {direction: {} for direction in DIRECTIONS}
    sums: dict[str, dict[str, row_metrics.Sums]] = {direction: {} for direction in DIRECTIONS}
    empty = row_metrics.empty_sums(len(groups.names), len(prepared.dataset.genes))
    numbers = []
    for rows in blocks_of_rows(prepared, evaluated_split(prepared), block=BLOCK):
        group = groups.of_pair[rows.pair]
        numbers.append(rows.pair)
        for name, method in methods.items():
            for direction, predicted in method(rows).items():
                pairs = as_pairs(rows, direction, predicted)
                blocks[direction].setdefault(name, []).append(row_metrics.score(pairs, group, tops))
                # Sums by group are kept instead of rows, so that means need one pass.
                before = sums[direction].get(name, empty)
                sums[direction][name] = row_metrics.add(before, pairs, group)
    joined: dict[str, dict[str, row_metrics.Scores]] = {}
    for direction, by_method in blocks.items():
        joined[direction] = {name: row_metrics.join(parts) for name, parts in by_method.items()}
    return _Collected(joined, sums, np.concatenate(numbers))


def _tables(
    scores: row_metrics.Scores,
    facet: Int[np.ndarray, "n"],
    facets: tuple[str, ...],
    prefix: str = "",
) -> dict[str, Any]:
    """{facet: {prefix + score: value}} of those that have rows, all together first."""
    by_facet = row_metrics.by_line(scores, np.zeros(len(facet), int), [ALL])
    # One facet alone would repeat the table of all.
    if len(facets) > 1:
        by_facet |= row_metrics.by_line(scores, facet, facets)
    tables = {}
    for name, table in by_facet.items():
        if name == ALL or table["pairs"]:
            tables[name] = _flat(table, prefix)
    return tables


def _flat(table: dict[str, Any], prefix: str) -> dict[str, float]:
    """{"mse": ..., "mse_top20": ...} from scores by set of genes."""
    flat: dict[str, float] = {}
    for genes, values in table.items():
        if genes == "pairs":
            continue
        # Scores over all genes have no suffix: they are the ones that papers print.
        suffix = "" if genes == ALL else f"_{genes}"
        for metric, value in values.items():
            if metric != "undefined":
                flat[prefix + metric + suffix] = value
    return flat


def _sizes(facet: Int[np.ndarray, "k"], facets: tuple[str, ...]) -> dict[str, int]:
    """Evaluated groups of every "DIRECTION FACET"."""
    counts = {ALL: len(facet)}
    if len(facets) > 1:
        members = np.bincount(facet, minlength=len(facets)).tolist()
        counts |= dict(zip(facets, members, strict=True))
    sizes: dict[str, int] = {}
    for direction in DIRECTIONS:
        for name, count in counts.items():
            if count:
                sizes[f"{direction} {name}"] = count
    return sizes
