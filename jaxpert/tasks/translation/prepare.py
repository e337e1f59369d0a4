"""Pairs of pseudo-bulk rows of perturbed and control cells, as tables of what to draw, never as
rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.types import SPLITS, Dataset, InputError
from jaxpert.data.files import shown
from jaxpert.tasks.translation.combat import (
    Affine,
    CombatReference,
    after_standardising,
    combat,
    identity,
    require_comparable,
    standardised_moments,
)
from jaxpert.tasks.translation.draws import Draws, Spectra, control_of, draw_cells, find_spectra
from jaxpert.tasks.translation.log_scale import LogScale, Moments, fit_log_scale, group_moments
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
COMBAT_CELLS = ("controls", "all")
LARGEST = "largest"


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
    spectra: Spectra
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
    split: str = "replicate",
    seed: int = 0,
    replicates: int = 50,
    cells_per_draw: int = 50,
    lognorm: str = "log2_cp10k",
    combat_reference: str | CombatReference | None = LARGEST,
    combat_cells: str = "controls",
    unit: str = "pseudobulk",
    cells_disjoint: bool = False,
    held_out: Sequence[Any] | None = None,
    test_share: float | None = None,
    val_share: float | None = None,
    validation_replicate: int | None = None,
    draw: str = "seeded",
    edges: Edges | None = None,
    dose: Float[np.ndarray, "K"] | None = None,
) -> Prepared:
    """Draw, pair and split the spectra of an integrated data set, and fit its scale and its batch
    adjustment.

    A spectrum is the cells of one condition in one batch column. Its replicate r is the mean over
    `cells_per_draw` drawn cells; perturbed replicate r is paired with control replicate r of the
    same batch (or, where that has no controls, of the largest control spectrum of its line) and
    both carry the perturbed one's condition and batch.

    Args:
      split: "replicate" validates on one replicate of every pair, whose cells training has seen;
        "perturbation", "cell_line" and "perturbation_in_line" test on what no training row draws a
        cell of; "none" only trains.
      seed: of draws and split.
      lognorm: see `log_scale.LOGNORM`; totals are those over the common genes.
      combat_reference: batch column that the others are aligned to, "largest" for that of most
        cells, None for none; or `aligned_to` of other data, to which all are. A batch has one map,
        for perturbed and control cells alike.
      combat_cells: the cells that the map is fitted to. "controls" aligns controls with controls.
        "all" takes every training cell, as published: then the mixture of perturbations counts as
        batch effect, and the controls of a held-out line, which has nothing else, are moved to
        where other lines have their mixture.
      unit: "pseudobulk", or "cell" to make every drawn cell a row.
      cells_disjoint: deal the cells to the parts before drawing, so that no two parts share one,
          controls included.
      held_out, test_share, val_share: see `hold_out`.
      validation_replicate: the replicate that validates (from 0); None draws it.
      draw: "published" repeats the published random numbers.
      edges: pairs of spectra other than perturbed with control, e.g. doses (`doses.prepare`).
      dose: log10 dose of each spectrum, for `Pairs.dose`.

    Raises InputError for settings out of range and batches that ComBat cannot adjust.
    """
    _check(dataset, replicates, cells_per_draw, (unit, combat_cells), validation_replicate)
    spectra, notes = find_spectra(dataset), []
    pairing = edges or _control_edges(dataset, spectra, notes)
    shares = {"held_out": held_out, "test_share": test_share, "val_share": val_share}
    made = hold_out(dataset, spectra, pairing, split, seed=seed, **shares)
    chosen = _validation_replicate(made, split, seed, replicates, validation_replicate, notes)
    dealt = deal_cells(
        spectra, made, replicate_validates=chosen is not None, disjoint=cells_disjoint, seed=seed
    )
    draws = _draw(dataset, spectra, dealt, (seed, replicates, cells_per_draw, draw), notes)
    pairs = _pairs(spectra, made, draws, chosen, dose, notes)
    placed = replace(dataset, split=_cell_split(dataset, spectra, made, dealt, cells_disjoint))
    scale, affine, number, moments = _fit_scale(
        placed, spectra, made, lognorm, (combat_reference, combat_cells), notes
    )
    prepared = Prepared(placed, scale, affine, spectra, draws, pairs, unit, number, moments, ())
    notes += audit_notes(audit(placed, spectra, made, drawn_cells(prepared)))
    return prepared._replace(
        dataset=replace(placed, notes=(*dataset.notes, *notes)), notes=tuple(notes)
    )


def drawn_cells(prepared: Prepared) -> dict[str, tuple[Int[np.ndarray, "n"], Int[np.ndarray, "m"]]]:
    """For each part with pairs, the distinct cells that its perturbed and its control rows are
    drawn from."""
    cells, pairs, found = prepared.draws.cells, prepared.pairs, {}
    for part in np.unique(pairs.part):
        own = pairs.part == part
        found[SPLITS[part]] = tuple(
            _distinct(cells, side[own], pairs.replicate[own]) for side in (pairs.upper, pairs.lower)
        )
    return found


def _distinct(
    cells: Int[np.ndarray, "S R D"], pool: np.ndarray, replicate: np.ndarray
) -> np.ndarray:
    """Distinct cells of some replicates; each (pool, replicate) is looked at once, few at a
    time."""
    key = np.unique(pool.astype(np.int64) * cells.shape[1] + replicate)
    seen = np.zeros(int(cells.max()) + 1, bool)
    for some in np.array_split(key, max(1, len(key) // 10_000)):
        seen[cells[some // cells.shape[1], some % cells.shape[1]]] = True
    return np.flatnonzero(seen)


def _check(
    dataset: Dataset,
    replicates: int,
    cells_per_draw: int,
    words: tuple[str, str],
    chosen: int | None,
) -> None:
    for word, allowed, key in zip(
        words, (UNITS, COMBAT_CELLS), ("unit", "combat_cells"), strict=True
    ):
        if word not in allowed:
            raise InputError(
                f"data.{key} is {word!r}, expected one of {', '.join(allowed)}: change it"
            )
    if replicates < 1 or cells_per_draw < 1:
        raise InputError(
            f"{replicates} replicates of {cells_per_draw} cells were asked for, expected at least "
            "1 of each: change "
            "data.replicates or data.cells_per_draw"
        )
    if chosen is not None and not 0 <= chosen < replicates:
        raise InputError(
            f"split.validation_replicate is {chosen}, expected a number from 0 to "
            f"{replicates - 1}: change it"
        )
    if (dataset.condition == dataset.control).all():
        raise InputError(
            f"{dataset.name!r} has only control cells, expected perturbed ones too: check "
            "data.perturbation"
        )


def _control_edges(dataset: Dataset, spectra: Spectra, notes: list[str]) -> Edges:
    control = control_of(dataset, spectra)
    upper = np.flatnonzero(control >= 0)
    lower = control[upper]
    elsewhere = upper[spectra.batch[upper] != spectra.batch[lower]]
    if len(elsewhere):
        batches = [dataset.strata[b] for b in np.unique(spectra.batch[elsewhere])]
        notes.append(
            f"{len(batches)} batches have no control cell and are paired with the largest control "
            "of their line: "
            f"{shown(batches)}"
        )
    idle = np.setdiff1d(np.unique(spectra.batch), spectra.batch[np.concatenate([upper, lower])])
    if len(idle):
        notes.append(
            f"{len(idle)} batches hold only control cells and give no pair: "
            f"{shown(dataset.strata[b] for b in idle)}"
        )
    return Edges(upper, lower, np.full(len(upper), TRAIN))


def _validation_replicate(
    edges: Edges, split: str, seed: int, replicates: int, chosen: int | None, notes: list[str]
) -> int | None:
    """The replicate that validates, where nothing is held out to do so."""
    if split == "none" or (edges.part == VAL).any():
        if chosen is not None:
            raise InputError(
                f"split.validation_replicate is {chosen} but no replicate validates with split "
                f"{split!r}: unset it, "
                "or set split.val_share=0"
            )
        return None
    if replicates < 2:
        raise InputError(
            f"the split {split!r} validates on one replicate of {replicates}, expected at least "
            "2: raise "
            "data.replicates or set split.kind=none"
        )
    number = (
        int(np.random.default_rng([seed, 2]).integers(replicates)) if chosen is None else chosen
    )
    notes.append(f"replicate {number} (from 0) of every training pair validates")
    return number


def _draw(
    dataset: Dataset,
    spectra: Spectra,
    dealt: Dealt,
    numbers: tuple[int, int, int, str],
    notes: list[str],
) -> Draws:
    pairs = zip(dealt.spectrum, dealt.part, strict=True)
    names = [_pool_name(dataset, spectra, int(k), int(p)) for k, p in pairs]
    seed, replicates, most, draw = numbers
    small = sum(len(pool) <= most for pool in dealt.pools)
    if small:
        notes.append(
            f"{small} of {len(names)} pools have {most} cells or fewer and are drawn with "
            "replacement"
        )
    cells = draw_cells(
        dealt.pools, names, seed=seed, replicates=replicates, cells_per_draw=most, draw=draw
    )
    return Draws(cells, dealt.spectrum, dealt.part)


def _pool_name(dataset: Dataset, spectra: Spectra, spectrum: int, part: int) -> str:
    condition, batch = (
        dataset.conditions[spectra.condition[spectrum]],
        dataset.strata[spectra.batch[spectrum]],
    )
    return f"{condition}\t{batch}" if part < 0 else f"{condition}\t{batch}\t{SPLITS[part]}"


def _pairs(
    spectra: Spectra,
    edges: Edges,
    draws: Draws,
    chosen: int | None,
    dose: np.ndarray | None,
    notes: list[str],
) -> Pairs:
    """Every edge with its replicates, sorted; pairs that lack cells in their part are counted."""
    replicates = draws.cells.shape[1]
    edge = np.repeat(np.arange(len(edges.upper)), replicates)
    replicate = np.tile(np.arange(replicates), len(edges.upper))
    part = edges.part[edge]
    if chosen is not None:
        part = np.where((part == TRAIN) & (replicate == chosen), VAL, part)
    pool = np.full((len(spectra.condition), 3), -1)
    for number, (k, p) in enumerate(zip(draws.spectrum, draws.part, strict=True)):
        pool[k, slice(None) if p < 0 else int(p)] = number
    upper, lower = pool[edges.upper[edge], part], pool[edges.lower[edge], part]
    whole = (upper >= 0) & (lower >= 0)
    if not whole.all():
        notes.append(
            f"{int((~whole).sum())} of {len(whole)} pairs are left out: their spectrum has no "
            "cell for each part"
        )
    edge, replicate, part, upper, lower = (
        values[whole] for values in (edge, replicate, part, upper, lower)
    )
    own = edges.upper[edge]
    doses = (
        None
        if dose is None
        else np.stack([dose[own], dose[edges.lower[edge]]], 1).astype(np.float32)
    )
    pairs = Pairs(
        upper,
        lower,
        replicate,
        spectra.condition[own],
        spectra.batch[own],
        spectra.line[own],
        part,
        doses,
    )
    order = np.lexsort((replicate, edges.lower[edge], own))
    return jax.tree.map(lambda values: values[order], pairs)


def _cell_split(
    dataset: Dataset, spectra: Spectra, edges: Edges, dealt: Dealt, disjoint: bool
) -> Int[np.ndarray, "N"]:
    """The part that each cell counts as; control cells of no pair count as training (they may be
    the reference)."""
    split = np.where(dataset.condition == dataset.control, TRAIN, SPLITS.index("dropped")).astype(
        np.int8
    )
    if disjoint:
        for cells, p in zip(dealt.pools, dealt.part, strict=True):
            split[cells] = p
        return split
    first = np.full(len(spectra.condition), len(SPLITS))
    for side in (edges.upper, edges.lower):
        np.minimum.at(first, side, edges.part)
    for cells, k in zip(dealt.pools, dealt.spectrum, strict=True):
        split[cells] = first[k]
    return split


def _fit_scale(
    dataset: Dataset,
    spectra: Spectra,
    edges: Edges,
    lognorm: str,
    align: tuple[str | CombatReference | None, str],
    notes: list[str],
) -> tuple[LogScale, Affine, int | None, CombatReference | None]:
    """Log scale and batch adjustment from training cells."""
    reference, which = align
    if isinstance(reference, CombatReference):
        require_comparable(reference, dataset.genes, lognorm, which)
    file = np.unique(np.asarray(dataset.obs["file"], str), return_inverse=True)[1]
    scale = fit_log_scale(
        dataset.counts, lognorm, file.astype(np.int32), np.asarray(dataset.split == TRAIN)
    )
    batches = len(dataset.strata)
    file_of = np.zeros(batches, np.int32)
    file_of[dataset.stratum] = file
    if reference is None:
        return (
            scale,
            after_standardising(identity(batches, len(dataset.genes)), scale, file_of),
            None,
            None,
        )
    keep, borrowed = _moment_cells(dataset, spectra, edges, which, notes)
    moments = group_moments(dataset.counts, scale, dataset.stratum, batches, keep)
    moments = standardised_moments(moments, scale, file_of)
    number, aligned_to = _reference(dataset, moments, reference, lognorm, which)
    _require_adjustable(dataset, keep, number)
    fitted = combat(moments, aligned_to if number is None else number)
    others = [b for b in np.flatnonzero(moments.cells) if b != number]
    still = int(fitted.untouched[others].all(axis=0).sum()) if others else 0
    notes.append(
        "batches are aligned to "
        f"{aligned_to.name!r}{' of an earlier run' if number is None else ''} "
        f"({aligned_to.cells} cells); {still} genes do not vary there and are left as they are"
    )
    affine = after_standardising(fitted.affine, scale, file_of)
    for batch, other in borrowed.items():
        affine.scale[batch], affine.shift[batch] = affine.scale[other], affine.shift[other]
    return scale, affine, number, aligned_to


def _moment_cells(
    dataset: Dataset, spectra: Spectra, edges: Edges, which: str, notes: list[str]
) -> tuple[Bool[np.ndarray, "N"], dict[int, int]]:
    """Cells that batches are aligned by, and for batches that have none the batch whose map they
    borrow."""
    batches, control = len(dataset.strata), dataset.condition == dataset.control
    train = np.asarray(dataset.split == TRAIN)
    bare = np.setdiff1d(np.unique(dataset.stratum), dataset.stratum[train])
    allowed = train | (np.isin(dataset.stratum, bare) & control)
    keep = allowed & control if which == "controls" else allowed
    few = np.flatnonzero(np.bincount(dataset.stratum[keep], minlength=batches) < 2)
    keep = np.where(np.isin(dataset.stratum, few), allowed, keep)
    have = np.unique(dataset.stratum[keep])
    by_controls = bare if which == "all" else []
    by_all = np.intersect1d(few, have)
    by_none = np.setdiff1d(dataset.stratum, have)
    said = (
        ("are adjusted by their control cells, since they have no training cell", by_controls),
        ("have fewer than two control cells and are adjusted by all their training cells", by_all),
        ("have no cell to be adjusted by and take the map of their controls' batch", by_none),
    )
    for text, found in said:
        if len(found):
            notes.append(f"{len(found)} batches {text}: {shown(dataset.strata[b] for b in found)}")
    lower = {
        int(spectra.batch[u]): int(spectra.batch[w])
        for u, w in zip(edges.upper, edges.lower, strict=True)
    }
    return keep, {int(b): lower[int(b)] for b in np.setdiff1d(dataset.stratum, have)}


def _reference(
    dataset: Dataset, moments: Moments, asked: str | CombatReference, lognorm: str, which: str
) -> tuple[int | None, CombatReference]:
    """The batch column of the reference (None for a kept one) and its moments."""
    if isinstance(asked, CombatReference):
        return None, asked
    have = [dataset.strata[b] for b in np.flatnonzero(moments.cells)]
    if asked != LARGEST and asked not in have:
        raise InputError(
            f"the ComBat reference {asked!r} is no batch with training cells: set "
            "data.combat_reference to one of "
            f"{shown(have, 20)}, or to 'largest'"
        )
    number = int(np.argmax(moments.cells)) if asked == LARGEST else dataset.strata.index(asked)
    own = int(moments.cells[number]), moments.mean[number], moments.variance[number]
    return number, CombatReference(dataset.strata[number], *own, dataset.genes, lognorm, which)


def _require_adjustable(dataset: Dataset, keep: np.ndarray, reference: int | None) -> None:
    """Refuse batches of one cell, and those whose adjustment would erase the one effect that they
    hold."""
    cells = np.bincount(dataset.stratum[keep], minlength=len(dataset.strata))
    single = [dataset.strata[b] for b in np.flatnonzero(cells == 1)]
    if single:
        raise InputError(
            f"{len(single)} batches have one cell to be adjusted by ({shown(single)}), expected "
            "at least 2 for ComBat: "
            "leave those cells out, choose another data.batch, or set data.combat_reference=null"
        )
    for b in np.flatnonzero(cells):
        conditions = np.unique(dataset.condition[keep & (dataset.stratum == b)])
        if b != reference and len(conditions) == 1 and conditions[0] != dataset.control:
            raise InputError(
                f"batch {dataset.strata[b]!r} holds cells of "
                f"{dataset.conditions[conditions[0]]!r} alone, whose effect "
                "ComBat would remove as a batch effect: choose another data.batch or set "
                "data.combat_reference=null"
            )
