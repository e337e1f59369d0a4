"""CycSeq's data side in one place: from files of several cell lines to batches of paired
pseudo-bulk rows.

dataset = spectra.load_lines(["norman.h5ad", "mcfaline.h5ad"])
prepared = spectra.prepare(dataset, split="perturbation", cells_disjoint=True)
train, valid = spectra.make_feeds(prepared, batch_size=512)
spec = spectra.spectra_spec(prepared)
"""

from jaxpert.tasks.translation.combat import CombatReference
from jaxpert.tasks.translation.feed import make_feed, make_feeds
from jaxpert.tasks.translation.lines import address_genes, assign_columns, load_lines
from jaxpert.tasks.translation.prepare import Pairs, Prepared, drawn_cells, prepare
from jaxpert.tasks.translation.rows import (
    ControlMeans,
    Rows,
    SpectrumMeans,
    adjust,
    control_means,
    from_unit,
    rows,
    spectra_spec,
    spectrum_means,
    to_unit,
    training_rows_per_gene_scale,
    unadjust,
)

__all__ = [
    "CombatReference",
    "ControlMeans",
    "Pairs",
    "Prepared",
    "Rows",
    "SpectrumMeans",
    "address_genes",
    "adjust",
    "assign_columns",
    "control_means",
    "drawn_cells",
    "from_unit",
    "load_lines",
    "make_feed",
    "make_feeds",
    "prepare",
    "rows",
    "spectra_spec",
    "spectrum_means",
    "to_unit",
    "training_rows_per_gene_scale",
    "unadjust",
]
