"""Rows of perturbations that are asked for by name, measured or not (docs/models/cycseq.md,
Prediction)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxpert.core.family import Problem
from jaxpert.core.fit import Fitted
from jaxpert.core.types import Dataset, InputError
from jaxpert.data.files import shown
from jaxpert.models.cycseq import model as cycseq
from jaxpert.models.cycseq.setup import CycSeq
from jaxpert.models.cycseq.translation import unit_of
from jaxpert.tasks.translation.draws import PseudobulkGroups, control_of
from jaxpert.tasks.translation.groups import find_effect_groups, mean_rows
from jaxpert.tasks.translation.prepare import Prepared

if TYPE_CHECKING:
    from anndata import AnnData

IN = " in "
"""Between a perturbation and its line in names of pairs."""


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
    separator: str = "+",
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
            "COMPOUND" for all its doses). A perturbation may be one that was never measured, where
            the model has a column for it (any measured gene, with `columns="genes"`).
        separator: between the perturbations of a combination.
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
    asked: list[Asked] = []
    for name in names:
        if prepared.pairs.dose is None:
            asked += _in_lines(net, prepared, name, separator)
        else:
            asked += _at_doses(prepared, name)
    wider, treatment = _with_treatments(net, [row.members for row in asked])
    # Many rows start from one control group, whose mean is taken once.
    groups, place = np.unique([row.lower for row in asked], return_inverse=True)
    control = mean_rows(prepared, groups)[place.ravel()].astype(np.float32)
    doses = [row.dose for row in asked]
    unit = unit_of(net)
    translate = jax.jit(functools.partial(cycseq.translate, wider, samples=samples))
    rows = translate(
        fitted.params,
        fitted.state,
        jnp.asarray((control / unit).astype(np.float32)),
        jnp.asarray(treatment),
        jnp.asarray([row.batch for row in asked], jnp.int32),
        key=jax.random.key(seed),
        dose=None if None in doses else jnp.asarray(doses, jnp.float32),
    )
    support = cycseq.support(wider, treatment)
    # The control has no change: it is what predictions start from.
    perturbed = treatment.any(1, keepdims=True)
    rows = np.where(perturbed, np.asarray(rows) * unit, control)
    return _to_anndata(prepared, asked, rows, control, support)


def _in_lines(net: CycSeq, prepared: Prepared, name: str, separator: str) -> list[Asked]:
    """The rows that a name asks for: a perturbation in every line, or in the one that it names."""
    dataset, pseudobulk = prepared.dataset, prepared.pseudobulk
    perturbation, line = name, ""
    # A condition's own name may hold " in ", so it is looked for first.
    if name not in dataset.conditions and IN in name:
        perturbation, line = name.rsplit(IN, 1)
    members = _members(dataset, perturbation, separator)
    missing = [member for member in members if member not in net.targets]
    if missing:
        raise InputError(
            f"{name!r} asks for {', '.join(missing)}, which the model has no column for, expected "
            f"some of its {len(net.targets)} ({shown(net.targets)}): correct the name"
        )
    lower = _control_groups(dataset, pseudobulk)
    batches = _batches(dataset, pseudobulk, line)
    return [Asked(perturbation, members, batch, lower[batch]) for batch in batches]


def _members(dataset: Dataset, perturbation: str, separator: str) -> tuple[str, ...]:
    """Targets of a perturbation: those of the data's condition of that name, else its parts."""
    if perturbation in dataset.conditions:
        row = dataset.condition_treatments[dataset.conditions.index(perturbation)]
        return tuple(dataset.treatments[i] for i in np.flatnonzero(row))
    control = dataset.conditions[dataset.control]
    # The control adds nothing, so that "A+ctrl" is "A".
    parts = perturbation.split(separator) if separator else [perturbation]
    return tuple(part.strip() for part in parts if part.strip() != control)


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
    # All pairs of a group have one dose, so the first tells it.
    first = np.unique(groups.of_pair, return_index=True)[1]
    asked, names = [], []
    for k, condition in enumerate(groups.condition):
        label, batch = dataset.conditions[condition], int(groups.batch[k])
        compound = label.rsplit("@", 1)[0]
        line = prepared.pseudobulk.lines[groups.line[k]]
        names.append(label)
        # The compound alone asks for all of its doses.
        wanted = (label, compound, f"{label}{IN}{line}", f"{compound}{IN}{line}")
        if name in wanted or name == groups.names[k]:
            row = dataset.condition_treatments[condition]
            members = tuple(dataset.treatments[i] for i in np.flatnonzero(row))
            asked.append(
                Asked(label, members, batch, int(groups.lower[k]), float(dose[first[k], 1]))
            )
    if not asked:
        raise InputError(
            f"{name!r} is no compound at a dose of these data, expected one such as "
            f"{shown(sorted(set(names)))}: correct the name"
        )
    return asked


def _with_treatments(
    net: CycSeq, members: Sequence[tuple[str, ...]]
) -> tuple[CycSeq, Float[np.ndarray, "R T"]]:
    """The networks for further treatments, which have columns but no cells; and the multi-hot rows
    of what is asked for."""
    spec = net.spec
    every = list(spec.treatments)
    # New treatments follow the known ones, whose columns keep their numbers.
    for names in members:
        every += [name for name in names if name not in every]
    new = every[len(spec.treatments) :]
    place = {name: column for column, name in enumerate(net.targets)}
    wider = net._replace(
        spec=replace(
            spec,
            treatments=tuple(every),
            # No condition of the data has them, and no cell.
            condition_treatments=np.pad(spec.condition_treatments, ((0, 0), (0, len(new)))),
            treatment_cells=np.pad(spec.treatment_cells, (0, len(new))),
        ),
        column=np.array([*net.column, *(place[name] for name in new)], int),
    )
    treatment = np.zeros((len(members), len(every)), np.float32)
    for row, names in zip(treatment, members, strict=True):
        row[[every.index(name) for name in names]] = 1
    return wider, treatment


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
    batches = [dataset.strata[row.batch] for row in asked]
    obs = pd.DataFrame(
        {
            "condition": [row.perturbation for row in asked],
            "line": [pseudobulk.lines[line_of[row.batch]] for row in asked],
            "batch": batches,
            "support": list(support),
        },
        index=pd.Index(
            [f"{row.perturbation}{IN}{batch}" for row, batch in zip(asked, batches, strict=True)]
        ),
    )
    return anndata.AnnData(
        X=rows.astype(np.float32),
        obs=obs,
        var=pd.DataFrame(index=pd.Index(dataset.genes)),
        layers={"effect": (rows - control).astype(np.float32), "control": control},
        uns={"scale": f"{prepared.scale.kind}, adjusted for batch", "data": dataset.name},
    )
