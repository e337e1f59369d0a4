"""Pairs of pseudo-bulk rows of perturbed and control cells, as tables of what to draw, never as
rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.types import SPLITS, Dataset, InputError
from jaxpert.data.files import shown
from jaxpert.tasks.translation.align import COMBAT_CELLS, LARGEST, fit_alignment
from jaxpert.tasks.translation.combat import Affine, CombatReference
from jaxpert.tasks.translation.draws import (
    Draws,
    PseudobulkGroups,
    control_of,
    draw_cells,
    find_pseudobulk_groups,
)
from jaxpert.tasks.translation.log_scale import LogScale
from jaxpert.tasks.translation.splits import (
    TRAIN,
    VAL,
    Dealt,
    Edges,
    audit,
    audit_notes,
    deal_cells,
    hold_out,
)

UNITS = ("pseudobulk", "cell")


@dataclass(frozen=True)
class PairSettings:
    """Arguments of `prepare`: how rows are drawn, split and aligned."""

    split: str = "replicate"
    """"replicate" validates on one replicate of every pair, whose cells training has seen;
    "perturbation", "cell_line" and "perturbation_in_line" test on what no training row draws a cell
    of; "none" only trains."""
    seed: int = 0
    """Of draws and split."""
    replicates: int = 50
    """Draws of every pseudo-bulk group."""
    cells_per_draw: int = 50
    lognorm: str = "log2_cp10k"
    """See `log_scale.LOGNORM`; totals are those over the common genes."""
    combat_reference: str | CombatReference | None = LARGEST
    """Batch column that the others are aligned to, "largest" for that of most cells, None for none;
    or `Prepared.aligned_to` of other data, to which all are. A batch has one map, for perturbed and
    control cells alike."""
    combat_cells: str = "controls"
    """The cells that the map is fitted to. "controls" aligns controls with controls. "all" takes
    every training cell, as published: then the mixture of perturbations counts as batch effect, and
    the controls of a held-out line, which has nothing else, are moved to where other lines have
    their mixture."""
    unit: str = "pseudobulk"
    """A row is the mean of a draw, or with "cell" each drawn cell."""
    cells_disjoint: bool = False
    """Deal the cells to the parts before drawing, so that no two parts share one, controls
    included."""
    held_out: Sequence[Any] | None = None
    """See `splits.hold_out`, as for both shares."""
    test_share: float | None = None
    val_share: float | None = None
    validation_replicate: int | None = None
    """The replicate that validates (from 0); None draws it."""
    draw: str = "seeded"
    """"published" repeats the published random numbers."""


class Pairs(NamedTuple):
    """M pairs of rows, sorted by batch column, condition and replicate; both rows carry this
    condition and batch."""

    upper: Int[np.ndarray, "M"]
    """Pool (row of `Draws`) of the perturbed row (dose pairs: the higher dose)."""
    lower: Int[np.ndarray, "M"]
    """Pool of the control row (the lower dose)."""
    replicate: Int[np.ndarray, "M"]
    condition: Int[np.ndarray, "M"]
    batch: Int[np.ndarray, "M"]
    line: Int[np.ndarray, "M"]
    part: Int[np.ndarray, "M"]
    """Index into SPLITS."""
    dose: Float[np.ndarray, "M 2"] | None = None
    """log10 of the upper and the lower dose."""


class Prepared(NamedTuple):
    """All that feeds, evaluation and baselines need; everything is computed from training cells
    only."""

    dataset: Dataset
    """Its `split` says which cells each part may draw; cells that two parts share count as the
    first one's."""
    scale: LogScale
    affine: Affine
    """From means of (capped) log values to rows: z-score and ComBat at once, float64 [batch
    columns, G]."""
    pseudobulk: PseudobulkGroups
    draws: Draws
    pairs: Pairs
    unit: str
    """"pseudobulk": a row is the mean of a draw; "cell": every drawn cell is a row."""
    reference: int | None
    """Batch column of the ComBat reference; None where there is no ComBat, or the reference is a
    kept one."""
    aligned_to: CombatReference | None
    """The reference's moments, for `prepare` to align other data to it; None where there is no
    ComBat."""
    notes: tuple[str, ...]

    def pair_numbers(self, split: str) -> Int[np.ndarray, "m"]:
        """Numbers of the pairs of one split."""
        return np.flatnonzero(self.pairs.part == SPLITS.index(split))


