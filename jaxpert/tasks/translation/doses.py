"""Dose series (sci-Plex form) as pairs of pseudo-bulk groups: each dose of a compound with the next
one."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxpert.core.paths import path_of
from jaxpert.core.spreadsheets import read_sheet
from jaxpert.core.texts import read_text
from jaxpert.core.types import Dataset, InputError
from jaxpert.data.files import column, shown
from jaxpert.data.labels import CellNames, Labels, label_text, read_names, rules_of
from jaxpert.data.mapped import select
from jaxpert.tasks.translation.draws import PseudobulkGroups, control_of, find_pseudobulk_groups
from jaxpert.tasks.translation.parts import (
    Names,
    Part,
    SourceSettings,
    cells_of,
    join,
    keep_in_parts,
    per_source,
    read_parts,
    require_controls,
)
from jaxpert.tasks.translation.prepare import Prepared
from jaxpert.tasks.translation.prepare import prepare as prepare_pairs
from jaxpert.tasks.translation.splits import TEST, TRAIN, Edges

PAIRS = ("adjacent", "lowest_to_highest")
# A column of the file with such a name is renamed, so that it is not lost.
MADE = ("compound", "dose", "annotated_targets")
"""Columns of `Dataset.obs` that are made here; the dose of vehicle cells is 0."""

Targets = Mapping[str, Any] | str | os.PathLike


@dataclass(frozen=True)
class DoseSettings(SourceSettings):
    """Arguments of `load_doses` beside the sources and the table of targets."""

    compound: Names = "compound"
    """Column of the compound."""
    dose: Names = "dose"
    """Column of the dose, a number in any unit; ignored for vehicle cells."""
    vehicle: str | Sequence[str] = "vehicle"
    """The compound label of untreated cells, or several; cells of any compound at dose 0 are
    vehicle cells too."""
    missing: str = "refuse"
    """Cells without a compound (empty, NA ...): "refuse" or "drop" them, or "keep" such a word as a
    compound."""


class _Dosed(NamedTuple):
    """A part with compound (the vehicle's label for vehicle cells) and dose of each cell."""

    part: Part
    compound: np.ndarray
    dose: Float[np.ndarray, "N"]


def load_doses(sources: Any, *, targets: Targets, **settings: Any) -> Dataset:
    """Read a screen of compounds at several doses; a condition is a compound at a dose
    (`compound@dose`).

    The treatments of a condition are the compound's targets among the measured genes. Compounds
    without a measured target are left out with their cells, counted and named. `obs` gets the
    columns `compound`, `dose` and `annotated_targets` (how many the table has, measured or not).

    Args:
        sources: as for `load_lines`.
        targets: compound -> its target genes (a sequence, or one text with `;`, `|`, `,` or blanks
            between), or the path of a table (.csv, else tab-separated, with a header) whose first
            two columns are these.
        **settings: fields of `DoseSettings`; another one is a TypeError.

    Raises:
        InputError: for doses that are no numbers, compounds that the table of targets does not
            have, and lines without vehicle cells.

    Example:
        cells = jaxpert.load_doses("doses.h5ad", targets="targets.csv", line="line")
    """
    s = DoseSettings(**settings)
    annotated = read_targets(targets)
    parts, genes, notes = read_parts(sources, s)
    dosed, read = _dosed(parts, s)
    vehicle = read.control
    measured, present = set(genes), _compounds(dosed, vehicle)
    _require_annotated(present, annotated)
    targets_of = {name: sorted(measured & set(annotated[name])) for name in present}
    lost = sorted(name for name in present if not targets_of[name])
    if len(lost) == len(present):
        raise InputError(
            f"none of the {len(present)} compounds has a target among the {len(genes)} genes, "
            f"expected gene names as in var_names (such as {shown(genes[:2])}): check data.targets"
        )
    kept, cells_lost = [], 0
    for part in dosed:
        keep = ~np.isin(part.compound, lost)
        cells_lost += int((~keep).sum())
        kept.append(_keep(part, keep, annotated))
    labels = _labels(kept, vehicle, targets_of)
    dataset = join([part for part, _, _ in kept], genes, labels, s)
    require_controls(dataset)
    used = {compound: annotated[compound] for compound in present - set(lost)}
    remarks = _remarks(lost, cells_lost, used, measured)
    return replace(dataset, notes=(*dataset.notes, *notes, *read.notes, *remarks))


def _dosed(parts: list[Part], s: DoseSettings) -> tuple[list[_Dosed], CellNames]:
    """The parts with what each cell was given, and how the compounds were read."""
    compounds = per_source(s.compound, len(parts), "data.compound")
    doses = per_source(s.dose, len(parts), "data.dose")
    texts = []
    for part, compound in zip(parts, compounds, strict=True):
        texts.append(label_text(part.obs, str(compound), "data.compound"))
    rules = rules_of(s.vehicle, None, perturbation=str(compounds[0]), missing=s.missing)
    # The same reading as of labels, with the vehicle as their control.
    read = read_names(np.concatenate(texts), rules, names=cells_of(parts))
    kept = None if read.kept.all() else read.kept
    dosed, start = [], 0
    for part, dose in zip(keep_in_parts(parts, kept), doses, strict=True):
        stop = start + len(part.obs)
        given = _cells(part, read.of_cell[start:stop], str(dose), read.control)
        dosed.append(_Dosed(part, *given))
        start = stop
    return dosed, read


def prepare(
    dataset: Dataset, *, pairs: str = "adjacent", test: Sequence[str] | None = None, **settings: Any
) -> Prepared:
    """Pair the doses of each compound: the higher one is `x` (as a perturbed row), the lower one
    its control row.

    Args:
      pairs: "adjacent" joins every dose with the next lower one that there are cells of, the lowest
        one with vehicle; "lowest_to_highest" trains on the lowest dose with vehicle alone and tests
        the highest dose from the lowest.
      test: compounds that are tested; None takes those with exactly one annotated target.
      settings: of `prepare` but for the split: one replicate of the training pairs validates.

    `Pairs.dose` is log10 of both doses. Doses are compared within a batch, with vehicle of the same
    batch (or the largest of the line).

    Raises InputError for unknown compounds and where training or test would have no pair.

    Example:
        cells = jaxpert.load_doses("doses.h5ad", targets="targets.csv", line="line")
        rows = jaxpert.prepare_doses(cells, replicates=4, cells_per_draw=10)
    """
    if pairs not in PAIRS:
        raise InputError(
            f"the dose pairs are {pairs!r}, expected one of {', '.join(PAIRS)}: change data.pairs"
        )
    tested = _tested(dataset, test)
    pseudobulk = find_pseudobulk_groups(dataset)
    # All cells of a group have one compound and one dose: look at the first.
    first = pseudobulk.cells[pseudobulk.start[:-1]]
    compound = np.asarray(dataset.obs["compound"], str)[first]
    dose = np.asarray(dataset.obs["dose"], float)[first]
    edges = _edges(dataset, pseudobulk, compound, dose, np.isin(compound, tested), pairs)
    trained = np.unique(compound[edges.upper[edges.part == TRAIN]])
    asked = np.unique(compound[edges.upper[edges.part == TEST]])
    if not len(trained) or not len(asked):
        raise InputError(
            f"{len(trained)} compounds train and {len(asked)} are tested, expected some of both "
            "(tested are those with one annotated target): name some with data.test_compounds, or "
            "give more compounds"
        )
    # Vehicle has no logarithm: it stands a factor 10 below the lowest dose.
    lowest = np.log10(dose[dose > 0].min())
    logged = np.log10(np.where(dose > 0, dose, 10 ** (lowest - 1)))
    prepared = prepare_pairs(dataset, edges=edges, dose=logged, **settings)
    note = f"{len(trained)} compounds train and {len(asked)} are tested: {shown(asked)}"
    whole = replace(prepared.dataset, notes=(*prepared.dataset.notes, note))
    return prepared._replace(dataset=whole, notes=(*prepared.notes, note))


def _compounds(dosed: Sequence[_Dosed], vehicle: str) -> set[str]:
    """Every compound but the vehicle."""
    present: set[str] = set()
    for part in dosed:
        present |= set(np.unique(part.compound).tolist())
    return present - {vehicle}


def read_targets(targets: Targets) -> dict[str, tuple[str, ...]]:
    """Compound -> its annotated target genes, from a mapping or a table; several lines of one
    compound are joined."""
    if isinstance(targets, Mapping):
        pairs = list(targets.items())
    else:
        pairs = _read_table(path_of(targets))
    annotated: dict[str, tuple[str, ...]] = {}
    for compound, genes in pairs:
        name = str(compound)
        # Several lines of one compound are joined, as tables often hold one target to a line.
        # A dict keeps the order in which genes are first named.
        annotated[name] = tuple(dict.fromkeys((*annotated.get(name, ()), *_listed(genes))))
    return annotated


def _listed(genes: Any) -> list[str]:
    """Names of genes from one text, or from a sequence."""
    names = re.split(r"[;|,\s]+", genes) if isinstance(genes, str) else map(str, genes or ())
    return list(filter(None, names))


def _read_table(path: Path) -> list[tuple[str, str]]:
    expected = "a table of compounds and their targets (data.targets)"
    # A file of another name than .csv may hold commas in its names, and so has tabs.
    separator = "," if path.suffix == ".csv" else "\t"
    sheet = read_sheet(read_text(path, expected), path, separator)
    if len(sheet.header) < 2:
        raise InputError(
            f"{path} has {len(sheet.header)} column, expected compound and targets (.csv with "
            "commas, else tabs between): write the table with two columns and a header"
        )
    for line, cells in sheet.rows:
        # A target too many is often one behind the sign that separates the columns.
        if len(cells) != len(sheet.header):
            raise InputError(
                f"line {line} of {path} has {len(cells)} cells, expected {len(sheet.header)} as "
                "its header: put quotes around a cell that holds the separator"
            )
    return [(cells[0], cells[1]) for _, cells in sheet.rows]


def _cells(
    part: Part, names: np.ndarray, dose: str, vehicle: str
) -> tuple[np.ndarray, Float[np.ndarray, "N"]]:
    """Compound and dose of each cell."""
    import pandas as pd

    values = column(part.obs, dose, "data.dose")
    numbers = np.asarray(pd.to_numeric(values.astype(str), errors="coerce"), float)
    # What the file has as the dose of vehicle cells is often empty, so it is not read.
    numbers = np.where(names == vehicle, 0.0, numbers)
    bad = ~np.isfinite(numbers) | (numbers < 0)
    if bad.any():
        raise InputError(
            f"{int(bad.sum())} cells of {part.name} have a dose that is no number from 0 (such as "
            f"{str(values.iloc[int(np.argmax(bad))])!r} in column {dose!r}), expected one number "
            "in one unit for all: mend the column or set data.dose to another one"
        )
    # Cells of any compound at dose 0 were given nothing, so they are vehicle cells too.
    return np.where(numbers == 0, vehicle, names), numbers


def _require_annotated(present: set[str], annotated: Mapping[str, Any]) -> None:
    unknown = sorted(present - set(annotated))
    if unknown:
        close = get_close_matches(unknown[0], list(annotated), n=1)
        # A hint only where a name of the table is near enough to be meant.
        hint = f"; did you mean {close[0]!r}" if close else ""
        raise InputError(
            f"{len(unknown)} compounds of the cells are unknown to the table of targets "
            f"({shown(unknown)}{hint}), expected a line for each: add them to data.targets, with "
            "no gene to leave them out"
        )


def _keep(dosed: _Dosed, keep: np.ndarray, annotated: Mapping[str, Sequence[str]]) -> _Dosed:
    """The part's kept cells, with the columns MADE."""
    part, compound, dose = dosed.part, dosed.compound[keep], dosed.dose[keep]
    number = [len(annotated.get(name, ())) for name in compound]
    # Columns of the file that have these names are kept under others.
    obs = part.obs[keep].rename(columns={name: f"{name}_in_file" for name in MADE})
    obs = obs.assign(compound=compound, dose=dose, annotated_targets=number)
    # A matrix that stays whole is not copied, since counts are the large part of the data.
    counts = part.counts if keep.all() else select(part.counts, keep)
    batch = None if part.batch is None else part.batch[keep]
    kept = part._replace(counts=counts, obs=obs, line=part.line[keep], batch=batch)
    return _Dosed(kept, compound, dose)


def _labels(parts: Sequence[_Dosed], vehicle: str, targets: Mapping[str, Sequence[str]]) -> Labels:
    """A condition for each compound at a dose, the vehicle first."""
    cells: list[tuple[str, float]] = []
    for part in parts:
        cells += zip(part.compound.tolist(), part.dose.tolist(), strict=True)
    # Vehicle comes first: the control is condition 0.
    keys = sorted(set(cells) - {(vehicle, 0.0)})
    index = {key: i for i, key in enumerate([(vehicle, 0.0), *keys])}
    names, treated = [vehicle, *_dose_names(keys)], set()
    for name, _ in keys:
        treated.update(targets[name])
    treatments = tuple(sorted(treated))
    # Two doses of a compound share the columns of its targets; the dose tells them apart.
    table = np.zeros((len(index), len(treatments)), np.float32)
    for i, (name, _) in enumerate(keys, start=1):
        table[i] = np.isin(treatments, targets[name])
    condition = np.array([index[key] for key in cells], np.int32)
    return Labels(tuple(names), condition, 0, treatments, table)


def _dose_names(keys: Sequence[tuple[str, float]]) -> list[str]:
    """`compound@dose`, with all digits of a dose where fewer would name two."""
    short = [f"{name}@{value:g}" for name, value in keys]
    return [
        text if short.count(text) == 1 else f"{name}@{value!r}"
        for text, (name, value) in zip(short, keys, strict=True)
    ]


def _remarks(
    lost: Sequence[str], cells: int, annotated: Mapping[str, Sequence[str]], measured: set[str]
) -> tuple[str, ...]:
    notes = []
    if lost:
        notes.append(
            f"{len(lost)} compounds without a measured target are left out, {cells} cells: "
            f"{shown(lost, 20)}"
        )
    # Only compounds with cells count here, since a table may hold many more.
    outside = sorted(set().union(*annotated.values()) - measured)
    if outside:
        notes.append(
            f"{len(outside)} annotated targets are not measured and are no part of treatments: "
            f"{shown(outside)}"
        )
    return tuple(notes)


def _tested(dataset: Dataset, test: Sequence[str] | None) -> list[str]:
    if not set(MADE) <= set(dataset.obs.columns):
        raise InputError(
            f"{dataset.name!r} has no compounds and doses, expected a dose series: read it with "
            "load_doses"
        )
    compound = np.asarray(dataset.obs["compound"], str)
    known = sorted(set(compound[dataset.condition != dataset.control].tolist()))
    if test is None:
        # The paper tests compounds of one annotated target, measured or not.
        return sorted(set(compound[np.asarray(dataset.obs["annotated_targets"]) == 1].tolist()))
    unknown = [name for name in test if name not in known]
    if unknown:
        # Most unknown names are mistyped, so the closest known one is offered.
        close = get_close_matches(unknown[0], known, n=1)
        raise InputError(
            f"there is no compound {unknown[0]!r} in {dataset.name!r} (or it has no measured "
            f"target), expected one of the {len(known)} ({shown(known)}): did you mean "
            f"{(close or known)[0]!r}"
        )
    return list(test)


def _edges(
    dataset: Dataset,
    pseudobulk: PseudobulkGroups,
    compound: np.ndarray,
    dose: np.ndarray,
    tested: np.ndarray,
    pairs: str,
) -> Edges:
    """Pairs of pseudo-bulk groups, batch by batch and compound by compound."""
    vehicle = control_of(dataset, pseudobulk)
    upper, lower = [], []
    treated = np.flatnonzero(vehicle >= 0)
    # Pairs stay within a batch, so that a change of batch is never taken for one of dose.
    for batch in np.unique(pseudobulk.batch[treated]):
        here = treated[pseudobulk.batch[treated] == batch]
        for name in np.unique(compound[here]):
            series = here[compound[here] == name]
            # A stable order, so that equal doses give the same pairs on every machine.
            series = series[np.argsort(dose[series], kind="stable")]
            if pairs == "adjacent":
                # Each dose with the next lower one that has cells; the lowest with vehicle.
                upper.append(series)
                lower.append(np.concatenate([vehicle[series[:1]], series[:-1]]))
            elif not tested[series[0]]:
                # A compound that trains shows its lowest dose alone, from vehicle.
                upper.append(series[:1])
                lower.append(vehicle[series[:1]])
            elif len(series) > 1:
                # A tested compound is asked for its highest dose from its lowest, so it needs two.
                upper.append(series[-1:])
                lower.append(series[:1])
    all_upper = np.concatenate(upper)
    part = np.where(tested[all_upper], TEST, TRAIN)
    return Edges(all_upper, np.concatenate(lower), part)
