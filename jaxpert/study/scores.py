"""What stands in each cell of the tables of a study: scores over seeds beside the paper's published
numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxpert.core.errors import InputError
from jaxpert.evaluation.baseline_names import BASELINES as MEANINGS
from jaxpert.evaluation.metrics import METRICS
from jaxpert.report.layout import QCPR, QCPR_RESAMPLED, Layout, Study
from jaxpert.report.published import read
from jaxpert.study.ledger import Cell, Row

BASELINES = tuple(MEANINGS)
OBSERVED = "observed"
"""The measurement itself, as a prediction of the planted effects."""
LIBRARIES = {QCPR: "fixed_library", QCPR_RESAMPLED: "resampled_library"}
COLUMNS = ["table", "data", "multiplier", "model", "metric", "mean", "sd"]
TRUTH = "truth"
"""In place of a number: the table that a paper cannot have, scores against the truth behind a
simulated screen."""

Published = dict[tuple[str, str, int, str, str], tuple[float, float | None]]
"""Printed (mean, standard deviation) by (table, data, multiplier, model, metric)."""


class Asked(NamedTuple):
    """What the tables are wanted for; data sets that rows are there for are shown too."""

    data: tuple[str, ...]
    multipliers: tuple[int, ...]
    seeds: tuple[int, ...]


class Place(NamedTuple):
    """Which cell of which table."""

    table: str
    data: str
    subset: str
    multiplier: int
    model: str
    metric: str


class Summary(NamedTuple):
    """The number in a cell, or why there is none."""

    mean: float | None
    sd: float | None
    seeds: int
    status: str
    """Empty, or why there is no number, or how many seeds are missing."""


class Score(NamedTuple):
    """A cell of a table, and a line of tables.csv: `Place`, `Summary` and what is printed."""

    table: str
    data: str
    subset: str
    multiplier: int
    model: str
    metric: str
    mean: float | None
    sd: float | None
    seeds: int
    status: str
    published_mean: float | None
    published_sd: float | None


def label_of(study: Study, model: str) -> str:
    """What tables call a model, a baseline or the measurement."""
    if model in study.variants:
        return study.variants[model].label
    if model == OBSERVED:
        return "the measurement itself"
    if model in BASELINES:
        return model.replace("_", " ")
    # A model that only the rows know, such as one of an earlier study, keeps its name.
    return model


def layouts_of(study: Study) -> tuple[Layout, ...]:
    """The tables of the paper, and that of every model against the planted truth."""
    # The measurement itself stands first: how near to the truth does repeating the experiment come?
    truth = Layout(
        TRUTH,
        "Recovery of the planted effects",
        (OBSERVED, *study.models_in_order()),
        ("ate_pearson", "ate_r2", "mse"),
        baselines=True,
    )
    return (*study.layouts, truth)


def read_published(path: Path | None, study: Study) -> Published:
    """Printed numbers by (table, data, multiplier, model, metric); none where there is no file."""
    numbers: Published = {}
    if path is None:
        return numbers
    models = (*study.variants, *BASELINES, OBSERVED)
    for row in read(path, COLUMNS):
        model, metric = row["model"], row["metric"]
        # A mistyped name would leave its place in the tables empty without a word.
        if model not in models or metric not in (*METRICS, QCPR, QCPR_RESAMPLED):
            raise InputError(
                f"{path} holds {row} with an unknown model or metric, expected known ones: correct "
                "that line"
            )
        key = row["table"], row["data"], row["multiplier"], model, metric
        numbers[key] = row["mean"], row["sd"]
    return numbers


def in_order(study: Study, asked: Asked, rows: Mapping[Cell, Row]) -> dict[Cell, Row]:
    """The rows in the order of the tables, whatever the order in which they were finished: data
    sets that were asked for and then others by name, models as in the layouts and then others by
    name."""
    models = study.models_in_order()

    # Rows are appended as runs end, in any order; reports must not depend on it.
    def place(cell: Cell) -> tuple[Any, ...]:
        return (
            _rank(cell.data, asked.data),
            _rank(cell.model, models),
            cell.multiplier,
            cell.seed,
        )

    return {cell: rows[cell] for cell in sorted(rows, key=place)}


def _rank(name: str, first: Sequence[str]) -> tuple[int, str]:
    """The place of a name in a list, or behind its end; names behind it are told apart by name."""
    if name in first:
        return first.index(name), name
    return len(first), name


def scores_of(
    layout: Layout, study: Study, asked: Asked, rows: Mapping[Cell, Row], published: Published
) -> list[Score]:
    """Every cell of a table, run or not."""
    scores = []
    for place in _places(layout, study, asked, rows):
        values = []
        for seed in asked.seeds:
            row = _row_of(rows, place, study, seed)
            if row is not None:
                values.append(_value(row, place))
        printed = None, None
        if place.subset != "held_out":  # papers do not report it
            key = place.table, place.data, place.multiplier, place.model, place.metric
            printed = published.get(key, printed)
        scores.append(Score(*place, *_summary(values, len(asked.seeds)), *printed))
    return scores


def _places(
    layout: Layout, study: Study, asked: Asked, rows: Mapping[Cell, Row]
) -> Iterator[Place]:
    """The cells of a table in order."""
    for data in asked.data:
        models = layout.models
        if layout.baselines:
            models = (*models, *baselines_of(data, rows))
        subsets = subsets_of(study, data, rows)
        if layout.table == TRUTH:
            # The planted effects have no split of their own, so one subset is enough.
            subsets = subsets[-1:] if _has_truth(data, rows) else ()
        for subset, model, multiplier in itertools.product(subsets, models, asked.multipliers):
            for metric in layout.metrics:
                # Baselines predict means and generate no cells.
                if model not in BASELINES or metric not in LIBRARIES:
                    yield Place(layout.table, data, subset, multiplier, model, metric)


def baselines_of(data: str, rows: Mapping[Cell, Row]) -> tuple[str, ...]:
    """Baselines that any run on a data set stands beside; all of them before there is one."""
    made: set[str] = set()
    for cell, row in rows.items():
        if cell.data == data:
            made |= set(row.get("baselines", ()))
    # What a data set allows, and what an older run knew, shows in its rows.
    return tuple(name for name in BASELINES if name in made or not made)


def _has_truth(data: str, rows: Mapping[Cell, Row]) -> bool:
    """Whether any run on a data set was scored against planted effects."""
    return any(cell.data == data and bool(row.get("truth")) for cell, row in rows.items())


def subsets_of(study: Study, data: str, rows: Mapping[Cell, Row]) -> tuple[str, ...]:
    """Where scores are shown: unseen combinations ("test"), or for splits of cells the test cells
    alone, and then all perturbations as papers report them."""
    for cell, row in rows.items():
        if cell.data == data and "failed" not in row:
            # Runs on one data set share the split, so the first one tells.
            if "held_out" in row["scores"]:
                # What training did not see comes first.
                return ("held_out", "all")
            return ("test",) if "test" in row["scores"] else ("all",)
    # Nothing was run yet: where the paper's own numbers belong.
    if data in study.data:
        return (study.data[data].subset,)
    return ("all",)


def _row_of(rows: Mapping[Cell, Row], place: Place, study: Study, seed: int) -> Row | None:
    """The row that has the scores of a place for a seed. Those of baselines stand in the rows of
    every model, of which the first that did not fail is taken."""
    if place.model not in (*BASELINES, OBSERVED):
        return rows.get(Cell(place.data, place.model, place.multiplier, seed))
    # In the order of the tables, so that it does not depend on which run ended first.
    for host in study.models_in_order():
        row = rows.get(Cell(place.data, host, place.multiplier, seed))
        if row is not None and "failed" not in row:
            return row
    return None


def _value(row: Row, place: Place) -> float | str | None:
    """A number, None where it is undefined, or a word for why there is none."""
    model, subset, metric = place.model, place.subset, place.metric
    if "failed" in row:
        # The word before the colon tells how; what follows is a sentence of its own.
        return row["failed"].partition(":")[0]
    if place.table == TRUTH:
        # A row calls the run's own model "model", and the others by their names.
        predictor = model if model in (*BASELINES, OBSERVED) else "model"
        return (row["truth"] or {}).get(predictor, {}).get(subset, {}).get(metric)
    if metric in LIBRARIES:
        rate = row.get("pass_rate", {}).get(LIBRARIES[metric])
        return "not measured" if rate is None else rate
    scores = row["scores"]
    if model in BASELINES:
        scores = row["baselines"].get(model)
        if scores is None:
            return "not made"
    return scores.get(subset, {}).get(metric)


def _summary(finished: Sequence[float | str | None], seeds: int) -> Summary:
    """Mean and standard deviation over the seeds that have a number, and what is to be said of the
    others; no mean where the score of a finished seed is undefined."""
    if not finished:
        return Summary(None, None, 0, "not run")
    words = [value for value in finished if isinstance(value, str)]
    numbers = [value for value in finished if isinstance(value, int | float)]
    if len(words) == len(finished):
        return Summary(None, None, 0, words[0])
    # A mean over the other seeds would look better than the model is.
    if len(numbers) + len(words) < len(finished):
        return Summary(None, None, len(numbers), "undefined")
    status = ""
    if len(numbers) < seeds:
        status = f"{len(numbers)} of {seeds} seeds"
    for word in sorted(set(words)):
        status += f", {words.count(word)} {word}"
    # One seed has no spread.
    sd = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None
    return Summary(float(np.mean(numbers)), sd, len(numbers), status)
