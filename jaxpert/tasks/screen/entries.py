"""Finished runs and scored predictions as entries of one comparison, from the sums that each left
behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxpert.core import files
from jaxpert.core.types import InputError
from jaxpert.data.files import shown
from jaxpert.evaluation import intervals, scoring
from jaxpert.evaluation.claims import outcome
from jaxpert.evaluation.compare import MODEL
from jaxpert.evaluation.intervals import Difference
from jaxpert.evaluation.subset_names import UNSEEN_FIRST

STATISTICS, EFFECTS = "statistics.npz", "effects.npz"
ANY = "any"
"""Seed of what was not trained."""
Scores = dict[str, dict[str, np.ndarray]]
"""{subset: {score: statistics per perturbation}}."""


class Entry(NamedTuple):
    """One predictor, of a run, a folder of scores or a file."""

    label: str
    source: str
    measured: str
    """Digest of the measured effects."""
    genes: tuple[str, ...]
    conditions: tuple[str, ...]
    subsets: dict[str, tuple[str, ...]]
    """Perturbations of each subset, in the order of the statistics."""
    seeds: tuple[Scores, ...]
    """One for each training seed."""
    baselines: dict[str, Scores]


class Compared(NamedTuple):
    """One score of one entry beside that of the first."""

    subset: str
    perturbations: int
    score: str
    entry: str
    value: float
    """Mean over seeds."""
    difference: float
    """From the first entry; NaN for the first itself."""
    low: float
    high: float
    outcome: str
    """better, worse or undecided; empty for the first."""


def of_folder(label: str, folder: Path) -> Entry:
    """The entry that a finished run, or `jaxpert score`, left behind."""
    expected = "what a finished run of a screen or jaxpert score leaves"
    statistics = files.read_arrays(folder / STATISTICS, (), expected)
    effects = files.read_arrays(folder / EFFECTS, ("genes", "conditions"), expected)
    return of_arrays(label, str(folder), statistics, effects)


def of_arrays(
    label: str, source: str, statistics: Mapping[str, Any], effects: Mapping[str, Any]
) -> Entry:
    """The same from the arrays themselves (`tasks.screen.files`); of several quality multipliers
    the first, which is the run's own."""
    thresholds = [name.split("|")[1] for name in statistics if name.startswith("measured|")]
    if not thresholds:
        raise InputError(
            f"{source} holds no measured effects, expected what a finished run or jaxpert score "
            "leaves: score it again"
        )
    multiplier = thresholds[0]
    subsets: dict[str, tuple[str, ...]] = {}
    seeds: dict[str, Scores] = {}
    baselines: dict[str, Scores] = {}
    for name, values in statistics.items():
        # A name is a path, since an .npz holds no nested tables.
        kind, *at = name.split("|")
        if kind == "conditions" and at[0] == multiplier:
            subsets[at[1]] = tuple(map(str, values))
        elif kind == "sums" and at[2] == multiplier:
            predictor, seed, _, subset, score = at
            of = seeds.setdefault(seed, {}) if predictor == MODEL else {}
            if predictor != MODEL:
                of = baselines.setdefault(predictor, {})
            of.setdefault(subset, {})[score] = values
    return Entry(
        label=label,
        source=source,
        measured=str(statistics[f"measured|{multiplier}"]),
        genes=tuple(map(str, effects["genes"])),
        conditions=tuple(map(str, effects["conditions"])),
        subsets=subsets,
        seeds=tuple(seeds.values()),
        baselines=baselines,
    )


