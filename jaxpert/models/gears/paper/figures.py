"""Figures 2 to 5 of the GEARS paper, the extended ones, and a table of published numbers beside
ours, from runs.

Figure 2: errors of each subgroup of held-out perturbations (b to d), and single genes (g). Figure
3: phenotypes. Figure 4: interactions found, and genes that do not add up (d). Figure 5: the
interaction map and the space of scores. Extended: uncertainty against error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jaxpert.core import files
from jaxpert.core.family import Run
from jaxpert.core.paths import path_of
from jaxpert.core.ranges import LARGEST_SEED, MOST
from jaxpert.core.settings import paths_of, setting
from jaxpert.core.texts import read_json
from jaxpert.core.types import InputError
from jaxpert.models.gears.paper import panels, plots, tables
from jaxpert.models.gears.paper.labels import Named, by_data, named
from jaxpert.models.gears.paper.leave_pairs_out import AGREEMENT, plain
from jaxpert.models.gears.paper.panels import Case
from jaxpert.models.gears.settings import NAME
from jaxpert.report.attempts import Missing, attempt

FIGURES = ("2", "3", "4", "5", "extended")


@dataclass(frozen=True)
class Options:
    """What is drawn of the runs."""

    figures: tuple[str, ...] = setting(
        FIGURES,
        "which, joined by commas: 2 (errors of each subgroup, single genes), 3 (phenotypes), 4 "
        "(interactions found, genes that do not add up), 5 (interaction map), extended "
        "(uncertainty against error)",
        choices=FIGURES,
        joined=True,
    )
    pairs_out: tuple[str, ...] = setting(
        (),
        "results of experiments/gears_leave_pairs_out.py, joined by commas, drawn as figure 4 in "
        "place of the runs' own pairs",
        joined=True,
    )
    published: str = setting("", "CSV file of published numbers; empty: those of the package")
    pairs: int = setting(
        2000, "predicted pairs in figures 3 and 5, at most", at_least=1, at_most=MOST
    )
    seed: int = setting(0, "of embeddings and random choices", at_least=0, at_most=LARGEST_SEED)


def draw(runs: Sequence[Run], folder: Path, options: Options) -> None:
    """`jaxpert figures`: draw what the runs carry into a folder; the table says what was not drawn,
    and why.

    Bars of runs of one data set stand side by side.
    """
    published = tables.read_published(options.published)
    # Files are read before anything is drawn, so that a wrong path costs no time.
    left_out = {
        path_of(path).name: read_pairs_out(path_of(path)) for path in paths_of(options.pairs_out)
    }
    if not options.figures:
        raise InputError(
            f"no figure is asked for, expected some of {', '.join(FIGURES)}: name some with "
            "--figures"
        )
    named_runs, missing = named(runs), Missing()
    # One figure that a run cannot carry must not stop the others.
    attempted = partial(attempt, missing)
    if left_out and "4" in options.figures:
        path = folder / "figure4_pairs_left_out.png"
        attempted("Figure 4, pairs left out", plots.interactions_found, left_out, path)
    if "2" in options.figures:
        for name, group in by_data(named_runs).items():
            path = folder / f"figure2_{name}.png"
            attempted(f"Figure 2b-d, {name}", draw_errors, path, group, published)
    for named_run in named_runs:
        _draw_run(folder, named_run, options, attempted)
    not_drawn = [f"{figure}: {reason}" for figure, reason in missing.items()]
    text = tables.table_text(named_runs, published, not_drawn)
    files.write_text(folder / tables.TABLE, text)


def _draw_run(folder: Path, named_run: Named, options: Options, attempted: Callable) -> None:
    """The figures of one run; what cannot be drawn is noted, and the others go on."""
    name = named_run.file
    case: Case | None = attempted(f"Figures 2g to 5 of {name}", panels.case_of, named_run)
    if case is None:
        return
    pairs, seed = options.pairs, options.seed

    def path(what: str) -> Path:
        return folder / f"{what}_{name}.png"

    if "2" in options.figures:
        attempted(f"Figure 2g, {name}", panels.draw_top_genes, case, path("figure2g"))
    if "3" in options.figures:
        attempted(f"Figure 3, {name}", panels.draw_phenotypes, case, path("figure3"), pairs, seed)
    if "4" in options.figures:
        attempted(f"Figure 4d, {name}", panels.draw_non_additive, case, path("figure4d"))
    # Results of leaving pairs out replace the few pairs that the run held out.
    if "4" in options.figures and not options.pairs_out:
        attempted(f"Figure 4, {name}", draw_found, case, path("figure4"), seed)
    if "5" in options.figures:
        attempted(f"Figure 5, {name}", panels.draw_maps, case, folder, pairs)
    if "extended" in options.figures:
        uncertainty = path("extended_uncertainty")
        attempted(f"Figure of uncertainty, {name}", panels.draw_uncertainty, case, uncertainty)


def draw_found(case: Case, path: Path, seed: int) -> None:
    """Figure 4 for the pairs that the run held out, with its numbers."""
    rows = panels.interactions_found(case, seed)
    count = len(panels.held_out_pairs(case))
    plots.interactions_found({f"{case.named.title} ({count} held-out pairs)": rows}, path)
    files.write_json(path.with_suffix(".json"), {"rows": list(map(plain, rows))})


def draw_errors(path: Path, runs: Sequence[Named], published: tables.Published) -> None:
    """Figure 2b to d of one data set."""
    errors = panels.normalised_errors(runs)
    titles = {named_run.title for named_run in runs}
    marks: dict[str, dict[str, float]] = {}
    for row in tables.of_data(published, runs[0].run):
        if row["metric"] == f"normalised_{tables.ERROR}":
            method = row["method"].replace("_", " ")
            if method == NAME:
                method = "GEARS"
            marks.setdefault(f"published: {method}", {})[row["group"]] = row["value"]
    # Whatever is no run is a baseline and grey.
    baselines = [method for method in errors if method not in titles]
    plots.normalised_errors(errors, path, baselines=baselines, published=marks)


def read_pairs_out(results: Path) -> list[dict[str, Any]]:
    """Rows of finished leave-pairs-out results."""
    path = results / f"{AGREEMENT}.json"
    content = read_json(path, "finished results of gears_leave_pairs_out.py")
    if not isinstance(content, dict) or "rows" not in content:
        raise InputError(
            f"{path} has no rows, expected finished results of gears_leave_pairs_out.py: run it "
            "to its end"
        )
    return content["rows"]
