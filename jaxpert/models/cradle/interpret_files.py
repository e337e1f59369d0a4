"""The command `interpret`: tables and figures of what a finished run's latent space says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxpert.core import files, log
from jaxpert.core.family import Run
from jaxpert.core.ranges import LARGEST_SEED, MOST
from jaxpert.core.settings import setting
from jaxpert.core.spreadsheets import write_table
from jaxpert.models.cradle import plots_latent
from jaxpert.models.cradle.interpret import Interpretation, interpret
from jaxpert.models.cradle.mask_recovery import Recovery, recover_masks
from jaxpert.report.attempts import Missing, attempt

if TYPE_CHECKING:
    import pandas

PANELS, GENES = 6, 20
"""Factors whose genes are drawn, and genes in the table of each."""


@dataclass(frozen=True)
class InterpretOptions:
    """Flags of the command."""

    draws: int = setting(
        100, "draws of the posterior of masks and embeddings", at_least=2, at_most=MOST
    )
    seed: int = setting(0, "of these draws", at_least=0, at_most=LARGEST_SEED)


def write_interpretation(runs: Sequence[Run], folder: Path, options: InterpretOptions) -> None:
    """Write the tables and figures, and say what they show.

    perturbations.csv has training cells, factors used and length of the embedding of each
    perturbation; factors.csv the factors in use; inclusion.csv (models with masks) the probability
    that a perturbation moves a factor; embedding.csv posterior mean and standard deviation of what
    it adds; similarity.csv the cosine between perturbations, overlap.csv the same of their masks;
    factor_genes.csv the genes that each factor moves most; recovery.json and planted_programs.csv
    (simulated screens only) the areas under the ROC curve for the planted masks, beside chance.
    """
    finished = runs[0].finished
    interpretation = interpret(
        finished.fitted, finished.problem.dataset, draws=options.draws, seed=options.seed
    )
    write_tables(interpretation, folder)
    recovery = None
    truth = finished.problem.truth
    # Only a simulated screen has planted masks to compare with, and of a file's effects none.
    if truth is not None and truth.masks.any():
        recovery = recover_masks(interpretation, truth)
        write_recovery(recovery, folder)
    # Figures come last, since any of them may fail.
    draw(interpretation, folder)
    log.say(summary(interpretation, recovery))


def write_tables(interpretation: Interpretation, folder: Path) -> None:
    """The tables as CSV."""
    embedding = interpretation.embedding.rename_axis(columns="factor")
    # One row for each pair of perturbation and factor, which other programs read most easily.
    long = embedding.stack().to_frame("mean")
    long["sd"] = interpretation.embedding_sd.stack().to_numpy()
    tables = {
        "perturbations": interpretation.perturbations,
        "factors": interpretation.factors,
        "embedding": long,
        "similarity": interpretation.similarity,
    }
    if interpretation.inclusion is not None and interpretation.overlap is not None:
        tables |= {"inclusion": interpretation.inclusion, "overlap": interpretation.overlap}
    for name, table in tables.items():
        write_table(folder / f"{name}.csv", table)
    write_table(folder / "factor_genes.csv", interpretation.top_genes(GENES), index=False)


def draw(interpretation: Interpretation, folder: Path) -> None:
    """The figures, of perturbations with training cells and of factors in use (of all factors where
    none is)."""
    # Rows without training cells show where training began, which is no result.
    learned = interpretation.perturbations["learned"]
    trained = list(interpretation.perturbations.index[learned])
    factors = list(interpretation.factors.index) or list(interpretation.embedding.columns)
    inclusion = overlap = None
    if interpretation.inclusion is not None and interpretation.overlap is not None:
        inclusion = interpretation.inclusion.loc[trained, factors].to_numpy()
        overlap = interpretation.overlap.loc[trained, trained].to_numpy()
    mean = interpretation.embedding.loc[trained, factors].to_numpy()
    cosine = interpretation.similarity.loc[trained, trained].to_numpy()
    attempted = partial(attempt, Missing())
    path = folder / "embedding.png"
    attempted(path.name, plots_latent.effect_heatmap, mean, trained, factors, path, inclusion)
    path = folder / "similarity.png"
    attempted(path.name, plots_latent.similarity_map, cosine, trained, path, overlap)
    # Factors are sorted by use, so the first are those that most perturbations move.
    top = interpretation.factors["perturbations"].iloc[:PANELS]
    if len(top):
        change = interpretation.gene_change.loc[top.index]
        titles = [f"{factor} ({count} perturbations)" for factor, count in top.items()]
        genes = list(change.columns)
        path = folder / "factor_genes.png"
        attempted(path.name, plots_latent.factor_genes, change.to_numpy(), titles, genes, path)


def write_recovery(recovery: Recovery, folder: Path) -> None:
    """Scores against the planted masks, and the matching of factors to programs."""
    entries = {name: score._asdict() for name, score in recovery.entries.items()}
    pairs = {name: score._asdict() for name, score in recovery.pairs.items()}
    files.write_json(folder / "recovery.json", {"entries": entries, "pairs": pairs})
    write_table(folder / "planted_programs.csv", recovery.programs)


def summary(interpretation: Interpretation, recovery: Recovery | None) -> str:
    """What the tables say, in a few lines."""
    lines = [f"note: {note}" for note in interpretation.notes]
    perturbations, factors = interpretation.perturbations, interpretation.factors
    uses = perturbations.loc[perturbations["learned"], "factors"]
    lines.append(
        f"{len(factors)} of {interpretation.embedding.shape[1]} factors are in use; a perturbation "
        f"uses {uses.median():.0f} (median; {uses.min()} to {uses.max()})"
    )
    genes = interpretation.top_genes(4)
    for factor, count in factors["perturbations"].iloc[:PANELS].items():
        up, down = _genes_moved(genes, factor, "up"), _genes_moved(genes, factor, "down")
        lines.append(f"  {factor}: {count:.0f} perturbations; up {up}; down {down}")
    lines += most_alike(interpretation.similarity.loc[uses.index, uses.index])
    if recovery is not None:
        lines.append(
            "planted masks, area under the ROC curve (95 % range of shuffled perturbations):"
        )
        for name, score in recovery.entries.items():
            lines.append(f"  which program a perturbation moves, by {name}: {score}")
        for name, score in recovery.pairs.items():
            lines.append(f"  which perturbations share a program, by {name}: {score}")
    return "\n".join(lines)


def most_alike(similarity: pandas.DataFrame, pairs: int = 3) -> list[str]:
    """A line with the most similar pairs of perturbations; none where there is no pair."""
    # Above the diagonal, so that every pair stands once and none is of one perturbation.
    first, second = np.triu_indices(len(similarity), 1)
    values, names = similarity.to_numpy()[first, second], list(similarity.index)
    best = np.argsort(-values, kind="stable")[:pairs]
    named = []
    for i in best:
        named.append(f"{names[first[i]]} and {names[second[i]]} ({values[i]:.2f})")
    # A screen of one perturbation has no pair.
    if not named:
        return []
    return [f"most alike (cosine): {', '.join(named)}"]


def _genes_moved(genes: pandas.DataFrame, factor: Any, direction: str) -> str:
    rows = (genes["factor"] == factor) & (genes["direction"] == direction)
    return ", ".join(genes.loc[rows, "gene"]) or "nothing"
