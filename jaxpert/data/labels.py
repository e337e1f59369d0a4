"""The one place that understands labels: control cells, separators, guides, case, missing words.

`read_labels` makes conditions and treatments of the columns of a file and says what it decided
(`Decisions`); docs/guide/labels.md describes the keys. Names that are asked for later are
understood by the same rules (`data.labels_asked`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxpert.core.settings import rejoined
from jaxpert.core.types import InputError, LabelRules
from jaxpert.data import guides
from jaxpert.data import labels_words as words
from jaxpert.data.files import shown
from jaxpert.data.labels_controls import looks_like_control
from jaxpert.data.labels_divide import Divided, divide
from jaxpert.data.labels_split import Match, control_match, folded, normal, pieces, with_genes
from jaxpert.data.labels_table import (
    UNLABELLED,
    Decisions,
    Labels,
    checked,
    counted,
    label_text,
    table_of,
    text_labels,
    unmatched,
    with_remarks,
)

__all__ = [
    "Decisions",
    "LabelRules",
    "Labels",
    "label_text",
    "parse_labels",
    "read_labels",
    "read_names",
    "rules_of",
    "text_labels",
]


class _Distinct(NamedTuple):
    """The distinct labels of some cells as they are read: without needless blanks, with genes in
    the place of guides."""

    labels: list[str]
    cells: np.ndarray
    of_cell: np.ndarray
    """Which of them each cell has."""
    written: dict[str, str]
    """As the file has them -> as they are read."""


class CellNames(NamedTuple):
    """What `read_names` returns."""

    of_cell: np.ndarray
    """The name of every cell that is kept."""
    kept: np.ndarray
    """Which cells are."""
    control: str
    notes: tuple[str, ...]


def rules_of(
    control: str | Sequence[str] = "ctrl", separator: str | None = "+", **more: Any
) -> LabelRules:
    """Rules from arguments as a user gives them: one control label or several, None for nothing."""
    given = {name: value for name, value in more.items() if value is not None}
    given |= {"control": control, "separator": separator or ""}
    for name in ("control", "treatments"):
        # One text is one name, not its letters.
        names = given.get(name, ())
        listed = (names,) if isinstance(names, str) else names
        given[name] = tuple(filter(None, listed))
    return checked(LabelRules(**given))


def read_labels(obs: Any, rules: LabelRules, genes: Iterable[str] = ()) -> Labels:
    """Conditions and treatments from the table of cells of a file.

    Args:
        obs: the table.
        rules: how its labels are written.
        genes: measured, which are known as treatments.

    Raises:
        InputError: for labels that cannot be understood, one sentence each.
    """
    rules = checked(rules)
    column = rules.perturbation
    if not rules.guide_prefix:
        text = label_text(obs, column, "data.perturbation")
        return parse_labels(text, rules, genes, names=obs.index)
    # The labels of such a file only name its conditions.
    text = label_text(obs, column, "data.perturbation") if column in obs.columns else None
    columns, notes = guides.guide_columns(obs, rules)
    labels = guides.parse_guides(obs, columns, rules, text)
    return labels._replace(notes=notes + labels.notes)


def parse_labels(
    text: Sequence[str] | np.ndarray,
    rules: LabelRules,
    genes: Iterable[str] = (),
    *,
    names: Any = None,
) -> Labels:
    """Divide labels such as `A+B`, `A+ctrl` and `ctrl` into treatments; labels of the same set
    become one condition, named by the commonest of them.

    Args:
        text: one label a cell.
        rules: how they are written.
        genes: measured.
        names: of the cells, for messages.
    """
    distinct, rules = _distinct(text, rules)
    is_control = control_match(rules)
    # Missing labels take no part, since NA is evidence of nothing.
    notes = _guides_read(distinct, rules)
    divided = divide(_labelled(distinct, rules), rules, genes, rules.perturbation)
    kept = _kept(distinct, divided, rules, is_control, names)
    labels = _conditions(distinct, divided, kept, rules, is_control)
    return labels._replace(notes=(*notes, *labels.notes))


def read_names(
    text: Sequence[str] | np.ndarray, rules: LabelRules, *, names: Any = None
) -> CellNames:
    """Names of one thing a cell, such as compounds, which are never divided: without needless
    blanks, control cells all under one name, missing ones as `rules.missing` says."""
    distinct, rules = _distinct(text, rules._replace(separator=""))
    is_control = control_match(rules)
    whole = Divided({label: (label,) for label in _labelled(distinct, rules)})
    kept = _kept(distinct, whole, rules, is_control, names)
    cells = dict(zip(distinct.labels, distinct.cells.tolist(), strict=True))
    controls = {label: n for label, n in cells.items() if is_control(label)}
    control = _control_name(controls, rules) if controls else normal(rules.control[0])
    called = [control if label in controls else label for label in distinct.labels]
    rows = kept[distinct.of_cell]
    notes = () if rows.all() else (_note_on_dropped(rows, distinct, kept),)
    if set(controls) - {control}:
        notes += (f"control cells are those of {counted(controls, 12)}",)
    return CellNames(np.array(called)[distinct.of_cell[rows]], rows, control, notes)


def _distinct(text: Sequence[str] | np.ndarray, rules: LabelRules) -> tuple[_Distinct, LabelRules]:
    """The distinct labels, and the rules with names that held a comma put together."""
    raw, of_cell = np.unique(np.asarray(text, dtype=str), return_inverse=True)
    # Distinct labels are few beside cells, so only they are parsed.
    rules = _with_commas(rules, [normal(label) for label in raw.tolist()])
    is_control = control_match(rules)
    read = [with_genes(normal(label), rules, is_control) for label in raw.tolist()]
    labels, of_raw = np.unique(read, return_inverse=True)
    index = of_raw.ravel()[of_cell]
    cells = np.bincount(index, minlength=len(labels))
    written = dict(zip(raw.tolist(), read, strict=True))
    return _Distinct(labels.tolist(), cells, index, written), rules


def _labelled(distinct: _Distinct, rules: LabelRules) -> list[str]:
    """The labels that are read at all: missing ones are not, unless their words are kept."""
    is_control = control_match(rules)
    if rules.missing == "keep":
        return [label for label in distinct.labels if label not in UNLABELLED or is_control(label)]
    return [n for n in distinct.labels if is_control(n) or not words.means_missing(n)]


def _with_commas(rules: LabelRules, labels: Collection[str]) -> LabelRules:
    """The rules, with names put together again that a comma of their own parted."""
    # Control labels may be parts of longer labels, so the parts count too.
    names = {piece.casefold() for label in labels for piece in _names_in(label, rules.separator)}

    def known(name: str) -> bool:
        return normal(name).casefold() in names

    return rules._replace(
        control=rejoined(rules.control, known), treatments=rejoined(rules.treatments, known)
    )


def _names_in(label: str, separator: str) -> list[str]:
    return [label, *map(normal, pieces(label, separator))]


def _guides_read(distinct: _Distinct, rules: LabelRules) -> tuple[str, ...]:
    """A note on the labels that `data.guide_pattern` changed; InputError where it changed none."""
    if not rules.guide_pattern:
        return ()
    changed = [raw for raw, read in distinct.written.items() if normal(raw) != read]
    if not changed:
        raise InputError(
            f"data.guide_pattern is {rules.guide_pattern!r}, which no label in column "
            f"{rules.perturbation!r} is like ({shown(map(repr, distinct.labels))}), expected the "
            "form of some guides' names: correct it"
        )
    return (f"{len(changed)} labels of guides are read as their genes: {shown(changed)}",)


def _kept(
    distinct: _Distinct,
    divided: Divided,
    rules: LabelRules,
    is_control: Match,
    names: Any,
) -> np.ndarray:
    """Which labels are kept; InputError for missing ones that are neither left out nor kept."""
    kept = []
    for label in distinct.labels:
        parts = divided.parts.get(label, ())
        missing = [words.means_missing(part) and not is_control(part) for part in parts]
        kept.append(bool(parts) and (rules.missing == "keep" or not any(missing)))
    # A label without parts was left out before labels were divided.
    kept = np.array(kept)
    gone = {label: int(n) for label, n, k in zip(*distinct[:2], kept, strict=True) if not k}
    if not gone or rules.missing == "drop":
        return kept
    first = ""
    if names is not None:
        first = f", first: {str(names[int(np.argmin(kept[distinct.of_cell]))])!r}"
    keep = "" if set(gone) & set(UNLABELLED) else ", data.missing=keep if it names a treatment"
    raise InputError(
        f"{sum(gone.values())} of {len(distinct.of_cell)} cells have no label in column "
        f"{rules.perturbation!r} ({counted(gone)}{first}), expected one for every cell: label "
        f"them, set data.missing=drop to leave them out{keep}, or name the label in data.control "
        "if it is that of control cells"
    )


def _conditions(
    distinct: _Distinct, divided: Divided, kept: np.ndarray, rules: LabelRules, is_control: Match
) -> Labels:
    """The table of conditions of the kept labels, with what was decided."""
    labels = [label for label, keep in zip(distinct.labels, kept, strict=True) if keep]
    cells = dict(zip(distinct.labels, distinct.cells.tolist(), strict=True))
    sets = _sets(labels, cells, divided, rules, is_control)
    controls = {label: cells[label] for label in labels if not sets[label]}
    if not controls:
        raise _no_control(cells, labels, rules)
    named: dict[frozenset[str], str] = {}
    # From the commonest label down, so that the first one stays; ties go to the first by alphabet.
    for label in sorted(labels, key=lambda label: (-cells[label], label)):
        named.setdefault(sets[label], label)
    named[frozenset()] = _control_name(controls, rules)
    of_kept = np.cumsum(kept) - 1
    rows = kept[distinct.of_cell]
    table = table_of([sets[label] for label in labels], of_kept[distinct.of_cell[rows]], named)
    dropped = {label: cells[label] for label in distinct.labels if label not in sets}
    decisions = Decisions(
        controls=controls,
        separator=rules.separator,
        merged=_merged(distinct, sets, named),
        whole=divided.whole,
        assumed=divided.assumed,
        dropped=dropped,
        other_separators=_other_separators(labels, sets, rules, is_control),
    )
    notes = unmatched(rules, {part for label in labels for part in divided.parts[label]})
    if not dropped:
        return with_remarks(table, rules, decisions, *notes)
    note = _note_on_dropped(rows, distinct, kept)
    return with_remarks(table._replace(kept=rows), rules, decisions, note, *notes)


def _note_on_dropped(rows: np.ndarray, distinct: _Distinct, kept: np.ndarray) -> str:
    gone = dict(zip(distinct.labels, distinct.cells.tolist(), strict=True))
    dropped = {label: gone[label] for label, keep in zip(gone, kept, strict=True) if not keep}
    return (
        f"{int((~rows).sum())} of {len(rows)} cells were left out, since their label means that it "
        f"is missing (data.missing=drop): {counted(dropped)}"
    )


def _sets(
    labels: Sequence[str],
    cells: Mapping[str, int],
    divided: Divided,
    rules: LabelRules,
    is_control: Match,
) -> dict[str, frozenset[str]]:
    """The treatments of each label."""
    fold = folded(rules)
    spellings: dict[str, Counter[str]] = {}
    for label in labels:
        for part in divided.parts[label]:
            spellings.setdefault(fold(part), Counter())[part] += cells[label]
    # The commonest spelling names a treatment; ties go to the first by alphabet.
    spelled = {
        name: min(of, key=lambda spelling: (-of[spelling], spelling))
        for name, of in spellings.items()
    }
    # As sets, A+B and B+A are one condition (docs/models/gears.md, "Conditions").
    sets = {}
    for label in labels:
        treatments = [part for part in divided.parts[label] if not is_control(part)]
        sets[label] = frozenset(spelled[fold(part)] for part in treatments)
    return sets


def _control_name(controls: Mapping[str, int], rules: LabelRules) -> str:
    """What the control is called: the first of the labels in `data.control` that cells have, in
    its commonest spelling."""
    for wanted in rules.control:
        if normal(wanted) in controls:
            return normal(wanted)
        match = control_match(rules._replace(control=(wanted,)))
        spellings = {label: n for label, n in controls.items() if match(label)}
        if spellings:
            return min(spellings, key=lambda label: (-spellings[label], label))
    return min(controls, key=lambda label: (-controls[label], label))


def _merged(
    distinct: _Distinct, sets: Mapping[str, frozenset[str]], named: Mapping[frozenset[str], str]
) -> tuple[str, ...]:
    """Which labels of the file went into the one that names their set; those of control cells are
    told apart."""
    others: dict[str, list[str]] = {}
    for raw, label in distinct.written.items():
        if sets.get(label) and raw != named[sets[label]]:
            others.setdefault(named[sets[label]], []).append(repr(raw))
    return tuple(f"{', '.join(of)} into {name!r}" for name, of in others.items())


def _other_separators(
    labels: Iterable[str],
    sets: Mapping[str, frozenset[str]],
    rules: LabelRules,
    is_control: Match,
) -> dict[str, tuple[str, ...]]:
    singles = {name for label in labels for name in sets[label] if len(sets[label]) == 1}

    def known(name: str) -> bool:
        return is_control(name) or name in singles

    undivided = [label for label in labels if sets[label] == {label}]
    seen = words.joined_otherwise(undivided, rules.separator, known)
    return {separator: tuple(of) for separator, of in seen.items()}


def _no_control(cells: Mapping[str, int], labels: Sequence[str], rules: LabelRules) -> InputError:
    likely = {label: cells[label] for label in labels if looks_like_control(label, rules.control)}
    hint = f"; {counted(likely)} are called like controls" if likely else ""
    wanted = " or ".join(map(repr, rules.control))
    return InputError(
        f"no cell has the control label {wanted} in column {rules.perturbation!r}, expected cells "
        "without a perturbation: set data.control to one of the labels there, of which the "
        f"commonest are {counted(cells)}{hint}"
    )
