"""A table of effects (conditions x genes) in place of cells: pseudo-bulk changes against the
control, of which nothing smaller is known (docs/models/set_gp.md, "Data").

It is read as a data set of one row for each condition, with a row of zeros for the control, so that
labels, splits, baselines and scores are those of cells.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxpert.core.paths import path_of
from jaxpert.core.types import Dataset, InputError
from jaxpert.data.files import opened, shown
from jaxpert.data.identifiers import name_notes
from jaxpert.data.labels import Labels, label_text, read_labels, rules_of
from jaxpert.data.read import check_names
from jaxpert.data.tables import read_columns

SHEETS = (".csv", ".tsv", ".txt", ".parquet", ".npz")
CELLS = (".h5ad", ".zarr")
ERRORS = "standard_error"
"""Layer with the standard errors of the effects."""
SAMPLED = 2000
"""Rows that are looked at for values below 0."""
CONTROL_ROW = "control"


def is_table(source: Any, perturbation: str, layer: str = "") -> bool:
    """Whether a file holds effects and not cells: a sheet of numbers does; an .h5ad or .zarr file
    does where no condition stands twice and values are below 0, which no count is."""
    path = path_of(source)
    endings = [suffix.lower() for suffix in path.suffixes[-2:]]
    if any(ending in SHEETS for ending in endings):
        return True
    if not endings or endings[-1] not in CELLS or not path.exists():
        return False
    with opened(source, layer or None) as table:
        names = table.obs[perturbation] if perturbation in table.obs.columns else table.obs.index
        if len(names) < 2 or names.duplicated().any():
            return False
        return bool((_dense(table.matrix, SAMPLED) < 0).any())


def read_table(
    source: str | Path, *, name: str | None = None, layer: str | None = None, **label_rules: Any
) -> Dataset:
    """Read a table of effects as a `Dataset` of the scale "effects".

    Args:
        source: an .h5ad or .zarr file with the labels in `obs` (or as the names of the rows), and
            standard errors, where they are known, in the layer "standard_error"; or a .csv, .tsv,
            .parquet or .npz table with the labels in its first column.
        name: of the data set; None is the file's name.
        layer: with the effects; None is X.
        **label_rules: as in `read`; the control need not stand there, and if it does, with zeros.

    Raises:
        InputError: for a file that cannot be read, labels that cannot be understood or stand twice,
            effects that are not finite, a control with effects, conditions without standard error.

    Example:
        effects = jaxpert.add_split(jaxpert.read_effects("effects.csv"), kind="simulation")
        model = jaxpert.set_gp.build(jaxpert.make_spec(effects))
    """
    rules = rules_of(
        label_rules.pop("control", "ctrl"), label_rules.pop("separator", "+"), **label_rules
    )
    text, genes, effects, errors = _content(source, rules.perturbation, layer)
    _check_finite(source, text, genes, effects)
    rows = np.array([CONTROL_ROW, *(f"row {i + 1}" for i in range(len(text)))], dtype=object)
    effects, errors = _with_control(effects), _with_control(errors)
    obs = _frame(rules.perturbation, [rules.control[0].replace("*", ""), *text], rows)
    labels = read_labels(obs, rules, genes)
    assert effects is not None
    if labels.kept is not None:
        effects, obs = effects[labels.kept], obs[labels.kept]
        errors = None if errors is None else errors[labels.kept]
    _check_conditions(source, labels, effects)
    control = labels.condition == labels.control
    if errors is not None:
        _check_errors(source, labels, errors, control)
    notes = (*labels.notes, _note(len(labels.conditions) - 1, errors))
    notes += tuple(name_notes(list(genes), None, labels.treatments))
    return Dataset(
        name=name or _name_of(source),
        counts=_stored(effects),
        cells=np.asarray(obs.index, dtype=str),
        genes=tuple(map(str, genes)),
        conditions=labels.conditions,
        condition=labels.condition,
        control=labels.control,
        treatments=labels.treatments,
        condition_treatments=labels.condition_treatments,
        strata=("all",),
        stratum=np.zeros(len(obs), np.int32),
        obs=obs,
        notes=notes,
        label_rules=labels.rules,
        scale="effects",
        errors=errors,
    )


def _content(
    source: str | Path, perturbation: str, layer: str | None
) -> tuple[list[str], list[str], Float[np.ndarray, "R G"], Float[np.ndarray, "R G"] | None]:
    """Labels, genes, effects and their standard errors, as the file has them."""
    if path_of(source).suffix.lower() not in CELLS:
        table = read_columns(source, "effects")
        return table.rows, table.columns, table.values, None
    with opened(source, layer) as table:
        check_names(table)
        named = perturbation in table.obs.columns
        labels = label_text(table.obs, perturbation, "data.perturbation") if named else None
        text = [str(one) for one in (table.obs.index if labels is None else labels)]
        genes = list(map(str, table.var.index))
        effects, errors = _dense(table.matrix), None
        there = ERRORS in table.layers
    if there:
        with opened(source, ERRORS) as table:
            errors = _dense(table.matrix)
    return text, genes, effects, errors


def _dense(matrix: Any, rows: int | None = None) -> Float[np.ndarray, "R G"]:
    part = matrix[:] if rows is None else matrix[:rows]
    part = part.toarray() if hasattr(part, "toarray") else part
    return np.asarray(part, np.float64)


def _name_of(source: str | Path) -> str:
    """As files of cells are called; of a sheet its ending tells what was read."""
    path = Path(source)
    return path.stem if path.suffix.lower() in CELLS else path.name


def _with_control(rows: np.ndarray | None) -> np.ndarray | None:
    """A row of zeros for the control in front."""
    return None if rows is None else np.vstack([np.zeros(rows.shape[1]), rows])


def _frame(column: str, text: list[str], rows: np.ndarray) -> Any:
    import pandas as pd

    return pd.DataFrame({column: text}, index=pd.Index(rows.astype(str)))


def _stored(effects: Float[np.ndarray, "R G"]) -> Any:
    """CSR in which zeros are stored too, since a row of none would count as not measured."""
    from scipy import sparse

    rows, genes = effects.shape
    indices = np.tile(np.arange(genes, dtype=np.int32), rows)
    pointers = np.arange(rows + 1, dtype=np.int64) * genes
    return sparse.csr_matrix((effects.ravel(), indices, pointers), effects.shape)


def _note(conditions: int, errors: np.ndarray | None) -> str:
    known = "with" if errors is not None else "without"
    return (
        f"the file is a table of effects of {conditions} conditions, {known} standard errors: "
        "values are taken as they are, and there are no cells to generate or to draw from"
    )


def _check_finite(source: Any, text: list[str], genes: list[str], effects: np.ndarray) -> None:
    wrong = np.argwhere(~np.isfinite(effects))
    if len(wrong):
        row, gene = wrong[0]
        raise InputError(
            f"{source} has {len(wrong)} effects that are not finite, such as {genes[gene]} under "
            f"{text[row]}, expected a number for every gene and condition: leave out genes without "
            "an effect, or write 0"
        )


def _check_conditions(source: Any, labels: Labels, effects: np.ndarray) -> None:
    times = np.bincount(labels.condition, minlength=len(labels.conditions))
    # The row of the control that was put in front stands beside one of the file.
    times[labels.control] = 1
    twice = [labels.conditions[c] for c in np.flatnonzero(times > 1)]
    if twice:
        raise InputError(
            f"{source} has {len(twice)} conditions more than once ({shown(twice)}), expected one "
            "row of effects for each: average them or leave all but one out"
        )
    if effects[labels.condition == labels.control].any():
        raise InputError(
            f"{source} has effects of the control {labels.conditions[labels.control]!r} that are "
            "not 0, expected changes against the control: subtract it from every condition"
        )


def _check_errors(source: Any, labels: Labels, errors: np.ndarray, control: np.ndarray) -> None:
    wrong = np.flatnonzero(~control & ~((errors > 0) & np.isfinite(errors)).all(1))
    if len(wrong):
        names = [labels.conditions[c] for c in labels.condition[wrong]]
        raise InputError(
            f"{source} has {len(wrong)} conditions without a standard error above 0 for every gene "
            f"({shown(names)}), expected one in the layer {ERRORS!r}: fill them in, leave these "
            "conditions out, or leave the layer out"
        )