def common_subsets(entries: Sequence[Entry]) -> tuple[list[str], list[str]]:
    """Subsets that are the same perturbations for all entries, the one that counts most first, and
    notes on those that are not.

    Raises:
        InputError: for entries that were measured on other genes, perturbations or cells, and where
            the subset that counts most holds other perturbations.
    """
    first, *others = entries
    for other in others:
        _check_same(first, other)
    names = [name for name in first.subsets if all(name in one.subsets for one in others)]
    names.sort(key=lambda n: UNSEEN_FIRST.index(n) if n in UNSEEN_FIRST else len(UNSEEN_FIRST))
    notes, same = [], []
    for name in names:
        differing = [one for one in others if one.subsets[name] != first.subsets[name]]
        if not differing:
            same.append(name)
            continue
        only = _only_in(first.subsets[name], differing[0].subsets[name])
        if name == names[0]:
            raise InputError(
                f"{first.label} and {differing[0].label} were scored on other perturbations of "
                f"{name!r} ({only}), expected the same: compare runs of one split"
            )
        notes.append(f"the subset {name} is left out: {first.label} and others differ in it")
    if not same:
        raise InputError(
            f"the entries share no subset of perturbations ({first.label}: "
            f"{shown(first.subsets)}; {others[0].label}: {shown(others[0].subsets)}), expected one "
            "at least: score all of them with the same --train"
        )
    return same, notes


def compared(
    entries: Sequence[Entry], subsets: Sequence[str], *, draws: int = 1000, seed: int = 0
) -> list[Compared]:
    """Every score of every entry and baseline, and its difference from the first entry with a
    paired interval over perturbations and seeds."""
    rows = []
    rng = np.random.default_rng(seed)
    for subset in subsets:
        number = len(entries[0].subsets[subset])
        # The same resamples for all, so that differences are paired.
        weights = intervals.bootstrap_weights(rng, number, draws)
        named = _with_baselines(entries, subset)
        for score in _scores_of(entries, subset):
            base = [of[subset][score] for of in entries[0].seeds]
            for label, seeds in named.items():
                have = [of[subset][score] for of in seeds if score in of.get(subset, {})]
                if not have:
                    continue
                value = float(np.mean([scoring.value(score, one.sum(0)) for one in have]))
                gap, word = Difference(float("nan"), float("nan"), float("nan")), ""
                if label != entries[0].label:
                    pairs = [(a, b, weights) for a, b in _paired(have, base)]
                    gap = intervals.mean_difference(score, pairs)
                    word = outcome(score, gap)
                place = subset, number, score, label, value
                rows.append(Compared(*place, gap.difference, gap.low, gap.high, word))
    return rows


def _scores_of(entries: Sequence[Entry], subset: str) -> list[str]:
    """Scores of the first entry, in its order."""
    return list(entries[0].seeds[0][subset])


def _with_baselines(entries: Sequence[Entry], subset: str) -> dict[str, tuple[Scores, ...]]:
    """Every predictor by its label; baselines are the same for all, and taken from the first that
    has them."""
    named = {entry.label: entry.seeds for entry in entries}
    for entry in entries:
        for name, scores in entry.baselines.items():
            if subset in scores:
                named.setdefault(name, (scores,))
    return named


def _paired(
    first: Sequence[np.ndarray], second: Sequence[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Seeds by their order; where one side has a single one, it stands beside all of the other."""
    number = max(len(first), len(second))
    if len(first) == len(second):
        return list(zip(first, second, strict=True))
    if min(len(first), len(second)) == 1:
        return [(first[i % len(first)], second[i % len(second)]) for i in range(number)]
    # Of unlike numbers no pairs can be made, so that each meets each.
    return [(a, b) for a in first for b in second]


def _check_same(first: Entry, other: Entry) -> None:
    for what, a, b in (
        ("genes", first.genes, other.genes),
        ("perturbations", first.conditions, other.conditions),
    ):
        if a != b:
            how = _only_in(a, b) if set(a) != set(b) else "in another order"
            raise InputError(
                f"{first.label} and {other.label} were measured on other {what} ({how}), expected "
                "the same for all entries: score them against one file or run"
            )
    if first.measured != other.measured:
        raise InputError(
            f"{first.label} and {other.label} were measured on other cells (their measured effects "
            "differ), expected the same cells for all entries: give the same file, the same "
            "quality labels and the same normalisation"
        )


def _only_in(first: Sequence[str], second: Sequence[str]) -> str:
    """What each side alone has."""
    parts = []
    for number, (have, lack) in enumerate(((first, second), (second, first))):
        alone = [name for name in have if name not in set(lack)]
        if alone:
            parts.append(f"only in the {('first', 'second')[number]}: {shown(alone, 4)}")
    return "; ".join(parts)
