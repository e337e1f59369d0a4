"""The report of a run: one HTML file that needs nothing else, made from what lies in the work
directory."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxpert.core import files
from jaxpert.core.types import InputError
from jaxpert.report import numbers
from jaxpert.report.attempts import NOT_DRAWN
from jaxpert.report.numbers import finite, label
from jaxpert.report.sections import COVERAGE, Section, filled_sections
from jaxpert.report.tables import ceiling_of, tables, truth_tables
from jaxpert.report.words import CAPTIONS

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


class Picture(NamedTuple):
    """A figure ready for the page."""

    name: str
    title: str
    caption: str
    data: str
    """Base64 of the PNG."""


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
    # One string, written at once, so that a report is never half there.
    page = render("report.html", **_content(workdir, sections))
    path = workdir / "report.html"
    files.write_text(path, page)
    return path


def render(template: str, **content: Any) -> str:
    """A page of one of the templates of this package."""
    return _environment().get_template(template).render(content)


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
    for name in ("value", "heading", "label", "pretty", "aligned", "sentences"):
        page.filters[name] = getattr(numbers, name)
    page.tests |= {"scalar": numbers.is_scalar, "table": numbers.is_table, "long": numbers.is_long}
    return page


def _content(workdir: Path, sections: Mapping[str, Section]) -> dict[str, Any]:
    """Everything that the template shows."""
    problems: list[str] = []
    config = _mapping(workdir / "config.json", problems)
    metrics = _mapping(workdir / "metrics.json", problems)
    rows = _rows(workdir / "metrics.jsonl", problems)
    # Curves of training stand apart from the scores, which matter more.
    pictures, curves = [], []
    for picture in _pictures(workdir / "figures"):
        if picture.name.startswith("loss"):
            curves.append(picture)
        else:
            pictures.append(picture)
    # What no part of the page shows is listed, so that no number is lost.
    sections = {"coverage": COVERAGE, **sections}
    rest = {name: value for name, value in metrics.items() if name not in {*READ, *sections}}
    return {name: metrics.get(name) for name in READ} | {
        "config": config,
        "title": _title(config, metrics),
        "date": _date(workdir, metrics),
        "ceiling": ceiling_of(metrics),
        "tables": tables(metrics),
        "truth_tables": truth_tables(metrics),
        "sections": filled_sections(metrics, sections),
        "pictures": pictures,
        "curves": curves,
        "not_drawn": _mapping(workdir / "figures" / NOT_DRAWN, problems),
        "training": _training(rows),
        "scored_facts": _without(metrics.get("scored"), "to know"),
        "facts": _without(metrics.get("data"), "notes"),
        "about": _without(metrics.get("run"), "command"),
        "rest": rest,
        "problems": problems,
    }


def _mapping(path: Path, problems: list[str]) -> dict[str, Any]:
    """A JSON file's content, empty if there is none; says what is wrong with one that cannot be
    read."""
    if not path.exists():
        return {}
    try:
        # A run that was killed may leave a broken file; the report says so and goes on.
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        problems.append(f"{path.name} could not be read ({error}) and is left out.")
        return {}
    if isinstance(content, dict):
        return content
    problems.append(f"{path.name} holds no mapping and is left out.")
    return {}


def _rows(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl; lines that a killed run left unfinished are counted."""
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    bad = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = dict(json.loads(line))
            rows.append({name: _over_seeds(value) for name, value in row.items()})
        # A killed run may end in the middle of a line.
        except (ValueError, TypeError):
            bad += 1
    if bad:
        problems.append(
            f"{bad} of the {bad + len(rows)} lines of {path.name} could not be read and are left "
            "out."
        )
    return rows


def _over_seeds(value: Any) -> Any:
    """Of several seeds the mean is shown."""
    if isinstance(value, list):
        return sum(value) / len(value)
    return value


def _pictures(folder: Path) -> list[Picture]:
    """The PNG files of a folder, those with a caption first and in the captions' order."""
    by_place: dict[int, list[Picture]] = {}
    for path in sorted(folder.glob("*.png"), key=lambda path: path.stem):
        place, title, caption = len(CAPTIONS), label(path.stem), ""
        for number, (name, texts) in enumerate(CAPTIONS.items()):
            # A file whose name begins with a known one shares its caption.
            if path.stem.startswith(name):
                place, (title, caption) = number, texts
                break
        # Pictures are part of the file, so that the page can be sent as it is.
        data = base64.b64encode(path.read_bytes()).decode()
        by_place.setdefault(place, []).append(Picture(path.stem, title, caption, data))
    pictures: list[Picture] = []
    for place in sorted(by_place):
        pictures += by_place[place]
    return pictures


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


def _training(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The training log in a few numbers."""
    if not rows:
        return {}
    # The criterion that chose the epoch is the one to report.
    criterion = "val/score" if any("val/score" in row for row in rows) else "val/loss"
    steps, last_loss, val = 0, None, []
    for row in rows:
        steps = max(steps, row.get("step", 0))
        if finite(row.get("train/loss")):
            last_loss = row["train/loss"]
        # Rows without a finite value cannot have been the best epoch.
        if finite(row.get(criterion)):
            val.append(row)
    best = min(val, key=lambda row: row[criterion], default={})
    return {
        "steps": steps,
        "epochs with validation": len(val),
        "last training loss": last_loss,
        f"best {criterion.replace('val/', 'validation ')}": best.get(criterion),
        "best epoch": best.get("epoch"),
    }
