"""Dose series (sci-Plex form) as pairs of spectra: each dose of a compound with the next one."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.files import column, shown
from jaxpert.data.labels import Labels, text_labels
from jaxpert.tasks.translation.draws import Spectra, control_of, find_spectra
from jaxpert.tasks.translation.lines import (
    PLACEHOLDERS,
    Names,
    Part,
    join,
    per_source,
    read_parts,
    require_controls,
)
from jaxpert.tasks.translation.prepare import Prepared
from jaxpert.tasks.translation.prepare import prepare as prepare_spectra
from jaxpert.tasks.translation.splits import TEST, TRAIN, Edges

PAIRS = ("adjacent", "lowest_to_highest")
OWN = ("compound", "dose", "annotated_targets")
"""Columns of `Dataset.obs` that are made here; the dose of vehicle cells is 0."""

Targets = Mapping[str, Any] | str | os.PathLike


class _Cells(NamedTuple):
    """Compound (the vehicle's label for vehicle cells) and dose of each cell."""

    compound: np.ndarray
    dose: Float[np.ndarray, "N"]


def load_doses(
    sources: Any,
    *,
    targets: Targets,
    compound: Names = "compound",
    dose: Names = "dose",
    vehicle: str = "vehicle",
    line: Names | None = "cell_type",
    batch: Names | None = None,
    layer: Names | None = None,
    normalised: bool = False,
    placeholders: int = PLACEHOLDERS,
    name: str | None = None,
) -> Dataset:
    """Read a screen of compounds at several doses; a condition is a compound at a dose
    (`compound@dose`).

    Args:
      sources, line, batch, layer, normalised, placeholders: as for `load_lines`.
      targets: compound -> its target genes (a sequence, or one text with `;`, `|`, `,` or blanks
        between), or the path of a table (.csv, else tab-separated, with a header) whose first two
        columns are these.
      compound: column of the compound.
      dose: column of the dose, a number in any unit; ignored for vehicle cells.
      vehicle: the compound label of untreated cells; cells of any compound at dose 0 are vehicle
          cells too.

    The treatments of a condition are the compound's targets among the measured genes. Compounds
    without a measured target are left out with their cells, counted and named. `obs` gets the
    columns `compound`, `dose` and `annotated_targets` (how many the table has, measured or not).

    Raises InputError for doses that are no numbers, compounds that the table of targets does not
    have, and lines without vehicle cells.
    """
    annotated = read_targets(targets)
    parts, genes, notes = read_parts(
        sources, line=line, batch=batch, layer=layer, normalised=normalised
    )
    columns = zip(
        parts,
        per_source(compound, len(parts), "data.compound"),
        per_source(dose, len(parts), "data.dose"),
        strict=True,
    )
    cells = [_cells(part, str(one), str(two), vehicle) for part, one, two in columns]
    measured = set(genes)
    found = {c for part in cells for c in np.unique(part.compound).tolist()} - {vehicle}
    _require_annotated(found, annotated)
    lost = sorted(c for c in found if not measured & set(annotated[c]))
    keep = [~np.isin(part.compound, lost) for part in cells]
    if not (found - set(lost)):
        raise InputError(
            f"none of the {len(found)} compounds has a target among the {len(genes)} genes, "
            "expected gene names as in "
            f"var_names (such as {shown(genes[:2])}): check data.targets"
        )
    kept = [_Cells(part.compound[k], part.dose[k]) for part, k in zip(cells, keep, strict=True)]
    parts = [_keep(part, k, own, annotated) for part, k, own in zip(parts, keep, kept, strict=True)]
    labels = _labels(kept, vehicle, {c: sorted(measured & set(annotated[c])) for c in found})
    dataset = join(parts, genes, labels, placeholders, name)
    require_controls(dataset)
    remarks = _remarks(
        lost,
        sum(int((~k).sum()) for k in keep),
        {c: annotated[c] for c in found - set(lost)},
        measured,
    )
    return replace(dataset, notes=(*dataset.notes, *notes, *remarks))


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
      settings: of `spectra.prepare` but for the split: one replicate of the training pairs
          validates.

    `Pairs.dose` is log10 of both doses; vehicle stands a factor 10 below the lowest dose of the
    data set. Doses are compared within a batch, with vehicle of the same batch (or the largest of
    the line).

    Raises InputError for unknown compounds and where training or test would have no pair.
    """
    if pairs not in PAIRS:
        raise InputError(
            f"the dose pairs are {pairs!r}, expected one of {', '.join(PAIRS)}: change data.pairs"
        )
    tested = _tested(dataset, test)
    spectra = find_spectra(dataset)
    first = spectra.cells[spectra.start[:-1]]
    compound = np.asarray(dataset.obs["compound"], str)[first]
    dose = np.asarray(dataset.obs["dose"], float)[first]
    edges = _edges(dataset, spectra, compound, dose, np.isin(compound, tested), pairs)
    counts = [len(np.unique(compound[edges.upper[edges.part == part]])) for part in (TRAIN, TEST)]
    if not all(counts):
        raise InputError(
            f"{counts[0]} compounds train and {counts[1]} are tested, expected some of both "
            "(tested are those with one "
            "annotated target): name some with data.test_compounds, or give more compounds"
        )
    lowest = np.log10(dose[dose > 0].min())
    logged = np.log10(np.where(dose > 0, dose, 10 ** (lowest - 1)))
    prepared = prepare_spectra(dataset, edges=edges, dose=logged, **settings)
    names = np.unique(compound[edges.upper[edges.part == TEST]])
    note = f"{counts[0]} compounds train and {counts[1]} are tested: {shown(names)}"
    whole = replace(prepared.dataset, notes=(*prepared.dataset.notes, note))
    return prepared._replace(dataset=whole, notes=(*prepared.notes, note))


def read_targets(targets: Targets) -> dict[str, tuple[str, ...]]:
    """Compound -> its annotated target genes, from a mapping or a table; several lines of one
    compound are joined."""
    if isinstance(targets, Mapping):
        pairs = [(str(name), genes) for name, genes in targets.items()]
    else:
        pairs = _read_table(Path(os.path.expanduser(os.fspath(targets))))
    found: dict[str, tuple[str, ...]] = {}
    for name, genes in pairs:
        listed = (
            re.split(r"[;|,\s]+", genes)
            if isinstance(genes, str)
            else [str(gene) for gene in genes or ()]
        )
        found[name] = tuple(
            dict.fromkeys((*found.get(name, ()), *(gene for gene in listed if gene)))
        )
    return found


def _read_table(path: Path) -> list[tuple[str, str]]:
    import pandas as pd

    if not path.is_file():
        raise InputError(
            f"there is no file {path}, expected a table of compounds and their targets: check "
            "data.targets"
        )
    separator = "," if path.suffix == ".csv" else "\t"
    table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
    if table.shape[1] < 2:
        raise InputError(
            f"{path} has {table.shape[1]} column, expected compound and targets (.csv with "
            "commas, else tabs between): "
            "write the table with two columns and a header"
        )
    return list(zip(table.iloc[:, 0], table.iloc[:, 1], strict=True))


def _cells(part: Part, compound: str, dose: str, vehicle: str) -> _Cells:
    import pandas as pd

    names = text_labels(part.obs, compound, "data.compound", "label them or leave them out").astype(
        str
    )
    values = column(part.obs, dose, "data.dose")
    numbers = np.asarray(pd.to_numeric(values.astype(str), errors="coerce"), float)
    numbers = np.where(names == vehicle, 0.0, numbers)
    bad = ~np.isfinite(numbers) | (numbers < 0)
    if bad.any():
        raise InputError(
            f"{int(bad.sum())} cells of {part.name} have a dose that is no number from 0 (such as "
            f"{str(values.iloc[int(np.argmax(bad))])!r} in column {dose!r}), expected one number "
            "in one unit for all: "
            "mend the column or set data.dose to another one"
        )
    return _Cells(np.where(numbers == 0, vehicle, names), numbers)


def _require_annotated(found: set[str], annotated: Mapping[str, Any]) -> None:
    unknown = sorted(found - set(annotated))
    if unknown:
        close = get_close_matches(unknown[0], list(annotated), n=1)
        raise InputError(
            f"{len(unknown)} compounds of the cells are unknown to the table of targets "
            f"({shown(unknown)}"
            f"{f'; did you mean {close[0]!r}' if close else ''}), expected a line for each: add "
            "them to data.targets, "
            "with no gene to leave them out"
        )


def _keep(
    part: Part, keep: np.ndarray, cells: _Cells, annotated: Mapping[str, Sequence[str]]
) -> Part:
    taken = {name: f"{name}_in_file" for name in OWN if name in part.obs.columns}
    number = [len(annotated.get(name, ())) for name in cells.compound]
    obs = part.obs[keep].rename(columns=taken)
    obs = obs.assign(compound=cells.compound, dose=cells.dose, annotated_targets=number)
    whole = bool(keep.all())
    counts = part.counts if whole else part.counts[keep]
    return Part(
        part.name, counts, obs, part.line[keep], None if part.batch is None else part.batch[keep]
    )


def _labels(parts: Sequence[_Cells], vehicle: str, targets: Mapping[str, Sequence[str]]) -> Labels:
    compound = np.concatenate([part.compound for part in parts])
    dose = np.concatenate([part.dose for part in parts])
    keys = sorted(set(zip(compound.tolist(), dose.tolist(), strict=True)) - {(vehicle, 0.0)})
    index = {key: i for i, key in enumerate([(vehicle, 0.0), *keys])}
    condition = np.array(
        [index[key] for key in zip(compound.tolist(), dose.tolist(), strict=True)], np.int32
    )
    treatments = tuple(sorted({gene for name, _ in keys for gene in targets[name]}))
    table = np.zeros((len(index), len(treatments)), np.float32)
    for i, (name, _) in enumerate(keys, start=1):
        table[i] = np.isin(treatments, targets[name])
    return Labels(
        (vehicle, *(f"{name}@{value:g}" for name, value in keys)), condition, 0, treatments, table
    )


def _remarks(
    lost: Sequence[str], cells: int, annotated: Mapping[str, Sequence[str]], measured: set[str]
) -> tuple[str, ...]:
    notes = []
    if lost:
        notes.append(
            f"{len(lost)} compounds without a measured target are left out, {cells} cells: "
            f"{shown(lost, 20)}"
        )
    outside = sorted({gene for genes in annotated.values() for gene in genes} - measured)
    if outside:
        notes.append(
            f"{len(outside)} annotated targets are not measured and are no part of treatments: "
            f"{shown(outside)}"
        )
    return tuple(notes)


def _tested(dataset: Dataset, test: Sequence[str] | None) -> list[str]:
    if not set(OWN) <= set(dataset.obs.columns):
        raise InputError(
            f"{dataset.name!r} has no compounds and doses, expected a dose series: read it with "
            "load_doses"
        )
    compound = np.asarray(dataset.obs["compound"], str)
    known = sorted(set(compound[dataset.condition != dataset.control].tolist()))
    if test is None:
        return sorted(set(compound[np.asarray(dataset.obs["annotated_targets"]) == 1].tolist()))
    unknown = [name for name in test if name not in known]
    if unknown:
        close = get_close_matches(unknown[0], known, n=1)
        raise InputError(
            f"there is no compound {unknown[0]!r} in {dataset.name!r} (or it has no measured "
            "target): did you mean "
            f"{(close or known)[0]!r}? The {len(known)} compounds are {shown(known)}"
        )
    return list(test)


def _edges(
    dataset: Dataset,
    spectra: Spectra,
    compound: np.ndarray,
    dose: np.ndarray,
    tested: np.ndarray,
    pairs: str,
) -> Edges:
    """Pairs of spectra, batch by batch and compound by compound."""
    vehicle = control_of(dataset, spectra)
    upper, lower, part = [], [], []

    def add(one: Int[np.ndarray, "n"], two: Int[np.ndarray, "n"]) -> None:
        upper.append(one)
        lower.append(two)
        part.append(np.where(tested[one], TEST, TRAIN))

    treated = np.flatnonzero(vehicle >= 0)
    for batch in np.unique(spectra.batch[treated]):
        here = treated[spectra.batch[treated] == batch]
        for name in np.unique(compound[here]):
            series = here[compound[here] == name]
            series = series[np.argsort(dose[series], kind="stable")]
            if pairs == "adjacent":
                add(series, np.concatenate([vehicle[series[:1]], series[:-1]]))
            elif not tested[series[0]]:
                add(series[:1], vehicle[series[:1]])
            elif len(series) > 1:
                add(series[-1:], series[:1])
    return Edges(np.concatenate(upper), np.concatenate(lower), np.concatenate(part))
