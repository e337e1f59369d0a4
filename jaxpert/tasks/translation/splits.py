"""Which pairs of spectra train, validate and test, and which cells each part may draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.files import shown
from jaxpert.tasks.translation.draws import Spectra

KINDS = ("replicate", "perturbation", "cell_line", "perturbation_in_line", "none")
TRAIN, VAL, TEST = range(3)
SHARES = {"perturbation": (0.2, 0.1), "cell_line": (0.2, 0.0), "perturbation_in_line": (0.2, 0.1)}
"""Shares of what is held out for test and for validation; without the latter one replicate of
training validates."""
CELL_SHARE = 0.2
"""Share of a spectrum's cells that each part but training takes, where parts that share a spectrum
share no cell."""


class Edges(NamedTuple):
    """Pairs of spectra, upper (perturbed or higher dose) with lower (control or lower dose), each
    in one part."""

    upper: Int[np.ndarray, "E"]
    lower: Int[np.ndarray, "E"]
    part: Int[np.ndarray, "E"]


class Dealt(NamedTuple):
    """S pools that cells are drawn from."""

    pools: list[np.ndarray]
    """Row numbers of the cells of each."""
    spectrum: Int[np.ndarray, "S"]
    part: Int[np.ndarray, "S"]
    """The part whose cells they are; -1 for the whole spectrum, which parts share."""


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
    spectra: Spectra,
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
      val_share: share held out for validation; 0 validates on a replicate of training. None takes
          0.1, 0 for lines.

    Raises InputError for unknown names, and where training would be left without pairs.
    """
    if kind not in KINDS:
        raise InputError(
            f"the split is {kind!r}, expected one of {shown(KINDS)}: change split.kind"
        )
    if kind in ("replicate", "none"):
        if (held_out, test_share, val_share) != (None, None, None):
            raise InputError(
                f"the split {kind!r} holds nothing out, but held_out, test_share or val_share is "
                "set: take another "
                "split.kind or leave these unset"
            )
        return edges
    units, names = _units(dataset, spectra, edges, kind)
    rng, lines = (
        np.random.default_rng([seed, 0]),
        len(spectra.lines) if kind == "perturbation_in_line" else 0,
    )
    given = zip((test_share, val_share), SHARES[kind], strict=True)
    shares = [default if own is None else own for own, default in given]
    if min(shares) < 0 or sum(shares) >= 1:
        raise InputError(
            f"split.test_share and split.val_share are {shares[0]:g} and {shares[1]:g}, expected "
            "shares from 0 that "
            "leave some for training: lower them"
        )
    every = np.unique(units)
    test = (
        _drawn(rng, every, lines, shares[0], len(every))
        if held_out is None
        else _named(held_out, names, kind)
    )
    val = _drawn(rng, np.setdiff1d(every, test), lines, shares[1], len(every))
    part = np.where(np.isin(units, test), TEST, np.where(np.isin(units, val), VAL, TRAIN))
    if not (part == TRAIN).any() or not (part == TEST).any():
        raise InputError(
            f"the split {kind!r} of {dataset.name!r} leaves {int((part == TRAIN).sum())} pairs of "
            "spectra for training "
            f"and {int((part == TEST).sum())} for test, expected some of both: hold out less or "
            "take another split.kind"
        )
    return edges._replace(part=part)


def deal_cells(
    spectra: Spectra, edges: Edges, *, replicate_validates: bool, disjoint: bool, seed: int
) -> Dealt:
    """The pools that cells are drawn from.

    Whole spectra where parts may share cells (part -1); else the cells of every spectrum are dealt,
    before anything is drawn, to the parts whose pairs use it: a fifth each (at least one cell) to
    validation and test, the rest to training. A spectrum of fewer cells than parts gives none to
    the last ones.
    """
    uses = _uses(edges, len(spectra.condition), replicate_validates)
    if not disjoint:
        used = np.flatnonzero(uses.any(1))
        return Dealt([spectra.of(int(k)) for k in used], used, np.full(len(used), -1))
    pools, owner, parts = [], [], []
    rng = np.random.default_rng([seed, 1])
    for k in np.flatnonzero(uses.any(1)):
        cells, wanted = rng.permutation(spectra.of(int(k))), np.flatnonzero(uses[k])
        share = max(1, round(CELL_SHARE * len(cells)))
        first = len(cells) - share * (len(wanted) - 1)
        if first < 1:
            share, first = 1, max(1, len(cells) - len(wanted) + 1)
        bounds = [
            0,
            *np.minimum(first + share * np.arange(len(wanted) - 1), len(cells)).tolist(),
            len(cells),
        ]
        for part, a, b in zip(wanted, bounds[:-1], bounds[1:], strict=True):
            if b > a:
                pools.append(np.sort(cells[a:b]))
                owner.append(k)
                parts.append(part)
    return Dealt(pools, np.array(owner), np.array(parts))


