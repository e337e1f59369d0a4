"""Scores of finished runs as Markdown, with published numbers beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxpert.core import files
from jaxpert.core.family import Run
from jaxpert.core.settings import setting
from jaxpert.core.types import InputError
from jaxpert.models.gears.paper.labels import GROUPS, SHOWN, Named, named
from jaxpert.models.gears.settings import NAME
from jaxpert.report.published import markdown_table, read

COLUMNS = ("data", "group", "method", "metric", "value", "source")
PUBLISHED = Path(__file__).parent / "published.csv"
TABLE, MISSING = "gears_table.md", "Not drawn"
ERROR = "mse_de"
"""Mean squared error over the 20 most changed genes."""

Scores = Mapping[str, Any]
Published = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Options:
    """What stands beside our numbers."""

    published: str = setting("", "CSV file of published numbers; empty: those of the package")


def write(runs: Sequence[Run], folder: Path, options: Options) -> None:
    """`jaxpert tables`: the scores of the runs, and published ones."""
    rows = read_published(options.published)
    files.write_text(folder / TABLE, table_text(named(runs), rows))


def read_published(path: str) -> Published:
    """Published numbers from a file; an empty path stands for those of the package."""
    return read(path or PUBLISHED, COLUMNS)


def of_data(published: Published, run: Run) -> Published:
    """Published rows of the run's screen, which its name tells."""
    name = run.finished.problem.dataset.name.lower()
    # A screen's name may carry more than the name in the printed table.
    return [row for row in published if row["data"] in name]


def table_text(runs: Sequence[Named], published: Published, missing: Sequence[str] = ()) -> str:
    """The whole table as Markdown: ours, published beside ours, and what was not drawn."""
    parts = ["# GEARS: scores of finished runs\n"]
    for run, file, title in runs:
        parts.append(f"## {title}: {run.finished.problem.dataset.name} ({file})\n")
        try:
            parts.append(_scores_table(run, title))
        # A run without these scores is named, and the others go on.
        except InputError as error:
            parts.append(f"{error}.\n")
            continue
        parts += _published_table(run, of_data(published, run))
    if missing:
        parts.append(f"## {MISSING}\n")
        parts.append("- " + "\n- ".join(missing) + "\n")
    return "\n".join(parts)


def scores_of(run: Run) -> Scores:
    """The scores of a run that the GEARS paper has."""
    scores = run.finished.metrics.get(NAME)
    if not scores:
        raise InputError(
            f"metrics.json of {run.workdir} has no scores under 'gears', expected some: run it "
            "again in a new --workdir"
        )
    return scores


def groups_of(scores: Scores) -> list[str]:
    """Subgroups and all of test; validation is for choosing, not for comparing."""
    return [name for name in scores if name != "val"]


def score(scores: Scores, method: str, group: str, metric: str) -> float | None:
    """A score of the run's model ("gears") or of one of its baselines; None where there is none.

    `normalised_X` is X over that of no change, `change_vs_OTHER` the relative change of the
    normalised error against that of another method.
    """
    # The relative change of the paper's text is not stored but made of two errors.
    if metric.startswith("change_vs_"):
        other = score(scores, metric.removeprefix("change_vs_"), group, f"normalised_{ERROR}")
        error = score(scores, method, group, f"normalised_{ERROR}")
        change = _relative(error, other)
        return None if change is None else change - 1
    if metric.startswith("normalised_"):
        metric = metric.removeprefix("normalised_")
        no_change = score(scores, "no_change", group, metric)
        error = score(scores, method, group, metric)
        return _relative(error, no_change)
    of = scores["model"] if method == NAME else scores["baselines"].get(method, {})
    return of.get(group, {}).get(metric)


def _relative(error: float | None, other: float | None) -> float | None:
    """An error over another one; None where one of them is absent, and over 0."""
    if error is None or not other:
        return None
    return error / other


def _scores_table(run: Run, title: str) -> str:
    scores = scores_of(run)
    rows = []
    for group in groups_of(scores["model"]):
        # The model first, then its baselines in the order of metrics.json.
        for method in (NAME, *scores["baselines"]):
            name = title if method == NAME else method.replace("_", " ")
            cells = [GROUPS.get(group, group), name]
            for metric in SHOWN:
                cells.append(_number(score(scores, method, group, metric)))
            rows.append(cells)
    return markdown_table(["group", "method", *SHOWN.values()], rows) + "\n"


def _published_table(run: Run, published: Published) -> list[str]:
    """Published numbers beside those of the run, which may be of another split, seed or gene
    choice."""
    if not published:
        return ["No published numbers of this screen are known.\n"]
    scores, rows = scores_of(run), []
    for row in published:
        ours = score(scores, row["method"], row["group"], row["metric"])
        group, method = GROUPS.get(row["group"], row["group"]), row["method"].replace("_", " ")
        numbers = f"{row['value']:g}", _number(ours)
        rows.append([group, method, row["metric"], *numbers, row["source"]])
    header = ["group", "method", "metric", "published", "ours", "source"]
    split = run.finished.config.split.kind
    return [
        f"Published numbers (their split is simulation; here split.kind={split}):\n",
        markdown_table(header, rows) + "\n",
    ]


def _number(value: float | None) -> str:
    # NaN is the only number that differs from itself.
    if value is None or value != value:
        return "-"
    return f"{value:.4g}"
