"""The report of a run: one HTML file that needs nothing else, made from what lies in the work
directory."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jaxpert.core import files
from jaxpert.core.types import InputError
from jaxpert.report import csv_tables, numbers, work_files
from jaxpert.report.attempts import NOT_DRAWN
from jaxpert.report.charts import THEMES, Chart, genes
from jaxpert.report.comparisons import comparisons
from jaxpert.report.drawn import each_chart, score_charts, training_chart
from jaxpert.report.headline import headline
from jaxpert.report.noted import grouped
from jaxpert.report.numbers import label
from jaxpert.report.perturbations import Each, Panels, each_of, panels_of
from jaxpert.report.pictures import pictures_of
from jaxpert.report.scripts import shell
from jaxpert.report.sections import COVERAGE, Section, filled_sections
from jaxpert.report.tables import ceiling_of, tables, truth_tables
from jaxpert.report.trust import trust_of
from jaxpert.report.words import METHODS, TERMS

READ = (
    "model",
    "baselines",
    "ceiling",
    "ceiling_interval",
    "ceiling_by_halves",
    "half_against_half",
    "progress",
    "calibration",
    "claims",
    "subsets",
    "truth",
    "comparison",
    "perturbations",
    "notes",
    "verdict",
    "quality",
    "data",
    "audit",
    "each",
    "likelihood",
    "recovery",
    "learned",
    "run",
    "scores",
    "scored",
    "schools",
)
"""Parts of metrics.json that have their own place or are for programs (`scores`: every seed at
every threshold); whatever else it holds is listed at the end."""


NO_SECTIONS: Mapping[str, Section] = MappingProxyType({})


def write_report(workdir: str | Path, sections: Mapping[str, Section] = NO_SECTIONS) -> Path:
    """Write `report.html` from the files of a run and return its path; parts that are missing are
    named on the page.

    Args:
        workdir: the directory with any of `config.json`, `metrics.json`, `metrics.jsonl` and
            `figures/*.png`.
        sections: how scores that belong to one paper are shown, by their key in `metrics.json`;
            those of a key without a section stand at the end as they are.

    Raises:
        InputError: `workdir` is no directory.
    """
    workdir = Path(workdir)
    if not workdir.is_dir():
        raise InputError(
            f"there is no work directory {workdir}, expected that of a run that was started "
            "before: check --workdir"
        )
    content, data, csv = _content(workdir, sections)
    outer = shell(data, charts=bool(data["charts"] or data["panels"]))
    # One string, written at once, so that a report is never half there.
    page = render("report.html", **content, csv=csv, shell=outer)
    path = workdir / "report.html"
    files.write_text(path, page)
    return path


def render(template: str, **content: Any) -> str:
    """A page of one of the templates of this package."""
    return _environment().get_template(template).render(content)


def render_runs(template: str, charts: Sequence[Chart], **content: Any) -> str:
    """A page about several runs, with its charts."""
    specs = {chart.name: chart.spec for chart in charts}
    data = {"themes": THEMES, "charts": specs, "each": [], "panels": None}
    return render(template, charts=charts, **content, shell=shell(data, charts=bool(charts)))


# Templates are compiled once, and a process may write many pages.
@functools.cache
def _environment() -> Any:
    import jinja2

    # Every value is escaped: gene, perturbation and file names come from the user's data.
    page = jinja2.Environment(
        loader=jinja2.PackageLoader("jaxpert.report"),
        autoescape=True,
        # A name that the template misspells is an error and not an empty place.
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    named = ("value", "heading", "label", "pretty", "aligned", "sentences", "true_minus")
    for name in named:
        page.filters[name] = getattr(numbers, name)
    page.tests |= {"scalar": numbers.is_scalar, "table": numbers.is_table, "long": numbers.is_long}
    page.tests["many"] = numbers.is_many
    return page


def _content(
    workdir: Path, sections: Mapping[str, Section]
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Everything that the template shows, what its scripts read, and the tables written beside."""
    problems: list[str] = []
    config = work_files.mapping(workdir / "config.json", problems)
    metrics = work_files.mapping(workdir / "metrics.json", problems)
    rows = work_files.rows(workdir / "metrics.jsonl", problems)
    top = headline(metrics)
    each = each_of(metrics)
    panels = None if each is None else panels_of(each, workdir)
    no_panels = panels if isinstance(panels, str) else ""
    panels = panels if isinstance(panels, Panels) else None
    about_training = work_files.training(rows)
    charts = {
        "each_chart": None if each is None else each_chart(each),
        "score_charts": score_charts(metrics, top.subset) if top.subset else [],
        "training_chart": training_chart(rows, about_training.get("best epoch")),
    }
    # What no part of the page shows is listed, so that no number is lost.
    sections = {"coverage": COVERAGE, **sections}
    rest = {name: value for name, value in metrics.items() if name not in {*READ, *sections}}
    content = {name: metrics.get(name) for name in READ} | charts
    content |= _figures(workdir, problems) | _notes(metrics)
    content |= {
        "config": config,
        "title": _title(config, metrics),
        "date": _date(workdir, metrics),
        "headline": top,
        "comparisons": comparisons(metrics, top.subset),
        "each": each,
        "trust": None if each is None else trust_of(each),
        "no_panels": no_panels,
        "ceiling": ceiling_of(metrics),
        "tables": tables(metrics),
        "truth_tables": truth_tables(metrics),
        "sections": filled_sections(metrics, sections),
        "training": about_training,
        "terms": TERMS,
        "methods": {label(n): METHODS[n] for n in metrics.get("baselines") or {} if n in METHODS},
        "scored_facts": _without(metrics.get("scored"), "to know"),
        "facts": _without(metrics.get("data"), "notes"),
        "about": _without(metrics.get("run"), "command"),
        "rest": rest,
        "problems": problems,
    }
    written = csv_tables.write(workdir, metrics, rows, each, panels)
    return content, _for_scripts(charts, each, panels), written


