"""Rows of perturbations that are asked for by name, measured or not (docs/models/cycseq.md,
Prediction)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxpert.core.family import Problem
from jaxpert.core.fit import Fitted
from jaxpert.core.spreadsheets import number
from jaxpert.core.types import Dataset, InputError
from jaxpert.data.files import shown
from jaxpert.data.labels_asked import known_names, sets_asked
from jaxpert.data.labels_split import folded, normal
from jaxpert.models.cycseq import model as cycseq
from jaxpert.models.cycseq.setup import CycSeq
from jaxpert.models.cycseq.translation import unit_of
from jaxpert.tasks.translation.draws import PseudobulkGroups, control_of
from jaxpert.tasks.translation.groups import find_effect_groups, mean_rows
from jaxpert.tasks.translation.load import IN
from jaxpert.tasks.translation.prepare import Prepared

if TYPE_CHECKING:
    from anndata import AnnData


class Asked(NamedTuple):
    """A row to predict."""

    perturbation: str
    members: tuple[str, ...]
    """Its targets."""
    batch: int
    """Batch column."""
    lower: int
    """Pseudo-bulk group that it is predicted from."""
    dose: float | None = None
    """log10 of the dose of that group, where there are doses."""


def predict(
    problem: Problem,
    fitted: Fitted,
    names: Sequence[str],
    *,
    separator: str | None = None,
    samples: int | None = None,
    seed: int = 0,
) -> AnnData:
    """`Family.predict`: the mean row under each perturbation, in each line or in a named one.

    A row starts from the mean control row of its line (of each batch column of it), on the scale of
    the run's rows, adjusted for batch. In a dose series a compound at a dose starts from the mean
    row of the next lower dose, and only measured doses can be asked for. The control comes back as
    it is.

    Args:
        problem, fitted: of a finished run.
        names: such as "KLF1", "KLF1+GATA1" or "KLF1 in K562" (in a dose series "COMPOUND@DOSE", or
            "COMPOUND" for all its doses; blanks and the digits of a dose do not matter). A
            perturbation may be one that was never measured, where the model has a column for it
            (any measured gene, with `columns="genes"`).
        separator: between the perturbations of a combination; None for that of the data, or "+".
        samples: decoded draws of the latents to average; None for the model's setting.
        seed: of these draws.

    Returns:
        One observation for each perturbation and batch column: `X` the predicted row, layers
        `effect` (its change) and `control` (what it starts from), `obs` condition, line, batch and
        `support`.

    Raises:
        InputError: for a perturbation without column, and for an unknown line.

    Example:
        predict(problem, fitted, ["KLF1 in K562", "KLF1+GATA1"])
    """
    net, prepared = fitted.model.details, problem.details
    asked = _asked(net, prepared, names, separator)
    wider, treatment = _with_treatments(net, [row.members for row in asked])
    # Many rows start from one control group, whose mean is taken once.
    groups, place = np.unique([row.lower for row in asked], return_inverse=True)
    control = mean_rows(prepared, groups)[place.ravel()].astype(np.float32)
    unit = unit_of(net)
    inputs = _inputs((control / unit).astype(np.float32), treatment, asked)
    translate = jax.jit(functools.partial(cycseq.translate, wider, samples=samples))
    rows = translate(fitted.params, fitted.state, inputs, key=jax.random.key(seed))
    # The control has no change: it is what predictions start from.
    perturbed = treatment.any(1, keepdims=True)
    rows = np.where(perturbed, np.asarray(rows) * unit, control)
    return _to_anndata(prepared, asked, rows, control, cycseq.support(wider, treatment))


def _asked(
    net: CycSeq, prepared: Prepared, names: Sequence[str], separator: str | None
) -> list[Asked]:
    """The rows that all names ask for."""
    asked: list[Asked] = []
    for name in names:
        # In a dose series rows start from the next lower dose, not from the control.
        if prepared.pairs.dose is None:
            asked += _in_lines(net, prepared, name, separator)
        else:
            asked += _at_doses(prepared, name)
    return asked


def _inputs(
    control: Float[np.ndarray, "R G"], treatment: Float[np.ndarray, "R T"], asked: Sequence[Asked]
) -> cycseq.Inputs:
    """What the networks read: control rows in their unit, and the conditions asked for."""
    batches, doses = [], []
    for row in asked:
        batches.append(row.batch)
        doses.append(row.dose)
    dose = None
    if None not in doses:
        dose = jnp.asarray(doses, jnp.float32)
    stratum = jnp.asarray(batches, jnp.int32)
    return cycseq.Inputs(jnp.asarray(control), jnp.asarray(treatment), stratum, dose)


def _in_lines(net: CycSeq, prepared: Prepared, name: str, separator: str | None) -> list[Asked]:
    """The rows that a name asks for: a perturbation in every line, or in the one that it names."""
    dataset, pseudobulk = prepared.dataset, prepared.pseudobulk
    perturbation, line = name, ""
    # A condition's own name may hold " in ", so it is looked for first.
    if name not in dataset.conditions and IN in name:
        perturbation, line = name.rsplit(IN, 1)
    # Any gene with a column can be asked for, whether it was perturbed or not.
    known = known_names(dataset)
    asked = sets_asked([perturbation], known, separator=separator, also=net.targets)
    members = asked[0].names
    missing = [member for member in members if member not in net.targets]
    if missing:
        raise InputError(
            f"{name!r} asks for {', '.join(missing)}, which the model has no column for, expected "
            f"some of its {len(net.targets)} ({shown(net.targets)}): correct the name"
        )
    lower = _control_groups(dataset, pseudobulk)
    batches = _batches(dataset, pseudobulk, line)
    return [Asked(perturbation, members, batch, lower[batch]) for batch in batches]


def _targets(dataset: Dataset, condition: int) -> tuple[str, ...]:
    """Targets of a condition of the data."""
    perturbed = dataset.condition_treatments[condition] != 0
    return tuple(np.asarray(dataset.treatments, object)[perturbed].tolist())


def _control_groups(dataset: Dataset, pseudobulk: PseudobulkGroups) -> dict[int, int]:
    """The control group of each batch column: its own, else the largest of its line."""
    groups: dict[int, int] = {}
    for group, control in enumerate(control_of(dataset, pseudobulk)):
        batch = int(pseudobulk.batch[group])
        # A control group of a batch is its own control.
        groups[batch] = group if control < 0 else int(control)
    return groups


def _batches(dataset: Dataset, pseudobulk: PseudobulkGroups, line: str) -> list[int]:
    """Batch columns of a line, or the one of that name; all where none is named."""
    present, first = np.unique(pseudobulk.batch, return_index=True)
    chosen = []
    for batch, group in zip(present.tolist(), first.tolist(), strict=True):
        names = pseudobulk.lines[pseudobulk.line[group]], dataset.strata[batch]
        if not line or line in names:
            chosen.append(batch)
    if not chosen:
        raise InputError(
            f"there is no line {line!r}, expected one of {shown(pseudobulk.lines)}: correct the "
            "name"
        )
    return chosen


def _at_doses(prepared: Prepared, name: str) -> list[Asked]:
    """The measured steps between doses that a name asks for."""
    groups, dataset, dose = find_effect_groups(prepared), prepared.dataset, prepared.pairs.dose
    assert dose is not None
    fold = folded(dataset.label_rules)
    # All pairs of a group have one dose, so the first tells it.
    first = np.unique(groups.of_pair, return_index=True)[1]
    asked, names = [], []
    for k, condition in enumerate(groups.condition):
        label, batch = dataset.conditions[condition], int(groups.batch[k])
        compound = label.rsplit("@", 1)[0]
        line = prepared.pseudobulk.lines[groups.line[k]]
        names.append(label)
        # The compound alone asks for all of its doses.
        wanted = (label, compound, f"{label}{IN}{line}", f"{compound}{IN}{line}", groups.names[k])
        if _spelled(name, fold) in [_spelled(text, fold) for text in wanted]:
            members, lower = _targets(dataset, int(condition)), int(groups.lower[k])
            asked.append(Asked(label, members, batch, lower, float(dose[first[k], 1])))
    if not asked:
        raise InputError(
            f"{name!r} is no compound at a dose of these data, expected one such as "
            f"{shown(sorted(set(names)))}: correct the name"
        )
    return asked


def _spelled(name: str, fold: Callable[[str], str]) -> tuple[str, float | None, str]:
    """What spellings of a compound, its dose and its line have in common: blanks do not matter, nor
    case where the labels ignore it, nor how many digits a dose is written with."""
    text, _, line = normal(name).rpartition(IN) if IN in name else (normal(name), "", "")
    compound, _, written = text.rpartition("@")
    dose = number(written.strip())
    # What stands behind no "@", or is no number, belongs to the compound.
    if not compound or dose is None:
        return fold(text), None, line
    return fold(compound.strip()), dose, line


def _with_treatments(
    net: CycSeq, members: Sequence[tuple[str, ...]]
) -> tuple[CycSeq, Float[np.ndarray, "R T"]]:
    """The networks for further treatments, which have columns but no cells; and the multi-hot rows
    of what is asked for."""
    spec = net.spec
    # New treatments follow the known ones, whose columns keep their numbers.
    every = list(dict.fromkeys(chain(spec.treatments, *members)))
    new = every[len(spec.treatments) :]
    column = [*net.column.tolist(), *map(net.targets.index, new)]
    wider_spec = replace(
        spec,
        treatments=tuple(every),
        # No condition of the data has them, and no cell.
        condition_treatments=np.pad(spec.condition_treatments, ((0, 0), (0, len(new)))),
        treatment_cells=np.pad(spec.treatment_cells, (0, len(new))),
    )
    treatment = np.zeros((len(members), len(every)), np.float32)
    for row, names in zip(treatment, members, strict=True):
        for name in names:
            row[every.index(name)] = 1
    return net._replace(spec=wider_spec, column=np.array(column, int)), treatment


def _to_anndata(
    prepared: Prepared,
    asked: Sequence[Asked],
    rows: Float[np.ndarray, "R G"],
    control: Float[np.ndarray, "R G"],
    support: Sequence[str],
) -> AnnData:
    import anndata
    import pandas as pd

    dataset, pseudobulk = prepared.dataset, prepared.pseudobulk
    line_of = dict(zip(pseudobulk.batch.tolist(), pseudobulk.line.tolist(), strict=True))
    described, index = [], []
    for row, words in zip(asked, support, strict=True):
        line, batch = pseudobulk.lines[line_of[row.batch]], dataset.strata[row.batch]
        described.append((row.perturbation, line, batch, words))
        index.append(f"{row.perturbation}{IN}{batch}")
    columns = pd.Index(["condition", "line", "batch", "support"])
    obs = pd.DataFrame(described, pd.Index(index), columns)
    obs = obs.astype(dict.fromkeys(("line", "batch", "support"), "category"))
    return anndata.AnnData(
        X=rows.astype(np.float32),
        obs=obs,
        var=pd.DataFrame(index=pd.Index(dataset.genes)),
        layers={"effect": (rows - control).astype(np.float32), "control": control},
        uns={"scale": f"{prepared.scale.kind}, adjusted for batch", "data": dataset.name},
    )
