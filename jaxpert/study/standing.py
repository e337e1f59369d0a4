"""Where models and baselines stand on one split: scores over seeds, and what may be claimed of each
model against the baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxpert.core import workdir
from jaxpert.evaluation import intervals, scoring
from jaxpert.evaluation.baseline_names import NOT_MADE
from jaxpert.evaluation.claims import HEADLINE, Claim, claims
from jaxpert.evaluation.intervals import Difference
from jaxpert.evaluation.metrics import METRICS
from jaxpert.study.ledger import Cell, Row
from jaxpert.tasks.screen import entries
from jaxpert.tasks.screen.entries import Entry, Scores

ORDER = HEADLINE[0]
"""The score that rows are ordered by, fixed before anything is trained."""
DRAWS = 1000
"""Resamples of the perturbations behind every interval."""
ALIKE = 1e-3
"""By which scores of one baseline may differ between runs: what tables show."""


class Value(NamedTuple):
    """A score over seeds."""

    mean: float
    sd: float
    """NaN where there is one seed, or none as for a baseline."""


class Against(NamedTuple):
    """A model and the baseline that is hardest for it to beat, on one score."""

    rival: str
    difference: Difference
    """Model minus rival, over perturbations and seeds."""
    claim: Claim


class Place(NamedTuple):
    """A row of the leaderboard."""

    name: str
    scores: dict[str, Value]
    against: dict[str, Against] = {}
    """Of a model; nothing of a baseline."""
    seeds: int = 0
    """That are trained; 0 for a baseline."""
    seconds: float = math.nan
    """Of all its seeds together."""


class Standing(NamedTuple):
    """The leaderboard of one split."""

    subset: str
    """What is scored: the subset that training saw least of."""
    words: str
    perturbations: int
    ceiling: dict[str, float]
    """What a perfect model would score."""
    uncounted: tuple[str, ...]
    """Scores that cannot tell a perfect model from the mean baseline."""
    places: list[Place]
    """In the order of ORDER, models and baselines together."""
    notes: list[str]
    unmade: dict[str, str]
    """{baseline: why no run has it}."""


def standing(
    finished: Mapping[str, Mapping[int, Row]], results: Path, scores: Sequence[str] = HEADLINE
) -> Standing:
    """The leaderboard of the finished runs of one split.

    Args:
        finished: {model: {seed: row}} in the order of the models; at least one.
        results: folder that the rows' runs lie in.
        scores: the columns.

    Raises:
        InputError: for runs that were not measured on the same cells.
    """
    folders = {
        model: {seed: results / row["run"] for seed, row in rows.items()}
        for model, rows in finished.items()
    }
    runs = {model: _entries(model, of_seed) for model, of_seed in folders.items()}
    # Every run, since the data may have changed between two seeds of a model.
    every = sum(runs.values(), [])
    subsets, notes = entries.common_subsets(every)
    subset = subsets[0]
    read = [_joined(of_model) for of_model in runs.values()]
    baselines, differing = all_baselines(every, subset, scores)
    metrics = {entry.source: workdir.read_metrics(Path(entry.source)) for entry in every}
    # What was measured is the same for all, so the first run of the first model tells.
    first = metrics[every[0].source]
    counted = first["calibration"].get(subset, {})
    uncounted = tuple(name for name in scores if not counted.get(name, {}).get("counted", True))
    places = [_baseline(name, of[subset], scores) for name, of in baselines.items()]
    for entry in read:
        against = _against(entry, baselines, subset, scores, uncounted)
        seconds = [row["seconds"] or 0.0 for row in finished[entry.label].values()]
        values = {name: _over_seeds(entry, subset, name) for name in scores}
        places.append(Place(entry.label, values, against, len(entry.seeds), sum(seconds)))
    return Standing(
        subset=subset,
        words=(first.get("subsets") or {}).get(subset, subset),
        perturbations=len(read[0].subsets[subset]),
        ceiling={name: _number(first, subset, name) for name in scores},
        uncounted=uncounted,
        places=sorted(places, key=_rank),
        notes=[*notes, *differing],
        unmade=_unmade(every, metrics, baselines),
    )


def finished_of(
    rows: Mapping[Cell, Row], data: str, models: Sequence[str], seeds: Sequence[int]
) -> tuple[dict[str, dict[int, Row]], dict[str, str]]:
    """{model: {seed: row}} of what is finished on a split, and {model: why nothing is}."""
    finished: dict[str, dict[int, Row]] = {}
    reasons: dict[str, str] = {}
    for model in models:
        # By number, so that the order in which runs ended changes nothing.
        of_model = {cell.seed: row for cell, row in rows.items() if cell[:2] == (data, model)}
        asked = {seed: of_model[seed] for seed in seeds if seed in of_model}
        done = {seed: row for seed, row in asked.items() if "failed" not in row}
        if done:
            finished[model] = done
            continue
        failed = [row["failed"] for row in asked.values()]
        reasons[model] = failed[0] if failed else "not run yet"
    return finished, reasons


def all_baselines(
    runs: Sequence[Entry], subset: str, scores: Sequence[str]
) -> tuple[dict[str, Scores], list[str]]:
    """Every baseline that any of the runs has, and notes on those that runs do not agree on.

    Some need what only some models ask for, such as annotations. What is claimed of a model must
    not depend on what it asks for, so that each is held against all of them.
    """
    found: dict[str, tuple[str, Scores]] = {}
    notes: dict[str, None] = {}
    for run in runs:
        for name, of in run.baselines.items():
            if subset not in of:
                continue
            folder, before = found.setdefault(name, (run.source, of))
            if not _alike(before[subset], of[subset], scores):
                notes[
                    f"The baseline {name} of {Path(run.source).name} is not that of "
                    f"{Path(folder).name}, which is shown: one of them alone read annotations, or "
                    "they were evaluated by different versions; then delete the metrics.json of "
                    "the runs and rows.jsonl, and the same command evaluates them again without "
                    "training."
                ] = None
    return {name: of for name, (_, of) in found.items()}, list(notes)


def _alike(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], scores: Sequence[str]
) -> bool:
    """Whether two evaluations of a baseline show the same scores."""
    one, other = _baseline("", first, scores).scores, _baseline("", second, scores).scores
    return np.allclose(
        [one[name].mean for name in scores],
        [other[name].mean for name in scores],
        rtol=0,
        atol=ALIKE,
        equal_nan=True,
    )


def _unmade(
    runs: Sequence[Entry], metrics: Mapping[str, Mapping[str, Any]], made: Mapping[str, Any]
) -> dict[str, str]:
    """Why no run has a baseline, in the words of the runs."""
    reasons: dict[str, dict[str, str]] = {}
    for run in runs:
        for note in metrics[run.source].get("notes", ()):
            name, _, why = note.removeprefix("baseline ").partition(NOT_MADE)
            if why and name not in made:
                # The first model that says so stands for all that do.
                reasons.setdefault(name, {}).setdefault(why, run.label)
    told = {}
    for name, by in reasons.items():
        told[name] = next(iter(by))
        if len(by) > 1:
            told[name] = "; ".join(f"{model}: {why}" for why, model in by.items())
    return told


def _entries(model: str, folders: Mapping[int, Path]) -> list[Entry]:
    """The runs of a model; seeds that were trained together share a folder."""
    return [entries.of_folder(model, folder) for folder in dict.fromkeys(folders.values())]


def _joined(runs: Sequence[Entry]) -> Entry:
    """The runs of a model as one entry with several seeds."""
    seeds: list[Any] = []
    for run in runs:
        seeds += run.seeds
    return runs[0]._replace(seeds=tuple(seeds))


def _baseline(name: str, sums: Mapping[str, np.ndarray], scores: Sequence[str]) -> Place:
    values = {}
    for score in scores:
        mean = scoring.value(score, sums[score].sum(0)) if score in sums else math.nan
        values[score] = Value(float(mean), math.nan)
    return Place(name, values)


def _over_seeds(entry: Entry, subset: str, score: str) -> Value:
    """Mean and standard deviation (ddof 1) over seeds; undefined where any seed's score is."""
    values = []
    for of in entry.seeds:
        sums = of[subset].get(score)
        values.append(math.nan if sums is None else float(scoring.value(score, sums.sum(0))))
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return Value(float(np.mean(values)), sd)


