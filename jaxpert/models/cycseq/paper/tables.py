"""Tables 1 and 2 of the CycSeq paper from finished runs, with published numbers and the warning
about units."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxpert.app.reopen import read_config, read_metrics
from jaxpert.core import workdir as folder
from jaxpert.core.types import InputError
from jaxpert.tasks.translation.evaluate import DIRECTIONS, UNITS_NOTE

COLUMNS = ("table", "direction", "group", "method", "metric", "value", "source")
SHOWN = {
    "r2": "R2",
    "r2_det": "R2 (determination)",
    "mae": "MAE",
    "mse": "MSE",
    "change_r": "r of the change",
    "mean_change_r": "r of the change, means",
}
TABLE = "cycseq_tables.md"
WARNING = f"Units: {UNITS_NOTE}. On the split `replicate` every perturbation is trained on."


def write(
    runs: Sequence[str | Path], output: str | Path, published: str | Path | None = None
) -> Path:
    """Write both tables as Markdown and return the file.

    Args:
        runs: work directories of finished CycSeq runs; those with doses make Table 2, the others
            Table 1.
        output: folder of the file.
        published: CSV file of published numbers (jaxpert/models/cycseq/paper/published.csv); None
            for none.
    """
    if not runs:
        raise InputError(
            "no run was given, expected work directories of finished CycSeq runs: set --runs"
        )
    printed = [] if published is None else read_published(Path(published))
    tables: dict[str, list[list[str]]] = {"1": [], "2": []}
    for run in map(Path, runs):
        config, metrics = read_config(run), read_metrics(run)
        if "cycseq" not in metrics:
            raise InputError(
                f"the run in {run} has no scores of CycSeq, expected one of model.name=cycseq"
            )
        tables["2" if config["data"]["compound"] else "1"] += rows_of(run.name, metrics["cycseq"])
    parts = []
    for number, title in (("1", "Table 1: lines"), ("2", "Table 2: doses")):
        rows = tables[number] + [
            published_row(number, key, of) for key, of in _grouped(printed, number).items()
        ]
        if tables[number]:
            parts += [
                f"## {title}",
                markdown(["run", "direction", "group", "method", *SHOWN.values()], rows),
                WARNING,
            ]
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    path = output / TABLE
    with folder.readable_errors(output, "--output"):
        path.write_text("\n\n".join(parts) + "\n")
    return path


def rows_of(run: str, found: Mapping[str, Any]) -> list[list[str]]:
    """Rows of one run: each direction and group, the model first; a method may predict one
    direction only."""
    methods = {"cycseq": found["model"], **found["baselines"]}
    return [
        [run, *group.split(" ", 1), name, *(_text(of[group].get(metric)) for metric in SHOWN)]
        for group in found["model"]
        for name, of in methods.items()
        if group in of
    ]


def read_published(path: Path) -> list[dict[str, str]]:
    """Rows of a file of published numbers; InputError says which line is wrong."""
    try:
        lines = [
            line for line in path.read_text().splitlines() if line and not line.startswith("#")
        ]
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error}), expected a file of published numbers"
        ) from error
    rows = list(csv.DictReader(lines))
    if not rows or set(rows[0]) != set(COLUMNS):
        raise InputError(
            f"{path} has the columns {', '.join(rows[0]) if rows else 'none'}, expected "
            f"{', '.join(COLUMNS)}"
        )
    for row in rows:
        try:
            float(row["value"])
        except ValueError as error:
            raise InputError(f"{path} has the value {row['value']!r}, expected a number") from error
        if row["direction"] not in (*DIRECTIONS, "dose", ""):
            raise InputError(
                f"{path} has the direction {row['direction']!r}, expected n2p, p2n, dose or nothing"
            )
    return rows


def _grouped(
    rows: Sequence[Mapping[str, str]], table: str
) -> dict[tuple[str, ...], dict[str, str]]:
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        if row["table"] == table:
            key = (row["direction"] or "-", row["group"], row["method"], row["source"])
            found.setdefault(key, {})[row["metric"]] = row["value"]
    return found


def published_row(number: str, key: tuple[str, ...], values: Mapping[str, str]) -> list[str]:
    """A printed row; scores that the paper does not give stay empty."""
    direction, group, method, source = key
    return [
        source or f"published, Table {number}",
        direction,
        group,
        method,
        *(values.get(m, "") for m in SHOWN),
    ]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _text(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
