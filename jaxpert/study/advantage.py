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
from jaxpert.report.layout import QCPR
from jaxpert.study.ledger import Cell, Row

DRAWS = 1000
AGAINST_TRUTH = "truth"
"""Subset of all perturbations, scored against planted effects instead of measured ones."""
GENERATED = "generated"
"""Stands for a subset where generated cells are compared."""


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
    """Digest of the measured effects."""
    conditions: dict[str, list[str]]
    sums: dict[str, dict[str, dict[str, np.ndarray]]]
    """{predictor: {subset: {score: sums per perturbation}}}; "model" is the run's own."""


class Scored(NamedTuple):
    """A row with the sums behind its scores."""

    row: Row
    statistics: Statistics


class Pair(NamedTuple):
    """What is compared for one seed: the model of a run, and a predictor of the same or another
    run."""

    model: Statistics
    rival: Statistics
    predictor: str


class Aligned(NamedTuple):
    """Both sides of a pair on the perturbations that both have, in the same order."""

    names: list[str]
    model: dict[str, np.ndarray]
    rival: dict[str, np.ndarray]


def read_statistics(path: Path, seed: int, multiplier: int) -> Statistics:
    """Sums of the run's model with one seed and of the baselines, at one multiplier.

    `tasks.screen.files.statistics_arrays` describes the file.
    """
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
    subject: str,
    rows: Mapping[Cell, Row],
    results: Path,
    data: str,
    multiplier: int,
    seeds: Sequence[int],
) -> tuple[list[Advantage], list[str]]:
    """A model minus every other model and baseline on a data set at a threshold, and notes on what
    is not compared.

    Seeds are paired (those of one number share the split), perturbations are resampled together for
    all seeds, and the difference is the mean over seeds. Rivals come in the order of the rows, then
    baselines by name.

    Args:
        subject: name of the model.
        rows: of all models.
        results: folder that the rows' runs lie in.
        data, multiplier, seeds: where the model is compared.
    """
    here: dict[Cell, Row] = {}
    for cell, row in rows.items():
        same_place = (cell.data, cell.multiplier) == (data, multiplier)
        if same_place and cell.seed in seeds and "failed" not in row:
            here[cell] = row
    scored, notes = _read_all(here, results)
    subjects = scored.pop(subject, {})
    compared: list[Advantage] = []
    for rival, rivals in scored.items():
        same, others = _paired(subjects, rivals)
        if others:
            notes.append(
                f"{others} seeds of {rival} on {data} at {multiplier} MAD are not compared: the "
                "measured effects differ, so the data or their labels did"
            )
        if same:
            runs = [Pair(ours.statistics, theirs.statistics, "model") for ours, theirs in same]
            compared += _against(rival, runs, data, multiplier)
            compared += _pass_rate(rival, same, data, multiplier)
    own = [run.statistics for run in subjects.values()]
    return compared + _against_baselines(own, data, multiplier), notes


def _paired(
    subjects: Mapping[int, Scored], rivals: Mapping[int, Scored]
) -> tuple[list[tuple[Scored, Scored]], int]:
    """Both sides for each seed that both have, and the number of seeds left out since they were
    not scored against the same measured effects."""
    pairs, others = [], 0
    for seed in sorted(subjects.keys() & rivals.keys()):
        ours, theirs = subjects[seed], rivals[seed]
        if ours.statistics.measured == theirs.statistics.measured:
            pairs.append((ours, theirs))
        else:
            others += 1
    return pairs, others


def _against_baselines(runs: Sequence[Statistics], data: str, multiplier: int) -> list[Advantage]:
    """The model minus the baselines of its own runs."""
    predictors: set[str] = set()
    for statistics in runs:
        predictors |= statistics.sums.keys()
    compared = []
    for baseline in sorted(predictors - {"model"}):
        pairs = [Pair(statistics, statistics, baseline) for statistics in runs]
        compared += _against(baseline, pairs, data, multiplier)
    return compared


