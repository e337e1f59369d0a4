"""Rows of a study as the tables of the CRADLE-VAE paper, beside its published numbers: CSV,
Markdown and HTML."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxpert.evaluation.metrics import METRICS
from jaxpert.study import advantage, ledger
from jaxpert.study.advantage import QCPR, Advantage
from jaxpert.study.ledger import Cell, Row
from jaxpert.study.scores import (
    BASELINES,
    LABELS,
    LAYOUTS,
    PAPER,
    QCPR_RESAMPLED,
    TRUTH,
    Asked,
    Score,
    read_published,
    scores_of,
)

EMPTY = ("not run", "diverged", "refused", "undefined", "not entered", "")
"""Words that stand where a number is missing."""


class Section(NamedTuple):
    """A table as text."""

    title: str
    notes: list[str]
    columns: list[str]
    rows: list[list[str]]


def write_tables(results: Path, asked: Asked, published: Path | None = None) -> list[Path]:
    """Write tables.csv, tables.md, tables.html and advantage.csv from the rows of a results folder.

    Args:
        results: folder with rows.jsonl and runs/.
        asked: data sets, MAD multipliers and seeds that are wanted; what is missing is named in its
            cell.
        published: CSV of printed numbers (columns COLUMNS); None for none.
    """
    numbers = read_published(published)
    found = ledger.read(results / "rows.jsonl")
    data = tuple(dict.fromkeys((*asked.data, *(cell.data for cell in found.rows))))
    asked = asked._replace(data=data)
    scores = [
        score
        for layout in (*LAYOUTS, TRUTH)
        for score in scores_of(layout, asked, found.rows, numbers)
    ]
    compared, notes = [], list(found.notes) + failures(found.rows)
    for name in data:
        for multiplier in asked.multipliers:
            more, said = advantage.advantages(found.rows, results, name, multiplier, asked.seeds)
            compared, notes = compared + more, notes + said
    sections = [*score_sections(scores, len(asked.seeds)), *advantage_sections(compared)]
    title = "CRADLE-VAE and its baselines"
    seeds = ", ".join(map(str, asked.seeds))
    notes = [
        f"Mean ± standard deviation over seeds {seeds}; better and worse: the interval excludes 0.",
        *notes,
    ]
    pages = {
        "tables.md": markdown(title, notes, sections),
        "tables.html": html(title, notes, sections),
    }
    pages |= {"tables.csv": as_csv(Score, scores), "advantage.csv": as_csv(Advantage, compared)}
    return [_write(results / name, text) for name, text in pages.items()]


def failures(rows: Mapping[Cell, Row]) -> list[str]:
    """One sentence per run that failed."""
    said: dict[str, list[str]] = {}
    for cell, row in rows.items():
        if "failed" in row:
            said.setdefault(f"{cell.model} on {cell.data}: {row['failed']}", []).append(
                f"{cell.multiplier} MAD seed {cell.seed}"
            )
    return [f"{what} ({', '.join(where)})" for what, where in said.items()]


def number(mean: float | None, sd: float | None, status: str = "") -> str:
    """ "0.812 ± 0.010 (3 of 5 seeds)", or the reason for no number."""
    if mean is None:
        return status
    text = f"{round(mean, 3) + 0.0:.3f}" + (
        f" ± {sd:.3f}" if sd is not None else ""
    )  # + 0.0 turns -0 into 0
    return (text + (f" ({status})" if status else "")).replace("-", "−")


def score_sections(scores: Sequence[Score], seeds: int) -> list[Section]:
    """One text table for each table of the paper, data set and subset."""
    groups: dict[tuple[str, str, str], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.table, score.data, score.subset), []).append(score)
    return [_section(*at, group) for at, group in groups.items()]


def _section(table: str, data: str, subset: str, scores: Sequence[Score]) -> Section:
    layout = next(each for each in (*LAYOUTS, TRUTH) if each.table == table)
    columns = list(dict.fromkeys((score.multiplier, score.metric) for score in scores))
    by_model: dict[str, dict[tuple[int, str], Score]] = {}
    for score in scores:
        by_model.setdefault(score.model, {})[score.multiplier, score.metric] = score
    printed = any(score.published_mean is not None for score in scores)
    rows = []
    for model, cells in by_model.items():
        rows.append([LABELS[model]] + [_text(cells.get(column)) for column in columns])
        if printed and model not in BASELINES:
            rows.append(
                [f"{LABELS[model]}, published"]
                + [_published(cells.get(column)) for column in columns]
            )
    notes = []
    if data in PAPER and table != TRUTH.table and subset != "held_out" and not printed:
        notes = [f"published: not entered (CRADLE-VAE, AAAI 2025, Table {table})"]
    heads = [f"{label(metric)}, {k} MAD" for k, metric in columns]
    start = f"Table {table}. " if table != TRUTH.table else ""
    return Section(
        f"{start}{layout.title}: {data}, {WHERE[subset]}", notes, ["model", *heads], rows
    )


def _text(score: Score | None) -> str:
    return "" if score is None else number(score.mean, score.sd, score.status)


def _published(score: Score | None) -> str:
    if score is None:
        return ""
    return (
        "not entered"
        if score.published_mean is None
        else number(score.published_mean, score.published_sd)
    )


WHERE = {
    "test": "unseen perturbations (test)",
    "all": "all perturbations",
    "held_out": "test cells alone (held out)",
    "truth": "all perturbations against the planted truth",
    "generated": "generated cells",
}


def label(metric: str) -> str:
    """A score's name as a column's head."""
    own = {QCPR: "QCPR ↑", QCPR_RESAMPLED: "QCPR, real library sizes ↑"}
    return (
        own[metric]
        if metric in own
        else METRICS[metric].label + (" ↑" if METRICS[metric].higher_is_better else " ↓")
    )


def advantage_sections(compared: Sequence[Advantage]) -> list[Section]:
    """CRADLE-VAE minus each rival, one text table per data set, threshold and subset."""
    groups: dict[tuple[str, int, str], list[Advantage]] = {}
    for each in compared:
        groups.setdefault((each.data, each.multiplier, each.subset), []).append(each)
    sections = []
    for (data, multiplier, subset), group in groups.items():
        metrics = list(dict.fromkeys(each.metric for each in group))
        rivals = {
            each.rival: {e.metric: e for e in group if e.rival == each.rival} for each in group
        }
        rows = [
            [LABELS.get(r, r)] + [_difference(of.get(m)) for m in metrics]
            for r, of in rivals.items()
        ]
        interval = (
            ""
            if metrics == [QCPR]
            else "the 95 % interval over resampled perturbations and seeds, and "
        )
        notes = [
            f"Differences, mean over {_seeds(group)}, with {interval}the standard deviation over "
            "seeds."
        ]
        title = f"CRADLE-VAE minus each other: {data}, {multiplier} MAD, {WHERE[subset]}"
        sections.append(Section(title, notes, ["rival", *map(label, metrics)], rows))
    return sections


def _seeds(group: Sequence[Advantage]) -> str:
    counts = sorted({each.seeds for each in group})
    return " or ".join(map(str, counts)) + " paired seed" + ("" if counts == [1] else "s")


def _difference(one: Advantage | None) -> str:
    """ "+0.012 [-0.003, +0.030], sd 0.004: undecided"."""
    if one is None or not math.isfinite(one.difference):
        return "undefined"
    text = f"{one.difference:+.3f}"
    text += f" [{one.low:+.3f}, {one.high:+.3f}]" if math.isfinite(one.low) else ""
    text += f", sd {one.sd:.3f}" if math.isfinite(one.sd) else ""
    return text.replace("-", "−") + (f": {one.outcome}" if math.isfinite(one.low) else "")


def markdown(title: str, notes: Sequence[str], sections: Sequence[Section]) -> str:
    """Pipe tables."""
    lines = [f"# {title}", "", *(f"{note}\n" for note in notes)]
    for section in sections:
        lines += [f"## {section.title}", "", *(f"{note}\n" for note in section.notes)]
        lines += [
            "| " + " | ".join(text.replace("|", "\\|") for text in row) + " |"
            for row in (section.columns,)
        ]
        lines += ["|" + "---|" * len(section.columns)]
        lines += [
            "| " + " | ".join(text.replace("|", "\\|") for text in row) + " |"
            for row in section.rows
        ]
        lines.append("")
    return "\n".join(lines)


def html(title: str, notes: Sequence[str], sections: Sequence[Section]) -> str:
    """One page that needs nothing else; every value is escaped, since names come from the user's
    data."""
    import jinja2

    loader = jinja2.PackageLoader("jaxpert.report")
    page = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return page.get_template("tables.html").render(
        title=title, notes=notes, sections=sections, empty=EMPTY
    )


def as_csv(kind: Any, records: Sequence[Any]) -> str:
    """One line per record."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(kind._fields)
    writer.writerows(records)
    return text.getvalue()


def _write(path: Path, text: str) -> Path:
    """Write whole or not at all; other processes may write the same tables."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
    return path