def audit(
    dataset: Dataset,
    spectra: Spectra,
    edges: Edges,
    drawn: dict[str, tuple[np.ndarray, np.ndarray]],
) -> Audit:
    """Audit a split: `drawn` has, for each part with pairs, the distinct cells behind upper and
    behind lower rows."""
    conditions = {
        part: set(spectra.condition[edges.upper[edges.part == part]].tolist())
        for part in (TRAIN, VAL, TEST)
    }
    lines = {
        part: set(spectra.line[edges.upper[edges.part == part]].tolist())
        for part in (TRAIN, VAL, TEST)
    }
    targets = {
        part: dataset.condition_treatments[sorted(c)].any(axis=0) for part, c in conditions.items()
    }
    unseen = np.flatnonzero((targets[VAL] | targets[TEST]) & ~targets[TRAIN])

    def shared(side: int) -> dict[str, tuple[int, int]]:
        return {
            part: (len(cells[side]), len(np.intersect1d(cells[side], drawn["train"][side])))
            for part, cells in drawn.items()
            if part != "train"
        }

    return Audit(
        shared(0),
        shared(1),
        tuple(dataset.conditions[c] for c in sorted(conditions[TRAIN] & conditions[TEST])),
        tuple(spectra.lines[i] for i in sorted((lines[VAL] | lines[TEST]) - lines[TRAIN])),
        tuple(dataset.treatments[t] for t in unseen),
    )


def audit_notes(found: Audit) -> tuple[str, ...]:
    """The audit in sentences, those of what is not there left out."""
    notes = [
        f"{same} of the {cells} cells behind the {rows} rows of {part} are drawn in training too"
        + (
            ", so scores measure the noise of drawing, not generalisation"
            if rows == "perturbed"
            else ""
        )
        for rows, table in (("perturbed", found.shared), ("control", found.shared_controls))
        for part, (cells, same) in table.items()
        if same
    ]
    if found.crossing:
        notes.append(
            f"{len(found.crossing)} perturbations are in both training and test pairs: "
            f"{shown(found.crossing)}"
        )
    if found.untrained_lines:
        notes.append(f"lines evaluated without any training pair: {shown(found.untrained_lines)}")
    if found.untrained_targets:
        notes.append(
            f"{len(found.untrained_targets)} targets are evaluated without having been trained "
            "on, their columns keep "
            f"the values they start with: {shown(found.untrained_targets)}"
        )
    return tuple(notes)


def _units(
    dataset: Dataset, spectra: Spectra, edges: Edges, kind: str
) -> tuple[np.ndarray, dict[Any, int]]:
    """What each pair is held out by, as a number, and the numbers' names."""
    condition, line = spectra.condition[edges.upper], spectra.line[edges.upper]
    if kind == "perturbation":
        return condition, {dataset.conditions[c]: int(c) for c in np.unique(condition)}
    if kind == "cell_line":
        return line, {spectra.lines[i]: int(i) for i in np.unique(line)}
    units = condition.astype(np.int64) * len(spectra.lines) + line
    split = {int(u): divmod(int(u), len(spectra.lines)) for u in np.unique(units)}
    return units, {(dataset.conditions[c], spectra.lines[i]): u for u, (c, i) in split.items()}


def _drawn(
    rng: np.random.Generator, units: np.ndarray, lines: int, share: float, every: int
) -> np.ndarray:
    """A random share of `every`, at least one where the share is not 0.

    Where units are perturbations in `lines` lines, each perturbation keeps one of its lines in
    training.
    """
    if share <= 0:
        return units[:0]
    free = rng.permutation(units)
    if lines:
        _, kept = np.unique(free // lines, return_index=True)
        free = np.delete(free, kept)
    return free[: max(1, math.floor(share * every))]


def _named(held_out: Sequence[Any], names: dict[Any, int], kind: str) -> np.ndarray:
    wanted = [tuple(unit) if kind == "perturbation_in_line" else unit for unit in held_out]
    unknown = [unit for unit in wanted if unit not in names]
    if unknown:
        close = get_close_matches(str(unknown[0]), list(map(str, names)), n=1, cutoff=0.5)
        raise InputError(
            f"split.held_out names {unknown[0]!r}, which is none of the {len(names)} that "
            f"{kind!r} can hold out "
            f"({shown(names)}): did you mean {close[0] if close else next(iter(names))!r}?"
        )
    return np.array([names[unit] for unit in wanted])


def _uses(edges: Edges, spectra: int, replicate_validates: bool) -> np.ndarray:
    """[K, 3]: whether pairs of each part use a spectrum."""
    uses = np.zeros((spectra, 3), bool)
    for side in (edges.upper, edges.lower):
        uses[side, edges.part] = True
        if replicate_validates:
            uses[side[edges.part == TRAIN], VAL] = True
    return uses
