"""What stands beside CycSeq on the same rows: no change, mean perturbation, mean change, all from
training cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.types import SPLITS
from jaxpert.tasks import translation as spectra
from jaxpert.tasks.translation.combat import apply_affine
from jaxpert.tasks.translation.log_scale import Moments, group_moments
from jaxpert.tasks.translation.metrics import line_profiles

Predictor = Callable[[spectra.Rows], Mapping[str, Float[np.ndarray, "n G"]]]
"""Rows of pairs -> predicted rows by direction, of which a method may have one only."""


class Groups(NamedTuple):
    """K pairs of spectra (a perturbation in a batch of a line with its control, or two doses),
    whatever their split."""

    names: tuple[str, ...]
    """Such as "KLF1 in K562"."""
    upper: Int[np.ndarray, "K"]
    """Spectrum of the perturbed cells."""
    lower: Int[np.ndarray, "K"]
    condition: Int[np.ndarray, "K"]
    batch: Int[np.ndarray, "K"]
    line: Int[np.ndarray, "K"]
    of_pair: Int[np.ndarray, "M"]
    trained: Bool[np.ndarray, "K"]
    """Whether training has pairs of it."""


class Means(NamedTuple):
    """Mean rows of every group from all of its cells, and from those that training may draw (NaN
    without any)."""

    upper: Float[np.ndarray, "K G"]
    lower: Float[np.ndarray, "K G"]
    train_upper: Float[np.ndarray, "K G"]
    train_lower: Float[np.ndarray, "K G"]


def find_groups(prepared: spectra.Prepared) -> Groups:
    """The groups of the pairs, in their order."""
    pairs, draws, dataset = prepared.pairs, prepared.draws, prepared.dataset
    two = np.stack([draws.spectrum[pairs.upper], draws.spectrum[pairs.lower]], 1)
    found, first, of_pair = np.unique(two, axis=0, return_index=True, return_inverse=True)
    of_pair = of_pair.ravel()
    condition, batch, line = (
        getattr(pairs, name)[first] for name in ("condition", "batch", "line")
    )
    names = tuple(
        f"{dataset.conditions[c]} in {dataset.strata[b]}"
        for c, b in zip(condition, batch, strict=True)
    )
    trained = np.zeros(len(found), bool)
    trained[of_pair[pairs.part == SPLITS.index("train")]] = True
    return Groups(names, found[:, 0], found[:, 1], condition, batch, line, of_pair, trained)


def moments_of(
    prepared: spectra.Prepared, wanted: Int[np.ndarray, "S"], *, training: bool = False
) -> Moments:
    """Moments of log values, before the adjustment for batch, of some spectra (sorted numbers)."""
    dataset, cells = prepared.dataset, prepared.spectra
    group = np.full(len(dataset.cells), -1)
    sizes = np.diff(cells.start)
    place = np.full(len(sizes), -1)
    place[wanted] = np.arange(len(wanted))
    group[cells.cells] = np.repeat(place, sizes)
    keep = group >= 0
    if training:
        keep &= dataset.split == SPLITS.index("train")
    return group_moments(dataset.counts, prepared.scale, np.maximum(group, 0), len(wanted), keep)


def group_means(prepared: spectra.Prepared, groups: Groups) -> Means:
    """Mean rows: what draws without end would average to."""
    wanted = np.unique([groups.upper, groups.lower])
    batch = prepared.spectra.batch[wanted]

    def rows(training: bool) -> Float[np.ndarray, "S G"]:
        found = moments_of(prepared, wanted, training=training)
        mean = apply_affine(prepared.affine, batch, found.mean)
        return np.where((found.cells > 0)[:, None], mean, np.nan)

    upper, lower = (np.searchsorted(wanted, side) for side in (groups.upper, groups.lower))
    every, train = rows(False), rows(True)
    train_upper = np.where(groups.trained[:, None], train[upper], np.nan)
    return Means(every[upper], every[lower], train_upper, train[lower])


def profiles(
    groups: Groups, means: Means, lines: int
) -> tuple[dict[str, Float[np.ndarray, "L G"]], tuple[int, ...]]:
    """Mean training target of each line by direction, that of all lines where a line has none, and
    those lines."""
    trained = groups.trained & np.isfinite(means.train_lower).all(1)
    found, without = {}, ()
    for direction, target in (("n2p", means.train_upper), ("p2n", means.train_lower)):
        own = line_profiles(target, groups.line, lines, trained)
        without = tuple(np.flatnonzero(np.isnan(own).any(1)).tolist())
        found[direction] = np.where(np.isnan(own), target[trained].mean(0), own)
    return found, without


def mean_changes(
    groups: Groups, means: Means
) -> tuple[Float[np.ndarray, "K G"], Bool[np.ndarray, "K"]]:
    """Mean training change of each group's condition over the lines that have it, that of all
    conditions where none has; and which groups those are."""
    trained = groups.trained & np.isfinite(means.train_lower).all(1)
    change = means.train_upper - means.train_lower
    overall = change[trained].mean(0)
    found = np.tile(overall, (len(groups.names), 1))
    same = np.zeros(len(groups.names), bool)
    for c in np.unique(groups.condition[trained]):
        own = groups.condition == c
        found[own] = change[own & trained].mean(0)
        same |= own
    return found, ~same


def predictors(
    prepared: spectra.Prepared, groups: Groups, means: Means
) -> tuple[dict[str, Predictor], list[str]]:
    """The three baselines, and notes on what stands in where training has nothing to go by."""
    lines = prepared.spectra.lines
    by_line, without = profiles(groups, means, len(lines))
    change, unseen = mean_changes(groups, means)
    line = prepared.pairs.line
    notes = []
    if without:
        notes.append(
            "mean_perturbation takes the mean over all lines where a line has no training pair: "
            + ", ".join(lines[i] for i in without)
        )
    if unseen.any():
        notes.append(
            f"mean_change takes the mean over all perturbations for {int(unseen.sum())} of "
            f"{len(unseen)} pairs of "
            "perturbation and line, whose perturbation no line trains"
        )
    return {
        "no_change": lambda rows: {"n2p": rows.control, "p2n": rows.x},
        "mean_perturbation": lambda rows: {
            name: profile[line[rows.pair]] for name, profile in by_line.items()
        },
        "mean_change": lambda rows: {
            "n2p": rows.control + change[groups.of_pair[rows.pair]],
            "p2n": rows.x - change[groups.of_pair[rows.pair]],
        },
    }, notes
