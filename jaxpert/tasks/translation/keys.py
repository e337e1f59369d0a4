"""Every key of a config of the task `translation`: default, meaning and range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxpert.core import config
from jaxpert.core.ranges import LARGEST_SEED, LONGEST_LIST, MOST
from jaxpert.core.settings import section, setting
from jaxpert.tasks.screen.keys import GraphKeys, LabelKeys


@dataclass(frozen=True)
class DataKeys(LabelKeys):
    """Which cells, and how rows are made of them.

    Where several files are named, a column or layer is one name for all of them, or one for each,
    joined by commas. Labels of control cells count in every file.
    """

    source: str = setting(
        "simulated",
        "an .h5ad, .zarr or .h5mu file, several joined by commas, or `simulated`",
        filled=True,
        longest=LONGEST_LIST,
    )
    folder: str = setting(
        "", "folder of the public files; empty: $JAXPERT_DATA, else the user's cache folder"
    )
    counts: str = setting(
        "auto",
        "where the counts of files are: memory, disk (files in data.folder that are mapped), or "
        "auto (disk with train.layout=stream, or where they take over a quarter of the memory)",
        choices=("auto", "memory", "disk"),
    )
    layer: str = setting("", "layer with raw counts; empty: X")
    gene_names: str = setting(
        "", "column of the genes that names them, such as gene_name; empty: the file's own names"
    )
    strip_versions: bool = setting(
        False, "leave versions out of gene names: ENSG00000105610.5 is ENSG00000105610"
    )
    variable_genes: int = setting(
        0, "keep so many of the most variable genes, and every perturbed gene; 0: all", at_least=0
    )
    preset: str = setting(
        "demo", "of the simulated cells: lines, doses, and small ones of them", filled=True
    )
    simulation_seed: int = setting(0, "of the simulated cells", at_least=0, at_most=LARGEST_SEED)
    simulation: str = setting(
        "", "settings of the simulated cells, such as artifact_share=0.1,cells=3000"
    )
    line: str = setting("", "column of the cell line or type; empty: each file is one line")
    lines: tuple[str, ...] = setting((), "lines to use, joined by commas; empty: all", joined=True)
    batch: str = setting(
        "",
        "column of the experimental batch within a line; empty: each line of a file is one",
    )
    normalised: bool = setting(
        False, "the values are no counts but normalised before, with data.lognorm=given"
    )
    lognorm: str = setting(
        "log2_cp10k",
        "scale of the rows",
        choices=("log2_cp10k", "log2_raw", "ln_cp10k_zscore", "given"),
    )
    combat_reference: str = setting(
        "largest",
        "batch that the others are aligned to, largest, or start (that of the run in "
        "train.start); empty: no ComBat",
    )
    combat_cells: str = setting(
        "controls",
        "cells that ComBat is fitted to: controls, or all as published",
        choices=("controls", "all"),
    )
    replicates: int = setting(
        50, "draws of every pseudo-bulk group (perturbation in a batch)", at_least=1, at_most=MOST
    )
    cells_per_draw: int = setting(50, "cells of one draw", at_least=1, at_most=MOST)
    unit: str = setting(
        "pseudobulk",
        "a row is the mean of a draw (pseudobulk), or each drawn cell (cell)",
        choices=("pseudobulk", "cell"),
    )
    cells_disjoint: bool = setting(False, "deal cells to the parts of the split before drawing")
    draw: str = setting(
        "seeded",
        "seeded, or published: the published random numbers",
        choices=("seeded", "published"),
    )
    compound: str = setting("", "column of the compound in a screen of doses; empty: no doses")
    dose: str = setting("dose", "column of the dose, a number in one unit", filled=True)
    vehicle: tuple[str, ...] = setting(
        ("vehicle",),
        "compound labels of untreated cells, joined by commas",
        joined=True,
        filled=True,
    )
    targets: str = setting(
        "", "table of compounds and their target genes (.csv or tab-separated); empty: simulated"
    )
    pairs: str = setting(
        "adjacent",
        "pairs of doses: adjacent, or lowest_to_highest",
        choices=("adjacent", "lowest_to_highest"),
    )
    test_compounds: tuple[str, ...] = setting(
        (),
        "compounds to test, joined by commas; empty: those with one annotated target",
        joined=True,
    )


@dataclass(frozen=True)
class SplitKeys:
    """Which rows are trained on, and which are held out."""

    kind: str = setting(
        "replicate",
        "what is held out",
        choices=("replicate", "perturbation", "cell_line", "perturbation_in_line", "none"),
    )
    seed: int = setting(0, "of the split", at_least=0, at_most=LARGEST_SEED)
    held_out: tuple[str, ...] = setting(
        (),
        "perturbations, lines or `PERTURBATION in LINE` to test; empty: a random share",
        joined=True,
    )
    test_share: float = setting(0.2, "share held out for test", at_least=0, below=1)
    val_share: float = setting(
        0.1,
        "share held out to validate; 0: one replicate of training validates",
        at_least=0,
        below=1,
    )


@dataclass(frozen=True)
class TrainKeys(config.TrainKeys):
    """What this task has beside what all have."""

    start: str = setting(
        "",
        "work directory of a finished run to go on from (fine-tuning); empty: from scratch; with "
        "train.epochs=0 that run is evaluated as it is",
    )


@dataclass(frozen=True)
class EvaluationKeys:
    """What is asked of the trained model."""

    beside: tuple[str, ...] = setting(
        (),
        "models trained beside on the same rows and for how many epochs, such as name=25,other=200",
        joined=True,
    )
    triangular: tuple[str, ...] = setting(
        (), "genes to name in the triangular validation, joined by commas", joined=True
    )
    shown: tuple[str, ...] = setting(
        (),
        "pairs of perturbation and line to show in figures, joined by commas; empty: the "
        "strongest ones",
        joined=True,
    )


@dataclass(frozen=True)
class TranslationConfig:
    """A config of this task."""

    seed: int = setting(
        0, "of parameters, noise and the order of rows", at_least=0, at_most=LARGEST_SEED
    )
    data: DataKeys = section(DataKeys)
    graphs: GraphKeys = section(GraphKeys)
    split: SplitKeys = section(SplitKeys)
    model: config.ModelKeys = section(config.ModelKeys)
    train: TrainKeys = section(TrainKeys)
    evaluation: EvaluationKeys = section(EvaluationKeys)


def defaults(
    name: str, entry: config.ModelEntry, variant: str, changes: Mapping[str, Mapping[str, Any]]
) -> config.Config:
    """A config of a model for this task at a variant, with its family's changes of the sections."""
    small = config.SMALL.get(variant, {})
    return config.defaults(TranslationConfig, name, entry, variant, small, changes)
