"""The table of perturbations, and what opens under each of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core import files
from jaxpert.core.errors import InputError
from jaxpert.report.numbers import finite, fixed, label, true_minus
from jaxpert.report.words import TERMS

EFFECTS = "effects.npz"
MOST_ROWS, MOST_POINTS = 1000, 40_000
"""Rows of the table, and genes of all panels together, that one page holds."""
FEWEST_GENES = 20
"""Of a panel, where perturbations are many."""
NOTHING = "–"


class Column(NamedTuple):
    """A column of the table."""

    key: str
    heading: str
    meaning: str
    digits: int | None = None
    """Decimals; None for texts and whole numbers."""
    extra: bool = False
    """Left out of narrow windows; the panel has it all the same."""
    words: bool = False
    """Holds text."""

    @property
    def kind(self) -> str:
        """Its class in the page."""
        return " ".join(name for name in ("extra", "words") if getattr(self, name))


COLUMNS = (
    Column("perturbation", "Perturbation", TERMS["perturbation"]),
    Column("split", "Split", TERMS["split"], words=True),
    Column("cells", "Cells", "Cells behind the measured effect.", extra=True),
    Column("effect_size", "Effect size", TERMS["effect size"], digits=3, extra=True),
    Column("match", "Match", TERMS["match"], digits=3),
    Column("rank", "Rank", "Place by match among the perturbations of the same split."),
    Column("support", "Support", TERMS["support"], extra=True, words=True),
    Column("interval_width", "Interval width", TERMS["interval width"], digits=2, extra=True),
    Column("sure_genes", "Sure genes", TERMS["sure genes"], extra=True),
    Column(
        "best_baseline",
        "Best baseline for it",
        "The baseline of the highest match for this perturbation. It is chosen afterwards, so that "
        "it has an advantage over the model.",
        extra=True,
        words=True,
    ),
)
PARTS = {
    "noise": "Noise",
    "error": "Mean squared error",
    "rests_on": "Rests on",
    "measured_on": "Measured on",
}
"""What only the panel tells."""


class Cell(NamedTuple):
    """A cell with what it is sorted by."""

    text: str
    order: Any


class Line(NamedTuple):
    """A row of the table."""

    name: str
    cells: list[Cell]
    """Of the columns after the first."""
    facts: list[str]
    """What the panel says beside its picture, of `Each.heads`; empty for nothing."""


class Each(NamedTuple):
    """The perturbations of a run."""

    columns: list[Column]
    lines: list[Line]
    total: int
    """Perturbations that were scored; `lines` holds MOST_ROWS of them at most."""
    rival: str | None
    """The baseline that is best on average."""
    order: list[int]
    """Place of every line among the columns of metrics.json."""
    values: Mapping[str, Sequence[Any]]
    missing: list[str]
    """Columns that this run has no values for."""

    @property
    def heads(self) -> list[str]:
        """Of the facts of every line."""
        return [column.heading for column in self.columns[1:]] + list(PARTS.values())


class Panels(NamedTuple):
    """Genes of every line, for the browser and for a table beside the page."""

    genes: list[str]
    rows: list[list[list[float]]]
    """Numbers of genes, measured and predicted effects of each line."""
    measured: int
    """Genes that were measured."""
    shown: int
    """Genes of each panel at most."""


def each_of(metrics: Mapping[str, Any]) -> Each | None:
    """The table; None for runs without the part `each` of metrics.json."""
    part = metrics.get("each") or {}
    values = part.get("columns") or {}
    names = values.get("perturbation") or []
    if not names:
        return None
    order = sorted(range(len(names)), key=lambda i: _place(values, i))
    columns = [column for column in COLUMNS if values.get(column.key)]
    lines = [_line(values, columns, i) for i in order[:MOST_ROWS]]
    missing = [c.heading.lower() for c in COLUMNS if c not in columns]
    return Each(columns, lines, len(names), part.get("rival"), order, values, missing)


def is_held_out(split: str) -> bool:
    """Whether training saw no cell of it."""
    return "train" not in str(split) and "unknown" not in str(split)


def _place(values: Mapping[str, Sequence[Any]], i: int) -> tuple[Any, ...]:
    """What training did not see first, then by rank, those without one at the end."""
    split = str(values["split"][i])
    rank = values["rank"][i]
    kind = ("test", "val").index(split) if split in ("test", "val") else 2 + ("test" not in split)
    return kind, split, not finite(rank), rank or 0


def _line(values: Mapping[str, Sequence[Any]], columns: Sequence[Column], i: int) -> Line:
    cells = [_cell(values, column, i) for column in columns[1:]]
    facts = [cell.text for cell in cells]
    for key in PARTS:
        value: Any = values[key][i] if values.get(key) else None
        text = "" if value is None else str(value)
        facts.append(fixed(float(text), 3) if finite(value) else true_minus(text))
    return Line(str(values["perturbation"][i]), cells, facts)


def _cell(values: Mapping[str, Sequence[Any]], column: Column, i: int) -> Cell:
    value = values[column.key][i]
    if value is None:
        # Nothing is sorted behind all there is.
        return Cell(NOTHING, "" if column.digits is None else -1e9)
    if column.key == "rank":
        return Cell(f"{int(value)} of {values['of'][i]}", int(value))
    if column.key == "sure_genes":
        return Cell(f"{int(values['sure_right'][i])} of {int(value)}", int(value))
    if column.key == "best_baseline":
        beside = values["best_baseline_match"][i]
        return Cell(f"{label(value)} ({fixed(beside, 3)})", beside)
    if column.digits is not None:
        return Cell(fixed(value, column.digits), value)
    return Cell(f"{value:,}" if finite(value) else str(value), value)


def panels_of(each: Each, workdir: Path) -> Panels | str:
    """Measured and predicted effects of the genes that move most, or a sentence on why there are
    none."""
    path = workdir / EFFECTS
    if not path.exists():
        return f"there is no {EFFECTS}"
    try:
        names = ("effect", "measured", "conditions", "genes")
        arrays = files.read_arrays(path, names, "what a run leaves")
    except InputError as error:
        return str(error)
    row = {str(name): i for i, name in enumerate(arrays["conditions"])}
    if any(line.name not in row for line in each.lines):
        return f"{EFFECTS} has other perturbations than metrics.json"
    rows = [row[line.name] for line in each.lines]
    measured, predicted = arrays["measured"][rows], arrays["effect"][0][rows]
    count = measured.shape[1]
    shown = min(count, max(FEWEST_GENES, MOST_POINTS // max(1, len(rows))))
    chosen = [_strongest(a, b, shown) for a, b in zip(measured, predicted, strict=True)]
    # Names are kept once, of genes that any panel shows.
    used = np.unique(np.concatenate(chosen))
    parts = []
    for genes, a, b in zip(chosen, measured, predicted, strict=True):
        parts.append([np.searchsorted(used, genes).tolist(), _short(a[genes]), _short(b[genes])])
    return Panels([str(arrays["genes"][g]) for g in used], parts, count, shown)


def _strongest(
    measured: Float[np.ndarray, "G"], predicted: Float[np.ndarray, "G"], shown: int
) -> Int[np.ndarray, "k"]:
    """Genes that move most in the data or in the prediction, by number."""
    size = np.maximum(np.abs(measured), np.abs(predicted))
    return np.sort(np.argsort(-np.nan_to_num(size, nan=-1.0), kind="stable")[:shown])


def _short(values: Float[np.ndarray, "k"]) -> list[float]:
    """Three decimals: more are noise, and take room."""
    return [round(float(value), 3) + 0.0 for value in np.nan_to_num(values)]
