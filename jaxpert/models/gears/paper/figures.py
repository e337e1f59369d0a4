"""Figures 2 to 5 of the GEARS paper, the extended ones, and a table of published numbers beside
ours, from runs.

Figure 2: errors of each subgroup of held-out perturbations (b to d), and single genes (g). Figure
3: phenotypes. Figure 4: interactions found, and genes that do not add up (d). Figure 5: the
interaction map and the space of scores. Extended: uncertainty against error.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxpert.core import log
from jaxpert.core import workdir as folder
from jaxpert.core.types import InputError
from jaxpert.models.cradle.paper.figures import by_data, moved, open_runs, staged
from jaxpert.models.cradle.paper.panels import Run
from jaxpert.models.gears.paper import panels
from jaxpert.models.gears.paper.panels import Case, Options
from jaxpert.report import plots

FIGURES = ("2", "3", "4", "5", "extended")
COLUMNS = ("data", "group", "method", "metric", "value", "source")
TABLE, MISSING = "gears_table.md", "Not drawn"
SHOWN = {
    "normalised_mse_de": "MSE, top 20, over no change",
    "mse_de": "MSE, top 20",
    "mse": "MSE",
    "pearson_delta": "Pearson Δ",
    "frac_opposite_direction_top20_non_dropout": "opposite direction, top 20",
}
"""Scores of the table, as `evaluation.gears_metrics` names them."""


def draw(
    runs: Sequence[str | Path],
    output: str | Path,
    *,
    figures: Sequence[str] | None = None,
    published: str | Path | None = None,
    pairs_out: Sequence[str | Path] = (),
    pairs: int = 2000,
    seed: int = 0,
) -> list[Path]:
    """Draw what the runs carry and return the files written; the table says what was not drawn, and
    why.

    Args:
        runs: work directories of finished runs; bars of those of one data set stand side by side.
        output: folder of the files; nothing is written unless the table could be made.
        figures: some of "2", "3", "4", "5", "extended"; None for all.
        published: CSV file of published numbers (jaxpert/models/gears/paper/published.csv); None
            for none.
        pairs_out: results of experiments/gears_leave_pairs_out.py, shown as Figure 4 in place of
            the runs' own pairs.
        pairs: predicted pairs in Figures 3 and 5, at most.
        seed: of embeddings and random choices.
    """
    _check(runs, figures, pairs)
    rows = [] if published is None else read_published(Path(published))
    left_out = {Path(one).name: read_pairs_out(Path(one)) for one in pairs_out}
    opened, wanted, options = open_runs(runs), set(figures or FIGURES), Options(pairs, seed)
    missing: list[str] = []

    def attempt(what: str, work: Callable[..., None], *arguments: Any) -> None:
        try:
            work(*arguments)
        except InputError as error:
            missing.append(f"{what}: {' '.join(str(error).split())}")
            log.say(f"note: not drawn: {missing[-1]}")

    with staged(Path(output)) as part:
        if left_out and "4" in wanted:
            plots.interactions_found(left_out, part / "figure4_pairs_left_out.png")
        for name, group in by_data(opened).items():
            if "2" in wanted:
                attempt(f"Figure 2b-d, {name}", draw_errors, part, name, group, rows)
        for run in opened:
            _draw_run(part, run, wanted, options, bool(left_out), attempt)
        (part / TABLE).write_text(table_text(opened, rows, missing))
        return moved(part, Path(output))


def _draw_run(
    part: Path,
    run: Run,
    wanted: set[str],
    options: Options,
    has_pairs: bool,
    attempt: Callable[..., None],
) -> None:
    """The figures of one run; what cannot be drawn is noted, and the others go on."""
    try:
        case = panels.case_of(run)
    except InputError as error:
        attempt(f"Figures 2g to 5 of {run.name}", _refuse, error)
        return
    name = run.name
    work = [
        ("2", "2g", panels.draw_top_genes, part / f"figure2g_{name}.png"),
        ("3", "3", panels.draw_phenotypes, part / f"figure3_{name}.png", options),
        ("4", "4d", panels.draw_non_additive, part / f"figure4d_{name}.png"),
        ("5", "5", panels.draw_maps, part, name, options),
        (
            "extended",
            "of uncertainty",
            panels.draw_uncertainty,
            part / f"extended_uncertainty_{name}.png",
        ),
    ]
    if not has_pairs:
        work.append(("4", "4", draw_found, part / f"figure4_{name}.png", options))
    for key, what, function, *arguments in work:
        if key in wanted:
            attempt(f"Figure {what}, {name}", function, case, *arguments)


def _refuse(error: InputError) -> None:
    raise error


def draw_found(case: Case, path: Path, options: Options) -> None:
    """Figure 4 for the pairs that the run held out, with its numbers."""
    rows = panels.interactions_found(case, options)
    plots.interactions_found(
        {f"{case.run.label} ({len(panels.held_out_pairs(case))} held-out pairs)": rows}, path
    )
    folder.write_json(path.with_suffix(".json"), {"rows": _plain(rows)})


def _plain(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Undefined scores as null, which JSON has."""
    return [
        {name: None if value != value else value for name, value in row.items()} for row in rows
    ]


