"""From an .h5ad file to batches: reading, quality labels, splits, what models must know of the
data."""

from jaxpert.data.blocks import in_blocks, make_batch
from jaxpert.data.feeds import make_feed
from jaxpert.data.gene_classes import of_dataset as gene_classes
from jaxpert.data.gene_graphs import add_graphs
from jaxpert.data.ontology import read_terms
from jaxpert.data.quality import (
    add_quality,
    at_multiplier,
    failed,
    label_generated,
    modelled_thresholds,
    quality_metrics,
)
from jaxpert.data.read import read
from jaxpert.data.sources import SOURCES, load, locate_annotations
from jaxpert.data.spec import count_failed, make_spec, reference_profiles, split_tables
from jaxpert.data.splits import add_split, drop_failed
from jaxpert.data.subset import drop_unannotated
from jaxpert.data.variable_genes import keep_variable
from jaxpert.simulate import load_truth, pool_truth, save_truth, simulate, simulated_terms

__all__ = [
    "SOURCES",
    "add_graphs",
    "add_quality",
    "add_split",
    "at_multiplier",
    "count_failed",
    "drop_failed",
    "drop_unannotated",
    "failed",
    "gene_classes",
    "in_blocks",
    "keep_variable",
    "label_generated",
    "load",
    "load_truth",
    "locate_annotations",
    "make_batch",
    "make_feed",
    "make_spec",
    "modelled_thresholds",
    "pool_truth",
    "quality_metrics",
    "read",
    "read_terms",
    "reference_profiles",
    "save_truth",
    "simulate",
    "simulated_terms",
    "split_tables",
]
