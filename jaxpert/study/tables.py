"""Rows of a study as the tables of its paper, beside the published numbers: CSV, Markdown and
HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxpert.core import files, log
from jaxpert.core.spreadsheets import rows_text
from jaxpert.report import page
from jaxpert.report.layout import Study
from jaxpert.report.published import markdown_table
from jaxpert.study import advantage, ledger
from jaxpert.study.advantage import Advantage
from jaxpert.study.ledger import ROWS, Cell, Row
from jaxpert.study.scores import (
    Asked,
    Score,
    in_order,
    layouts_of,
    read_published,
    scores_of,
)
from jaxpert.study.sections import Section, advantage_sections, score_sections

EMPTY = ("not run", "diverged", "refused", "undefined", "not entered", "")
"""Words that stand where a number is missing."""


def write_tables(
    study: Study, results: Path, asked: Asked, published: Path | None = None
) -> list[Path]:
    """Write tables.csv, tables.md, tables.html and advantage.csv from the rows of a results folder.

    The same rows give the same files, whatever the order in which they were finished.

    Args:
        study: what is compared.
        results: folder with rows.jsonl and runs/.
        asked: data sets, MAD multipliers and seeds that are wanted; what is missing is named in its
            cell.
        published: CSV of printed numbers (columns COLUMNS); None for none.
    """
    numbers = read_published(published, study)
    entries = ledger.read(results / ROWS)
    # Said and not written: lines that a kill left tell of the past and not of the results.
    for note in entries.notes:
        log.say(f"note: {note}")
    rows = in_order(study, asked, entries.rows)
    asked = asked._replace(data=tuple(dict.fromkeys((*asked.data, *(cell.data for cell in rows)))))
    scores: list[Score] = []
    for layout in layouts_of(study):
        scores += scores_of(layout, study, asked, rows, numbers)
    compared, more = _compare(study, rows, results, asked)
    seeds = ", ".join(map(str, asked.seeds))
    notes = [
        f"Mean ± standard deviation over seeds {seeds}; better and worse: the interval excludes 0.",
        *failures(rows),
        *more,
    ]
    sections = [*score_sections(scores, study), *advantage_sections(compared, study)]
    texts = {
        "tables.md": markdown(study.title, notes, sections),
        "tables.html": html(study.title, notes, sections),
        "tables.csv": rows_text(Score._fields, scores),
        "advantage.csv": rows_text(Advantage._fields, compared),
    }
    # Whole or not at all, since other processes may write the same tables at the same time.
    for name, text in texts.items():
        files.write_text(results / name, text)
    return [results / name for name in texts]


def _compare(
    study: Study, rows: Mapping[Cell, Row], results: Path, asked: Asked
) -> tuple[list[Advantage], list[str]]:
    """The study's subject minus each other model, everywhere, and what is not compared."""
    compared: list[Advantage] = []
    notes: list[str] = []
    for data in asked.data:
        for multiplier in asked.multipliers:
            more, said = advantage.advantages(
                study.subject, rows, results, data, multiplier, asked.seeds
            )
            compared += more
            notes += said
    return compared, notes


def failures(rows: Mapping[Cell, Row]) -> list[str]:
    """One sentence per run that failed."""
    places: dict[str, list[str]] = {}
    for cell, row in rows.items():
        if "failed" in row:
            failure = f"{cell.model} on {cell.data}: {row['failed']}"
            places.setdefault(failure, []).append(f"{cell.multiplier} MAD seed {cell.seed}")
    return [f"{failure} ({', '.join(where)})" for failure, where in places.items()]


def markdown(title: str, notes: Sequence[str], sections: Sequence[Section]) -> str:
    """Pipe tables."""
    lines = [f"# {title}", "", *(f"{note}\n" for note in notes)]
    for section in sections:
        lines += [f"## {section.title}", "", *(f"{note}\n" for note in section.notes)]
        lines += [markdown_table(section.columns, section.rows), ""]
    return "\n".join(lines)


def html(title: str, notes: Sequence[str], sections: Sequence[Section]) -> str:
    """One page that needs nothing else; every value is escaped, since names come from the user's
    data."""
    return page.render_runs(
        "tables.html", (), title=title, notes=notes, sections=sections, empty=EMPTY
    )
