"""Conditions and treatments as a table, whether they come from labels or from guide columns, and
what was decided on the way."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.settings import joined
from jaxpert.core.types import InputError, LabelRules
from jaxpert.data import labels_words as words
from jaxpert.data.files import column, shown
from jaxpert.data.labels_controls import looks_like_control
from jaxpert.data.labels_split import control_match, gene_expression

UNLABELLED = ("", "nan", "NaN")
"""Texts of cells that have no label at all."""
CHOICES = {
    "case": ("keep", "ignore"),
    "missing": ("refuse", "drop", "keep"),
    "no_guide": ("auto", "control", "drop"),
}
MOST_LISTED = 6


class Decisions(NamedTuple):
    """What was decided about the labels of a file; the notes of `Labels` say it in sentences."""

    controls: Mapping[str, int]
    """Labels (or guides) of control cells, with their cells."""
    separator: str
    merged: tuple[str, ...] = ()
    """Labels of the same treatments, such as `'B+A' into 'A+B'`."""
    whole: tuple[str, ...] = ()
    """Labels that hold the separator and are one treatment."""
    assumed: tuple[str, ...] = ()
    """Treatments that occur in combinations alone and are no measured gene."""
    dropped: Mapping[str, int] = {}
    """Labels whose cells are left out, with their cells."""
    like_controls: tuple[str, ...] = ()
    """Treatments that are called like controls."""
    like_missing: tuple[str, ...] = ()
    """Treatments whose name is a word for a missing label."""
    like_guides: tuple[tuple[str, ...], ...] = ()
    """Treatments that look like guides of one gene."""
    like_doses: tuple[tuple[str, ...], ...] = ()
    """Treatments that look like doses (or times) of one compound."""
    near_duplicates: tuple[tuple[str, ...], ...] = ()
    """Treatments whose names are alike but for case, blanks or hyphens."""
    other_separators: Mapping[str, tuple[str, ...]] = {}
    """Separator -> labels that are combinations of known treatments when it divides them."""


class Labels(NamedTuple):
    """The condition of every cell that is kept; conditions and treatments are sorted by name."""

    conditions: tuple[str, ...]
    condition: Int[np.ndarray, "N"]
    control: int
    treatments: tuple[str, ...]
    condition_treatments: Float[np.ndarray, "C T"]
    notes: tuple[str, ...] = ()
    kept: Bool[np.ndarray, "M"] | None = None
    """Which cells of the file these are; None for all of them."""
    rules: LabelRules = LabelRules()
    decisions: Decisions = Decisions({}, "")


def checked(rules: LabelRules) -> LabelRules:
    """The rules; InputError for a value that they cannot have."""
    for name, choices in CHOICES.items():
        if getattr(rules, name) not in choices:
            raise InputError(
                f"data.{name} is {getattr(rules, name)!r}, expected one of {', '.join(choices)}: "
                "correct it"
            )
    if not rules.control:
        raise InputError(
            "data.control is empty, expected the label of the control cells, such as ctrl: name it"
        )
    if rules.guide_threshold < 1:
        raise InputError(
            f"data.guide_threshold is {rules.guide_threshold}, expected at least 1: correct it"
        )
    if rules.guide_pattern:
        gene_expression(rules.guide_pattern)
    # Labels are read with one blank where they have several, and so is what stands between names.
    return rules._replace(separator=re.sub(r"\s+", " ", rules.separator))


def label_text(obs: Any, name: str, key: str) -> np.ndarray:
    """A column of labels as text; whole numbers are integers (`0` for 0.0), missing ones `nan`.

    Columns of decimals are an InputError.
    """
    values = column(obs, name, key)
    # Whole numbers turn into floats where a table has gaps, so only fractions are refused.
    if values.dtype.kind == "f" and (values.dropna() % 1 != 0).any():
        raise InputError(
            f"column {name!r} holds decimals, expected one label per cell: set {key} to another "
            f"column ({shown(obs.columns, 20)})"
        )
    import pandas as pd

    # Distinct values are few beside cells, so only they are written out.
    code, distinct = pd.factorize(values)
    written = [*map(_written, distinct), "nan"]
    # Missing values have the code -1, which is the last one.
    return np.array(written, dtype=object)[code]


def text_labels(obs: Any, name: str, key: str, fix: str) -> np.ndarray:
    """`label_text` of a column without missing labels; else an InputError with the `fix`."""
    text = label_text(obs, name, key)
    missing = np.isin(text.astype(str), UNLABELLED)
    if missing.any():
        raise InputError(
            f"{missing.sum()} of {len(text)} cells have no label in column {name!r} (first: "
            f"{str(obs.index[np.argmax(missing)])!r}), expected one for every cell: {fix}"
        )
    return text


def table_of(
    sets: Sequence[frozenset[str]], inverse: np.ndarray, named: Mapping[frozenset[str], str]
) -> Labels:
    """Conditions sorted by name; `inverse` says which of the sets each cell has."""
    # Sorted by name, so that numbers do not depend on the order of cells or of a set.
    keys = sorted(named, key=lambda key: named[key])
    place = {key: i for i, key in enumerate(keys)}
    treatments = tuple(sorted(frozenset().union(*keys)))
    table = np.zeros((len(keys), len(treatments)), np.float32)
    column_of = {name: t for t, name in enumerate(treatments)}
    for row, key in zip(table, keys, strict=True):
        row[[column_of[name] for name in key]] = 1
    of_set = np.array([place[key] for key in sets], np.int32)
    names = tuple(named[key] for key in keys)
    return Labels(names, of_set[inverse], place[frozenset()], treatments, table)


def with_remarks(labels: Labels, rules: LabelRules, decisions: Decisions, *first: str) -> Labels:
    """The labels with what their treatments look like, and a note on each decision."""
    is_control = control_match(rules)
    treatments = labels.treatments
    guides = words.guides_of_genes(treatments, is_control)
    doses = words.doses_of_compounds(treatments)
    # A combination with another separator is none, though it begins like one.
    divisible = {label for of in decisions.other_separators.values() for label in of}
    like_controls = [
        name
        for name in treatments
        if name not in divisible and looks_like_control(name, rules.control)
    ]
    decisions = decisions._replace(
        like_controls=tuple(like_controls),
        like_missing=tuple(filter(words.means_missing, treatments)),
        like_guides=tuple(map(tuple, guides.values())),
        like_doses=tuple(map(tuple, doses.values())),
        near_duplicates=tuple(map(tuple, words.near_duplicates(treatments))),
    )
    notes = (*first, *labels.notes, *_notes(decisions, labels, rules))
    return labels._replace(rules=rules, decisions=decisions, notes=notes)


def counted(cells: Mapping[str, int], limit: int = MOST_LISTED) -> str:
    """Labels with their cells, the commonest first."""
    order = sorted(cells, key=lambda label: (-cells[label], label))
    return shown((f"{label!r} ({cells[label]} cells)" for label in order), limit)


def _written(value: Any) -> str:
    """A label as text."""
    # 0.0 is the number 0 of a column that has gaps.
    whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return str(int(value)) if whole else str(value)


def _notes(decisions: Decisions, labels: Labels, rules: LabelRules) -> list[str]:
    """A sentence for each decision that was not plain."""
    notes = []
    name = labels.conditions[labels.control]
    if set(decisions.controls) - {name}:
        notes.append(f"control cells are those of {counted(decisions.controls, 12)}")
    if decisions.merged:
        notes.append(f"labels of the same treatments were merged: {shown(decisions.merged)}")
    if decisions.whole:
        notes.append(
            f"labels that hold the separator {rules.separator!r} but are one treatment each, since "
            f"their parts are treatments nowhere else: {_quoted(decisions.whole)}; if they are "
            "combinations, list their parts in data.treatments"
        )
    if decisions.assumed:
        notes.append(
            "treatments that occur in combinations alone and are no measured gene: "
            f"{_quoted(decisions.assumed)}; if such a label is one treatment, list it in "
            "data.treatments"
        )
    if decisions.like_controls:
        both = joined((*rules.control, *decisions.like_controls[:MOST_LISTED]))
        notes.append(
            f"treatments that are called like controls: {_quoted(decisions.like_controls)}; if "
            f"their cells are control cells, set data.control={both}"
        )
    if decisions.like_missing:
        notes.append(
            f"treatments whose name means a missing label: {_quoted(decisions.like_missing)}; set "
            "data.missing=drop to leave their cells out"
        )
    notes += _notes_on_spelling(decisions)
    return notes


def _notes_on_spelling(decisions: Decisions) -> list[str]:
    notes = []
    if decisions.like_guides:
        groups = [" and ".join(group[:3]) for group in decisions.like_guides]
        tail = words.pattern_of_tail(decisions.like_guides[0][0])
        notes.append(
            "treatments that look like guides of one gene, each a treatment of its own: "
            f"{shown(groups)}; data.guide_pattern='(.+){tail}' would join them"
        )
    if decisions.like_doses:
        groups = [" and ".join(group[:3]) for group in decisions.like_doses]
        notes.append(
            "treatments that look like doses or times of one treatment, each one of its own: "
            f"{shown(groups)}"
        )
    if decisions.near_duplicates:
        groups = [" and ".join(map(repr, group)) for group in decisions.near_duplicates]
        notes.append(
            "treatments whose names are nearly alike, each a treatment of its own: "
            f"{shown(groups)}; where only case differs, data.case=ignore joins them"
        )
    for separator, labels in decisions.other_separators.items():
        notes.append(
            f"labels that look like combinations with the separator {separator!r}, each one "
            f"treatment: {_quoted(labels)}; set data.separator={joined([separator])} to divide them"
        )
    return notes


def _quoted(names: Iterable[str]) -> str:
    return shown(map(repr, names))


def unmatched(rules: LabelRules, seen: Collection[str]) -> tuple[str, ...]:
    """A note on entries of `data.control` that match none of the names."""
    idle = []
    for label in rules.control:
        match = control_match(rules._replace(control=(label,)))
        if not any(map(match, seen)):
            idle.append(label)
    return (f"data.control names what is no label: {_quoted(idle)}",) if idle else ()
