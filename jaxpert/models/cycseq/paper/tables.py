"""Tables 1 and 2 of the CycSeq paper from finished runs, with published numbers and the warning
about units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxpert.core.family import Run
from jaxpert.core.settings import setting
from jaxpert.core.types import InputError
from jaxpert.models.cycseq.paper.labels import SHOWN, TABLES
from jaxpert.report.published import markdown_table, read
from jaxpert.tasks.translation.evaluate import DIRECTIONS, UNITS_NOTE

COLUMNS = ("table", "direction", "group", "method", "metric", "value", "source")
PUBLISHED = Path(__file__).with_name("published.csv")
PAPER, NONE = "paper", "none"
FILE = "cycseq_tables.md"
WARNING = f"Units: {UNITS_NOTE}. On the split `replicate` every perturbation is trained on."


@dataclass(frozen=True)
class Options:
    """Flags of `jaxpert tables`."""

    published: str = setting(
        PAPER, "numbers beside the scores of the runs: paper, none, or a CSV file of published ones"
    )


def write(runs: Sequence[Run], folder: Path, options: Options) -> None:
    """Write both tables as one Markdown file: runs with doses make Table 2, the others Table 1."""
    printed = []
    # An empty text and "none" both leave the printed numbers out.
    if options.published not in ("", NONE):
        path = PUBLISHED if options.published == PAPER else Path(options.published)
        printed = read_published(path)
    rows: dict[str, list[list[str]]] = {number: [] for number in TABLES}
    for run in runs:
        config, metrics = run.finished.config, run.finished.metrics
        # A compound tells a run with doses, which are the paper's second table.
        number = "2" if config.data.compound else "1"
        rows[number] += rows_of(run.workdir.name, metrics["cycseq"])
    head = ["run", "direction", "group", "method", *SHOWN.values()]
    parts = []
    for number, title in TABLES.items():
        if rows[number]:
            table = markdown_table(head, rows[number] + published_rows(printed, number))
            # The warning stands below each table, where numbers are compared.
            parts += [f"## {title}", table, WARNING]
    (folder / FILE).write_text("\n\n".join(parts) + "\n")


def rows_of(run: str, scores: Mapping[str, Any]) -> list[list[str]]:
    """Rows of one run: each direction and group, the model first; a method may predict one
    direction only."""
    methods = {"cycseq": scores["model"], **scores["baselines"]}
    rows = []
    for group in scores["model"]:
        direction, where = group.split(" ", 1)
        for name, of_group in methods.items():
            if group in of_group:
                cells = [_text(of_group[group].get(metric)) for metric in SHOWN]
                rows.append([run, direction, where, name, *cells])
    return rows


def read_published(path: Path) -> list[dict[str, Any]]:
    """Rows of a file of published numbers."""
    rows = read(path, COLUMNS)
    for row in rows:
        if row["direction"] not in (*DIRECTIONS, "dose", ""):
            raise InputError(
                f"{path} has the direction {row['direction']!r}, expected n2p, p2n, dose or "
                "nothing: correct it"
            )
    return rows


def published_rows(printed: Sequence[Mapping[str, Any]], table: str) -> list[list[str]]:
    """Printed numbers of one table, a row for all scores of a method; scores that the paper does
    not give stay empty."""
    scores: dict[tuple[str, ...], dict[str, float]] = {}
    for row in printed:
        # Scores of a method are printed one to a line and shown side by side.
        if row["table"] == table:
            source = row["source"] or f"published, Table {table}"
            key = source, row["direction"] or "-", row["group"], row["method"]
            scores.setdefault(key, {})[row["metric"]] = row["value"]
    rows = []
    for key, of_method in scores.items():
        cells = list(key)
        for metric in SHOWN:
            # What the paper does not print stays empty, which "undefined" would not say.
            cells.append(_text(of_method[metric]) if metric in of_method else "")
        rows.append(cells)
    return rows


def _text(value: float | None) -> str:
    if value is None:
        return "undefined"
    return f"{value:.3f}"