def _read_all(
    rows: Mapping[Cell, Row], results: Path
) -> tuple[dict[str, dict[int, Scored]], list[str]]:
    """{model: {seed: its row and sums}}, and notes on rows whose run is gone."""
    scored: dict[str, dict[int, Scored]] = {}
    notes = []
    for cell, row in rows.items():
        path = results / row["run"] / "statistics.npz"
        if not path.exists():
            notes.append(f"{cell} is not compared: there is no {path}")
            continue
        # Where the split varies, all runs train with the one seed of their config.
        trained = row["seed"] if row["vary"] == "train" else row["settings"]["seed"]
        statistics = read_statistics(path, trained, cell.multiplier)
        scored.setdefault(cell.model, {})[cell.seed] = Scored(row, statistics)
    return scored, notes


def _against(rival: str, pairs: Sequence[Pair], data: str, multiplier: int) -> list[Advantage]:
    """The differences of every score in every subset but those trained on."""
    shared = [pair.model.conditions.keys() & pair.rival.conditions.keys() for pair in pairs]
    compared = []
    for subset in sorted(set.intersection(*shared) - {"train", "val"}):
        metrics = ("ate_pearson", "mse") if subset == AGAINST_TRUTH else HEADLINE
        aligned = [_aligned(subset, pair) for pair in pairs]
        weights = _weights(aligned)
        for metric in metrics:
            if any(metric not in side.model or metric not in side.rival for side in aligned):
                continue
            sums = [
                (side.model[metric], side.rival[metric], drawn)
                for side, drawn in zip(aligned, weights, strict=True)
            ]
            difference = scoring.mean_difference(metric, sums)
            by_seed = [scoring.difference(metric, *of_seed).difference for of_seed in sums]
            compared.append(
                Advantage(
                    data,
                    multiplier,
                    subset,
                    rival,
                    metric,
                    *difference,
                    sd=_spread(by_seed),
                    seeds=len(sums),
                    perturbations=len(set().union(*(side.names for side in aligned))),
                    outcome=outcome(metric, difference),
                )
            )
    return compared


def _weights(aligned: Sequence[Aligned]) -> list[np.ndarray]:
    """How often each resample holds each perturbation, for every seed.

    Seeds may have other test perturbations. Resamples are drawn of them all, so that resample d is
    the same one for every seed.
    """
    names = sorted(set().union(*(side.names for side in aligned)))
    place = {name: i for i, name in enumerate(names)}
    weights = scoring.bootstrap_weights(np.random.default_rng(0), len(names), DRAWS)
    return [weights[:, [place[name] for name in side.names]] for side in aligned]


def _aligned(subset: str, pair: Pair) -> Aligned:
    """Perturbations that both sides have, and the sums of both in that order."""
    ours, theirs = pair.model.conditions[subset], pair.rival.conditions[subset]
    names = sorted(set(ours) & set(theirs))
    our_rows = [ours.index(name) for name in names]
    their_rows = [theirs.index(name) for name in names]
    of_model = pair.model.sums["model"][subset]
    of_rival = pair.rival.sums[pair.predictor][subset]
    return Aligned(
        names,
        {metric: sums[our_rows] for metric, sums in of_model.items()},
        {metric: sums[their_rows] for metric, sums in of_rival.items()},
    )


def _pass_rate(
    rival: str, pairs: Sequence[tuple[Scored, Scored]], data: str, multiplier: int
) -> list[Advantage]:
    """Difference in the pass rate of generated cells; it has no perturbations to resample."""
    by_seed = []
    for model, other in pairs:
        ours = model.row.get("pass_rate", {}).get("fixed_library")
        theirs = other.row.get("pass_rate", {}).get("fixed_library")
        if ours is not None and theirs is not None:
            by_seed.append(ours - theirs)
    if not by_seed:
        return []
    advantage = Advantage(
        data,
        multiplier,
        GENERATED,
        rival,
        QCPR,
        difference=float(np.mean(by_seed)),
        low=math.nan,
        high=math.nan,
        sd=_spread(by_seed),
        seeds=len(by_seed),
        perturbations=0,
        outcome="undecided",
    )
    return [advantage]


def _spread(by_seed: Sequence[float]) -> float:
    """Standard deviation over seeds; NaN for one."""
    return float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else math.nan
