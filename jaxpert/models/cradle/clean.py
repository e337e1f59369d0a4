"""The command `clean`: cells of a finished run without their artifact, and artifact-free cells of
perturbations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jaxpert import data
from jaxpert.core import log
from jaxpert.core.family import Finished, Run
from jaxpert.core.ranges import LARGEST_SEED, MOST
from jaxpert.core.settings import setting
from jaxpert.core.types import Dataset, InputError
from jaxpert.data.labels_asked import known_names, listed
from jaxpert.data.transfer import like_training
from jaxpert.models.cradle import artifact_recovery
from jaxpert.models.cradle.clean_cells import clean_cells
from jaxpert.models.cradle.removal_table import describe_removal
from jaxpert.models.cradle.remove_artifacts import artifact_latent, remove_artifacts
from jaxpert.tasks.screen.load import gene_columns, quality_columns, read_options

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class CleanOptions:
    """Flags of the command."""

    data: str = setting(
        "",
        "clean the cells of another .h5ad file, read and labelled as the run's data were; empty: "
        "the run's",
    )
    cells: str = setting(
        "failed",
        "failed, or all: cells that passed come back as the model sees them",
        choices=("failed", "all"),
    )
    draws: int = setting(50, "posterior draws", at_least=2, at_most=MOST)
    library: float = setting(1e4, "total counts of each cell written", at_least=1, at_most=1e9)
    perturbations: tuple[str, ...] = setting(
        (),
        "generate artifact-free cells of these too, such as A,A+B: counts into "
        "clean_generated.h5ad, means and effects with their uncertainty into clean_summary.h5ad",
        joined=True,
    )
    generated_cells: int = setting(
        100, "cells to generate of each perturbation", at_least=1, at_most=MOST
    )
    seed: int = setting(0, "of the posterior draws", at_least=0, at_most=LARGEST_SEED)


def clean(runs: Sequence[Run], folder: Path, options: CleanOptions) -> None:
    """Write clean.h5ad, and where perturbations are named clean_generated.h5ad and
    clean_summary.h5ad; say what came out."""
    finished = runs[0].finished
    # Refused at once for a model without an artifact.
    artifact_latent(finished.fitted.model)
    dataset = finished.problem.dataset
    if options.data:
        dataset = read_like(finished, options.data)
        for note in dataset.notes:
            log.say(f"note: {note}")
    if not options.perturbations and options.generated_cells != CleanOptions().generated_cells:
        raise InputError(
            f"--generated_cells is {options.generated_cells}, and no perturbations are named, "
            "expected --perturbations beside it: add that, or leave it out"
        )
    # What is named wrongly is refused before the longer work.
    tables: dict[str, AnnData] = {}
    if options.perturbations:
        tables = _generated(finished, options)
    removed = remove_artifacts(
        finished.fitted,
        dataset,
        cells=options.cells,
        draws=options.draws,
        library=options.library,
        seed=options.seed,
    )
    for name, table in ({"clean": removed} | tables).items():
        table.write_h5ad(folder / f"{name}.h5ad")
    log.say(describe_removal(removed))
    truth = finished.problem.truth
    # Only the run's own simulated cells have a known truth.
    if truth is not None and not options.data:
        recovered = artifact_recovery.removal_recovery(removed, dataset, truth)
        log.say(artifact_recovery.describe_recovery(recovered))


def read_like(finished: Finished, source: str | Path) -> Dataset:
    """Another .h5ad file in the form of a run's data: read by its settings, labelled by its quality
    thresholds.

    Gene filters are not applied; genes, treatments and thresholds are those of the run
    (`data.transfer`).
    """
    keys, quality = finished.config.data, finished.config.quality
    # Genes are chosen by the run's own list, so filters of genes are left out.
    options = read_options(keys) | {"highly_variable": None, "min_cells_per_gene": 0}
    options["gene_columns"] = gene_columns(quality)
    dataset = data.read(source, **options)
    # Thresholds and genes of the run, so that "failed" means what the model has learned of it.
    return like_training(
        dataset,
        finished.problem.dataset,
        doublets=quality.doublets,
        columns=quality_columns(quality),
        doublet_group=quality.doublet_group or None,
    )


def _generated(finished: Finished, options: CleanOptions) -> dict[str, AnnData]:
    cells, summary = clean_cells(
        finished.fitted,
        finished.problem.dataset,
        listed(options.perturbations, known_names(finished.problem.dataset)),
        cells_per_perturbation=options.generated_cells,
        library=options.library,
        draws=options.draws,
        seed=options.seed,
    )
    log.say(f"{cells.n_obs} artifact-free cells of {', '.join(summary.obs_names)} generated")
    return {"clean_generated": cells, "clean_summary": summary}
