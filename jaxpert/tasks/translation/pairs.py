"""Pairs of replicates of pseudo-bulk groups, and the cells that each of them is drawn from.

A pseudo-bulk group is the cells of one condition in one batch column. Its replicate r is the mean
over `cells_per_draw` drawn cells; perturbed replicate r is paired with control replicate r of the
same batch (or, where that has no controls, of the largest control group of its line) and both carry
the perturbed one's condition and batch (docs/models/cycseq.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.types import SPLITS, Dataset, InputError
from jaxpert.tasks.translation.align import LARGEST
from jaxpert.tasks.translation.combat import CombatReference
from jaxpert.tasks.translation.draws import Draws, PseudobulkGroups, draw_cells
from jaxpert.tasks.translation.splits import TRAIN, VAL, Dealt, Edges, deal_cells


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


class Drawn(NamedTuple):
    """Pairs of rows, and what they are drawn from."""

    draws: Draws
    pairs: Pairs
    split: Int[np.ndarray, "N"]
    """The part that each cell counts as."""


def draw_pairs(
    dataset: Dataset,
    pseudobulk: PseudobulkGroups,
    placed: Edges,
    s: PairSettings,
    dose: Float[np.ndarray, "K"] | None,
    notes: list[str],
) -> Drawn:
    """Deal the cells to the parts of the split, draw the replicates and pair them; `notes` grows by
    what was decided."""
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
    return Drawn(draws, pairs, split)


def _validation_replicate(edges: Edges, s: PairSettings, notes: list[str]) -> int | None:
    """The replicate that validates, where nothing is held out to do so."""
    chosen = s.validation_replicate
    if s.split == "none" or (edges.part == VAL).any():
        if chosen is not None:
            raise InputError(
                f"split.validation_replicate is {chosen} but no replicate validates with split "
                f"{s.split!r}, expected no value: unset it, or set split.val_share=0"
            )
        return None
    if s.replicates < 2:
        raise InputError(
            f"the split {s.split!r} validates on one replicate of {s.replicates}, expected at "
            "least 2: raise data.replicates or set split.kind=none"
        )
    if chosen is None:
        # A stream of its own, beside those of the split and of dealing.
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
    """The cells of every replicate of every pool."""
    names, small = [], 0
    for pool, group, part in zip(dealt.pools, dealt.group, dealt.part, strict=True):
        names.append(_pool_name(dataset, pseudobulk, int(group), int(part)))
        small += len(pool) <= s.cells_per_draw
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
    # A tab stands in no label, so that two pools never share a name.
    name = f"{condition}\t{batch}"
    if part < 0:
        return name
    return f"{name}\t{SPLITS[part]}"


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
    # Condition, batch and line are those of the perturbed row (docs/models/cycseq.md, "Pairing").
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
    # The last key sorts first: groups are numbered by batch column and there by condition.
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
