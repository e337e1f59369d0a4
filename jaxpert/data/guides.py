"""Guide columns -> conditions: which guides each cell has, by calls of 0/1 or by counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from jaxpert.core.types import InputError, LabelRules
from jaxpert.data import labels_words as words
from jaxpert.data.files import shown
from jaxpert.data.labels_split import control_match, gene_expression, normal
from jaxpert.data.labels_table import Decisions, Labels, table_of, unmatched, with_remarks

TOTALS = frozenset(
    "n nguides number num count counts total sum umi umis numi numis reads nreads coverage moi"
    " totalumi totalumis totalcounts nguide umicount umicounts readcount".split()
)
"""Columns beside guides that sum them up."""
UNEQUAL = 0.2
"""A guide with fewer counts than this share of the strongest one in its cell may be ambient."""
MAXIMA = frozenset("max top best major maxumi maxumis maxcount topumi topumis topcount".split())
"""Columns beside guides that hold the strongest one; MAX is a gene too."""
TRUTH = {"true": 1, "false": 0, "yes": 1, "no": 0, "positive": 1, "negative": 0, "+": 1, "-": 0}
"""Calls in words."""
WITHOUT = "without a guide"


class _Called(NamedTuple):
    """The guides of each cell."""

    has: Bool[np.ndarray, "N K"]
    below: Bool[np.ndarray, "N"]
    """Cells with counts of guides, all below the threshold."""
    unequal: Bool[np.ndarray, "N"]
    """Cells of several guides one of which has far fewer counts than another."""


def guide_columns(obs: Any, rules: LabelRules) -> tuple[list[str], tuple[str, ...]]:
    """The columns of 0/1 or counts whose names start with `data.guide_prefix`, and notes on those
    left out."""
    prefix = rules.guide_prefix
    guides, rest, doubtful, alike = [], [], [], []
    for name in map(str, obs.columns):
        if not name.startswith(prefix):
            continue
        values = _numbers(obs[name])
        if values is None or _sums_up(name.removeprefix(prefix), values):
            rest.append(name)
        elif not _are_counts(values):
            doubtful.append(name)
        else:
            plain = _letters(name.removeprefix(prefix))
            (alike if plain in TOTALS | MAXIMA else guides).append(name)
    if guides:
        sums = _summaries(obs, guides, alike, prefix)
        rest += sums
        # In the order of the file, in which guides of no cell are named.
        chosen = {*guides, *alike} - {*sums}
        guides = [name for name in map(str, obs.columns) if name in chosen]
    if not guides:
        raise _no_guides(obs, doubtful, prefix)
    _refuse_hidden(obs, guides, doubtful, rules)
    rest += doubtful
    if not rest:
        return guides, ()
    note = (
        f"columns that start with {prefix!r} but hold no 0/1 and no counts of one guide are no "
        f"guides: {shown(rest)}"
    )
    return guides, (note,)


def _no_guides(obs: Any, doubtful: Sequence[str], prefix: str) -> InputError:
    """Say what the columns that start with the prefix hold instead of counts, if there are any."""
    if doubtful:
        return InputError(
            f"columns {shown(doubtful)} start with {prefix!r} but hold fractions, negative numbers "
            "or gaps, expected 0/1 or counts of a guide in each: give the counts as they were "
            "before they were normalised, with 0 in the place of gaps"
        )
    return InputError(
        f"no column of 0/1 or counts of the cells starts with {prefix!r}, expected one per guide: "
        "set data.guide_prefix to the start of the guide columns' names (columns: "
        f"{shown(obs.columns, 20)})"
    )


def parse_guides(
    obs: Any,
    columns: Sequence[str],
    rules: LabelRules,
    names: Sequence[str] | np.ndarray | None = None,
) -> Labels:
    """Take treatments from guide columns.

    A guide that `rules.control` names is no treatment, and cells of such guides alone are control
    cells. Where there is none, cells without any guide are. `names` are the labels of the file:
    the commonest one of a set names its condition where no other set has the same. Otherwise the
    treatments joined by the separator do.
    """
    # Names of guides are never divided, so that a star may stand for any text.
    is_control = control_match(rules._replace(separator=""))
    guides = [str(name).removeprefix(rules.guide_prefix) for name in columns]
    genes = _genes(guides, rules)
    control = np.array(
        [any(map(is_control, names_of)) for names_of in zip(columns, guides, genes, strict=True)]
    )
    called = _call(obs, columns, rules.guide_threshold)
    kept, notes = _with_guide(called, bool(control.any()), rules)
    if not kept.any():
        raise InputError(
            f"no cell has {rules.guide_threshold} counts of a guide ({shown(columns)}), expected "
            "some with each: lower data.guide_threshold"
        )
    has = called.has[kept]
    sets, of_cell = _sets_of_cells(has, genes, control)
    controls = _controls(has, guides, control)
    if frozenset() not in sets:
        raise InputError(
            f"every cell carries one of the {len(columns)} guides {shown(columns)}, expected "
            "control cells: name the control guides in data.control (such as NT-*), or give cells "
            "without a guide"
        )
    labels = None if names is None else np.asarray(names, dtype=str)[kept]
    named = _guide_names(sets, of_cell, labels, _control_name(controls, rules), rules)
    table = table_of(sets, of_cell, named)._replace(kept=None if kept.all() else kept)
    # A treatment that no cell received would be a parameter without data.
    unused = [guides[k] for k in np.flatnonzero(~called.has.any(0)).tolist()]
    if unused:
        notes.append(f"guide columns that are set in no cell, left out: {shown(unused)}")
    if called.unequal.any():
        notes.append(_ambiguous(obs, columns, guides, called, rules))
    if control.any():
        notes += unmatched(rules, [*columns, *guides, *genes])
    return with_remarks(table, rules, Decisions(controls, rules.separator), *notes)


def _sets_of_cells(
    has: Bool[np.ndarray, "N K"], genes: Sequence[str], control: Bool[np.ndarray, "K"]
) -> tuple[list[frozenset[str]], np.ndarray]:
    """The sets of treatments that occur, and which of them each cell has."""
    # Several guides of one gene are one treatment.
    treatments = sorted({gene for gene, out in zip(genes, control, strict=True) if not out})
    place = {gene: i for i, gene in enumerate(treatments)}
    # One column more, which nothing sets, so that there is one where all guides are controls.
    received = np.zeros((len(has), len(treatments) + 1), bool)
    for k in np.flatnonzero(~control).tolist():
        received[:, place[genes[k]]] |= has[:, k]
    # Eight treatments are one byte, so that distinct sets are sought among few columns.
    rows, of_cell = np.unique(np.packbits(received, axis=1), axis=0, return_inverse=True)
    masks = np.unpackbits(rows, axis=1, count=len(treatments)).astype(bool)
    names = np.array(treatments, dtype=object)
    # Some versions of NumPy give the inverse of rows a second axis.
    return [frozenset(names[mask]) for mask in masks], of_cell.ravel()


def _controls(
    has: Bool[np.ndarray, "N K"], guides: Sequence[str], control: Bool[np.ndarray, "K"]
) -> dict[str, int]:
    """Control cells by their guide: those that have no other guide, or none at all."""
    untreated = ~has[:, ~control].any(1)
    cells = {}
    for k in np.flatnonzero(control).tolist():
        cells[guides[k]] = int(has[untreated, k].sum())
    cells[WITHOUT] = int((~has.any(1)).sum())
    return {guide: number for guide, number in cells.items() if number}


def _numbers(values: Any) -> np.ndarray | None:
    """A column as numbers, NaN where it has none; None for a column of texts."""
    import pandas as pd

    if values.dtype.kind in "buif":
        return np.asarray(values, float)
    # Calls may be stored as texts or categories.
    plain = values.astype(object).map(lambda value: TRUTH.get(str(value).casefold(), value))
    numbers = np.asarray(pd.to_numeric(plain, errors="coerce"), float)
    missing = np.isnan(numbers)
    if (missing & np.asarray(values.notna(), bool)).any() or missing.all():
        return None
    return numbers


def _are_counts(values: np.ndarray) -> bool:
    # NaN is unequal to its rounded self, and so no count.
    return bool((values == np.floor(values)).all() and (values >= 0).all())


def _sums_up(name: str, values: np.ndarray) -> bool:
    """Whether a column is called like a sum over guides and holds more than 0 and 1."""
    return _letters(name) in TOTALS and bool((values > 1).any())


def _letters(name: str) -> str:
    return "".join(filter(str.isalpha, name.casefold()))


def _summaries(obs: Any, guides: Sequence[str], alike: Sequence[str], prefix: str) -> list[str]:
    """Which of the columns that are called like sums or maxima are what they are called."""
    if not alike:
        return []
    top = np.zeros(len(obs))
    for name in guides:
        values = _numbers(obs[name])
        assert values is not None  # texts are no guide columns
        top = np.maximum(top, values)
    summaries = []
    for name in alike:
        values = _numbers(obs[name])
        assert values is not None  # texts are no guide columns
        # A sum is there where any guide is; a guide of the gene MAX is not the strongest in all.
        is_sum = _letters(name.removeprefix(prefix)) in TOTALS and (values > 0)[top > 0].all()
        if is_sum or (values >= top).all():
            summaries.append(name)
    return summaries


def _refuse_hidden(
    obs: Any, guides: Sequence[str], doubtful: Sequence[str], rules: LabelRules
) -> None:
    """Refuse columns of fractions or gaps that may be the guides of cells without another one:
    leaving the column out would make control cells of them."""
    if not doubtful:
        return
    without = ~_call(obs, guides, rules.guide_threshold).has.any(1)
    for name in doubtful:
        values = _numbers(obs[name])
        assert values is not None
        # Of a guide most cells have nothing (0, a gap or -1); a measure of the cell's quality is
        # rarely 0.
        has = values > 0
        hidden = without & has
        if hidden.any() and np.mean(has) <= 0.5:
            raise InputError(
                f"column {name!r} begins like the guide columns but holds no whole counts, and "
                f"{int(hidden.sum())} cells have something in it and no guide, expected 0/1 or "
                "counts, 0 in the place of gaps: mend the column, or rename it if it is no guide"
            )


def _call(obs: Any, columns: Sequence[str], threshold: int) -> _Called:
    """Which guides each cell has; column by column, since counts of all guides may be many."""
    cells = len(obs)
    has = np.zeros((cells, len(columns)), bool)
    seen = np.zeros(cells, bool)
    strongest, weakest = np.zeros(cells), np.full(cells, np.inf)
    for k, name in enumerate(columns):
        values = _numbers(obs[name])
        assert values is not None  # texts are no guide columns
        has[:, k] = values >= threshold
        seen |= values > 0
        strongest = np.where(has[:, k], np.maximum(strongest, values), strongest)
        weakest = np.where(has[:, k], np.minimum(weakest, values), weakest)
    several = has.sum(1) > 1
    return _Called(has, seen & ~has.any(1), several & (weakest < UNEQUAL * strongest))


def _genes(guides: Sequence[str], rules: LabelRules) -> list[str]:
    """The gene of each guide, where there is a pattern for it; else the guide."""
    if not rules.guide_pattern:
        return list(guides)
    expression = gene_expression(rules.guide_pattern)
    matches = [expression.fullmatch(guide) for guide in guides]
    if not any(matches):
        raise InputError(
            f"data.guide_pattern is {rules.guide_pattern!r}, which no guide is like "
            f"({shown(guides)}), expected the form of their names: correct it"
        )
    return [normal(m[1]) if m else guide for m, guide in zip(matches, guides, strict=True)]


def _with_guide(
    called: _Called, named: bool, rules: LabelRules
) -> tuple[Bool[np.ndarray, "N"], list[str]]:
    """The cells to keep, and a note on the others; `named` says that some guides are controls."""
    without = np.asarray(~called.has.any(1), bool)
    gone = np.zeros(len(without), bool)
    if rules.no_guide == "drop" or (rules.no_guide == "auto" and named):
        gone = without
    elif rules.no_guide == "auto":
        # Such cells may have a guide after all, and so are no controls.
        gone = called.below
    if not gone.any():
        return ~gone, []
    below = int((gone & called.below).sum())
    return ~gone, [
        f"{int(gone.sum())} of {len(gone)} cells were left out, since no guide was called in them "
        f"({below} have counts below data.guide_threshold={rules.guide_threshold}); "
        "data.no_guide=control takes them as control cells"
    ]


def _control_name(controls: dict[str, int], rules: LabelRules) -> str:
    """The commonest guide of the first entry of `data.control` that has one; the entry itself
    where it is a gene, or stands for cells without a guide."""
    prefix = rules.guide_prefix
    for wanted in rules.control:
        match = control_match(LabelRules(control=(wanted,), separator=""))
        guides = [name for name in controls if match(name) or match(prefix + name)]
        if guides:
            return min(guides, key=lambda name: (-controls[name], name))
    plain = [normal(wanted) for wanted in rules.control if not set(wanted) & set("*?")]
    return plain[0] if plain else WITHOUT


def _guide_names(
    sets: Sequence[frozenset[str]],
    of_cell: np.ndarray,
    labels: np.ndarray | None,
    control: str,
    rules: LabelRules,
) -> dict[frozenset[str], str]:
    """Name each set by its commonest label where that is no other set's, else by its treatments."""
    separator = rules.separator or "+"
    named = {treatments: separator.join(sorted(treatments)) for treatments in sets}
    named[frozenset()] = control
    # Labels of guides would name a gene by one of its guides.
    if labels is not None and not rules.guide_pattern:
        named |= _by_label(sets, of_cell, labels, named, rules)
    twice = [name for name, number in Counter(named.values()).items() if number > 1]
    if twice:
        raise InputError(
            f"several sets of guides would be called {twice[0]!r}, expected a name for each: "
            "rename the guide column of that name, or change data.separator or data.control"
        )
    return named