def _against(
    entry: Entry,
    baselines: Mapping[str, Any],
    subset: str,
    scores: Sequence[str],
    uncounted: Sequence[str],
) -> dict[str, Against]:
    """A model minus every baseline on each score, and what that allows to claim."""
    number = len(entry.subsets[subset])
    # The same resamples of the perturbations for all models, seeds, scores and baselines.
    weights = intervals.bootstrap_weights(np.random.default_rng(0), number, DRAWS)
    compared: dict[str, dict[str, Difference]] = {}
    for score in scores:
        compared[score] = {}
        for name, of in baselines.items():
            if score not in of[subset] or any(score not in one[subset] for one in entry.seeds):
                continue
            pairs = [(one[subset][score], of[subset][score], weights) for one in entry.seeds]
            # The spread over seeds widens the interval beside that over perturbations.
            compared[score][name] = intervals.mean_difference(score, pairs)
    made = {}
    for score, claim in claims(compared, uncounted).items():
        made[score] = Against(claim.rival, compared[score][claim.rival], claim)
    return made


def _number(metrics: Mapping[str, Any], subset: str, score: str) -> float:
    """What a perfect model would score; NaN where that is unknown."""
    value = ((metrics.get("ceiling") or {}).get(subset) or {}).get(score)
    return math.nan if value is None else value


def _rank(place: Place) -> tuple[float, str]:
    """The best first, undefined ones last, equal ones by name."""
    value = place.scores[ORDER].mean
    sign = -1 if METRICS[ORDER].higher_is_better else 1
    return (sign * value if math.isfinite(value) else math.inf), place.name