def prepare(
    dataset: Dataset,
    *,
    edges: Edges | None = None,
    dose: Float[np.ndarray, "K"] | None = None,
    **settings: Any,
) -> Prepared:
    """Draw, pair and split the pseudo-bulk groups of several lines, and fit their scale and their
    batch adjustment.

    A pseudo-bulk group is the cells of one condition in one batch column. Its replicate r is the
    mean over `cells_per_draw` drawn cells; perturbed replicate r is paired with control replicate r
    of the same batch (or, where that has no controls, of the largest control group of its line) and
    both carry the perturbed one's condition and batch (docs/models/cycseq.md).

    Args:
        dataset: from `lines.load_lines`.
        edges: pairs of groups other than perturbed with control, e.g. doses (`doses.prepare`).
        dose: log10 dose of each group, for `Pairs.dose`.
        **settings: fields of `PairSettings`; another one is a TypeError.

    Raises:
        InputError: for settings out of range and batches that ComBat cannot adjust.

    Example:
        prepared = prepare(load_lines("lines.h5ad"), split="perturbation", replicates=20)
    """
    s = PairSettings(**settings)
    _check(dataset, s)
    pseudobulk, notes = find_pseudobulk_groups(dataset), []
    pairing = edges or _control_edges(dataset, pseudobulk, notes)
    placed = hold_out(
        dataset,
        pseudobulk,
        pairing,
        s.split,
        seed=s.seed,
        held_out=s.held_out,
        test_share=s.test_share,
        val_share=s.val_share,
    )
    chosen = _validation_replicate(placed, s, notes)
    dealt = deal_cells(
        pseudobulk,
        placed,
        replicate_validates=chosen is not None,
        disjoint=s.cells_disjoint,
        seed=s.seed,
    )
    draws = _draw(dataset, pseudobulk, dealt, s, notes)
    pairs = _pairs(pseudobulk, placed, draws, chosen, dose, notes)
    split = _cell_split(dataset, pseudobulk, placed, dealt, s.cells_disjoint)
    labelled = replace(dataset, split=split)
    aligned = fit_alignment(
        labelled, pseudobulk, placed, s.lognorm, s.combat_reference, s.combat_cells, notes
    )
    prepared = Prepared(
        dataset=labelled,
        scale=aligned.scale,
        affine=aligned.affine,
        pseudobulk=pseudobulk,
        draws=draws,
        pairs=pairs,
        unit=s.unit,
        reference=aligned.number,
        aligned_to=aligned.reference,
        notes=(),
    )
    notes += audit_notes(audit(labelled, pseudobulk, placed, drawn_cells(prepared)))
    noted = replace(labelled, notes=(*dataset.notes, *notes))
    return prepared._replace(dataset=noted, notes=tuple(notes))


def drawn_cells(prepared: Prepared) -> dict[str, tuple[Int[np.ndarray, "n"], Int[np.ndarray, "m"]]]:
    """For each part with pairs, the distinct cells that its perturbed and its control rows are
    drawn from."""
    cells, pairs, drawn = prepared.draws.cells, prepared.pairs, {}
    for part in np.unique(pairs.part):
        members = pairs.part == part
        replicate = pairs.replicate[members]
        drawn[SPLITS[part]] = (
            _distinct(cells, pairs.upper[members], replicate),
            _distinct(cells, pairs.lower[members], replicate),
        )
    return drawn


