"""Scores as plain tables: lines on the screen, Markdown, and rows of a CSV file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxpert.evaluation.metrics import METRICS
from jaxpert.evaluation.subset_names import UNSEEN_FIRST
from jaxpert.report.numbers import digits_for, finite, fixed, heading, label
from jaxpert.report.published import markdown_table
from jaxpert.report.tables import ARROWS

NOTHING = "–"
"""Stands for a score that has no value."""


class Plain(NamedTuple):
    """A table of texts."""

    title: str
    header: list[str]
    rows: list[list[str]]

    @property
    def text(self) -> str:
        """Columns aligned by blanks: the first to the left, numbers to the right."""
        table = [self.header, *self.rows]
        widths = [max(len(row[c]) for row in table) for c in range(len(self.header))]
        lines = []
        for first, *numbers in table:
            cells = [text.rjust(w) for text, w in zip(numbers, widths[1:], strict=True)]
            lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
        return "\n".join([self.title, *lines])

    @property
    def markdown(self) -> str:
        """With its title as a heading."""
        return f"## {self.title}\n\n{markdown_table(self.header, self.rows)}\n"


def headline_subset(subsets: Sequence[str]) -> str:
    """The subset that a verdict would speak of, of those there are."""
    return next((name for name in UNSEEN_FIRST if name in subsets), subsets[0])


def score_name(name: str) -> str:
    """A score with the direction that is better."""
    sign = 0
    if name in METRICS:
        sign = 1 if METRICS[name].higher_is_better else -1
    return f"{label(name)} {ARROWS[sign]}".rstrip()


def number_texts(values: Sequence[Any]) -> list[str]:
    """Numbers with the same decimals; NOTHING for what has no value."""
    digits = digits_for([value for value in values if finite(value)])
    return [fixed(value, digits) if finite(value) else NOTHING for value in values]


def score_tables(metrics: Mapping[str, Any]) -> list[Plain]:
    """One table for each subset of metrics.json, the one that counts most first: scores down,
    methods across."""
    methods = {"model": metrics["model"], **metrics["baselines"]}
    subsets = list(metrics["model"])
    first = headline_subset(subsets)
    tables = []
    for subset in sorted(subsets, key=lambda name: name != first):
        rows = []
        for name in metrics["model"][subset]:
            values = [scores.get(subset, {}).get(name) for scores in methods.values()]
            rows.append([score_name(name), *number_texts(values)])
        number = (metrics.get("perturbations") or {}).get(subset)
        title = f"{heading(subset)} ({number} perturbations)"
        tables.append(Plain(title, ["score", *map(label, methods)], rows))
    return tables


def school_tables(metrics: Mapping[str, Any]) -> list[Plain]:
    """The scores of the other schools, where there are some."""
    schools = metrics.get("schools")
    if not schools:
        return []
    methods = list(dict.fromkeys(name for of in schools["scores"].values() for name in of))
    rows = []
    for score, of in schools["scores"].items():
        rows.append([score, *number_texts([of.get(method) for method in methods])])
    title = f"Scores of other schools, {schools['subset']}"
    return [Plain(title, ["score", *map(label, methods)], rows)]


def score_lines(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Lines of a CSV file: every score of every method on every subset, and for baselines the model
    minus them with its interval."""
    lines = []
    methods = {"model": metrics["model"], **metrics["baselines"]}
    for subset, scores in metrics["model"].items():
        compared = (metrics.get("comparison") or {}).get(subset) or {}
        for name in scores:
            for method, of in methods.items():
                gap = (compared.get(name) or {}).get(method) or {}
                lines.append(
                    {
                        "subset": subset,
                        "perturbations": (metrics.get("perturbations") or {}).get(subset),
                        "score": name,
                        "method": method,
                        "value": of.get(subset, {}).get(name),
                        "model minus it": gap.get("difference"),
                        "low": gap.get("low"),
                        "high": gap.get("high"),
                    }
                )
    return lines + _school_lines(metrics)


def _school_lines(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    schools = metrics.get("schools") or {"scores": {}}
    lines = []
    for score, of in schools["scores"].items():
        for method, value in of.items():
            line = {"subset": schools["subset"], "perturbations": schools["perturbations"]}
            lines.append(line | {"score": score, "method": method, "value": value})
    return lines
