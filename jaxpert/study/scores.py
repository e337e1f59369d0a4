"""What stands in each cell of the tables of a study: scores over seeds beside the paper's published
numbers."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxpert.core.types import InputError
from jaxpert.evaluation.metrics import METRICS
from jaxpert.study.advantage import QCPR
from jaxpert.study.ledger import Cell, Row

LABELS = {
    "conditional_vae": "Conditional VAE",
    "svae_plus": "sVAE+",
    "cpa_vae": "CPA-VAE",
    "sams_vae": "SAMS-VAE",
    "sams_vae_passed": "SAMS-VAE, passed cells only",
    "cradle_vae": "CRADLE-VAE",
    "cradle_vae_without_counterfactual": "CRADLE-VAE w/o counterfactual",
    "cradle_vae_without_causal": "CRADLE-VAE w/o causal artifact",
    "no_change": "no change",
    "mean_perturbation": "mean perturbation",
    "additive": "additive",
    "linear": "linear",
    "observed": "the measurement itself",
}
BASELINES = ("no_change", "mean_perturbation", "additive", "linear")
QCPR_RESAMPLED = "qcpr_resampled"
LIBRARIES = {QCPR: "fixed_library", QCPR_RESAMPLED: "resampled_library"}
PAPER = ("norman", "dixit", "replogle", "adamson")
COMBINED = ("norman", "dixit")
COLUMNS = ["table", "data", "multiplier", "model", "metric", "mean", "sd"]


class Layout(NamedTuple):
    """What a table of the paper shows."""

    table: str
    title: str
    models: tuple[str, ...]
    metrics: tuple[str, ...]


MODELS = ("conditional_vae", "svae_plus", "cpa_vae", "sams_vae", "cradle_vae")
MAIN = ("ate_pearson", "ate_r2", "jaccard_top50", QCPR)
LAYOUTS = (
    Layout(
        "2",
        "Effects and quality of generated cells",
        (*MODELS, *BASELINES),
        (*MAIN, QCPR_RESAMPLED),
    ),
    Layout(
        "3",
        "Ablations",
        ("cradle_vae", "cradle_vae_without_counterfactual", "cradle_vae_without_causal"),
        MAIN,
    ),
    Layout(
        "4",
        "The 20 genes that each perturbation moves most",
        (*MODELS, *BASELINES),
        ("ate_pearson_top20", "ate_r2_top20", "jaccard_top20"),
    ),
    Layout("5", "Training on passed cells only", ("sams_vae_passed", "cradle_vae"), MAIN),
)
TRUTH = Layout(
    "truth",
    "Recovery of the planted effects",
    ("observed", *MODELS, *LAYOUTS[1].models[1:], "sams_vae_passed", *BASELINES),
    ("ate_pearson", "ate_r2", "mse"),
)
"""A table that the paper cannot have: scores against the truth behind a simulated screen."""


class Asked(NamedTuple):
    """What the tables are wanted for; data sets that rows are there for are shown too."""

    data: tuple[str, ...]
    multipliers: tuple[int, ...]
    seeds: tuple[int, ...]


class Score(NamedTuple):
    """One cell of a table, and one line of tables.csv."""

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
    """Empty, or why there is no number, or how many seeds are missing."""
    published_mean: float | None
    published_sd: float | None


Published = dict[tuple[str, str, int, str, str], tuple[float, float | None]]


def read_published(path: Path | None) -> Published:
    """Printed numbers by (table, data, multiplier, model, metric); lines that begin with # are
    comments."""
    if path is None:
        return {}
    if not path.is_file():
        raise InputError(
            f"there is no file {path} of published numbers, expected a CSV of {','.join(COLUMNS)}"
        )
    lines = [
        line
        for line in path.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    reader = csv.DictReader(lines)
    if list(reader.fieldnames or ()) != COLUMNS:
        raise InputError(
            f"{path} has the columns {reader.fieldnames}, expected {','.join(COLUMNS)}"
        )
    found: Published = {}
    for line in reader:
        try:
            key = (
                line["table"],
                line["data"],
                int(line["multiplier"]),
                line["model"],
                line["metric"],
            )
            value = float(line["mean"]), float(line["sd"]) if line["sd"] else None
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{path} holds {line}, expected numbers for multiplier, mean and sd: {error}"
            ) from error
        if key[3] not in LABELS or key[4] not in (*METRICS, QCPR, QCPR_RESAMPLED) or key in found:
            raise InputError(
                f"{path} holds {line} twice or with an unknown model or metric: correct that line"
            )
        found[key] = value
    return found


def scores_of(
    layout: Layout, asked: Asked, rows: Mapping[Cell, Row], published: Published
) -> list[Score]:
    """Every cell of one table, run or not."""
    found = []
    for data in asked.data:
        if layout is TRUTH and not any(
            row.get("truth") for cell, row in rows.items() if cell.data == data
        ):
            continue
        for subset in subsets_of(data, rows)[: 1 if layout is TRUTH else None]:
            for model in layout.models:
                for k in asked.multipliers:
                    known = [rows_of(rows, data, model, k, seed) for seed in asked.seeds]
                    for metric in layout.metrics:
                        if model in BASELINES and metric in LIBRARIES:
                            continue  # they predict means and generate no cells
                        printed = None
                        if subset != "held_out":
                            printed = published.get((layout.table, data, k, model, metric))
                        at = layout.table, data, subset, k, model, metric
                        values = [
                            row and _value(row, layout, model, subset, metric) for row in known
                        ]
                        found.append(
                            Score(*at, *_summary(known, values), *(printed or (None, None)))
                        )
    return found


def subsets_of(data: str, rows: Mapping[Cell, Row]) -> tuple[str, ...]:
    """Where the paper reports: unseen combinations ("test"), or for splits of cells all of them,
    with the test cells alone beside."""
    scored = next(
        (row["scores"] for cell, row in rows.items() if cell.data == data and "failed" not in row),
        None,
    )
    if scored is None:
        return ("test",) if data in COMBINED else ("all",)
    return (
        ("all", "held_out") if "held_out" in scored else ("test",) if "test" in scored else ("all",)
    )


def rows_of(
    rows: Mapping[Cell, Row], data: str, model: str, multiplier: int, seed: int
) -> Row | None:
    """The row of a model; baselines stand in the rows of every model that was trained on all
    cells."""
    if model in (*BASELINES, "observed"):
        hosts = [rows.get(Cell(data, name, multiplier, seed)) for name in LABELS]
        return next((row for row in hosts if row is not None and "failed" not in row), None)
    return rows.get(Cell(data, model, multiplier, seed))


def _value(row: Row, layout: Layout, model: str, subset: str, metric: str) -> float | str | None:
    """A number, None where it is undefined, or a word for why there is none."""
    if "failed" in row:
        return row["failed"].partition(":")[0]
    if layout is TRUTH:
        who = model if model in (*BASELINES, "observed") else "model"
        return (row["truth"] or {}).get(who, {}).get(subset, {}).get(metric)
    if metric in LIBRARIES:
        rate = row.get("pass_rate", {}).get(LIBRARIES[metric])
        return "not measured" if rate is None else rate
    scores = row["baselines"][model] if model in BASELINES else row["scores"]
    return scores.get(subset, {}).get(metric)


def _summary(
    rows: Sequence[Row | None], values: Sequence[Any]
) -> tuple[float | None, float | None, int, str]:
    """Mean, standard deviation, number of seeds, and what is to be said."""
    if not any(row is not None for row in rows):
        return None, None, 0, "not run"
    there = [value for row, value in zip(rows, values, strict=True) if row is not None]
    words = [value for value in there if isinstance(value, str)]
    numbers = [value for value in there if isinstance(value, int | float)]
    if not numbers or len(numbers) + len(words) < len(there):
        return (
            None,
            None,
            len(numbers),
            words[0] if words and len(words) == len(there) else "undefined",
        )
    missing = f"{len(numbers)} of {len(rows)} seeds" if len(numbers) < len(rows) else ""
    failed = "".join(f", {words.count(word)} {word}" for word in sorted(set(words)))
    sd = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None
    return float(np.mean(numbers)), sd, len(numbers), missing + failed
