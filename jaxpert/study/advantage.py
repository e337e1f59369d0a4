"""One model minus each other on the same data, with intervals over perturbations, from the files of
finished runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxpert.evaluation import scoring
from jaxpert.evaluation.verdict import HEADLINE, outcome
from jaxpert.study.ledger import Cell, Row

DRAWS = 1000
QCPR = "qcpr"
AGAINST_TRUTH = "truth"
"""Subset of all perturbations, scored against planted effects instead of measured ones."""


class Advantage(NamedTuple):
    """How far the model is ahead of a rival on one score."""

    data: str
    multiplier: int
    subset: str
    rival: str
    metric: str
    difference: float
    low: float
    high: float
    """95 % interval of the mean over seeds, from resampled perturbations and seeds; NaN where it
    cannot be had."""
    sd: float
    """Of the difference, over seeds; NaN for one seed."""
    seeds: int
    perturbations: int
    outcome: str
    """better, worse or undecided (the interval includes 0), for the model."""


class Statistics(NamedTuple):
    """What statistics.npz of a run holds for one seed and multiplier."""

    measured: str
    conditions: dict[str, list[str]]
    sums: dict[str, dict[str, dict[str, np.ndarray]]]
    """{predictor: {subset: {score: sums per perturbation}}}; "model" is the run's own."""


def read_statistics(path: Path, seed: int, multiplier: int) -> Statistics:
    """Sums of the run's model with one seed and of the baselines, at one multiplier."""
    measured, conditions, sums = "", {}, {}
    with np.load(path, allow_pickle=False) as stored:
        for name in stored.files:
            kind, *at = name.split("|")
            if kind == "sums" and at[1] in (str(seed), "any") and at[2] == str(multiplier):
                sums.setdefault(at[0], {}).setdefault(at[3], {})[at[4]] = stored[name]
            elif kind == "conditions" and at[0] == str(multiplier):
                conditions[at[1]] = [str(condition) for condition in stored[name]]
            elif kind == "measured" and at[0] == str(multiplier):
                measured = str(stored[name])
    return Statistics(measured, conditions, sums)


def advantages(
    rows: Mapping[Cell, Row],
    results: Path,
    data: str,
    multiplier: int,
    seeds: Sequence[int],
    model: str = "cradle_vae",
) -> tuple[list[Advantage], list[str]]:
    """The model minus every other model and baseline on a data set at a threshold, and notes on
    what is not compared.

    Seeds are paired (those of one number share the split), perturbations are resampled together for
    all seeds, and the difference is the mean over seeds.
    """
    found, notes = {}, []
    for cell, row in rows.items():
        if (
            (cell.data, cell.multiplier) == (data, multiplier)
            and cell.seed in seeds
            and "failed" not in row
        ):
            path = results / row["run"] / "statistics.npz"
            if path.exists():
                trained = row["seed"] if row["vary"] == "train" else row["settings"]["seed"]
                found.setdefault(cell.model, {})[cell.seed] = (
                    read_statistics(path, trained, multiplier),
                    row,
                )
            else:
                notes.append(f"{cell} is not compared: there is no {path}")
    own = found.pop(model, {})
    compared = []
    for rival, theirs in found.items():
        common = sorted(own.keys() & theirs.keys())
        same = [seed for seed in common if own[seed][0].measured == theirs[seed][0].measured]
        if len(same) < len(common):
            notes.append(
                f"{len(common) - len(same)} seeds of {rival} on {data} at {multiplier} MAD are "
                "not compared: the "
                "measured effects differ, so the data or their labels did"
            )
        pairs = [(own[seed][0], theirs[seed][0], "model") for seed in same]
        compared += _against(rival, pairs, data, multiplier) if pairs else []
        compared += _pass_rate(
            rival, [(own[seed][1], theirs[seed][1]) for seed in same], data, multiplier
        )
    for baseline in sorted({name for each, _ in own.values() for name in each.sums} - {"model"}):
        compared += _against(
            baseline, [(each, each, baseline) for each, _ in own.values()], data, multiplier
        )
    return compared, notes


def _against(
    rival: str, pairs: Sequence[tuple[Statistics, Statistics, str]], data: str, multiplier: int
) -> list[Advantage]:
    subsets = set.intersection(
        *(set(one.conditions) & set(other.conditions) for one, other, _ in pairs)
    )
    found = []
    for subset in sorted(subsets - {"train", "val"}):
        metrics = ("ate_pearson", "mse") if subset == AGAINST_TRUTH else HEADLINE
        aligned = [_aligned(subset, *pair) for pair in pairs]
        names = sorted({name for common, _, _ in aligned for name in common})
        place = {name: i for i, name in enumerate(names)}
        weights = scoring.bootstrap_weights(np.random.default_rng(0), len(names), DRAWS)
        drawn = [weights[:, [place[name] for name in common]] for common, _, _ in aligned]
        for metric in metrics:
            if any(metric not in one or metric not in other for _, one, other in aligned):
                continue
            sums = [
                (one[metric], other[metric], w)
                for (_, one, other), w in zip(aligned, drawn, strict=True)
            ]
            difference = scoring.mean_difference(metric, sums)
            each = [scoring.difference(metric, *of).difference for of in sums]
            sd = float(np.std(each, ddof=1)) if len(each) > 1 else math.nan
            said = outcome(metric, difference)
            found.append(
                Advantage(
                    data,
                    multiplier,
                    subset,
                    rival,
                    metric,
                    *difference,
                    sd,
                    len(sums),
                    len(names),
                    said,
                )
            )
    return found


def _aligned(
    subset: str, one: Statistics, other: Statistics, predictor: str
) -> tuple[list[str], dict, dict]:
    """Perturbations that both runs have, and the sums of both in that order."""
    common = sorted(set(one.conditions[subset]) & set(other.conditions[subset]))
    mine, theirs = ([s.conditions[subset].index(name) for name in common] for s in (one, other))
    ours = {metric: rows[mine] for metric, rows in one.sums["model"][subset].items()}
    return (
        common,
        ours,
        {metric: rows[theirs] for metric, rows in other.sums[predictor][subset].items()},
    )


def _pass_rate(
    rival: str, pairs: Sequence[tuple[Row, Row]], data: str, multiplier: int
) -> list[Advantage]:
    """Difference in the pass rate of generated cells; it has no perturbations to resample."""
    rates = [[row.get("pass_rate", {}).get("fixed_library") for row in pair] for pair in pairs]
    each = [one - other for one, other in rates if one is not None and other is not None]
    if not each:
        return []
    sd = float(np.std(each, ddof=1)) if len(each) > 1 else math.nan
    mean, nan = float(np.mean(each)), math.nan
    return [
        Advantage(
            data,
            multiplier,
            "generated",
            rival,
            QCPR,
            mean,
            nan,
            nan,
            sd,
            len(each),
            0,
            "undecided",
        )
    ]
