"""Which pairs of pseudo-bulk groups train, validate and test, and which cells each part may
draw."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.files import shown
from jaxpert.tasks.translation.draws import PseudobulkGroups

KINDS = ("replicate", "perturbation", "cell_line", "perturbation_in_line", "none")
WHOLE = ("replicate", "none")
"""Kinds that train on every pair."""
TRAIN, VAL, TEST = range(3)
SHARES = {"perturbation": (0.2, 0.1), "cell_line": (0.2, 0.0), "perturbation_in_line": (0.2, 0.1)}
"""Shares of what is held out for test and for validation; without the latter one replicate of
training validates."""
NOISE_OF_DRAWING = ", so scores measure the noise of drawing, not generalisation"
CELL_SHARE = 0.2
"""Share of a group's cells that each part but training takes, where parts that share a group share
no cell."""


class Edges(NamedTuple):
    """Pairs of pseudo-bulk groups, upper (perturbed or higher dose) with lower (control or lower
    dose), each in one part."""

    upper: Int[np.ndarray, "E"]
    lower: Int[np.ndarray, "E"]
    part: Int[np.ndarray, "E"]


class Dealt(NamedTuple):
    """S pools that cells are drawn from."""

    pools: list[np.ndarray]
    """Row numbers of the cells of each."""
    group: Int[np.ndarray, "S"]
    """Pseudo-bulk group of each."""
    part: Int[np.ndarray, "S"]
    """The part whose cells they are; -1 for the whole group, which parts share."""


class Audit(NamedTuple):
    """What to know of a split before believing scores on it."""

    shared: dict[str, tuple[int, int]]
    """{"val", "test"}: cells that its perturbed rows are drawn from, and how many of them training
    draws too."""
    shared_controls: dict[str, tuple[int, int]]
    """The same of its control rows."""
    crossing: tuple[str, ...]
    """Perturbations of both training and test pairs."""
    untrained_lines: tuple[str, ...]
    """Lines that are evaluated and have no training pair."""
    untrained_targets: tuple[str, ...]
    """Targets of evaluated pairs that no training pair has: their columns are never trained."""


def hold_out(
    dataset: Dataset,
    pseudobulk: PseudobulkGroups,
    edges: Edges,
    kind: str,
    *,
    seed: int,
    held_out: Sequence[Any] | None = None,
    test_share: float | None = None,
    val_share: float | None = None,
) -> Edges:
    """Place the pairs into parts.

    Args:
      kind: "replicate" and "none" train on every pair; "perturbation" holds out perturbations in
        all lines, "cell_line" lines, "perturbation_in_line" a perturbation in one line that is
        trained in another.
      held_out: what is tested: names of conditions or of lines, or (condition, line) pairs; None
        draws a share.
      test_share: share of the units held out for test; None takes 0.2.
      val_share: share for validation (0: a replicate of training); None takes 0.1, 0 for lines.

    Raises InputError for unknown names, and where training would be left without pairs.
    """
    _check_kind(kind, (held_out, test_share, val_share))
    if kind in WHOLE:
        return edges
    units, names = _units(dataset, pseudobulk, edges, kind)
    # A stream of its own for the split, beside those of dealing and of the replicate.
    rng = np.random.default_rng([seed, 0])
    lines = len(pseudobulk.lines) if kind == "perturbation_in_line" else 0
    test_share, val_share = _shares(kind, test_share, val_share)
    every = np.unique(units)
    # Test comes before validation, so that the validation share changes no test unit.
    if held_out is None:
        test = _drawn(rng, every, lines, test_share, len(every))
    else:
        test = _named(held_out, names, kind)
    val = _drawn(rng, np.setdiff1d(every, test), lines, val_share, len(every))
    # Every pair trains unless its unit is held out.
    part = np.full(len(units), TRAIN)
    part[np.isin(units, val)] = VAL
    part[np.isin(units, test)] = TEST
    _require_both(dataset, kind, part)
    return edges._replace(part=part)


def _require_both(dataset: Dataset, kind: str, part: np.ndarray) -> None:
    """Refuse a split that leaves nothing to train on or nothing to test."""
    trained, tested = int((part == TRAIN).sum()), int((part == TEST).sum())
    if not trained or not tested:
        raise InputError(
            f"the split {kind!r} of {dataset.name!r} leaves {trained} pairs of pseudo-bulk groups "
            f"for training and {tested} for test, expected some of both: hold out less or take "
            "another split.kind"
        )


def _check_kind(kind: str, shares: tuple[Any, ...]) -> None:
    """Refuse an unknown kind, and what is to be held out where nothing is."""
    if kind not in KINDS:
        raise InputError(
            f"the split is {kind!r}, expected one of {shown(KINDS)}: change split.kind"
        )
    if kind in WHOLE and shares != (None, None, None):
        raise InputError(
            f"the split {kind!r} holds nothing out, but held_out, test_share or val_share is "
            "set, expected none of them: take another split.kind or leave these unset"
        )


def _shares(kind: str, test_share: float | None, val_share: float | None) -> tuple[float, float]:
    """Shares held out for test and for validation, the defaults of the kind where none is given."""
    test, val = SHARES[kind]
    if test_share is not None:
        test = test_share
    if val_share is not None:
        val = val_share
    # Shares that leave nothing to train on are refused before anything is drawn.
    if min(test, val) < 0 or test + val >= 1:
        raise InputError(
            f"split.test_share and split.val_share are {test:g} and {val:g}, expected shares from "
            "0 that leave some for training: lower them"
        )
    return test, val


def deal_cells(
    pseudobulk: PseudobulkGroups,
    edges: Edges,
    *,
    replicate_validates: bool,
    disjoint: bool,
    seed: int,
) -> Dealt:
    """The pools that cells are drawn from.

    Whole groups where parts may share cells (part -1); else the cells of every group are dealt,
    before anything is drawn, to the parts whose pairs use it: a fifth each (at least one cell) to
    validation and test, the rest to training. A group of fewer cells than parts gives none to the
    last ones.
    """
    uses = _uses(edges, len(pseudobulk.condition), replicate_validates)
    # Groups of no pair, such as idle controls, give no pool.
    used = np.flatnonzero(uses.any(1))
    if not disjoint:
        return Dealt([pseudobulk.of(int(k)) for k in used], used, np.full(len(used), -1))
    pools, owner, parts = [], [], []
    rng = np.random.default_rng([seed, 1])
    for k in used:
        # Cells are dealt in random order, since files are often sorted.
        cells, wanted = rng.permutation(pseudobulk.of(int(k))), np.flatnonzero(uses[k])
        bounds = _bounds(len(cells), len(wanted))
        for part, start, stop in zip(wanted, bounds[:-1], bounds[1:], strict=True):
            if stop > start:
                # Sorted again, so that draws do not depend on the dealing's order.
                pools.append(np.sort(cells[start:stop]))
                owner.append(k)
                parts.append(part)
    return Dealt(pools, np.array(owner), np.array(parts))


def _bounds(cells: int, parts: int) -> list[int]:
    """Where the cells of each part begin, the end of the last one behind; the first part takes what
    the shares of the others leave."""
    share = max(1, round(CELL_SHARE * cells))
    # Training is the first part and takes what is left.
    first = cells - share * (parts - 1)
    # A group of few cells gives one to each part, as far as they go.
    if first < 1:
        share, first = 1, max(1, cells - parts + 1)
    inner = np.minimum(first + share * np.arange(parts - 1), cells)
    return [0, *inner.tolist(), cells]


def audit(
    dataset: Dataset,
    pseudobulk: PseudobulkGroups,
    edges: Edges,
    drawn: dict[str, tuple[np.ndarray, np.ndarray]],
) -> Audit:
    """Audit a split: `drawn` has, for each part with pairs, the distinct cells behind upper and
    behind lower rows."""
    conditions, lines, targets = {}, {}, {}
    for part in (TRAIN, VAL, TEST):
        upper = edges.upper[edges.part == part]
        conditions[part] = set(pseudobulk.condition[upper].tolist())
        lines[part] = set(pseudobulk.line[upper].tolist())
        # A target counts as trained when any trained condition has it, alone or combined.
        targets[part] = dataset.condition_treatments[sorted(conditions[part])].any(axis=0)
    untrained = np.flatnonzero((targets[VAL] | targets[TEST]) & ~targets[TRAIN])
    return Audit(
        shared=_shared(drawn, 0),
        shared_controls=_shared(drawn, 1),
        crossing=_named_by(dataset.conditions, conditions[TRAIN] & conditions[TEST]),
        untrained_lines=_named_by(pseudobulk.lines, (lines[VAL] | lines[TEST]) - lines[TRAIN]),
        untrained_targets=_named_by(dataset.treatments, untrained.tolist()),
    )


def _named_by(names: Sequence[str], numbers: Iterable[int]) -> tuple[str, ...]:
    """Names of some numbers, in the order of the numbers."""
    return tuple(names[number] for number in sorted(numbers))


def _shared(
    drawn: dict[str, tuple[np.ndarray, np.ndarray]], side: int
) -> dict[str, tuple[int, int]]:
    """Cells behind the rows of one side of each part but training, and how many of them training
    draws too."""
    shared = {}
    for part, cells in drawn.items():
        # Training is compared with the others and not with itself.
        if part != "train":
            both = np.intersect1d(cells[side], drawn["train"][side])
            shared[part] = len(cells[side]), len(both)
    return shared


def audit_notes(report: Audit) -> tuple[str, ...]:
    """The audit in sentences, those of what is not there left out."""
    # Sharing cells is said first, since it decides what the scores mean.
    notes = [
        *_shared_notes(report.shared, "perturbed", NOISE_OF_DRAWING),
        *_shared_notes(report.shared_controls, "control", ""),
    ]
    if report.crossing:
        notes.append(
            f"{len(report.crossing)} perturbations are in both training and test pairs: "
            f"{shown(report.crossing)}"
        )
    if report.untrained_lines:
        notes.append(f"lines evaluated without any training pair: {shown(report.untrained_lines)}")
    if report.untrained_targets:
        notes.append(
            f"{len(report.untrained_targets)} targets are evaluated without having been trained "
            f"on, their columns keep the values they start with: {shown(report.untrained_targets)}"
        )
    return tuple(notes)


def _shared_notes(shared: dict[str, tuple[int, int]], rows: str, consequence: str) -> list[str]:
    notes = []
    for part, (cells, same) in shared.items():
        if same:
            notes.append(
                f"{same} of the {cells} cells behind the {rows} rows of {part} are drawn in "
                f"training too{consequence}"
            )
    return notes


def _units(
    dataset: Dataset, pseudobulk: PseudobulkGroups, edges: Edges, kind: str
) -> tuple[np.ndarray, dict[Any, int]]:
    """What each pair is held out by, as a number, and the numbers' names."""
    condition, line = pseudobulk.condition[edges.upper], pseudobulk.line[edges.upper]
    if kind == "perturbation":
        return condition, {dataset.conditions[c]: c for c in np.unique(condition).tolist()}
    if kind == "cell_line":
        return line, {pseudobulk.lines[i]: i for i in np.unique(line).tolist()}
    lines = len(pseudobulk.lines)
    # One number for condition and line, so that both are compared at once.
    units = condition.astype(np.int64) * lines + line
    names: dict[Any, int] = {}
    for unit in np.unique(units).tolist():
        names[dataset.conditions[unit // lines], pseudobulk.lines[unit % lines]] = unit
    return units, names


def _drawn(
    rng: np.random.Generator, units: np.ndarray, lines: int, share: float, every: int
) -> np.ndarray:
    """A random share of `every`, at least one where the share is not 0.

    Where units are perturbations in `lines` lines, each perturbation keeps one of its lines in
    training.
    """
    if share <= 0:
        return units[:0]
    # One permutation, so that a larger share holds out the smaller one's units too.
    free = rng.permutation(units)
    # Of each perturbation the first line in random order stays in training.
    if lines:
        _, kept = np.unique(free // lines, return_index=True)
        free = np.delete(free, kept)
    # Rounded down, at least one, as the published splits are (docs/models/cycseq.md, Splits).
    return free[: max(1, math.floor(share * every))]


def _named(held_out: Sequence[Any], names: dict[Any, int], kind: str) -> np.ndarray:
    wanted = list(held_out)
    # A pair may come as a list, from JSON, and the names are tuples.
    if kind == "perturbation_in_line":
        wanted = list(map(tuple, held_out))
    unknown = [unit for unit in wanted if unit not in names]
    if unknown:
        # The closest name is offered, since most are mistyped.
        close = get_close_matches(str(unknown[0]), list(map(str, names)), n=1, cutoff=0.5)
        suggested = (close or list(names))[0]
        raise InputError(
            f"split.held_out names {unknown[0]!r}, expected some of the {len(names)} that {kind!r} "
            f"can hold out ({shown(names)}): did you mean {suggested!r}"
        )
    return np.array([names[unit] for unit in wanted])


def _uses(edges: Edges, groups: int, replicate_validates: bool) -> Bool[np.ndarray, "K 3"]:
    """Whether pairs of each part use a pseudo-bulk group."""
    uses = np.zeros((groups, 3), bool)
    for side in (edges.upper, edges.lower):
        uses[side, edges.part] = True
        # Where a replicate validates, the groups of training serve validation as well.
        if replicate_validates:
            uses[side[edges.part == TRAIN], VAL] = True
    return uses
