"""Every table of a report as a CSV file beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxpert.core import files
from jaxpert.core.spreadsheets import rows_text
from jaxpert.report import plain
from jaxpert.report.numbers import is_scalar
from jaxpert.report.perturbations import Each, Panels

FOLDER = "tables"
OWN = ("each", "model", "baselines", "comparison", "scores", "claims", "calibration")
"""Parts of metrics.json that have a table of their own, or are for programs."""
Table = tuple[Sequence[str], Iterable[Iterable[Any]]]


def write(
    workdir: Path,
    metrics: Mapping[str, Any],
    training: Sequence[Mapping[str, Any]],
    each: Each | None,
    panels: Panels | None,
) -> list[str]:
    """Write the folder of tables, whole; returns the names of its files."""
    texts = {name: rows_text(*table) for name, table in _tables(metrics, training, each, panels)}
    if not texts:
        return []
    with files.whole_folder(workdir / FOLDER) as part:
        for name, text in texts.items():
            files.write_text(part / f"{name}.csv", text)
    return list(texts)


def _tables(
    metrics: Mapping[str, Any],
    training: Sequence[Mapping[str, Any]],
    each: Each | None,
    panels: Panels | None,
) -> Iterator[tuple[str, Table]]:
    if each is not None:
        columns = list(each.values)
        yield "perturbations", (columns, ([each.values[c][i] for c in columns] for i in each.order))
    if each is not None and panels is not None:
        yield "genes", (("perturbation", "gene", "measured", "predicted"), _genes(each, panels))
    if metrics.get("model") and metrics.get("baselines") is not None:
        lines = plain.score_lines(metrics)
        header = list(lines[0]) if lines else []
        yield "scores", (header, ([line.get(name) for name in header] for line in lines))
    if training:
        header = list(dict.fromkeys(name for row in training for name in row))
        yield "training", (header, ([row.get(name) for name in header] for row in training))
    facts = list(_facts({name: part for name, part in metrics.items() if name not in OWN}, ""))
    if facts:
        yield "facts", (("where", "value"), facts)


def _genes(each: Each, panels: Panels) -> Iterator[list[Any]]:
    for line, (genes, measured, predicted) in zip(each.lines, panels.rows, strict=True):
        for gene, a, b in zip(genes, measured, predicted, strict=True):
            yield [line.name, panels.genes[int(gene)], a, b]


def _facts(part: Any, where: str) -> Iterator[list[Any]]:
    """Every single value with the way to it."""
    if is_scalar(part):
        yield [where, part]
    elif isinstance(part, Mapping):
        for name, inside in part.items():
            yield from _facts(inside, f"{where} / {name}" if where else str(name))
    elif isinstance(part, list):
        for number, inside in enumerate(part, start=1):
            yield from _facts(inside, f"{where} / {number}")
