"""Perturbation labels and guide columns -> conditions and the treatments they consist of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    if values.dtype.kind == "f" and (values.dropna() % 1 != 0).any():
        raise InputError(
            f"column {name!r} holds decimals, expected one label per cell: set {key} to another "
            "column "
            f"({shown(obs.columns, 20)})"
        )
    text = np.asarray(values.astype(str), dtype=object)
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
    labels, inverse, cells = np.unique(
        np.asarray(text, dtype=str), return_inverse=True, return_counts=True
    )
    sets = [_treatments(str(label), control, separator, name) for label in labels]
    if frozenset() not in sets:
        common = [
            f"{str(labels[i])!r} ({cells[i]} cells)" for i in np.argsort(-cells, kind="stable")[:6]
        ]
        raise InputError(
            f"no cell has the control label {control!r} in column {name!r}: set data.control to "
            "one of its "
            f"labels, of which the commonest are {', '.join(common)}"
        )
    named = _named(sets, labels, cells)
    merged = [
        f"{', '.join(map(repr, others))} into {named[key]!r}"
        for key, others in _synonyms(sets, labels, named)
    ]
    notes = (f"labels of the same treatments were merged: {shown(merged)}",) if merged else ()
    return _labels([sets[i] for i in inverse], named, notes)


def guide_columns(obs: Any, prefix: str) -> tuple[list[str], tuple[str, ...]]:
    """Return the 0/1 columns whose names start with `prefix`, and a note on those left out."""
    found = [str(name) for name in obs.columns if str(name).startswith(prefix)]
    guides = [name for name in found if _is_one_hot(obs[name])]
    if not guides:
        raise InputError(
            f"no 0/1 column of the cells starts with {prefix!r}: set data.guide_prefix to the "
            "start of the guide "
            f"columns' names (columns: {shown(obs.columns, 20)})"
        )
    rest = [name for name in found if name not in guides]
    return guides, (
        f"columns that start with {prefix!r} but do not hold 0/1 are no guides: {shown(rest)}",
    ) if rest else ()


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
    treatments = [str(name).removeprefix(prefix) for name in columns]
    rows, inverse = np.unique(np.packbits(one_hot, axis=1), axis=0, return_inverse=True)
    masks = np.unpackbits(rows, axis=1, count=len(columns)).astype(bool)
    sets = [frozenset(np.asarray(treatments, dtype=object)[mask]) for mask in masks]
    if frozenset() not in sets:
        raise InputError(
            f"every cell carries one of the {len(columns)} guides {shown(columns)}, expected "
            "control cells with "
            "none: leave the columns of control guides out of data.guide_prefix"
        )
    named = _guide_names(sets, inverse, names, control, separator or "+")
    unused = [
        t
        for t, any_cell in zip(treatments, np.any(one_hot, axis=0).tolist(), strict=True)
        if not any_cell
    ]
    notes = (f"guide columns that are set in no cell, left out: {shown(unused)}",) if unused else ()
    return _labels([sets[i] for i in inverse.ravel()], named, notes)


def _treatments(label: str, control: str, separator: str | None, name: str) -> frozenset[str]:
    if label == control:
        return frozenset()
    parts = [part.strip() for part in label.split(separator)] if separator else [label]
    if not all(parts):
        raise InputError(
            f"label {label!r} in column {name!r} has an empty part between separators "
            f"{separator!r}, expected "
            "names such as 'A' or 'A"
            + str(separator)
            + "B': mend the label or change data.separator"
        )
    return frozenset(parts) - {control}


def _named(
    sets: Sequence[frozenset[str]], labels: np.ndarray, cells: np.ndarray
) -> dict[frozenset[str], str]:
    """Name each set by its commonest label; ties go to the first by alphabet."""
    named: dict[frozenset[str], str] = {}
    for i in np.argsort(-np.asarray(cells), kind="stable"):
        named.setdefault(sets[i], str(labels[i]))
    return named


def _synonyms(sets, labels, named) -> Iterable[tuple[frozenset[str], list[str]]]:
    for key, name in named.items():
        others = [
            str(label) for label, s in zip(labels, sets, strict=True) if s == key and label != name
        ]
        if others:
            yield key, others


def _guide_names(sets, inverse, names, control: str, separator: str) -> dict[frozenset[str], str]:
    named = {s: separator.join(sorted(s)) for s in sets}
    if names is not None:
        pairs, cells = np.unique(
            np.stack([inverse.ravel().astype(str), np.asarray(names, dtype=str)]),
            axis=1,
            return_counts=True,
        )
        common = _named([sets[int(i)] for i in pairs[0]], pairs[1], cells)
        taken = list(common.values())
        named |= {
            s: label for s, label in common.items() if taken.count(label) == 1 and label != control
        }
    return named | {frozenset(): control}


def _labels(
    sets: Sequence[frozenset[str]], named: dict[frozenset[str], str], notes: tuple[str, ...]
) -> Labels:
    keys = sorted(named, key=lambda key: named[key])
    index = {key: i for i, key in enumerate(keys)}
    treatments = tuple(sorted(frozenset().union(*keys)))
    table = np.array([[t in key for t in treatments] for key in keys], np.float32).reshape(
        len(keys), len(treatments)
    )
    condition = np.array([index[s] for s in sets], np.int32)
    return Labels(
        tuple(named[key] for key in keys), condition, index[frozenset()], treatments, table, notes
    )


def _is_one_hot(values: Any) -> bool:
    return values.dtype.kind in "buif" and bool(values.isin([0, 1]).all())