def _distinct(
    cells: Int[np.ndarray, "S R D"], pool: np.ndarray, replicate: np.ndarray
) -> np.ndarray:
    """Distinct cells of some replicates; each (pool, replicate) is looked at once, few at a
    time."""
    key = np.unique(pool.astype(np.int64) * cells.shape[1] + replicate)
    # A table of flags, since counting distinct cells of all draws at once takes much memory.
    seen = np.zeros(int(cells.max()) + 1, bool)
    for some in np.array_split(key, max(1, len(key) // 10_000)):
        seen[cells[some // cells.shape[1], some % cells.shape[1]]] = True
    return np.flatnonzero(seen)


def _check(dataset: Dataset, s: PairSettings) -> None:
    for key, word, allowed in (
        ("unit", s.unit, UNITS),
        ("combat_cells", s.combat_cells, COMBAT_CELLS),
    ):
        if word not in allowed:
            raise InputError(
                f"data.{key} is {word!r}, expected one of {', '.join(allowed)}: change it"
            )
    if s.replicates < 1 or s.cells_per_draw < 1:
        raise InputError(
            f"{s.replicates} replicates of {s.cells_per_draw} cells were asked for, expected at "
            "least 1 of each: change data.replicates or data.cells_per_draw"
        )
    chosen = s.validation_replicate
    if chosen is not None and not 0 <= chosen < s.replicates:
        raise InputError(
            f"split.validation_replicate is {chosen}, expected a number from 0 to "
            f"{s.replicates - 1}: change it"
        )
    if (dataset.condition == dataset.control).all():
        raise InputError(
            f"{dataset.name!r} has only control cells, expected perturbed ones too: check "
            "data.perturbation"
        )


def _control_edges(dataset: Dataset, pseudobulk: PseudobulkGroups, notes: list[str]) -> Edges:
    """Each perturbed group with its controls."""
    control = control_of(dataset, pseudobulk)
    upper = np.flatnonzero(control >= 0)
    lower = control[upper]
    batch = pseudobulk.batch
    elsewhere = np.unique(batch[upper][batch[upper] != batch[lower]])
    if len(elsewhere):
        notes.append(
            f"{len(elsewhere)} batches have no control cell and are paired with the largest "
            f"control of their line: {shown([dataset.strata[b] for b in elsewhere])}"
        )
    idle = np.setdiff1d(np.unique(batch), batch[np.concatenate([upper, lower])])
    if len(idle):
        notes.append(
            f"{len(idle)} batches hold only control cells and give no pair: "
            f"{shown(dataset.strata[b] for b in idle)}"
        )
    return Edges(upper, lower, np.full(len(upper), TRAIN))


def _validation_replicate(edges: Edges, s: PairSettings, notes: list[str]) -> int | None:
    """The replicate that validates, where nothing is held out to do so."""
    chosen = s.validation_replicate
    if s.split == "none" or (edges.part == VAL).any():
        if chosen is not None:
            raise InputError(
                f"split.validation_replicate is {chosen} but no replicate validates with split "
                f"{s.split!r}: unset it, or set split.val_share=0"
            )
        return None
    if s.replicates < 2:
        raise InputError(
            f"the split {s.split!r} validates on one replicate of {s.replicates}, expected at "
            "least 2: raise data.replicates or set split.kind=none"
        )
    if chosen is None:
        chosen = int(np.random.default_rng([s.seed, 2]).integers(s.replicates))
    notes.append(f"replicate {chosen} (from 0) of every training pair validates")
    return chosen


def _draw(
    dataset: Dataset,
    pseudobulk: PseudobulkGroups,
    dealt: Dealt,
    s: PairSettings,
    notes: list[str],
) -> Draws:
    groups_and_parts = zip(dealt.group, dealt.part, strict=True)
    names = [_pool_name(dataset, pseudobulk, int(k), int(p)) for k, p in groups_and_parts]
    small = sum(len(pool) <= s.cells_per_draw for pool in dealt.pools)
    if small:
        notes.append(
            f"{small} of {len(names)} pools have {s.cells_per_draw} cells or fewer and are drawn "
            "with replacement"
        )
    cells = draw_cells(
        dealt.pools,
        names,
        seed=s.seed,
        replicates=s.replicates,
        cells_per_draw=s.cells_per_draw,
        draw=s.draw,
    )
    return Draws(cells, dealt.group, dealt.part)


def _pool_name(dataset: Dataset, pseudobulk: PseudobulkGroups, group: int, part: int) -> str:
    """What the random stream of a pool is named by."""
    condition = dataset.conditions[pseudobulk.condition[group]]
    batch = dataset.strata[pseudobulk.batch[group]]
    name = f"{condition}\t{batch}"
    return name if part < 0 else f"{name}\t{SPLITS[part]}"


def _pairs(
    pseudobulk: PseudobulkGroups,
    edges: Edges,
    draws: Draws,
    chosen: int | None,
    dose: np.ndarray | None,
    notes: list[str],
) -> Pairs:
    """Every edge with its replicates, sorted; pairs that lack cells in their part are counted."""
    replicates = draws.cells.shape[1]
    # Replicate r of the perturbed group meets replicate r of its controls.
    edge = np.repeat(np.arange(len(edges.upper)), replicates)
    replicate = np.tile(np.arange(replicates), len(edges.upper))
    part = edges.part[edge]
    if chosen is not None:
        part = np.where((part == TRAIN) & (replicate == chosen), VAL, part)
    pool = _pool_of(draws, len(pseudobulk.condition))
    upper, lower = pool[edges.upper[edge], part], pool[edges.lower[edge], part]
    whole = (upper >= 0) & (lower >= 0)
    if not whole.all():
        notes.append(
            f"{int((~whole).sum())} of {len(whole)} pairs are left out: their pseudo-bulk group "
            "has no cell for each part"
        )
    edge, replicate = edge[whole], replicate[whole]
    group, control = edges.upper[edge], edges.lower[edge]
    doses = None
    if dose is not None:
        doses = np.stack([dose[group], dose[control]], 1).astype(np.float32)
    pairs = Pairs(
        upper=upper[whole],
        lower=lower[whole],
        replicate=replicate,
        condition=pseudobulk.condition[group],
        batch=pseudobulk.batch[group],
        line=pseudobulk.line[group],
        part=part[whole],
        dose=doses,
    )
    order = np.lexsort((replicate, control, group))
    return jax.tree.map(lambda values: values[order], pairs)


def _pool_of(draws: Draws, groups: int) -> Int[np.ndarray, "K 3"]:
    """Pool of each group for each part, -1 for none; a pool of the whole group serves all parts."""
    pool = np.full((groups, 3), -1)
    for number, (group, part) in enumerate(zip(draws.group, draws.part, strict=True)):
        if part < 0:
            pool[group] = number
        else:
            pool[group, part] = number
    return pool


def _cell_split(
    dataset: Dataset, pseudobulk: PseudobulkGroups, edges: Edges, dealt: Dealt, disjoint: bool
) -> Int[np.ndarray, "N"]:
    """The part that each cell counts as; control cells of no pair count as training (they may be
    the reference)."""
    is_control = dataset.condition == dataset.control
    split = np.where(is_control, TRAIN, SPLITS.index("dropped")).astype(np.int8)
    if disjoint:
        for cells, part in zip(dealt.pools, dealt.part, strict=True):
            split[cells] = part
        return split
    # The smallest part number wins: cells that training draws are training cells.
    first = np.full(len(pseudobulk.condition), len(SPLITS))
    for side in (edges.upper, edges.lower):
        np.minimum.at(first, side, edges.part)
    for cells, group in zip(dealt.pools, dealt.group, strict=True):
        split[cells] = first[group]
    return split
