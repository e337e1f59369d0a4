"""Sections for the scores that one paper has of its own, beside the same baselines.

A family of models says in a `Section` how its scores are called and read; the numbers come from the
part of metrics.json that the section is given for.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxpert.report.numbers import digits_for, finite, in_words
from jaxpert.report.tables import ARROWS, Row, Table, best_baseline, named, score_cells


class Score(NamedTuple):
    """How a score is shown."""

    label: str
    sign: int
    """1 where higher is better, -1 where lower is."""
    meaning: str


class Section(NamedTuple):
    """How the scores of a paper are shown.

    Example:
        SECTION = Section(
            title="Scores of the paper",
            text="Means over the held-out conditions.",
            scores={"mse": Score("MSE", -1, "Squared error of the mean over all genes.")},
        )
    """

    title: str
    text: str
    """What all of the numbers are, in a few sentences."""
    scores: Mapping[str, Score]
    """By name in metrics.json, in the order of the rows."""
    groups: Mapping[str, str] = MappingProxyType({})
    """What the first words of the names of groups are called."""


COVERAGE = Section(
    title="Do the intervals hold?",
    text=(
        "Share of measured effects, over all genes of the conditions of a group, that lie in the "
        "intervals of the model. An interval is predicted from training alone; the noise of the "
        "measurement, where its cells tell it, is a part of it. Of a simulated screen the planted "
        "effects, which have no noise, are held against intervals for true effects."
    ),
    scores={
        "covered_50": Score("In the 50 % intervals", 0, "0.5 is right; less is overconfident."),
        "covered_90": Score("In the 90 % intervals", 0, "0.9 is right; less is overconfident."),
    },
)
"""Of models that say how unsure they are (`evaluation.coverage`)."""


class Filled(NamedTuple):
    """A section with the numbers of a run."""

    title: str
    text: str
    tables: list[Table]
    notes: list[str]

    @property
    def alone(self) -> bool:
        """Whether the model stands beside nothing, so that its groups fit one table."""
        labels = {tuple(row.label for row in table.rows) for table in self.tables}
        return len(labels) == 1 and all(len(table.methods) == 1 for table in self.tables)


def filled_sections(metrics: Mapping[str, Any], sections: Mapping[str, Section]) -> list[Filled]:
    """Every section that metrics.json has scores for.

    Args:
        metrics: content of metrics.json; what it holds under a key of `sections` is {"model":
            {group: {score: value}}, "baselines": {method: the same}} and, if known, {"conditions":
            {group: number}, "notes": [sentence]}.
        sections: by that key.
    """
    filled = []
    for key, section in sections.items():
        scores = metrics.get(key)
        if scores:
            tables = _tables(scores, section)
            notes = [in_words(note) for note in scores.get("notes") or []]
            filled.append(Filled(section.title, section.text, tables, notes))
    return filled


def _tables(scores: Mapping[str, Any], section: Section) -> list[Table]:
    """One table for each group that the model is scored on."""
    # The model comes first, as in every other table.
    methods = {"model": scores["model"], **scores["baselines"]}
    sizes = scores.get("conditions") or {}
    tables = []
    for group in scores["model"]:
        # A method may be scored on some groups only, such as one direction of a translation.
        here = {"model": scores["model"][group]}
        here |= {name: of[group] for name, of in methods.items() if of.get(group)}
        called = _called(group, section.groups)
        tables.append(Table(called, sizes.get(group), list(here), _rows(here, section), []))
    return tables


def _called(group: str, names: Mapping[str, str]) -> str:
    first, blank, rest = group.partition(" ")
    return f"{names.get(first, first)}{blank}{rest}"


def _rows(methods: Mapping[str, Mapping[str, Any]], section: Section) -> list[Row]:
    """A row for each score that any method has."""
    rows = []
    for name, score in section.scores.items():
        if any(name in scores for scores in methods.values()):
            rows.append(_row(score, {of: scores.get(name) for of, scores in methods.items()}))
    return rows


def _row(score: Score, values: Mapping[str, Any]) -> Row:
    """A score of every method, the best of them marked."""
    # Digits are shared along a row, so that its numbers can be compared.
    digits = digits_for(list(filter(finite, values.values())))
    cells = score_cells(values, score.sign, digits, why="no value")
    rival = named(best_baseline(values, score.sign), cells)
    return Row(score.label, ARROWS[score.sign], score.meaning, list(cells.values()), rival)
