"""Predict and score pairs or triples of genes with GEARS: which combination to measure next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.types import Dataset, InputError
from jaxpert.evaluation.interactions import screen as interaction_screen
from jaxpert.evaluation.interactions.screen import Prediction
from jaxpert.models.gears import model as gears
from jaxpert.models.gears.predict_sets import (
    CHUNK,
    Sets,
    measured_sets,
    parse_sets,
    predict_members,
    predictor,
)
from jaxpert.tasks.screen.predict import Fitted

if TYPE_CHECKING:
    import pandas

MEAN_UMI = 0.5
NOTE = (
    "Thresholds of sub-types were set on measured effects, whose noise pulls magnitude and fit "
    "down: an exactly "
    "additive prediction has magnitude 1.41 and counts as synergy. Compare predictions with one "
    "another."
)
Genes = tuple[str, ...]


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
    """Predict all pairs of some genes, or given pairs and triples, score their interactions, rank
    them.

    Singles and combinations are all predicted, one pass of the network each, `chunk` at a time, so
    that the effects of all pairs never stand in memory at once. Scores and sub-types:
    `evaluation.interaction_screen.screen`.

    A triple A+B+C has three rows, one for each way to take it as a single gene (`first`) and the
    pair of the others (`second`), both predicted: the published scores are those of the two parts
    against the whole. It also has `beyond_singles`, the root mean square over genes of abc - (a + b
    + c), and `beyond_pairs`, that of abc - (ab + ac + bc) + (a + b + c), what no pair explains;
    both are alike in its three rows.

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
        **options: of `evaluation.interactions.score_pairs`.

    Returns:
        One row per pair (three per triple), the one to run next first: the columns of
        `interaction_screen.screen`, `set` (genes in the order asked), `measured` (the data hold
        cells of it: nothing to run), `support` (as in `predict_sets`), and `uncertainty` (mean log
        variance over all genes, higher is less certain; see `predict_sets` for what it is worth)
        where the model has a head. `attrs["note"]` says what the thresholds of sub-types are worth
        on predictions: an exactly additive prediction has magnitude 1.41 and is called synergy.
    """
    net = gears.of(fitted.model)
    chosen = _asked(dataset, genes, sets, separator)
    units = _units(chosen)
    columns = scored_columns(dataset, score_on)
    members = gears.members_of(net, units.genes, absent, signs)
    singles = predict_members(fitted, members, chunk=chunk).effect[:, columns]
    chunk = min(chunk, len(units.rows))
    predict = predictor(fitted, chunk)

    def both(part: Int[np.ndarray, "m 2"]) -> Prediction:
        nodes, sign = (
            np.concatenate([side[part[:, 0]], side[part[:, 1]]], axis=1) for side in members[:2]
        )
        found = predict(nodes, sign)
        return Prediction(found.effect[:, columns], found.uncertainty)

    names = ["+".join(one) for one in units.genes]
    table = interaction_screen.screen(
        names, singles, both, pairs=units.rows, rank_by=rank_by, chunk=chunk, **options
    )
    return _described(
        table, dataset, net, chosen, units, absent, _beyond(chosen, units, singles, both, chunk)
    )


def scored_columns(dataset: Dataset, names: Sequence[str] | None = None) -> Int[np.ndarray, "n"]:
    """Positions of the named genes; of those with more than 0.5 counts per cell on average without
    names."""
    if names is None:
        mean = np.asarray(dataset.counts.mean(0, dtype=np.float64)).ravel()
        found = np.flatnonzero(mean > MEAN_UMI)
        if len(found) < 3:
            raise InputError(
                f"{len(found)} genes of {dataset.name!r} have more than {MEAN_UMI} counts per "
                "cell, expected at least "
                "3 to score interactions on: name them with score_on"
            )
        return found
    place = {name: g for g, name in enumerate(dataset.genes)}
    unknown = [name for name in names if name not in place]
    if unknown or len(set(names)) < len(names):
        raise InputError(
            f"score_on has {len(names)} genes, {len(set(names))} of them different and "
            f"{len(unknown)} not measured "
            f"({', '.join(unknown[:4])}), expected measured genes, each once"
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
    if sets is None:
        alone = [(name,) for name in measured_singles(dataset)] if genes is None else genes
        singles = parse_sets(dataset, alone, separator)
        wrong = ["+".join(one) or "control" for one in singles if len(one) != 1]
        if wrong or len(set(singles)) < len(singles) or len(singles) < 2:
            raise InputError(
                f"the genes to pair are {len(singles)}, {len(set(singles))} of them different and "
                f"{len(wrong)} no "
                f"single gene ({', '.join(wrong[:4])}), expected two single genes or more: give "
                "combinations as sets"
            )
        return [(a, b) for (a,), (b,) in combinations(singles, 2)]
    found = parse_sets(dataset, sets, separator)
    wrong = ["+".join(one) or "control" for one in found if len(one) not in (2, 3)]
    if wrong:
        raise InputError(
            f"{', '.join(wrong[:4])} cannot be screened, expected pairs and triples: see "
            "predict_sets"
        )
    if len({frozenset(one) for one in found}) < len(found):
        raise InputError(
            "a set is given twice, perhaps in another order, expected each once: leave one out"
        )
    return found


def _units(sets: Sequence[Genes]) -> Units:
    place: dict[Genes, int] = {}
    rows = []
    for one in sets:
        for name in one:
            place.setdefault((name,), len(place))
        if len(one) == 2:
            rows.append([place[one[:1]], place[one[1:]]])
            continue
        for out in range(3):
            # A pair stands once, whichever triple asked for it first.
            rest = one[:out] + one[out + 1 :]
            pair = rest if rest in place else rest[::-1] if rest[::-1] in place else rest
            rows.append([place[(one[out],)], place.setdefault(pair, len(place))])
    return Units(list(place), np.array(rows, int))


def _beyond(
    sets: Sequence[Genes], units: Units, singles: Float[np.ndarray, "U n"], both: Any, chunk: int
) -> dict[frozenset[str], tuple[float, float]]:
    """Root mean square of what each triple does beyond its singles, and beyond its pairs."""
    place = {frozenset(one): i for i, one in enumerate(units.genes)}
    triples = [one for one in sets if len(one) == 3]
    found = {}
    for start in range(0, len(triples), chunk):
        part = triples[start : start + chunk]
        split = np.array([[place[frozenset(one[:1])], place[frozenset(one[1:])]] for one in part])
        whole = np.asarray(both(split).effects, np.float64)
        alone = sum(
            singles[[place[frozenset([one[k]])] for one in part]].astype(np.float64)
            for k in range(3)
        )
        pairs = [[place[frozenset(pair)] for pair in combinations(one, 2)] for one in part]
        together = singles[pairs].astype(np.float64).sum(1)
        sizes = (np.sqrt((rest**2).mean(1)) for rest in (whole - alone, whole - together + alone))
        found |= dict(
            zip(map(frozenset, part), zip(*map(np.ndarray.tolist, sizes), strict=True), strict=True)
        )
    return found


def _described(
    table: pandas.DataFrame,
    dataset: Dataset,
    net: gears.Gears,
    sets: Sequence[Genes],
    units: Units,
    absent: str,
    beyond: Mapping[frozenset[str], tuple[float, float]],
) -> pandas.DataFrame:
    """The table with what is known of each set, and the note on its thresholds."""
    known, support = measured_sets(dataset), gears.support_of(net, sets, absent)
    name = {frozenset(one): "+".join(one) for one in sets}
    backing = dict(zip(map(frozenset, sets), support, strict=True))
    whole = {
        tuple("+".join(units.genes[k]) for k in row): frozenset().union(
            *(units.genes[k] for k in row)
        )
        for row in units.rows.tolist()
    }
    rows = [whole[parts] for parts in zip(table["first"], table["second"], strict=True)]
    table["set"] = [name[one] for one in rows]
    table["measured"] = [one in known for one in rows]
    table["support"] = [backing[one] for one in rows]
    if beyond:
        for k, column in enumerate(("beyond_singles", "beyond_pairs")):
            table[column] = [beyond[one][k] if one in beyond else np.nan for one in rows]
    table = table.reindex(columns=["set", *table.columns.drop("set")])
    table.attrs["note"] = NOTE
    return table