def _figures(workdir: Path, problems: list[str]) -> dict[str, Any]:
    """Pictures, curves of training apart from them, and why some were not drawn."""
    parts: dict[str, Any] = {"pictures": [], "curves": []}
    for picture in pictures_of(workdir / "figures"):
        parts["curves" if picture.name.startswith("loss") else "pictures"].append(picture)
    parts["not_drawn"] = work_files.mapping(workdir / "figures" / NOT_DRAWN, problems)
    return parts


def _notes(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Notes by what they are about: of the data, and of the evaluation."""
    of_data = (metrics.get("data") or {}).get("notes") or []
    return {"told": grouped(of_data), "note_groups": grouped(metrics.get("notes") or [])}


def _for_scripts(
    charts: Mapping[str, Any], each: Each | None, panels: Panels | None
) -> dict[str, Any]:
    """What the scripts of the page read."""
    drawn = [charts["each_chart"], charts["training_chart"], *charts["score_charts"]]
    lines = [] if each is None else each.lines
    return {
        "themes": THEMES,
        "charts": {chart.name: chart.spec for chart in drawn if chart is not None},
        "genes": genes("measured effect (log2)", "predicted effect (log2)"),
        "each": [[line.name, *line.facts] for line in lines],
        "heads": [] if each is None else each.heads,
        "panels": None if panels is None else panels._asdict(),
    }


def _without(part: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    return {key: value for key, value in (part or {}).items() if key != name}


def _title(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, str]:
    """Names of data set and model, from wherever they are known."""
    data, model = config.get("data") or {}, config.get("model") or {}
    # Predictions of another tool have no config: their file names the model.
    outside = (metrics.get("scored") or {}).get("predictions")
    if outside:
        model = {"name": Path(str(outside)).name}
    source = (metrics.get("data") or {}).get("name") or data.get("source") or "unknown data set"
    return {"data": Path(str(source)).name, "model": str(model.get("name") or "model")}


def _date(workdir: Path, metrics: Mapping[str, Any]) -> str:
    """When the run was evaluated: as it says itself, else the time of its newest file."""
    date = (metrics.get("run") or {}).get("date")
    if date:
        return str(date)
    newest = None
    for name in ("metrics.json", "metrics.jsonl", "config.json"):
        path = workdir / name
        if path.exists():
            newest = max(newest or 0.0, path.stat().st_mtime)
    if newest is None:
        return ""
    return f"{datetime.fromtimestamp(newest, UTC):%Y-%m-%d %H:%M} UTC"
