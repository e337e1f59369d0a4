"""Tables that a spreadsheet has written or will open: cells that it would run, gene names that it
turned into dates, separators and decimal signs."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from jaxpert.core import files
from jaxpert.core.errors import InputError

SEPARATORS = (",", ";", "\t")
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}

RUN = re.compile(r"'*[=+\-@\t\r\n]")
"""Starts of cells that a spreadsheet takes for a formula, quoted before or not."""
QUOTED = re.compile(r"'+[=+\-@\t\r\n]")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(nan|inf)")

MONTH = (
    "jan|feb|mar|mär|mrz|apr|may|mai|jun|jul|aug|sep|sept|oct|okt|nov|dec|dez"  # English, German
)
SPOILED = re.compile(
    rf"\d{{1,2}}[-./ ]{{1,2}}({MONTH})\.?([-./ ]\d{{2,4}})?"  # 1-Mar, 1. Mrz, 1-Mar-01
    rf"|({MONTH})[-./ ]\d{{2,4}}"  # Mar-01
    r"|\d{4}[-/]\d{1,2}[-/]\d{1,2}([ T]00:00(:00)?)?"  # 2001-03-01 00:00:00
    r"|\d{1,2}[/.]\d{1,2}[/.](\d{4}|\d{2})"  # 3/1/2001
    r"|\d([.,]\d+)?E\+\d{2,3}",  # 2.31E+13, of 2310009E13Rik
    re.IGNORECASE,
)


def quoted(cell: Any) -> Any:
    """A cell of a table with ' before a text that a spreadsheet would run; anything else as it
    is."""
    # Numbers may be negative, also those that were formatted as text.
    if isinstance(cell, str) and RUN.match(cell) and not NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def unquoted(cell: str) -> str:
    """The text that `quoted` was given."""
    return cell[1:] if QUOTED.match(cell) else cell


def write_table(path: str | Path, frame: Any, *, index: bool = True, note: str = "") -> None:
    """Write a table (`pandas.DataFrame`) as a CSV file that a spreadsheet can open without running
    anything; `note` comes first, as a comment."""
    safe = frame.copy(deep=False)
    for place in range(safe.shape[1]):
        values = safe.iloc[:, place]
        # Numbers need no look at each of them.
        if values.dtype.kind not in "biufc":
            safe.isetitem(place, values.map(quoted))
    # Names of genes and perturbations stand in headers and row names as well.
    safe.index, safe.columns = _safe_labels(safe.index), _safe_labels(safe.columns)
    # Only with both characters at the end of lines are cells that hold either one quoted.
    end = "\r\n" if _holds_return(safe) else "\n"
    with files.whole(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        if note:
            file.write(f"# {note}{end}")
        safe.to_csv(file, index=index, lineterminator=end)


def _holds_return(frame: Any) -> bool:
    """Whether a text of a table holds the character that ended the lines of old Macs."""
    texts: list[Any] = []
    for labels in (frame.index, frame.columns):
        texts += labels.names
        for level in range(labels.nlevels):
            texts += labels.get_level_values(level).tolist()
    for place in range(frame.shape[1]):
        if frame.dtypes.iloc[place].kind not in "biufc":
            texts += frame.iloc[:, place].tolist()
    return any("\r" in text for text in texts if isinstance(text, str))


def _safe_labels(labels: Any) -> Any:
    if labels.nlevels > 1:
        safe = labels.set_levels([level.map(quoted) for level in labels.levels])
    else:
        safe = labels.map(quoted)
    # What an index is called becomes the header of its column.
    return safe.set_names([quoted(name) for name in labels.names])


def rows_text(columns: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    """A header and rows as the text of such a CSV file."""
    lines = []
    for row in (columns, *rows):
        text = io.StringIO(newline="")
        # Only with both characters at the end of lines are cells that hold either one quoted.
        csv.writer(text, lineterminator="\r\n").writerow([quoted(cell) for cell in row])
        lines.append(text.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines)


class Sheet(NamedTuple):
    """A table as a user wrote it."""

    header: list[str]
    rows: list[tuple[int, list[str]]]
    """Number of the line, and its cells."""
    separator: str


def read_sheet(text: str, path: str | Path, separator: str = ",") -> Sheet:
    """The cells of a CSV file separated by commas, semicolons or tabs, whichever the header holds
    most of; blank lines, and comments (#) before the header, are left out.

    Args:
        text: of the file.
        path: of the file, for messages.
        separator: the one to take where the header holds none, or as many of another.

    Raises:
        InputError: naming the line that is no row of cells.
    """
    lines = text.split("\n")
    skipped = 0
    while skipped < len(lines) and _before_header(lines[skipped]):
        # Excel's own way of naming the separator.
        if lines[skipped].lower().startswith("sep="):
            separator = lines[skipped][4:5] or separator
        skipped += 1
    header = lines[skipped] if skipped < len(lines) else ""
    separator = max((separator, *SEPARATORS), key=header.count)
    text = "\n".join(lines[skipped:])
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        for row in reader:
            cells = [unquoted(cell.strip()) for cell in row]
            # Spreadsheets fill short rows up with separators, so that blank lines hold some.
            if any(cells):
                rows.append((reader.line_num + skipped, cells))
    except csv.Error as error:
        raise InputError(
            f"line {reader.line_num + skipped} of {path} cannot be read ({error}), expected cells "
            f"separated by {NAMES[separator]}: correct the line"
        ) from error
    return Sheet(rows[0][1] if rows else [], rows[1:], separator)


def _before_header(line: str) -> bool:
    """Whether a line is blank, a comment (which a spreadsheet may have quoted) or Excel's name of
    the separator."""
    return not line.strip() or line.lower().startswith(("#", '"#', "sep="))


def decimal_sign(cells: Iterable[str], separator: str) -> str:
    """The decimal sign of numbers: a comma where it stands in one of them and does not separate
    cells."""
    comma = separator != "," and any("," in cell for cell in cells)
    return "," if comma else "."


def number(cell: str, sign: str = ".") -> float | None:
    """The number that a cell holds, with a decimal sign; None where it holds none."""
    # A point beside decimal commas would be of thousands, or of another hand.
    if sign == ",":
        cell = cell.replace(".", "?").replace(",", ".")
    # Narrower than float(), which takes "1_000" and the digits of any script.
    return float(cell) if NUMBER.fullmatch(cell) else None


def is_spoiled(name: str) -> bool:
    """Whether a name looks like a date or a number that a spreadsheet made of a gene's."""
    return SPOILED.fullmatch(name) is not None
