"""Figures 2 to 6 of the CycSeq paper from finished runs.

Figure 2: predicted against measured rows, line by line. Figure 3: triangular validation. Figure 4:
correlation of the change by method. Figure 5: doses by PHATE. Figure 6: gene sets that a prediction
moves, by preranked enrichment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxpert.app.reopen import read_config, read_metrics
from jaxpert.core import log
from jaxpert.core import workdir as folder
from jaxpert.core.types import InputError
from jaxpert.data.genesets import read_gmt
from jaxpert.models.cycseq import start as cycseq_start
from jaxpert.models.cycseq.paper import dose_map, enrichment
from jaxpert.report import plots
from jaxpert.tasks import translation as spectra
from jaxpert.tasks.translation import baselines as cycseq_baselines
from jaxpert.tasks.translation import evaluate as cycseq_assess
from jaxpert.tasks.translation import load as cycseq_inputs
from jaxpert.tasks.translation import metrics as cycseq_metrics
from jaxpert.tasks.translation.evaluate import DIRECTIONS

FIGURES = ("2", "3", "4", "5", "6")
NAMES = {"n2p": "control to perturbed", "p2n": "perturbed to control"}


class Opened(NamedTuple):
    """A finished run with its rows."""

    prepared: spectra.Prepared
    groups: cycseq_baselines.Groups
    model: cycseq_baselines.Predictor
    metrics: dict[str, Any]
    scores: Mapping[str, np.ndarray]
    """Content of rows.npz."""


def reopen(workdir: str | Path) -> Opened:
    """Read a finished CycSeq run back: its rows, and the model with its best parameters.

    Raises InputError where it is not finished, and where its data are gone or no longer those it
    was trained on.
    """
    workdir = Path(workdir).absolute()
    config, metrics = read_config(workdir), read_metrics(workdir)
    start = cycseq_start.read(workdir, config["model"]["kwargs"])
    prepared, _ = cycseq_inputs.load(config, cycseq_start.reference(start, config))
    dataset, spec = prepared.dataset, start.net.spec
    for what in ("genes", "treatments", "strata"):
        if getattr(dataset, what) != getattr(spec, what):
            raise InputError(
                f"the {what} of {dataset.name!r} are no longer those that the run in {workdir} "
                "was trained on: put the "
                "files of then in their place"
            )
    scale = start.network["unit_scale"]
    unit = None if scale is None else np.array(scale)
    model = cycseq_assess.predictor(start.net, start.params, start.state, prepared, unit)
    with np.load(workdir / "rows.npz") as stored:
        return Opened(
            prepared, cycseq_baselines.find_groups(prepared), model, metrics, dict(stored)
        )


def draw(
    runs: Sequence[str | Path],
    output: str | Path,
    *,
    figures: Sequence[str] | None = None,
    highlighted: Sequence[str] = (),
    compound: str = "",
    gene_sets: str | Path | None = None,
    seed: int = 0,
) -> list[Path]:
    """Draw what the runs carry and return the files written; what one cannot carry is said.

    Args:
        runs: work directories of finished CycSeq runs.
        output: folder of the files, named by run and figure.
        figures: some of FIGURES; None for all.
        highlighted: genes named in Figure 3.
        compound: compound or perturbation of Figures 5 and 6; empty for the first evaluated one.
        gene_sets: GMT file behind Figure 6.
        seed: of PHATE and the permutations.
    """
    wanted = tuple(figures or FIGURES)
    unknown = [name for name in wanted if name not in FIGURES]
    if unknown or not runs:
        raise InputError(
            f"figures {', '.join(unknown) or 'of no run'} were asked for, expected some of "
            f"{', '.join(FIGURES)} and at "
            "least one run: change --figures or --runs"
        )
    output, written = Path(output), []
    output.mkdir(parents=True, exist_ok=True)
    with folder.readable_errors(output, "--output"):
        for run in map(Path, runs):
            opened = reopen(run)
            rows = list(
                spectra.rows(opened.prepared, cycseq_assess.evaluated_split(opened.prepared))
            )
            made = [opened.model(block) for block in rows]
            if "2" in wanted:
                written += _rows(opened, rows, made, output / run.name)
            if "3" in wanted:
                written.append(
                    _triangle(
                        opened, rows, made, highlighted, Path(f"{output / run.name}_figure_3.png")
                    )
                )
            if "4" in wanted:
                written.append(_changes(opened, Path(f"{output / run.name}_figure_4.png")))
            if "5" in wanted:
                written += _doses(
                    opened, rows, made, compound, Path(f"{output / run.name}_figure_5.png"), seed
                )
            if "6" in wanted:
                written += _enrichment(
                    opened, rows, made, compound, gene_sets, output / run.name, seed
                )
    return written


def _rows(
    opened: Opened, rows: list[spectra.Rows], made: list[Mapping[str, np.ndarray]], stem: Path
) -> list[Path]:
    lines = opened.prepared.spectra.lines
    line = np.concatenate([opened.prepared.pairs.line[block.pair] for block in rows])
    written = []
    for d in DIRECTIONS:
        pairs = _joined(rows, made, d)
        own = {lines[i]: line == i for i in np.unique(line)}
        model, same = (
            opened.metrics["cycseq"]["model"],
            opened.metrics["cycseq"]["baselines"]["no_change"],
        )
        notes = {}
        for name in own:
            group = f"{d} {name}" if f"{d} {name}" in model else f"{d} all"
            notes[name] = f"R² {model[group]['r2']:.3f}\nno change {same[group]['r2']:.3f}"
        predicted, measured = (
            {name: side[of] for name, of in own.items()} for side in (pairs.predicted, pairs.target)
        )
        path = Path(f"{stem}_figure_2_{d}.png")
        written.append(
            plots.rows_against_targets(predicted, measured, path, notes, "log2 expression")
        )
    return written


def _joined(
    rows: list[spectra.Rows], made: list[Mapping[str, np.ndarray]], direction: str
) -> cycseq_metrics.Pairs:
    parts = [
        cycseq_assess.as_pairs(block, direction, of[direction])
        for block, of in zip(rows, made, strict=True)
    ]
    return cycseq_metrics.Pairs(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _triangle(
    opened: Opened,
    rows: list[spectra.Rows],
    made: list[Mapping[str, np.ndarray]],
    named: Sequence[str],
    path: Path,
) -> Path:
    condition = opened.prepared.pairs.condition[np.concatenate([block.pair for block in rows])]
    names = [opened.prepared.dataset.conditions[c] for c in condition]
    found = {d: cycseq_metrics.triangle(_joined(rows, made, d)) for d in DIRECTIONS}
    corners = {
        NAMES[d]: (t.output_target, t.output_start, t.start_target) for d, t in found.items()
    }
    return plots.triangular_validation(corners, dict.fromkeys(corners, names), path, named)


def _changes(opened: Opened, path: Path) -> Path:
    """By direction and line, from the stored scores."""
    stored, pairs = opened.scores, opened.prepared.pairs
    every = [key.split("|")[:2] for key in stored if key.count("|") == 3]
    methods = {d: list(dict.fromkeys(name for of, name in every if of == d)) for d in DIRECTIONS}
    line, lines = pairs.line[stored["pair"]], opened.prepared.spectra.lines
    scores = {
        f"{d}, {lines[i]}": {
            name: stored[f"{d}|{name}|all|change_r"][line == i] for name in methods[d]
        }
        for d in DIRECTIONS
        for i in np.unique(line)
    }
    simple = [
        name for name in methods[DIRECTIONS[0]] if name not in ("model", *cycseq_assess.TRAINED)
    ]
    return plots.change_panels(scores, path, baselines=simple)


def _chosen(opened: Opened, rows: list[spectra.Rows], wanted: str) -> tuple[str, np.ndarray]:
    """The compound (or perturbation), and which evaluated rows are of it."""
    names = opened.prepared.dataset.conditions
    condition = opened.prepared.pairs.condition[np.concatenate([block.pair for block in rows])]
    own = np.array([names[c].rsplit("@", 1)[0] for c in condition])
    name = wanted or str(own[0])
    if name not in own:
        raise InputError(
            f"no evaluated row is of {name!r}, expected one of {', '.join(np.unique(own)[:6])}: "
            "--compound"
        )
    return name, own == name


def _doses(
    opened: Opened,
    rows: list[spectra.Rows],
    made: list[Mapping[str, np.ndarray]],
    compound: str,
    path: Path,
    seed: int,
) -> list[Path]:
    prepared, pairs = opened.prepared, opened.prepared.pairs
    if pairs.dose is None:
        log.say("figure 5 needs a run with doses and is left out")
        return []
    name, own = _chosen(opened, rows, compound)
    both = cycseq_metrics.Pairs(*(side[own] for side in _joined(rows, made, "n2p")))
    pair = np.concatenate([block.pair for block in rows])[own]
    logged = pairs.dose[pair]
    # The vehicle's logarithm is made up: it has none.
    vehicle = (
        prepared.spectra.condition[prepared.draws.spectrum[pairs.lower[pair]]]
        == prepared.dataset.control
    )
    points = dose_map.phate(np.concatenate([both.start, both.target, both.predicted]), seed=seed)
    lower, higher = (
        np.where(vehicle, 0, 10.0 ** logged[:, 1].round(3)),
        10.0 ** logged[:, 0].round(3),
    )
    dose = np.concatenate([lower, higher, higher])
    predicted = np.repeat([False, False, True], len(logged))
    mixed = cycseq_metrics.label_mixing(
        both.predicted, both.target, logged[:, 0], logged[:, 0], seed=seed
    )
    note = "; ".join(f"{10 ** float(at):g} nM: {of['mixing']:.2f}" for at, of in mixed.items())
    return [
        plots.dose_picture(
            points, dose, predicted, path, name, f"mixing of predicted and measured rows\n{note}"
        )
    ]


def _enrichment(
    opened: Opened,
    rows: list[spectra.Rows],
    made: list[Mapping[str, np.ndarray]],
    compound: str,
    gene_sets: str | Path | None,
    stem: Path,
    seed: int,
) -> list[Path]:
    if gene_sets is None:
        log.say("figure 6 needs a file of gene sets (--gene_sets) and is left out")
        return []
    name, own = _chosen(opened, rows, compound)
    both = cycseq_metrics.Pairs(*(side[own] for side in _joined(rows, made, "n2p")))
    signal, genes, sets = (
        cycseq_metrics.signal(both.predicted, both.start),
        opened.prepared.dataset.genes,
        read_gmt(gene_sets),
    )
    top = enrichment.prerank(signal, genes, sets, seed=seed)[0]
    running, hits = enrichment.running_score(signal, genes, sets[top.name])
    note = f"NES {top.nes:.2f}, FDR {top.fdr:.3f}"
    path = Path(f"{stem}_figure_6.png")
    return [
        plots.enrichment_curve(
            running, hits, path, f"{name}: {top.name}", note, np.sort(signal)[::-1]
        )
    ]
