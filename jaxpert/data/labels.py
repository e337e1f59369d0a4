"""Perturbation labels and guide columns -> conditions and the treatments they consist of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.types import InputError
from jaxpert.data.files import column, shown

MISSING = ("", "nan", "NaN")
"""Texts that stand for a missing label."""


class Labels(NamedTuple):
    """The condition of every cell; conditions and treatments are sorted by name."""

    conditions: tuple[str, ...]
    condition: Int[np.ndarray, "N"]
    control: int
    treatments: tuple[str, ...]
    condition_treatments: Float[np.ndarray, "C T"]
    notes: tuple[str, ...] = ()


def text_labels(obs: Any, name: str, key: str, fix: str) -> np.ndarray:
    """Return a column of labels as text; missing ones and columns of decimals are an
    `InputError`."""
    values = column(obs, name, key)
    # Whole numbers turn into floats where a table has gaps, so only fractions are refused.
    if values.dtype.kind == "f" and (values.dropna() % 1 != 0).any():
        raise InputError(
            f"column {name!r} holds decimals, expected one label per cell: set {key} to another "
            f"column ({shown(obs.columns, 20)})"
        )
    text = np.asarray(values.astype(str), dtype=object)
    # Missing values that were written as text are no longer missing to pandas.
    missing = np.asarray(values.isna()) | np.isin(text.astype(str), MISSING)
    if missing.any():
        raise InputError(
            f"{missing.sum()} of {len(text)} cells have no label in column {name!r} (first: "
            f"{str(obs.index[np.argmax(missing)])!r}), expected one for every cell: {fix}"
        )
    return text


def parse_labels(
    text: Sequence[str] | np.ndarray,
    *,
    control: str,
    separator: str | None,
    name: str = "condition",
) -> Labels:
    """Split labels such as `A+B`, `A+ctrl` and `ctrl` into treatments; labels of the same set
    become one condition.

    A part equal to `control` is no treatment; the condition without treatments is the control. The
    commonest label of a set names the condition.
    """
    # Distinct labels are few beside cells, so only they are parsed.
    labels, inverse, cells = np.unique(
        np.asarray(text, dtype=str), return_inverse=True, return_counts=True
    )
    sets = [_treatments(str(label), control, separator, name) for label in labels]
    if frozenset() not in sets:
        common = []
        for i in np.argsort(-cells, kind="stable")[:6]:
            common.append(f"{str(labels[i])!r} ({cells[i]} cells)")
        raise InputError(
            f"no cell has the control label {control!r} in column {name!r}: set data.control to "
            f"one of its labels, of which the commonest are {', '.join(common)}"
        )
    named = _named(sets, labels, cells)
    merged = _merged(sets, labels, named)
    notes = (f"labels of the same treatments were merged: {shown(merged)}",) if merged else ()
    return _labels(sets, inverse, named, notes)


def guide_columns(obs: Any, prefix: str) -> tuple[list[str], tuple[str, ...]]:
    """Return the 0/1 columns whose names start with `prefix`, and a note on those left out."""
    guides, rest = [], []
    for name in map(str, obs.columns):
        if name.startswith(prefix):
            (guides if _is_one_hot(obs[name]) else rest).append(name)
    if not guides:
        raise InputError(
            f"no 0/1 column of the cells starts with {prefix!r}: set data.guide_prefix to the "
            f"start of the guide columns' names (columns: {shown(obs.columns, 20)})"
        )
    if not rest:
        return guides, ()
    note = f"columns that start with {prefix!r} but do not hold 0/1 are no guides: {shown(rest)}"
    return guides, (note,)


def parse_guides(
    obs: Any,
    columns: Sequence[str],
    *,
    control: str,
    separator: str,
    prefix: str = "",
    names: Sequence[str] | np.ndarray | None = None,
) -> Labels:
    """Take treatments from one-hot columns; a cell without any is a control cell.

    `names` are the labels of the file: the commonest one of a set names its condition where no
    other set has the same. Otherwise the treatments joined by `separator` do.
    """
    one_hot = np.stack([np.asarray(obs[name], dtype=bool) for name in columns], axis=1)
    treatments = np.array([str(name).removeprefix(prefix) for name in columns], object)
    # Eight guides are one byte, so that distinct sets are found among few columns.
    rows, inverse = np.unique(np.packbits(one_hot, axis=1), axis=0, return_inverse=True)
    # Some versions of NumPy give the inverse of rows a second axis.
    inverse = inverse.ravel()
    masks = np.unpackbits(rows, axis=1, count=len(columns)).astype(bool)
    sets = [frozenset(treatments[mask]) for mask in masks]
    if frozenset() not in sets:
        raise InputError(
            f"every cell carries one of the {len(columns)} guides {shown(columns)}, expected "
            "control cells with none: leave the columns of control guides out of data.guide_prefix"
        )
    named = _guide_names(sets, inverse, names, control, separator or "+")
    # A treatment that no cell received would be a parameter without data.
    unused = treatments[~one_hot.any(axis=0)]
    note = f"guide columns that are set in no cell, left out: {shown(unused)}"
    return _labels(sets, inverse, named, (note,) if len(unused) else ())


def _treatments(label: str, control: str, separator: str | None, name: str) -> frozenset[str]:
    if label == control:
        return frozenset()
    parts = [part.strip() for part in label.split(separator)] if separator else [label]
    if not all(parts):
        raise InputError(
            f"label {label!r} in column {name!r} has an empty part between separators "
            f"{separator!r}, expected names such as 'A' or 'A{separator}B': mend the label or "
            "change data.separator"
        )
    # As sets, A+B and B+A are one condition (docs/models/gears.md, "Conditions").
    return frozenset(parts) - {control}


def _named(
    sets: Sequence[frozenset[str]], labels: np.ndarray, cells: np.ndarray
) -> dict[frozenset[str], str]:
    """Name each set by its commonest label; ties go to the first by alphabet."""
    named: dict[frozenset[str], str] = {}
    for i in np.argsort(-np.asarray(cells), kind="stable"):
        # From the commonest label down, so that the first one stays.
        named.setdefault(sets[i], str(labels[i]))
    return named


def _merged(
    sets: Sequence[frozenset[str]], labels: np.ndarray, named: dict[frozenset[str], str]
) -> list[str]:
    """Which labels went into the one that names their set."""
    others: dict[frozenset[str], list[str]] = {key: [] for key in named}
    for label, treatments in zip(labels, sets, strict=True):
        if label != named[treatments]:
            others[treatments].append(repr(str(label)))
    return [f"{', '.join(of)} into {named[key]!r}" for key, of in others.items() if of]


def _guide_names(
    sets: Sequence[frozenset[str]],
    inverse: np.ndarray,
    names: Sequence[str] | np.ndarray | None,
    control: str,
    separator: str,
) -> dict[frozenset[str], str]:
    """Name each set by its commonest label where that is no other set's, else by its treatments."""
    named = {treatments: separator.join(sorted(treatments)) for treatments in sets}
    if names is not None:
        both = np.stack([inverse.astype(str), np.asarray(names, dtype=str)])
        pairs, cells = np.unique(both, axis=1, return_counts=True)
        common = _named([sets[int(i)] for i in pairs[0]], pairs[1], cells)
        # A label that two different sets share would name neither of them.
        taken = Counter(common.values())
        for treatments, label in common.items():
            if taken[label] == 1 and label != control:
                named[treatments] = label
    # Last, so that control has its configured name whatever its cells are called.
    return named | {frozenset(): control}


def _labels(
    sets: Sequence[frozenset[str]],
    inverse: np.ndarray,
    named: dict[frozenset[str], str],
    notes: tuple[str, ...],
) -> Labels:
    """Conditions sorted by name; `inverse` says which of the sets each cell has."""
    # Sorted by name, so that numbers do not depend on the order of cells or of a set.
    keys = sorted(named, key=lambda key: named[key])
    place = {key: i for i, key in enumerate(keys)}
    treatments = tuple(sorted(frozenset().union(*keys)))
    table = np.zeros((len(keys), len(treatments)), np.float32)
    for row, key in zip(table, keys, strict=True):
        row[:] = [name in key for name in treatments]
    of_set = np.array([place[key] for key in sets], np.int32)
    names = tuple(named[key] for key in keys)
    return Labels(names, of_set[inverse], place[frozenset()], treatments, table, notes)


def _is_one_hot(values: Any) -> bool:
    return values.dtype.kind in "buif" and bool(values.isin([0, 1]).all())
