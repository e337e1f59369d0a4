"""Every key of a config of the task `screen`: default, meaning and range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxpert.core import config
from jaxpert.core.ranges import LARGEST_SEED, LONGEST_LIST, MOST
from jaxpert.core.settings import section, setting

SPLIT_KINDS = (
    "auto",
    "combinations",
    "cells",
    "column",
    "none",
    "simulation",
    "simulation_single",
    "combo_seen0",
    "combo_seen1",
    "combo_seen2",
    "single",
    "no_test",
    "no_split",
    "custom",
)


@dataclass(frozen=True)
class LabelKeys:
    """How perturbations are written (docs/guide/labels.md)."""

    perturbation: str = setting(
        "condition", "column of the cells that names what was perturbed", filled=True
    )
    control: tuple[str, ...] = setting(
        ("ctrl",),
        "its labels for control cells, joined by commas, such as NT-*,safe-harbor (* is any text)",
        joined=True,
        filled=True,
    )
    separator: str = setting(
        "+", "between the perturbations of a combination; empty: labels are never split"
    )
    treatments: tuple[str, ...] = setting(
        (),
        "names that are one perturbation each though they hold the separator or occur nowhere "
        "alone, joined by commas",
        joined=True,
    )
    case: str = setting(
        "keep",
        "keep, or ignore: names that differ in case alone are one perturbation",
        choices=("keep", "ignore"),
    )
    missing: str = setting(
        "refuse",
        "cells without a label (empty, NA, unassigned ...): refuse them, drop them, or keep such a "
        "word as a perturbation",
        choices=("refuse", "drop", "keep"),
    )
    guide_pattern: str = setting(
        "",
        r"regular expression with one group, the gene in the name of a guide, such as (.+)_g\d+; "
        "empty: names are taken as they are",
    )


@dataclass(frozen=True)
class DataKeys(LabelKeys):
    """Which cells, and what their columns mean."""

    source: str = setting(
        "simulated",
        "an .h5ad, .zarr or .h5mu file, `simulated`, or a public screen: norman, dixit, replogle, "
        "adamson",
        filled=True,
        longest=LONGEST_LIST,
    )
    folder: str = setting(
        "", "folder of the public files; empty: $JAXPERT_DATA, else the user's cache folder"
    )
    counts: str = setting(
        "auto",
        "where the counts of a file are: memory, disk (a file in data.folder that is mapped), or "
        "auto (disk with train.layout=stream, or where they take over a quarter of the memory)",
        choices=("auto", "memory", "disk"),
    )
    layer: str = setting("", "layer with raw counts; empty: X")
    guide_prefix: str = setting(
        "",
        "take perturbations from columns of guide calls or counts that begin so; empty: from "
        "data.perturbation",
    )
    guide_threshold: int = setting(
        1, "fewest counts of a guide in a cell that has it", at_least=1, at_most=MOST
    )
    no_guide: str = setting(
        "auto",
        "cells without a guide: control, drop, or auto (drop where data.control names a guide)",
        choices=("auto", "control", "drop"),
    )
    stratum: str = setting("", "column of cell lines or batches; empty: none")
    gene_names: str = setting(
        "", "column of the genes that names them, such as gene_name; empty: the file's own names"
    )
    strip_versions: bool = setting(
        False, "leave versions out of gene names: ENSG00000105610.5 is ENSG00000105610"
    )
    min_cells_per_gene: int = setting(0, "leave out genes seen in fewer cells", at_least=0)
    highly_variable: str = setting("", "column of the genes that flags those to keep; empty: all")
    variable_genes: int = setting(
        0, "keep so many of the most variable genes, and every perturbed gene; 0: all", at_least=0
    )
    preset: str = setting(
        "demo",
        "of the simulated screen: tiny, demo, norman, dixit, replogle, adamson, lines",
        filled=True,
    )
    effects: str = setting(
        "",
        "in place of the preset: a table of log fold changes (conditions x genes) to draw cells "
        "around, or `example`; empty: the preset",
    )
    effects_scale: str = setting(
        "", "logarithm of data.effects: log2 or ln", choices=("", "log2", "ln")
    )
    control_profile: str = setting(
        "",
        "for data.effects: a table with the mean of every gene in control, or `drawn`",
    )
    simulation_seed: int = setting(0, "of the simulated screen", at_least=0, at_most=LARGEST_SEED)
    simulation: str = setting(
        "", "settings of the simulated screen, such as artifact_share=0.1,cells=3000"
    )


@dataclass(frozen=True)
class GraphKeys:
    """Graphs between genes, for the models that ask for them."""

    ontology: str = setting(
        "",
        "annotations (.gmt, .gaf, .pkl; plain or .gz) or `human`; empty: the simulated screen's",
    )
    aspects: tuple[str, ...] = setting(
        ("P", "F", "C"),
        "parts of the Gene Ontology to take from a GAF file",
        choices=("P", "F", "C"),
        filled=True,
        joined=True,
    )
    nodes: str = setting(
        "measured",
        "of the ontology graph: perturbed genes, with them measured, or all annotated ones",
        choices=("perturbed", "measured", "annotated"),
    )
    unannotated: str = setting(
        "drop",
        "cells with a perturbed gene without annotation: drop them, or keep them",
        choices=("drop", "keep"),
    )
    edges: tuple[str, ...] = setting(
        (),
        "graphs of your own, such as name=edges.csv,other=more.csv (source, target, importance)",
        joined=True,
    )
    aliases: str = setting(
        "",
        "other names of genes: a table of two columns (.csv), or a column of the genes; "
        "empty: the synonyms of the annotation file alone",
    )
    neighbours: int = setting(20, "most neighbours of a gene in a graph", at_least=1, at_most=MOST)
    jaccard: float = setting(
        0.1, "shared annotation above which two genes are linked", at_least=0, below=1
    )
    correlation: float = setting(
        0.4,
        "absolute correlation above which two genes are linked by co-expression",
        at_least=0,
        below=1,
    )
    signed: bool = setting(False, "whether only positive correlations count")
    all_cells: bool = setting(False, "whether co-expression looks at cells of combinations too")


@dataclass(frozen=True)
class QualityColumns:
    """Columns that hold whole-transcriptome quality, where the file has only some genes."""

    umi_count: str = setting("", "column of UMI counts; empty: from the counts")
    n_genes: str = setting("", "column of numbers of genes; empty: from the counts")
    pct_mt: str = setting("", "column of mitochondrial percentages; empty: from the counts")
    pct_ribo: str = setting("", "column of ribosomal percentages; empty: from the counts")
    pct_hb: str = setting("", "column of haemoglobin percentages; empty: from the counts")


@dataclass(frozen=True)
class GeneColumns:
    """Columns of the genes that flag those whose counts a criterion sums over."""

    pct_mt: str = setting("", "column of mitochondrial genes (True or 1); empty: by symbol")
    pct_ribo: str = setting("", "column of ribosomal genes; empty: by symbol")
    pct_hb: str = setting("", "column of haemoglobin genes; empty: by symbol")


@dataclass(frozen=True)
class QualityKeys:
    """Which cells fail."""

    multiplier: int = setting(
        5,
        "a cell fails beyond so many MAD from the median: 3, 4 or 5; 0: no quality labels",
        choices=(0, 3, 4, 5),
    )
    doublets: str = setting(
        "scrublet",
        "scrublet (the package), scanpy (its version), none, or a column of 0/1 calls",
        filled=True,
    )
    doublet_group: int = setting(
        0,
        "call doublets in random groups of so many cells, to bound memory; 0: all at once, or "
        "20,000 where the counts are on disk",
        at_least=0,
    )
    scaled: bool = setting(False, "whether to multiply the MAD by 1.4826")
    training_cells: str = setting(
        "all",
        "all, or passed: leave failed cells out of training and validation",
        choices=("all", "passed"),
    )
    columns: QualityColumns = section(QualityColumns)
    gene_columns: GeneColumns = section(GeneColumns)


@dataclass(frozen=True)
class SplitKeys:
    """Which cells are trained on, and which are held out."""

    kind: str = setting(
        "auto",
        "combinations, cells, column, none, auto (combinations if there are, else cells), or "
        "whole conditions",
        choices=SPLIT_KINDS,
    )
    seed: int = setting(0, "of the split", at_least=0, at_most=LARGEST_SEED)
    validation: bool = setting(
        True, "whether validation has cells of its own; False: they are trained on"
    )
    column: str = setting("", "column with train, val, test and dropped, for split.kind=column")
    gene_share: float = setting(
        0.75, "simulation: share of the genes that training may see", above=0, at_most=1
    )
    combination_share: float = setting(
        0.75,
        "simulation: share of the combinations of these genes that are trained on",
        at_least=0,
        at_most=1,
    )
    share: float = setting(
        0.1, "combo_seen0 to 2, single, no_test: share held out", above=0, below=1
    )
    test_genes: tuple[str, ...] = setting(
        (), "simulation: genes to hold out, joined by commas", joined=True
    )
    only_test_genes: bool = setting(False, "simulation: whether these are the only genes held out")
    file: str = setting("", "custom: a .json file with the lists train, val and test of conditions")


@dataclass(frozen=True)
class TrainKeys(config.TrainKeys):
    """What this task has beside what all have."""

    epochs: int = setting(2000, "passes over the training cells, at most", at_least=1, at_most=MOST)
    pairing: str = setting(
        "step",
        "matched control cell: drawn anew in every step, or once for each cell",
        choices=("step", "cell"),
    )
    seeds: int = setting(
        1,
        "train so many seeds at once (vmap); the first one is reported in full, all in `seeds`",
        at_least=1,
        at_most=1_000,
    )


@dataclass(frozen=True)
class EvaluationKeys:
    """What is asked of the trained model."""

    particles: int = setting(
        2500, "generated cells per condition behind each predicted mean", at_least=2, at_most=MOST
    )
    library: float = setting(10000.0, "library size of generated cells", at_least=1, at_most=1e9)
    controls: str = setting(
        "within",
        "control cells that effects are measured against: those of the same stratum (within), or "
        "of all strata together (pooled)",
        choices=("within", "pooled"),
    )
    multipliers: tuple[int, ...] = setting(
        (),
        "quality labels to score against, such as 3,4,5; empty: quality.multiplier's",
        choices=(3, 4, 5),
        joined=True,
    )
    pass_cells: int = setting(
        100,
        "generated cells per condition for the quality pass rate; 0: skip it",
        at_least=0,
        at_most=MOST,
    )
    ensemble: bool = setting(
        False,
        "whether the seeds of train.seeds are one model, their mean, as unsure as they differ",
    )
    likelihood: str = setting(
        "val",
        "split whose predictive IWELBO is computed; empty: none",
        choices=("", "train", "val", "test"),
    )
    umap_cells: int = setting(
        5000, "cells in the UMAP of the basal latent; 0: skip it", at_least=0, at_most=MOST
    )
    other_screen: str = setting(
        "",
        "effects of the same genes in another screen (conditions x genes), which the baseline "
        "linear_other_screen knows; empty: none",
    )
    scores_of: tuple[str, ...] = setting(
        (),
        "families of models whose paper's scores are computed too, joined by commas",
        joined=True,
    )
    shown: tuple[str, ...] = setting(
        (),
        "perturbations to show in figures, joined by commas; empty: the strongest ones",
        joined=True,
    )


@dataclass(frozen=True)
class ScreenConfig:
    """A config of this task."""

    seed: int = setting(
        0, "of parameters, noise and the order of cells", at_least=0, at_most=LARGEST_SEED
    )
    data: DataKeys = section(DataKeys)
    graphs: GraphKeys = section(GraphKeys)
    quality: QualityKeys = section(QualityKeys)
    split: SplitKeys = section(SplitKeys)
    model: config.ModelKeys = section(config.ModelKeys)
    train: TrainKeys = section(TrainKeys)
    evaluation: EvaluationKeys = section(EvaluationKeys)


# Fewer generated cells than the paper's, so that these variants end in minutes.
SMALL: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "demo": {"evaluation": {"particles": 500, "umap_cells": 3000}},
    "test": {"evaluation": {"particles": 40, "pass_cells": 10, "umap_cells": 100}},
}
"""What the variants on the simulated screen change of the evaluation."""


COMPUTED: Mapping[str, Mapping[str, Any]] = {
    "graphs": {"unannotated": "keep", "nodes": "perturbed"},
    "quality": {"multiplier": 0},
    "train": {
        "epochs": 1,
        "max_steps": 1,
        "batch_size": 128,
        "weight_decay": 0.0,
        "clip": 0.0,
        "patience": 0,
    },
    "evaluation": {"pass_cells": 0, "likelihood": "", "umap_cells": 0},
}
"""Changes of models that are computed from means: one step, in which nothing is learned, no quality
labels, and no cell left out for lack of annotation."""


def defaults(
    name: str, entry: config.ModelEntry, variant: str, changes: Mapping[str, Mapping[str, Any]]
) -> config.Config:
    """A config of a model for this task at a variant, with its family's changes of the sections."""
    small = config.SMALL.get(variant, {}), SMALL.get(variant, {})
    return config.defaults(ScreenConfig, name, entry, variant, *small, changes)