def _by_label(
    sets: Sequence[frozenset[str]],
    of_cell: np.ndarray,
    labels: np.ndarray,
    named: dict[frozenset[str], str],
    rules: LabelRules,
) -> dict[frozenset[str], str]:
    """The commonest label of each set, where it is a name for this set alone."""
    is_control = control_match(rules)
    pairs, cells = np.unique(np.stack([of_cell.astype(str), labels]), axis=1, return_counts=True)
    common: dict[frozenset[str], str] = {}
    # From the commonest pair down, so that the first one stays.
    for i in np.argsort(-cells, kind="stable"):
        common.setdefault(sets[int(pairs[0][i])], normal(str(pairs[1][i])))
    # A label that two different sets share would name neither of them.
    taken = Counter(common.values())
    # Nor does one that another set has by its treatments.
    by_treatments = {name: treatments for treatments, name in named.items()}
    usable = {}
    for treatments, label in common.items():
        free = by_treatments.get(label, treatments) == treatments and taken[label] == 1
        if treatments and free and not is_control(label) and not words.means_missing(label):
            usable[treatments] = label
    return usable


def _ambiguous(
    obs: Any, columns: Sequence[str], guides: Sequence[str], called: _Called, rules: LabelRules
) -> str:
    """A note on cells whose guides may be ambient ones, with the counts of some."""
    rows = np.flatnonzero(called.unequal)
    examples = []
    for row in rows[:4]:
        counts = []
        for k in np.flatnonzero(called.has[row]).tolist():
            counts.append(f"{guides[k]} {int(float(obs[columns[k]].iloc[row]))}")
        examples.append(f"{obs.index[row]} ({', '.join(counts)})")
    return (
        f"{len(rows)} cells carry several guides with very unequal counts, the weaker of which may "
        f"be ambient: {shown(examples)}{' and more' if len(rows) > 4 else ''}; raise "
        f"data.guide_threshold (now {rules.guide_threshold}) to call the strong ones alone"
    )
