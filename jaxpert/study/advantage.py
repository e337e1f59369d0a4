"""One model minus each other on the same data, with intervals over perturbations, from the files of
finished runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxpert.evaluation import intervals
from jaxpert.evaluation.claims import HEADLINE, outcome
from jaxpert.evaluation.subset_names import UNSEEN_FIRST
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
    """95 % interval of the mean over seeds, of the chance of perturbations and seeds; NaN where it
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
            # A name is a path, since an .npz holds no nested tables.
            kind, *at = name.split("|")
            if kind == "sums":
                predictor, of_seed, threshold, subset, score = at
                # Baselines have no seed of training: one set of sums is for any.
                if of_seed in (str(seed), "any") and threshold == str(multiplier):
                    sums.setdefault(predictor, {}).setdefault(subset, {})[score] = stored[name]
            elif kind == "conditions" and at[0] == str(multiplier):
                conditions[at[1]] = list(map(str, stored[name]))
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
    # The subject is compared with each other model, and not with itself.
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
            compared += _against(rival, _model_pairs(same), data, multiplier)
            compared += _pass_rate(rival, same, data, multiplier)
    return compared + _against_baselines(list(subjects.values()), data, multiplier), notes


def _paired(
    subjects: Mapping[int, Scored], rivals: Mapping[int, Scored]
) -> tuple[list[tuple[Scored, Scored]], int]:
    """Both sides for each seed that both have, and the number of seeds left out since they were
    not scored against the same measured effects."""
    pairs, others = [], 0
    for seed in sorted(subjects.keys() & rivals.keys()):
        ours, theirs = subjects[seed], rivals[seed]
        # Errors are comparable only where both were measured against the same effects.
        if ours.statistics.measured == theirs.statistics.measured:
            pairs.append((ours, theirs))
        else:
            others += 1
    return pairs, others


def _model_pairs(same: Sequence[tuple[Scored, Scored]]) -> list[Pair]:
    """The models of both runs, seed by seed."""
    pairs = []
    for ours, theirs in same:
        pairs.append(Pair(ours.statistics, theirs.statistics, "model"))
    return pairs


def _against_baselines(runs: Sequence[Scored], data: str, multiplier: int) -> list[Advantage]:
    """The model minus the baselines of its own runs."""
    predictors: set[str] = set()
    for run in runs:
        predictors |= run.statistics.sums.keys()
    compared = []
    # Sets have no order, so baselines are taken by name.
    for baseline in sorted(predictors - {"model"}):
        pairs = [Pair(run.statistics, run.statistics, baseline) for run in runs]
        compared += _against(baseline, pairs, data, multiplier)
    return compared


def _read_all(
    rows: Mapping[Cell, Row], results: Path
) -> tuple[dict[str, dict[int, Scored]], list[str]]:
    """{model: {seed: its row and sums}}, and notes on rows whose run is gone."""
    scored: dict[str, dict[int, Scored]] = {}
    notes = []
    for cell, row in rows.items():
        # Folders of runs may be deleted once their rows are written.
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
    subsets = set(pairs[0].model.conditions)
    for pair in pairs:
        subsets &= pair.model.conditions.keys() & pair.rival.conditions.keys()
    compared = []
    for subset in sorted(subsets - {"train", "val"}, key=_unseen_first):
        # Against planted effects, the direction and the size of the error are compared alone.
        metrics = ("ate_pearson", "mse") if subset == AGAINST_TRUTH else HEADLINE
        aligned = [_aligned(subset, pair) for pair in pairs]
        names = _all_names(aligned)
        places = [np.searchsorted(names, side.names) for side in aligned]
        weights = _weights(len(names), places)
        for metric in metrics:
            sums = _sums_of(metric, aligned, weights)
            if len(sums) < len(aligned):
                continue
            # Over seeds and perturbations at once; by seed only for its spread.
            difference = intervals.mean_difference(metric, sums, places=places)
            by_seed = [intervals.difference(metric, *of_seed).difference for of_seed in sums]
            compared.append(
                Advantage(
                    data,
                    multiplier,
                    subset,
                    rival,
                    metric,
                    difference.difference,
                    difference.low,
                    difference.high,
                    sd=_spread(by_seed),
                    seeds=len(sums),
                    perturbations=len(names),
                    outcome=outcome(metric, difference),
                )
            )
    return compared


def _unseen_first(subset: str) -> tuple[int, str]:
    """What training did not see stands in front of what it saw a part of."""
    known = subset in UNSEEN_FIRST
    return (UNSEEN_FIRST.index(subset) if known else len(UNSEEN_FIRST)), subset


def _sums_of(
    metric: str, aligned: Sequence[Aligned], weights: Sequence[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """What one score of both sides and its resamples are made from, for the seeds that have it."""
    sums = []
    for side, drawn in zip(aligned, weights, strict=True):
        if metric in side.model and metric in side.rival:
            sums.append((side.model[metric], side.rival[metric], drawn))
    return sums


def _all_names(aligned: Sequence[Aligned]) -> list[str]:
    """The perturbations of any seed."""
    names: set[str] = set()
    for side in aligned:
        names |= set(side.names)
    return sorted(names)


def _weights(perturbations: int, places: Sequence[np.ndarray]) -> list[np.ndarray]:
    """How often each resample holds each perturbation, for every seed.

    Seeds may have other test perturbations. Resamples are drawn of them all, so that resample d is
    the same one for every seed; `places` tells which of all each row of a seed is.
    """
    weights = intervals.bootstrap_weights(np.random.default_rng(0), perturbations, DRAWS)
    return [weights[:, at] for at in places]


def _aligned(subset: str, pair: Pair) -> Aligned:
    """Perturbations that both sides have, and the sums of both in that order."""
    ours, theirs = pair.model.conditions[subset], pair.rival.conditions[subset]
    # Runs list perturbations in the order of their files, so rows are matched by name.
    names = sorted(set(ours) & set(theirs))
    of_model = pair.model.sums["model"][subset]
    of_rival = pair.rival.sums[pair.predictor][subset]
    return Aligned(names, _rows_of(of_model, ours, names), _rows_of(of_rival, theirs, names))


def _rows_of(
    sums: Mapping[str, np.ndarray], present: Sequence[str], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """The sums of some perturbations, in the order of their names."""
    rows = [present.index(name) for name in names]
    return {metric: values[rows] for metric, values in sums.items()}


def _pass_rate(
    rival: str, pairs: Sequence[tuple[Scored, Scored]], data: str, multiplier: int
) -> list[Advantage]:
    """Difference in the pass rate of generated cells; it has no perturbations to resample."""
    # One number for each seed, so the seeds alone say how sure it is.
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
