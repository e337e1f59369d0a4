"""Numbers printed in papers: the one form of their files, the reader, and the Markdown tables that
show them beside ours."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jaxpert.core.types import InputError

COLUMNS = {
    "table": "number of the table in its paper",
    "data": "data set, by the name that configs give it",
    "multiplier": "MAD multiplier of the quality criteria, a whole number",
    "direction": "direction of a translation; empty where the paper gives a single number",
    "group": "group of conditions, cell line or compound that the number is a mean over",
    "model": "model, by the name of its label in the tables",
    "method": "model or baseline, by its name in metrics.json",
    "metric": "score, by its name in metrics.json",
    "value": "the printed number",
    "mean": "the printed mean over seeds",
    "sd": "the printed standard deviation over seeds, or nothing",
    "source": "where the number is printed",
}
"""Every column that a file may have; `read` is told which of them its file has."""

WHOLE, REAL, OPTIONAL = ("multiplier",), ("value", "mean"), ("sd",)
"""Columns of numbers: whole ones, finite ones, and those that may be empty; the others are text."""


def read(path: str | Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Read a CSV file of published numbers.

    Empty lines and lines that begin with # are comments. The first other line names the columns.

    Args:
        path: the file, UTF-8.
        columns: names of its columns in any order, some of COLUMNS.

    Returns:
        A mapping for each line: text, an int for `multiplier`, a float for `value`, `mean` and
        `sd` (None where it is empty).

    Raises:
        InputError: the file cannot be read, has other columns, holds a line that is too short or
            too long or has no number where one belongs, or says the same thing twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        # Comments say where numbers were read off, and are no data.
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        reader = csv.DictReader(lines, strict=True)
        names, rows = list(reader.fieldnames or ()), list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read ({error}), expected a CSV file of {','.join(columns)}"
        ) from error
    # Sorted, since the order of columns has no meaning.
    if sorted(names) != sorted(columns):
        raise InputError(
            f"{path} has the columns {','.join(names) or 'none'}, expected {','.join(columns)}"
        )
    return _distinct(path, [_parsed(path, row) for row in rows])


def _parsed(path: str | Path, row: dict[str, Any]) -> dict[str, Any]:
    """The row with its numbers as numbers."""
    # DictReader gives None for a value that is missing, and keeps those too many under None.
    if None in row or None in row.values():
        raise InputError(f"{path} holds {row}, expected a value for every column: count its commas")
    asked = [name for name in (*WHOLE, *REAL, *OPTIONAL) if name in row]
    try:
        numbers = {name: _number(name, row[name]) for name in asked}
    except ValueError as error:
        raise InputError(
            f"{path} holds {row}, expected numbers for {', '.join(asked)}: {error}"
        ) from error
    return row | numbers


def _number(name: str, text: str) -> float | int | None:
    """The number in a column of numbers."""
    if name in WHOLE:
        return int(text)
    # A standard deviation may be missing where a paper prints none.
    if name in OPTIONAL and not text:
        return None
    return _finite(text)


def _finite(text: str) -> float:
    # float() reads "nan" and "inf", which no paper prints as a result.
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not finite")
    return value


def _distinct(path: str | Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, if no two of them are about the same thing."""
    seen = set()
    for row in rows:
        # What a row is about are its texts; its numbers are what it says.
        about = tuple(text for name, text in row.items() if name not in (*REAL, *OPTIONAL))
        if about in seen:
            raise InputError(f"{path} holds {row} twice: leave one of the lines out")
        seen.add(about)
    return rows


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table without a newline at its end; a | in a cell is escaped.

    Example:
        >>> print(markdown_table(["model", "MSE"], [["A|B", "0.1"]]))
        | model | MSE |
        |---|---|
        | A\\|B | 0.1 |
    """
    return "\n".join([_table_row(header), "|" + "---|" * len(header), *map(_table_row, rows)])


def _table_row(cells: Sequence[str]) -> str:
    # A bar in a name would end the cell.
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"
