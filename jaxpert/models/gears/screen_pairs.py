"""Predict and score pairs or triples of genes with GEARS: which combination to measure next.

Singles and combinations are all predicted, one pass of the network each, some at a time, so that
the effects of all pairs never stand in memory at once. The table has the scores and sub-types of
`evaluation.interactions.screen`, and

- `set`: the genes in the order asked;
- `measured`: the data hold cells of it, so that there is nothing to run;
- `support`: as in `predict_sets`;
- `uncertainty`, where the model has a head: mean log variance over all genes, higher is less
  certain (`predict_sets` says what it is worth).

A triple A+B+C has three rows, one for each way to take it as a single gene (`first`) and the pair
of the others (`second`), both predicted: the published scores are those of the two parts against
the whole. It also has `beyond_singles`, the root mean square over genes of abc - (a + b + c), and
`beyond_pairs`, that of abc - (ab + ac + bc) + (a + b + c), what no pair explains; both are alike in
its three rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.fit import Fitted
from jaxpert.core.types import Dataset, InputError
from jaxpert.evaluation.interactions import screen as interaction_screen
from jaxpert.evaluation.interactions.screen import Prediction
from jaxpert.models.gears.model import details_of
from jaxpert.models.gears.named_sets import Genes, Sets, measured_sets
from jaxpert.models.gears.predict_sets import CHUNK, predict_members, predictor
from jaxpert.models.gears.screened_sets import Units, asked_sets, units_of
from jaxpert.models.gears.sets import Members, members_of, support_of
from jaxpert.models.gears.setup import Gears

if TYPE_CHECKING:
    import pandas

MEAN_UMI = 0.5
NOTE = (
    "Thresholds of sub-types were set on measured effects, whose noise pulls magnitude and fit "
    "down: an exactly additive prediction has magnitude 1.41 and counts as synergy. Compare "
    "predictions with one another."
)


class Choices(NamedTuple):
    """What `screen_pairs` takes beside, by keyword."""

    score_on: Sequence[str] | None = None
    """Measured genes on which to score; None for those with more than 0.5 counts per cell, as
    published."""
    separator: str | None = None
    """Between the genes of a set in text; None for that of the data, or "+"."""
    chunk: int = CHUNK
    """Sets at a time."""


def screen_pairs(
    fitted: Fitted,
    dataset: Dataset,
    genes: Sequence[str] | None = None,
    *,
    sets: Sets | None = None,
    rank_by: str = "deviation",
    absent: str = "refuse",
    signs: Mapping[str, int] | None = None,
    **options: Any,
) -> pandas.DataFrame:
    """Predict all pairs of some genes, or given pairs and triples, score their interactions, and
    rank them.

    Args:
        fitted: a GEARS of one seed.
        dataset: what it was trained on.
        genes: all their pairs are screened; None for all genes with cells that were perturbed
            alone.
        sets: pairs and triples to screen in place of all pairs ("A+B", "A+B+C" or sequences of
            names).
        rank_by: "deviation" (from the sum of the parts) or a sub-type, whose most extreme score
            comes first.
        absent: what stands in for genes in no graph, or "refuse" (see `predict_sets`).
        signs: as in `predict_sets`.
        **options: `score_on`, `separator` and `chunk` (see `Choices`), and those of
            `evaluation.interactions.scores.score_pairs`.

    Returns:
        A table with one row per pair (three per triple), the one to run next first; its columns are
        described in this module. `attrs["note"]` says what the thresholds of sub-types are worth.

    Raises:
        InputError: for genes or sets that cannot be paired or scored, each with its reason.

    Example:
        table = jaxpert.screen_pairs(fitted, cells, ["KLF1", "FAR", "BAK1"])
        table.loc[~table["measured"], ["set", "deviation", "support"]].head(10)
    """
    net, choices = details_of(fitted.model), _choices(options)
    asked = asked_sets(dataset, genes, sets, choices.separator)
    units = units_of(asked)
    columns = scored_columns(dataset, choices.score_on)
    members = members_of(net, units.genes, absent, signs)
    singles = predict_members(fitted, members, chunk=choices.chunk).effect[:, columns]
    # A chunk larger than what is asked for would be padding.
    chunk = min(choices.chunk, len(units.rows))
    both = _rows_predictor(fitted, members, columns, chunk)
    names = list(map("+".join, units.genes))
    table = interaction_screen.screen(
        names, singles, both, pairs=units.rows, rank_by=rank_by, chunk=chunk, **options
    )
    beyond = _beyond(asked, units, singles, both, chunk)
    return _described(table, dataset, net, asked, units, absent, beyond)


def _choices(options: dict[str, Any]) -> Choices:
    """Take the choices out of the options; what is left there belongs to `score_pairs`."""
    chosen = {}
    for name in Choices._fields:
        if name in options:
            chosen[name] = options.pop(name)
    return Choices(**chosen)


def _rows_predictor(
    fitted: Fitted, members: Members, columns: Int[np.ndarray, "n"], chunk: int
) -> Callable[[Int[np.ndarray, "m 2"]], Prediction]:
    """Predicts both units of a row together, on the scored genes."""
    predict_chunk = predictor(fitted, chunk)

    def both(rows: Int[np.ndarray, "m 2"]) -> Prediction:
        # The members of a row are those of its two units side by side, padding included.
        first, second = rows.T
        nodes = np.concatenate([members.nodes[first], members.nodes[second]], axis=1)
        signed = np.concatenate([members.signs[first], members.signs[second]], axis=1)
        changes = predict_chunk(nodes, signed)
        return Prediction(changes.effect[:, columns], changes.uncertainty)

    return both


def scored_columns(dataset: Dataset, names: Sequence[str] | None = None) -> Int[np.ndarray, "n"]:
    """Positions of the named genes; of those with more than 0.5 counts per cell on average without
    names."""
    # As published: effects of genes with few counts are mostly noise.
    if names is None:
        mean = np.asarray(dataset.counts.mean(0, dtype=np.float64)).ravel()
        columns = np.flatnonzero(mean > MEAN_UMI)
        if len(columns) < 3:
            raise InputError(
                f"{len(columns)} genes of {dataset.name!r} have more than {MEAN_UMI} counts per "
                "cell, expected at least 3 to score interactions on: name them with score_on"
            )
        return columns
    place = {name: g for g, name in enumerate(dataset.genes)}
    unknown = [name for name in names if name not in place]
    if unknown or len(set(names)) < len(names):
        raise InputError(
            f"score_on has {len(names)} genes, {len(set(names))} of them different and "
            f"{len(unknown)} not measured ({', '.join(unknown[:4])}), expected measured genes, "
            "each once: correct it"
        )
    return np.array([place[name] for name in names], int)


def _beyond(
    sets: Sequence[Genes], units: Units, singles: Float[np.ndarray, "U n"], both: Any, chunk: int
) -> dict[frozenset[str], tuple[float, float]]:
    """Root mean square of what each triple does beyond its singles, and beyond its pairs."""
    # Sets, since a pair stands in the order of the triple that asked for it first.
    place = {frozenset(unit): i for i, unit in enumerate(units.genes)}
    triples = [genes for genes in sets if len(genes) == 3]
    beyond = {}
    for start in range(0, len(triples), chunk):
        part = triples[start : start + chunk]
        rows = []
        for genes in part:
            # Any of the three ways to take a triple apart predicts the same whole.
            rows.append([place[frozenset(genes[:1])], place[frozenset(genes[1:])]])
        # In float64, since what is beyond the parts is a small difference of large sums.
        whole = np.asarray(both(np.array(rows)).effects, np.float64)
        alone, pairs = np.zeros_like(whole), np.zeros_like(whole)
        for row, genes in enumerate(part):
            for name in genes:
                alone[row] += singles[place[frozenset([name])]]
            for pair in combinations(genes, 2):
                pairs[row] += singles[place[frozenset(pair)]]
        # abc - (a + b + c), and abc - (ab + ac + bc) + (a + b + c): what no pair explains.
        beyond_singles = np.sqrt(((whole - alone) ** 2).mean(1)).tolist()
        beyond_pairs = np.sqrt(((whole - pairs + alone) ** 2).mean(1)).tolist()
        for genes, *sizes in zip(part, beyond_singles, beyond_pairs, strict=True):
            beyond[frozenset(genes)] = tuple(sizes)
    return beyond


def _described(
    table: pandas.DataFrame,
    dataset: Dataset,
    net: Gears,
    sets: Sequence[Genes],
    units: Units,
    absent: str,
    beyond: Mapping[frozenset[str], tuple[float, float]],
) -> pandas.DataFrame:
    """The table with what is known of each set, and the note on its thresholds."""
    names = {frozenset(genes): "+".join(genes) for genes in sets}
    support = dict(zip(names, support_of(net, sets, absent), strict=True))
    known = measured_sets(dataset)
    whole = {}
    for a, b in units.rows.tolist():
        first, second = units.genes[a], units.genes[b]
        whole["+".join(first), "+".join(second)] = frozenset((*first, *second))
    # The screen has sorted its rows, so each finds its set by the names of its two parts.
    rows = [whole[pair] for pair in zip(table["first"], table["second"], strict=True)]
    table["set"] = [names[genes] for genes in rows]
    table["measured"] = [genes in known for genes in rows]
    table["support"] = [support[genes] for genes in rows]
    if beyond:
        # Pairs have nothing beyond pairs.
        nothing = (np.nan, np.nan)
        sizes = np.array([beyond.get(genes, nothing) for genes in rows])
        table["beyond_singles"], table["beyond_pairs"] = sizes.T
    table = table.reindex(columns=["set", *table.columns.drop("set")])
    table.attrs["note"] = NOTE
    return table
