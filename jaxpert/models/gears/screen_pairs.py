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
from jaxpert.models.gears.predict_sets import (
    CHUNK,
    Genes,
    Sets,
    measured_sets,
    parse_sets,
    predict_members,
    predictor,
)
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


class Units(NamedTuple):
    """What the rows of a screen are put together from: single genes and, for triples, pairs."""

    genes: list[Genes]
    rows: Int[np.ndarray, "m 2"]
    """The two units of each row."""


def screen_pairs(
    fitted: Fitted,
    dataset: Dataset,
    genes: Sequence[str] | None = None,
    *,
    sets: Sets | None = None,
    score_on: Sequence[str] | None = None,
    rank_by: str = "deviation",
    absent: str = "refuse",
    signs: Mapping[str, int] | None = None,
    separator: str = "+",
    chunk: int = CHUNK,
    **options: Any,
) -> pandas.DataFrame:
    """Predict all pairs of some genes, or given pairs and triples, score their interactions, and
    rank them.

    Args:
        fitted, dataset: a GEARS of one seed, and what it was trained on.
        genes: all their pairs are screened; None for all genes with cells that were perturbed
            alone.
        sets: pairs and triples to screen in place of all pairs ("A+B", "A+B+C" or sequences of
            names).
        score_on: measured genes on which to score; None for those with more than 0.5 counts per
            cell, as published.
        rank_by: "deviation" (from the sum of the parts) or a sub-type, whose most extreme score
            comes first.
        absent: what stands in for genes in no graph, or "refuse" (see `predict_sets`).
        signs: as in `predict_sets`.
        separator: between the genes of a set in text.
        chunk: sets at a time.
        **options: of `evaluation.interactions.scores.score_pairs`.

    Returns:
        A table with one row per pair (three per triple), the one to run next first; its columns are
        described in this module. `attrs["note"]` says what the thresholds of sub-types are worth.

    Raises:
        InputError: for genes or sets that cannot be paired or scored, each with its reason.

    Example:
        table = jaxpert.screen_pairs(fitted, cells, ["KLF1", "FAR", "BAK1"])
        table.loc[~table["measured"], ["set", "deviation", "support"]].head(10)
    """
    net = details_of(fitted.model)
    chosen = _asked(dataset, genes, sets, separator)
    units = _units(chosen)
    columns = scored_columns(dataset, score_on)
    members = members_of(net, units.genes, absent, signs)
    singles = predict_members(fitted, members, chunk=chunk).effect[:, columns]
    chunk = min(chunk, len(units.rows))
    both = _rows_predictor(fitted, members, columns, chunk)
    names = ["+".join(unit) for unit in units.genes]
    table = interaction_screen.screen(
        names, singles, both, pairs=units.rows, rank_by=rank_by, chunk=chunk, **options
    )
    beyond = _beyond(chosen, units, singles, both, chunk)
    return _described(table, dataset, net, chosen, units, absent, beyond)


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
            "each once"
        )
    return np.array([place[name] for name in names], int)


def measured_singles(dataset: Dataset) -> list[str]:
    """Genes that some cells have as their only perturbation, in the order of the treatments."""
    known = measured_sets(dataset)
    return [name for name in dataset.treatments if frozenset([name]) in known]


def _asked(
    dataset: Dataset, genes: Sequence[str] | None, sets: Sets | None, separator: str
) -> list[Genes]:
    """The sets to screen, each once."""
    if genes is not None and sets is not None:
        raise InputError(
            "genes and sets were both given, expected one of them: all pairs of genes, or chosen "
            "sets"
        )
    if sets is not None:
        return _asked_sets(dataset, sets, separator)
    single_sets: Sets = genes or ()
    if genes is None:
        single_sets = [(name,) for name in measured_singles(dataset)]
    singles = parse_sets(dataset, single_sets, separator)
    wrong = ["+".join(genes) or "control" for genes in singles if len(genes) != 1]
    if wrong or len(set(singles)) < len(singles) or len(singles) < 2:
        raise InputError(
            f"the genes to pair are {len(singles)}, {len(set(singles))} of them different and "
            f"{len(wrong)} no single gene ({', '.join(wrong[:4])}), expected two single genes or "
            "more: give combinations as sets"
        )
    return [(a, b) for (a,), (b,) in combinations(singles, 2)]


def _asked_sets(dataset: Dataset, sets: Sets, separator: str) -> list[Genes]:
    parsed = parse_sets(dataset, sets, separator)
    wrong = ["+".join(genes) or "control" for genes in parsed if len(genes) not in (2, 3)]
    if wrong:
        raise InputError(
            f"{', '.join(wrong[:4])} cannot be screened, expected pairs and triples: see "
            "predict_sets"
        )
    if len(set(map(frozenset, parsed))) < len(parsed):
        raise InputError(
            "a set is given twice, perhaps in another order, expected each once: leave one out"
        )
    return parsed


def _units(sets: Sequence[Genes]) -> Units:
    """Every gene of the sets, and the pairs within triples."""
    place: dict[Genes, int] = {}
    rows = []
    for genes in sets:
        for name in genes:
            place.setdefault((name,), len(place))
        if len(genes) == 2:
            rows.append([place[genes[:1]], place[genes[1:]]])
            continue
        for out in range(3):
            # A pair stands once, in the order of the triple that asked for it first.
            pair = genes[:out] + genes[out + 1 :]
            if pair[::-1] in place:
                pair = pair[::-1]
            rows.append([place[(genes[out],)], place.setdefault(pair, len(place))])
    return Units(list(place), np.array(rows, int))


def _beyond(
    sets: Sequence[Genes], units: Units, singles: Float[np.ndarray, "U n"], both: Any, chunk: int
) -> dict[frozenset[str], tuple[float, float]]:
    """Root mean square of what each triple does beyond its singles, and beyond its pairs."""
    place = {frozenset(unit): i for i, unit in enumerate(units.genes)}
    triples = [genes for genes in sets if len(genes) == 3]
    beyond = {}
    for start in range(0, len(triples), chunk):
        part = triples[start : start + chunk]
        rows = [[place[frozenset(genes[:1])], place[frozenset(genes[1:])]] for genes in part]
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
    parts = ["+".join(unit) for unit in units.genes]
    whole = {}
    for a, b in units.rows.tolist():
        whole[parts[a], parts[b]] = frozenset((*units.genes[a], *units.genes[b]))
    rows = [whole[pair] for pair in zip(table["first"], table["second"], strict=True)]
    table["set"] = [names[genes] for genes in rows]
    table["measured"] = [genes in known for genes in rows]
    table["support"] = [support[genes] for genes in rows]
    if beyond:
        nothing = (np.nan, np.nan)
        sizes = np.array([beyond.get(genes, nothing) for genes in rows])
        table["beyond_singles"], table["beyond_pairs"] = sizes.T
    table = table.reindex(columns=["set", *table.columns.drop("set")])
    table.attrs["note"] = NOTE
    return table
