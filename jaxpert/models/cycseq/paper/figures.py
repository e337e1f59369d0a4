"""Figures 2 to 6 of the CycSeq paper from finished runs.

Figure 2: predicted against measured rows, line by line. Figure 3: triangular validation. Figure 4:
correlation of the change by method. Figure 5: doses by PHATE. Figure 6: gene sets that a prediction
moves, by preranked enrichment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from jaxpert.core import log
from jaxpert.core.family import Run
from jaxpert.core.ranges import LARGEST_SEED
from jaxpert.core.settings import setting
from jaxpert.core.types import InputError
from jaxpert.data.genesets import read_gmt
from jaxpert.data.labels_asked import known_names, listed
from jaxpert.models.cycseq.paper import dose_map, enrichment, plots
from jaxpert.models.cycseq.paper.labels import DIRECTIONS
from jaxpert.models.cycseq.translation import predictor
from jaxpert.report.attempts import Missing, attempt, require_some
from jaxpert.tasks.translation import metrics
from jaxpert.tasks.translation.evaluate import as_pairs, evaluated_split
from jaxpert.tasks.translation.prepare import Prepared
from jaxpert.tasks.translation.rows import blocks_of_rows

FIGURES = ("2", "3", "4", "5", "6")
SIMPLE = ("no_change", "mean_perturbation", "mean_change")
"""Baselines that are grey in Figure 4."""


@dataclass(frozen=True)
class Options:
    """Flags of `jaxpert figures`."""

    figures: tuple[str, ...] = setting(
        FIGURES,
        "which: 2 rows, 3 triangular validation, 4 changes by method, 5 doses by PHATE "
        "(jaxpert[phate]), 6 enrichment (jaxpert[enrichment])",
        choices=FIGURES,
        joined=True,
    )
    highlighted: tuple[str, ...] = setting(
        (), "perturbations named in figure 3, joined by commas", joined=True
    )
    compound: str = setting(
        "", "compound (or perturbation) of figures 5 and 6; empty: the first evaluated one"
    )
    gene_sets: str = setting("", "GMT file behind figure 6; empty: figure 6 is left out")
    seed: int = setting(0, "of PHATE and of the permutations", at_least=0, at_most=LARGEST_SEED)


class Evaluated(NamedTuple):
    """The evaluated rows of a run, predicted again."""

    prepared: Prepared
    pair: Int[np.ndarray, "n"]
    rows: Mapping[str, metrics.Comparison]
    """By direction."""

    @property
    def conditions(self) -> list[str]:
        """Condition of each row."""
        names = self.prepared.dataset.conditions
        return np.asarray(names, object)[self.prepared.pairs.condition[self.pair]].tolist()


def draw(runs: Sequence[Run], folder: Path, options: Options) -> None:
    """Draw what the runs carry; what one cannot carry is said."""
    missing = Missing()
    for run in runs:
        evaluated = evaluate(run)
        # A name that no row has is a mistake, and not a figure that failed.
        chosen_rows(evaluated, options.compound)
        stem = str(folder / f"{run.workdir.name}_figure_")
        known = known_names(evaluated.prepared.dataset)
        highlighted = listed(options.highlighted, known)
        figures: dict[str, tuple[Any, ...]] = {
            "2": (draw_rows, evaluated, run.finished.metrics["cycseq"], stem),
            "3": (draw_triangle, evaluated, highlighted, Path(f"{stem}3.png")),
            "4": (draw_stored_changes, evaluated, run.workdir, Path(f"{stem}4.png")),
            "5": (draw_doses, evaluated, options, Path(f"{stem}5.png")),
            "6": (draw_enrichment, evaluated, options, Path(f"{stem}6.png")),
        }
        for number, work in figures.items():
            if number in options.figures:
                attempt(missing, f"figure {number} of {run.workdir.name}", *work)
    require_some(folder, missing)


def evaluate(run: Run) -> Evaluated:
    """Predict the evaluated rows of a run in both directions."""
    problem = run.finished.problem
    prepared: Prepared = problem.details
    predict = predictor(problem, run.finished.fitted)
    pair: list[np.ndarray] = []
    blocks: dict[str, list[metrics.Comparison]] = {direction: [] for direction in DIRECTIONS}
    # In blocks, since all rows with all genes may not fit into memory.
    for rows in blocks_of_rows(prepared, evaluated_split(prepared)):
        predicted = predict(rows)
        pair.append(rows.pair)
        for direction, of_direction in blocks.items():
            of_direction.append(as_pairs(rows, direction, predicted[direction]))
    joined = {direction: _joined(of_direction) for direction, of_direction in blocks.items()}
    return Evaluated(prepared, np.concatenate(pair), joined)


def _joined(blocks: Sequence[metrics.Comparison]) -> metrics.Comparison:
    return metrics.Comparison(*map(np.concatenate, zip(*blocks, strict=True)))


def draw_rows(evaluated: Evaluated, scores: Mapping[str, Any], stem: str) -> None:
    """Figure 2 in both directions, with the scores of metrics.json in the panels."""
    lines, line = evaluated.prepared.pseudobulk.lines, evaluated.prepared.pairs.line[evaluated.pair]
    model, no_change = scores["model"], scores["baselines"]["no_change"]
    for direction, rows in evaluated.rows.items():
        predicted, measured, notes = {}, {}, {}
        for i in np.unique(line):
            name = lines[i]
            predicted[name] = rows.predicted[line == i]
            measured[name] = rows.target[line == i]
            # A run of one line has no group of its name.
            group = f"{direction} {name}"
            if group not in model:
                group = f"{direction} all"
            notes[name] = f"R² {model[group]['r2']:.3f}\nno change {no_change[group]['r2']:.3f}"
        path = Path(f"{stem}2_{direction}.png")
        plots.rows_against_targets(
            predicted, measured, path, notes, f"log2 expression, {DIRECTIONS[direction]}"
        )


def draw_triangle(evaluated: Evaluated, highlighted: Sequence[str], path: Path) -> None:
    """Figure 3."""
    corners = {}
    for direction, rows in evaluated.rows.items():
        triangle = metrics.triangle(rows)
        corners[DIRECTIONS[direction]] = (
            triangle.output_target,
            triangle.output_start,
            triangle.start_target,
        )
    names = dict.fromkeys(corners, evaluated.conditions)
    plots.triangular_validation(corners, names, path, highlighted)


def draw_stored_changes(evaluated: Evaluated, workdir: Path, path: Path) -> None:
    """Figure 4 of a run: scores of all methods are stored, and only the model was predicted
    again."""
    with np.load(workdir / "rows.npz") as stored:
        draw_changes(evaluated.prepared, dict(stored), path)


def draw_changes(prepared: Prepared, stored: Mapping[str, np.ndarray], path: Path) -> None:
    """Figure 4: by direction and line, from the stored scores.

    Args:
        prepared: the run's rows.
        stored: content of rows.npz, whose scores are called DIRECTION|METHOD|GENES|SCORE.
        path: of the file.
    """
    methods: dict[str, list[str]] = {direction: [] for direction in DIRECTIONS}
    for key in stored:
        direction, *rest = key.split("|")
        # Other arrays of the file have fewer parts to their names.
        if len(rest) == 3 and rest[0] not in methods[direction]:
            methods[direction].append(rest[0])
    line, lines = prepared.pairs.line[stored["pair"]], prepared.pseudobulk.lines
    scores = {}
    for direction, names in methods.items():
        for i in np.unique(line):
            of_line = {}
            for name in names:
                of_line[name] = stored[f"{direction}|{name}|all|change_r"][line == i]
            scores[f"{DIRECTIONS[direction]}, {lines[i]}"] = of_line
    plots.change_panels(scores, path, baselines=SIMPLE)


def chosen_rows(evaluated: Evaluated, wanted: str) -> tuple[str, Bool[np.ndarray, "n"]]:
    """The compound (or perturbation), and which evaluated rows are of it."""
    # In a dose series a condition is called compound@dose.
    compound = np.array([name.rsplit("@", 1)[0] for name in evaluated.conditions])
    name = wanted or str(compound[0])
    if name not in compound:
        raise InputError(
            f"no evaluated row is of {name!r}, expected one of "
            f"{', '.join(np.unique(compound)[:6])}: change --compound"
        )
    return name, compound == name


def draw_doses(evaluated: Evaluated, options: Options, path: Path) -> None:
    """Figure 5."""
    prepared, pairs = evaluated.prepared, evaluated.prepared.pairs
    if pairs.dose is None:
        log.say("figure 5 needs a run with doses and is left out")
        return
    name, members = chosen_rows(evaluated, options.compound)
    predicted, target, start = evaluated.rows["n2p"]
    rows = metrics.Comparison(predicted[members], target[members], start[members])
    pair = evaluated.pair[members]
    logged = pairs.dose[pair]
    points = dose_map.phate(
        # One map for all rows, since places in two maps cannot be compared.
        np.concatenate([rows.start, rows.target, rows.predicted]),
        seed=options.seed,
    )
    # The vehicle's logarithm is made up: it has none.
    lower_group = prepared.draws.group[pairs.lower[pair]]
    vehicle = prepared.pseudobulk.condition[lower_group] == prepared.dataset.control
    # Rounded, so that equal doses stay equal after the logarithm.
    lower = np.where(vehicle, 0, 10.0 ** logged[:, 1].round(3))
    higher = 10.0 ** logged[:, 0].round(3)
    mixed = metrics.label_mixing(
        rows.predicted, rows.target, logged[:, 0], logged[:, 0], seed=options.seed
    )
    note = "; ".join(f"{10 ** float(at):g} nM: {of['mixing']:.2f}" for at, of in mixed.items())
    plots.dose_picture(
        points,
        # Inputs and targets were measured, only the last third was predicted.
        np.concatenate([lower, higher, higher]),
        np.repeat([False, False, True], len(logged)),
        path,
        name,
        f"mixing of predicted and measured rows\n{note}",
    )


def draw_enrichment(evaluated: Evaluated, options: Options, path: Path) -> None:
    """Figure 6."""
    if not options.gene_sets:
        log.say("figure 6 needs a file of gene sets (--gene_sets) and is left out")
        return
    name, members = chosen_rows(evaluated, options.compound)
    rows = evaluated.rows["n2p"]
    signal = metrics.signal(rows.predicted[members], rows.start[members])
    genes, sets = evaluated.prepared.dataset.genes, read_gmt(options.gene_sets)
    # The first term is the strongest one.
    top = enrichment.prerank(signal, genes, sets, seed=options.seed)[0]
    running, hits = enrichment.running_score(signal, genes, sets[top.name])
    note = f"NES {top.nes:.2f}, FDR {top.fdr:.3f}"
    ranked = np.sort(signal)[::-1]
    plots.enrichment_curve(running, hits, path, f"{name}: {top.name}", note, ranked)
