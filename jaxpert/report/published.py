"""Numbers printed in papers: the one form of their files, the reader, and the Markdown tables that
show them beside ours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jaxpert.core.spreadsheets import decimal_sign, number, read_sheet
from jaxpert.core.texts import read_text
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
    text = read_text(path, f"a CSV file of {','.join(columns)}")
    # Comments say where numbers were read off, and are no data.
    lines = ["" if line.startswith(("#", '"#')) else line for line in text.split("\n")]
    header, rows, separator = read_sheet("\n".join(lines), path)
    # Sorted, since the order of columns has no meaning.
    if sorted(header) != sorted(columns):
        # A cell that was left open holds whole lines.
        there = " ".join(",".join(header).split()) or "none"
        raise InputError(
            f"{path} has the columns {there}, expected {','.join(columns)}: correct its first line"
        )
    places = [header.index(name) for name in columns if name in (*REAL, *OPTIONAL)]
    numbers = [cells[place] for _, cells in rows for place in places if place < len(cells)]
    sign = decimal_sign(numbers, separator)
    parsed = [_parsed(f"line {line} of {path}", header, cells, sign) for line, cells in rows]
    return _distinct(path, parsed)


def _parsed(where: str, header: list[str], cells: list[str], sign: str) -> dict[str, Any]:
    """The row with its numbers as numbers."""
    if len(cells) != len(header):
        raise InputError(
            f"{where} holds {','.join(cells)[:80]!r}, expected a value for every column: count its "
            "commas"
        )
    row: dict[str, Any] = dict(zip(header, cells, strict=True))
    try:
        numbers: dict[str, Any] = {name: int(row[name]) for name in WHOLE if name in row}
        for name in (*REAL, *OPTIONAL):
            if name in row:
                # A standard deviation may be missing where a paper prints none.
                empty = name in OPTIONAL and not row[name]
                numbers[name] = None if empty else _finite(row[name], sign)
    except ValueError as error:
        asked = ", ".join(name for name in (*WHOLE, *REAL, *OPTIONAL) if name in row)
        raise InputError(f"{where} holds {row}, expected numbers for {asked}: {error}") from error
    return row | numbers


def _finite(text: str, sign: str) -> float:
    value = number(text, sign)
    if value is None:
        raise ValueError(f"{text!r} is no number")
    # "nan" and "inf" are numbers to a computer, but no paper prints them as a result.
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
            raise InputError(
                f"{path} holds {row} twice, expected it once: leave one of the lines out"
            )
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
