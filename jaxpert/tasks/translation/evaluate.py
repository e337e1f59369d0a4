"""Scores of the CycSeq paper: rows predicted in both directions, beside baselines, line by line
(spec section 9)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxpert.core.types import Batch, PyTree
from jaxpert.evaluation import compare as benchmark
from jaxpert.evaluation import differential, pseudobulk
from jaxpert.models.cycseq import model as cycseq
from jaxpert.models.cycseq.game import cycle, rows_of
from jaxpert.models.cycseq.setup import CycSeq
from jaxpert.tasks import translation as spectra
from jaxpert.tasks.translation import metrics as cycseq_metrics
from jaxpert.tasks.translation.baselines import Groups, Predictor, moments_of

DIRECTIONS = ("n2p", "p2n")
ALL = "all"
BLOCK = 256
TRAINED = ("scgen", "gears")
"""Methods that may be trained beside."""
UNITS_NOTE = (
    "all methods are scored on the same rows and in the same units; published MAE and MSE are in "
    "units that the paper "
    "does not state and very probably differ between its methods, so only R2 can be set beside them"
)


class Scored(NamedTuple):
    """What `score` finds."""

    table: dict[str, Any]
    """The part "cycseq" of metrics.json."""
    rows: dict[str, dict[str, cycseq_metrics.Scores]]
    """{direction: {method: scores of every evaluated row}}."""
    pair: Int[np.ndarray, "n"]
    """Pair of each row."""


def predictor(
    net: CycSeq,
    params: PyTree,
    state: PyTree,
    prepared: spectra.Prepared,
    unit_scale: Float[np.ndarray, "G"] | None,
) -> Predictor:
    """The model, in evaluation mode: latent means (or `samples` draws) and remembered moments."""
    dataset, pairs = prepared.dataset, prepared.pairs
    unit = 1.0 if unit_scale is None else unit_scale.astype(np.float32)
    key = jax.random.key(0)

    @jax.jit
    def both(params: Any, state: Any, key: Array, batch: Batch) -> tuple[Array, Array]:
        if net.settings.samples:
            dose = batch.extras.get("dose")
            own, condition = (
                batch.extras.get("control_dose", dose),
                (batch.treatment, batch.stratum),
            )
            one, two = jax.random.split(key)
            run = partial(cycseq.translate, net, params, state)
            up = run(batch.control, *condition, direction="n2p", key=one, dose=own)
            return up, run(batch.x, *condition, direction="p2n", key=two, dose=dose)
        passes, _ = cycle(net, params["generators"], state, None, rows_of(net, batch))
        return passes.fake_x.expression, passes.fake_y.expression

    def predict(rows: spectra.Rows) -> dict[str, np.ndarray]:
        own, n = rows.pair, len(rows.pair)

        def column(values: Any) -> Array:
            """Filled up, so that all blocks run one compiled program."""
            values = np.asarray(values)
            return jnp.asarray(np.resize(values, (max(n, size), *values.shape[1:])))

        condition = pairs.condition[own]
        doses = (
            {}
            if pairs.dose is None
            else {"dose": pairs.dose[own, 0], "control_dose": pairs.dose[own, 1]}
        )
        batch = Batch(
            x=column((rows.x / unit).astype(np.float32)),
            control=column((rows.control / unit).astype(np.float32)),
            treatment=column(dataset.condition_treatments[condition]),
            condition=column(condition),
            stratum=column(pairs.batch[own].astype(np.int32)),
            mask=column(np.ones(n, bool)),
            slot=column(np.arange(n)),
            extras={name: column(values) for name, values in doses.items()},
        )
        made = both(params, state, jax.random.fold_in(key, int(own[0])), batch)
        return {
            name: np.asarray(found)[:n] * unit for name, found in zip(DIRECTIONS, made, strict=True)
        }

    size = min(BLOCK, max(len(prepared.pair_numbers("val")), len(prepared.pair_numbers("test"))))
    return predict


def evaluated_split(prepared: spectra.Prepared) -> str:
    """The split that is scored: test where there are such pairs."""
    return "test" if len(prepared.pair_numbers("test")) else "val"


def gene_sets(prepared: spectra.Prepared, groups: Groups) -> tuple[cycseq_metrics.Tops, int]:
    """Genes that differ most between the cells of each group and of its control (Welch's t), for
    scoring only; and the number of groups with too few cells for a ranking."""
    wanted = np.unique([groups.upper, groups.lower])
    upper, lower = (np.searchsorted(wanted, side) for side in (groups.upper, groups.lower))
    found = moments_of(prepared, wanted)
    spread = found.variance * (found.cells / np.maximum(found.cells - 1, 1))[:, None]
    variance = np.where((found.cells > 1)[:, None], spread, np.nan)
    reference = np.arange(len(wanted))
    reference[upper] = lower
    ranking = differential.rank(
        pseudobulk.Pseudobulk(found.mean, found.cells, np.zeros(len(wanted), int), variance),
        reference,
    )
    genes = prepared.dataset.genes
    sizes = [k for k in cycseq_metrics.TOPS if k < len(genes)]
    tops = {
        name: of if of is None else of[upper]
        for name, of in cycseq_metrics.gene_sets(ranking, sizes).items()
    }
    return tops, int((~ranking.ranked[upper]).sum())


def score(
    prepared: spectra.Prepared,
    groups: Groups,
    methods: Mapping[str, Predictor],
    facets: tuple[str, ...],
    facet: Int[np.ndarray, "K"],
) -> Scored:
    """Score "model" and baselines on every row of the evaluated split, row by row and as means of
    each group; a method has no entry in a direction that it does not predict.

    `facets` are what tables are made for (lines, or compounds), `facet` the one of each group.
    Groups of the table are "DIRECTION all" and "DIRECTION FACET"; scores are those of
    `cycseq_metrics.METRICS`, with `_top20` and `_top100` for the genes that differ most, and
    `mean_` in front at the level of means.
    """
    split = evaluated_split(prepared)
    tops, unranked = gene_sets(prepared, groups)
    blocks: dict[str, dict[str, list]] = {d: {} for d in DIRECTIONS}
    none = cycseq_metrics.empty_sums(len(groups.names), len(prepared.dataset.genes))
    sums: dict[str, dict[str, cycseq_metrics.Sums]] = {d: {} for d in DIRECTIONS}
    pair = []
    for rows in spectra.rows(prepared, split, block=BLOCK):
        group = groups.of_pair[rows.pair]
        pair.append(rows.pair)
        for name, method in methods.items():
            for d, made in method(rows).items():
                both = as_pairs(rows, d, made)
                blocks[d].setdefault(name, []).append(cycseq_metrics.score(both, group, tops))
                sums[d][name] = cycseq_metrics.add(sums[d].get(name, none), both, group)
    numbers = np.concatenate(pair)
    joined = {
        d: {name: cycseq_metrics.join(of) for name, of in each.items()}
        for d, each in blocks.items()
    }
    present = np.unique(groups.of_pair[numbers])
    tables: dict[str, dict[str, Any]] = {name: {} for name in methods}
    for d in DIRECTIONS:
        for name in joined[d]:
            by_row = _tables(joined[d][name], facet[groups.of_pair[numbers]], facets)
            means = cycseq_metrics.means(sums[d][name])
            some = cycseq_metrics.Pairs(*(one[present] for one in means))
            by_mean = _tables(cycseq_metrics.score(some, present, tops), facet[present], facets)
            for where in by_row:
                tables[name][f"{d} {where}"] = by_row[where] | {
                    f"mean_{k}": v for k, v in by_mean[where].items()
                }
    model = tables.pop(benchmark.MODEL)
    notes = [UNITS_NOTE]
    if unranked:
        notes.append(
            f"{unranked} of {len(groups.names)} groups have too few cells for their most changed "
            "genes"
        )
    sizes = {
        f"{d} {where}": n for d in DIRECTIONS for where, n in _sizes(facet[present], facets).items()
    }
    table = {
        "model": model,
        "baselines": tables,
        "conditions": sizes,
        "notes": notes,
        "split": split,
    }
    return Scored(table, joined, numbers)


def as_pairs(
    rows: spectra.Rows, direction: str, predicted: Float[np.ndarray, "n G"]
) -> cycseq_metrics.Pairs:
    """Predicted, target and input rows of a direction."""
    target, start = (rows.x, rows.control) if direction == "n2p" else (rows.control, rows.x)
    return cycseq_metrics.Pairs(predicted, target, start)


def triangular(
    prepared: spectra.Prepared, groups: Groups, model: Predictor, named: tuple[str, ...]
) -> dict[str, Any]:
    """Triangular validation (spec 9.3) of every evaluated group, those of `named` genes first, by
    direction."""
    found: dict[str, list[cycseq_metrics.Triangle]] = {d: [] for d in DIRECTIONS}
    numbers = []
    for rows in spectra.rows(prepared, evaluated_split(prepared), block=BLOCK):
        made = model(rows)
        numbers.append(groups.of_pair[rows.pair])
        for d in DIRECTIONS:
            found[d].append(cycseq_metrics.triangle(as_pairs(rows, d, made[d])))
    group = np.concatenate(numbers)
    used, place = np.unique(group, return_inverse=True)
    names = [groups.names[k] for k in used]
    order = sorted(names, key=lambda name: (name.rsplit(" in ", 1)[0] not in named, name))
    tables = {}
    for d, parts in found.items():
        whole = cycseq_metrics.Triangle(
            *(np.concatenate(each) for each in zip(*parts, strict=True))
        )
        table = cycseq_metrics.triangle_table(whole, place.ravel(), names)
        tables[d] = {name: table[name] for name in order}
    return tables


def _tables(
    scores: cycseq_metrics.Scores, facet: Int[np.ndarray, "n"], facets: tuple[str, ...]
) -> dict[str, Any]:
    """{facet: {score: value}} of those that have rows, all together first."""
    every = cycseq_metrics.by_line(scores, np.zeros(len(facet), int), [ALL])
    if len(facets) > 1:
        own = cycseq_metrics.by_line(scores, facet, facets)
        every |= {name: of for name, of in own.items() if of["pairs"]}
    return {name: _flat(of) for name, of in every.items()}


def _flat(of: dict[str, Any]) -> dict[str, float]:
    return {
        metric if genes == ALL else f"{metric}_{genes}": value
        for genes, values in of.items()
        if genes != "pairs"
        for metric, value in values.items()
        if metric != "undefined"
    }


def _sizes(facet: Int[np.ndarray, "k"], facets: tuple[str, ...]) -> dict[str, int]:
    counts = {name: int((facet == i).sum()) for i, name in enumerate(facets)}
    return {
        ALL: len(facet),
        **({name: n for name, n in counts.items() if n} if len(facets) > 1 else {}),
    }
