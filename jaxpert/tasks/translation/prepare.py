"""Pairs of pseudo-bulk rows of perturbed and control cells, as tables of what to draw, never as
rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core import readable
from jaxpert.core.types import SPLITS, Dataset, InputError
from jaxpert.data.files import shown
from jaxpert.tasks.translation.align import COMBAT_CELLS, fit_alignment
from jaxpert.tasks.translation.combat import Affine, CombatReference
from jaxpert.tasks.translation.draws import (
    Draws,
    PseudobulkGroups,
    control_of,
    find_pseudobulk_groups,
)
from jaxpert.tasks.translation.log_scale import LogScale
from jaxpert.tasks.translation.pairs import Pairs, PairSettings, draw_pairs
from jaxpert.tasks.translation.splits import TRAIN, Edges, audit, audit_notes, hold_out

UNITS = ("pseudobulk", "cell")


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

    def __repr__(self) -> str:
        return readable.of_rows(self)

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

    Args:
        dataset: from `lines.load_lines`.
        edges: pairs of groups other than perturbed with control, e.g. doses (`doses.prepare`).
        dose: log10 dose of each group, for `Pairs.dose`.
        **settings: fields of `PairSettings`; another one is a TypeError.

    Raises:
        InputError: for settings out of range and batches that ComBat cannot adjust.

    Example:
        cells = jaxpert.load_lines("lines.h5ad", perturbation="perturbation", line="line")
        rows = jaxpert.prepare_rows(cells, split="perturbation", replicates=4, cells_per_draw=10)
    """
    s = PairSettings(**settings)
    _check(dataset, s)
    pseudobulk, notes = find_pseudobulk_groups(dataset), []
    placed = _placed(dataset, pseudobulk, edges, s, notes)
    drawn = draw_pairs(dataset, pseudobulk, placed, s, dose, notes)
    labelled = replace(dataset, split=drawn.split)
    asked = s.lognorm, s.combat_reference, s.combat_cells
    aligned = fit_alignment(labelled, pseudobulk, placed, *asked, notes)
    prepared = Prepared(
        dataset=labelled,
        scale=aligned.scale,
        affine=aligned.affine,
        pseudobulk=pseudobulk,
        draws=drawn.draws,
        pairs=drawn.pairs,
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


def _placed(
    dataset: Dataset,
    pseudobulk: PseudobulkGroups,
    edges: Edges | None,
    s: PairSettings,
    notes: list[str],
) -> Edges:
    """Every pair of groups in its part of the split."""
    return hold_out(
        dataset,
        pseudobulk,
        edges or _control_edges(dataset, pseudobulk, notes),
        s.split,
        seed=s.seed,
        held_out=s.held_out,
        test_share=s.test_share,
        val_share=s.val_share,
    )


def _check(dataset: Dataset, s: PairSettings) -> None:
    """Refuse settings out of range before anything is drawn."""
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
            f"control of their line: {shown(np.asarray(dataset.strata)[elsewhere])}"
        )
    idle = np.setdiff1d(np.unique(batch), batch[np.concatenate([upper, lower])])
    if len(idle):
        notes.append(
            f"{len(idle)} batches hold only control cells and give no pair: "
            f"{shown(np.asarray(dataset.strata)[idle])}"
        )
    return Edges(upper, lower, np.full(len(upper), TRAIN))