def draw_errors(
    into: Path, name: str, runs: Sequence[Run], published: Sequence[Mapping[str, Any]]
) -> None:
    """Figure 2b to d of one data set."""
    scores = panels.normalised_errors(runs)
    baselines = [method for method in scores if method not in {run.label for run in runs}]
    marks: dict[str, dict[str, float]] = {}
    for row in _of_data(published, runs[0]):
        if row["metric"] == "normalised_mse_de":
            method = "GEARS" if row["method"] == "gears" else row["method"].replace("_", " ")
            marks.setdefault(f"published: {method}", {})[row["group"]] = row["value"]
    plots.normalised_errors(
        scores, into / f"figure2_{name}.png", baselines=baselines, published=marks
    )


def _of_data(published: Sequence[Mapping[str, Any]], run: Run) -> list[Mapping[str, Any]]:
    """Published rows of the run's screen, which its name tells."""
    return [row for row in published if row["data"] in run.finished.dataset.name.lower()]


def read_published(path: Path) -> list[dict[str, Any]]:
    """Rows of the file of published numbers; lines that begin with # are comments."""
    try:
        lines = [
            line for line in path.read_text().splitlines() if line and not line.startswith("#")
        ]
        rows: list[dict[str, Any]] = list(csv.DictReader(lines))
        if any(set(row) != set(COLUMNS) for row in rows):
            raise ValueError(f"its columns are {', '.join(map(str, rows[0]))}")
        return [row | {"value": float(row["value"])} for row in rows]
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error}), expected the columns {', '.join(COLUMNS)}"
        ) from error


def read_pairs_out(results: Path) -> list[dict[str, Any]]:
    """Rows of finished leave-pairs-out results."""
    path = results / "agreement.json"
    try:
        return json.loads(path.read_text())["rows"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} cannot be read ({error}), expected that of finished results of "
            "gears_leave_pairs_out.py"
        ) from error


def table_text(
    runs: Sequence[Run], published: Sequence[Mapping[str, Any]], missing: Sequence[str]
) -> str:
    """The whole table as Markdown: ours, published beside ours, and what was not drawn."""
    parts = ["# GEARS: scores of finished runs\n"]
    for run in runs:
        try:
            parts += [
                f"## {run.label}: {run.finished.dataset.name} ({run.name})\n",
                _own_table(run),
            ]
            parts += _published_table(run, _of_data(published, run))
        except InputError as error:
            parts.append(f"{error}.\n")
    if missing:
        parts += [f"## {MISSING}\n", "\n".join(f"- {one}" for one in missing) + "\n"]
    return "\n".join(parts)


def score(run: Run, method: str, group: str, metric: str) -> float | None:
    """A score of the run's model ("gears") or of one of its baselines; None where there is none."""
    scores = panels.gears_of(run)
    if metric.startswith("change_vs_"):
        other = metric.removeprefix("change_vs_")
        pair = [score(run, one, group, f"normalised_{panels.ERROR}") for one in (method, other)]
        return None if pair[0] is None or not pair[1] else pair[0] / pair[1] - 1
    of = scores["model"] if method == "gears" else scores["baselines"].get(method, {})
    if not metric.startswith("normalised_"):
        return of.get(group, {}).get(metric)
    metric = metric.removeprefix("normalised_")
    own, other = (one.get(group, {}).get(metric) for one in (of, scores["baselines"]["no_change"]))
    return None if own is None or not other else own / other


def _own_table(run: Run) -> str:
    scores = panels.gears_of(run)
    lines = _heading("group", "method", *SHOWN.values())
    for group in panels.groups_of(scores["model"]):
        for method in ("gears", *scores["baselines"]):
            cells = (_number(score(run, method, group, metric)) for metric in SHOWN)
            name = run.label if method == "gears" else method.replace("_", " ")
            lines.append(f"| {plots.GROUPS.get(group, group)} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _published_table(run: Run, published: Sequence[Mapping[str, Any]]) -> list[str]:
    """Published numbers beside those of the run, which may be of another split, seed or gene
    choice."""
    if not published:
        return ["No published numbers of this screen are known.\n"]
    split = run.finished.config.get("split", {}).get("kind", "unknown")
    lines = _heading("group", "method", "metric", "published", "ours", "source")
    for row in published:
        ours = score(run, row["method"], row["group"], row["metric"])
        lines.append(
            f"| {plots.GROUPS.get(row['group'], row['group'])} | "
            f"{row['method'].replace('_', ' ')} | {row['metric']} "
            f"| {row['value']:g} | {_number(ours)} | {row['source']} |"
        )
    return [
        f"Published numbers (their split is simulation; here split.kind={split}):\n",
        "\n".join(lines) + "\n",
    ]


def _heading(*names: str) -> list[str]:
    return [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.4g}"


def _check(runs: Sequence[Any], figures: Sequence[str] | None, pairs: int) -> None:
    if not runs:
        raise InputError(
            "no run was given, expected the folders of finished runs: --runs=runs/a,runs/b"
        )
    unknown = [name for name in figures or () if name not in FIGURES]
    if unknown or (figures is not None and not figures):
        raise InputError(
            f"figure {', '.join(unknown) or 'none'} is asked for, expected some of "
            f"{', '.join(FIGURES)}: change "
            "--figures"
        )
    if pairs < 1:
        raise InputError(f"{pairs} pairs are asked for, expected at least 1: raise --pairs")
