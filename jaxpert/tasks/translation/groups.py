"""Pairs of a perturbation and a line (or of two doses), and the mean rows of their cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.settings import rejoined
from jaxpert.core.types import SPLITS, InputError
from jaxpert.data.labels_asked import conditions_asked, known_names
from jaxpert.tasks.translation.combat import apply_affine
from jaxpert.tasks.translation.log_scale import GroupMoments, group_moments
from jaxpert.tasks.translation.prepare import Prepared
from jaxpert.tasks.translation.rows import Rows

Predictor = Callable[[Rows], Mapping[str, Float[np.ndarray, "n G"]]]
"""Rows of pairs -> predicted rows by direction, of which a method may have one only."""


class EffectGroups(NamedTuple):
    """K pairs of pseudo-bulk groups (a perturbation in a batch of a line with its control, or two
    doses), whatever their split."""

    names: tuple[str, ...]
    """Such as "KLF1 in K562"."""
    upper: Int[np.ndarray, "K"]
    """Pseudo-bulk group of the perturbed cells."""
    lower: Int[np.ndarray, "K"]
    condition: Int[np.ndarray, "K"]
    batch: Int[np.ndarray, "K"]
    line: Int[np.ndarray, "K"]
    of_pair: Int[np.ndarray, "M"]
    trained: Bool[np.ndarray, "K"]
    """Whether training has pairs of it."""


class GroupMeans(NamedTuple):
    """Mean rows of every pair of groups from all of their cells, and from those that training may
    draw (NaN without any)."""

    upper: Float[np.ndarray, "K G"]
    lower: Float[np.ndarray, "K G"]
    train_upper: Float[np.ndarray, "K G"]
    train_lower: Float[np.ndarray, "K G"]


def find_effect_groups(prepared: Prepared) -> EffectGroups:
    """The pairs of groups behind the pairs of rows, in their order."""
    pairs, draws, dataset = prepared.pairs, prepared.draws, prepared.dataset
    # Replicates of one pair of groups have other pools only where parts share no cell.
    sides = np.stack([draws.group[pairs.upper], draws.group[pairs.lower]], 1)
    distinct, first, of_pair = np.unique(sides, axis=0, return_index=True, return_inverse=True)
    # NumPy 2.0 gives the inverse of rows a further axis.
    of_pair = of_pair.ravel()
    condition, batch = pairs.condition[first], pairs.batch[first]
    names = []
    for c, b in zip(condition, batch, strict=True):
        names.append(f"{dataset.conditions[c]} in {dataset.strata[b]}")
    # A group is trained when any of its replicates is, as with the replicate split.
    trained = np.zeros(len(distinct), bool)
    trained[of_pair[pairs.part == SPLITS.index("train")]] = True
    return EffectGroups(
        names=tuple(names),
        upper=distinct[:, 0],
        lower=distinct[:, 1],
        condition=condition,
        batch=batch,
        line=pairs.line[first],
        of_pair=of_pair,
        trained=trained,
    )


def groups_asked(prepared: Prepared, groups: EffectGroups, names: Sequence[str]) -> list[int]:
    """Positions of pairs such as "KLF1 in K562", the perturbation written in any order of its
    parts; InputError for others."""
    known = known_names(prepared.dataset)
    chosen = []
    for name in rejoined(tuple(names), groups.names.__contains__):
        perturbation, _, line = name.rpartition(" in ")
        condition = conditions_asked([perturbation], known)[0] if perturbation else None
        written = name if name in groups.names else f"{condition} in {line}"
        if written not in groups.names:
            raise InputError(
                f"evaluation.shown asks for {name!r}, expected pairs of perturbation and line such "
                f"as {groups.names[0]!r}: correct it"
            )
        chosen.append(groups.names.index(written))
    return chosen


def moments_of(
    prepared: Prepared, wanted: Int[np.ndarray, "S"], *, training: bool = False
) -> GroupMoments:
    """Moments of log values, before the adjustment for batch, of some pseudo-bulk groups (sorted
    numbers)."""
    dataset, pseudobulk = prepared.dataset, prepared.pseudobulk
    sizes = np.diff(pseudobulk.start)
    # Groups that are not asked for have place -1, which keeps their cells out.
    place = np.full(len(sizes), -1)
    place[wanted] = np.arange(len(wanted))
    of_cell = np.full(len(dataset.cells), -1)
    of_cell[pseudobulk.cells] = np.repeat(place, sizes)
    keep = of_cell >= 0
    if training:
        keep &= dataset.split == SPLITS.index("train")
    # Cells without a group are given group 0 and left out by `keep`.
    return group_moments(dataset.counts, prepared.scale, np.maximum(of_cell, 0), len(wanted), keep)


def group_means(prepared: Prepared, groups: EffectGroups) -> GroupMeans:
    """Mean rows: what draws without end would average to."""
    # Controls serve many pairs, so each group is averaged once and looked up after that.
    wanted = np.unique([groups.upper, groups.lower])
    upper, lower = np.searchsorted(wanted, groups.upper), np.searchsorted(wanted, groups.lower)
    every = mean_rows(prepared, wanted)
    train = mean_rows(prepared, wanted, training=True)
    # A group without training pairs must not lend its mean to a baseline.
    train_upper = np.where(groups.trained[:, None], train[upper], np.nan)
    return GroupMeans(every[upper], every[lower], train_upper, train[lower])


def mean_rows(
    prepared: Prepared, wanted: Int[np.ndarray, "S"], *, training: bool = False
) -> Float[np.ndarray, "S G"]:
    """Mean row of some pseudo-bulk groups (sorted numbers), NaN for one without (training)
    cells."""
    moments = moments_of(prepared, wanted, training=training)
    # Moments first, then the affine map: the map of a mean is the mean of the maps.
    mean = apply_affine(prepared.affine, prepared.pseudobulk.batch[wanted], moments.mean)
    return np.where((moments.cells > 0)[:, None], mean, np.nan)
