"""The most variable genes of a screen, and the perturbed ones with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.identifiers import advice
from jaxpert.data.moments import gene_sums, log_normalised_blocks
from jaxpert.data.quality import keep_unfiltered
from jaxpert.data.subset import keep_genes

BINS = 20


def keep_variable(dataset: Dataset, number: int) -> Dataset:
    """Keep the `number` most variable genes and every perturbed gene, as the GEARS paper prepares
    its screens.

    Variable is what scanpy's `highly_variable_genes` (flavour "seurat") calls so on ln(1 + 1e4 x /
    sum x): dispersion (variance over mean) relative to genes of similar mean, here from two sums
    over blocks of cells, so that no normalised copy of the matrix is made. All cells are looked at,
    held-out ones too, as published.
    """
    if number < 1:
        raise InputError(
            f"data.variable_genes is {number}, expected a number of genes, or 0 for all: correct it"
        )
    if number >= len(dataset.genes):
        return dataset
    keep = most_variable(*_moments(dataset), number)
    # Perturbed genes stay in any case (docs/models/gears.md, "Expression scale").
    perturbed = np.isin(np.asarray(dataset.genes, dtype=str), dataset.treatments)
    note = (
        f"the {number} most variable of {len(keep)} genes are kept, and "
        f"{int((perturbed & ~keep).sum())} perturbed genes that are not among them; quality "
        "criteria were measured before, on all genes"
    )
    notes = [note]
    if perturbed.sum() < len(dataset.treatments):
        # The names were noted when the file was read; here they lose the gene itself.
        better = advice(dataset.genes, dataset.var, dataset.treatments)
        notes.append(
            f"ATTENTION: {int(perturbed.sum())} of {len(dataset.treatments)} perturbed genes are "
            "kept by name, the others are not named as any gene" + (f": {better}" if better else "")
        )
    kept = keep_genes(keep_unfiltered(dataset), keep | perturbed)
    return replace(kept, notes=(*kept.notes, *notes))


def _moments(dataset: Dataset) -> tuple[Float[np.ndarray, "G"], Float[np.ndarray, "G"]]:
    """Mean and sample variance of 1e4 x / sum x over cells that have counts."""
    total, squares, cells = np.zeros(len(dataset.genes)), np.zeros(len(dataset.genes)), 0
    for block in log_normalised_blocks(dataset.counts, np.ones(len(dataset.cells), bool)):
        # Seurat's dispersion is of normalised counts, before the logarithm.
        values = np.expm1(block.data)
        total += gene_sums(block, values)
        squares += gene_sums(block, values**2)
        cells += block.shape[0]
    mean = total / max(cells, 1)
    # Divisor one less than the number, as in scanpy.
    return mean, (squares - cells * mean**2) / max(cells - 1, 1)


def most_variable(
    mean: Float[np.ndarray, "G"], variance: Float[np.ndarray, "G"], number: int
) -> Bool[np.ndarray, "G"]:
    """True for the genes of largest dispersion, standardised among those of similar mean (20 bins
    of ln(1 + mean))."""
    import pandas as pd

    # ln(variance / mean), with scanpy's 1e-12 in place of a mean of 0.
    dispersion = np.log(np.where(variance > 0, variance, np.nan) / np.where(mean > 0, mean, 1e-12))
    table = pd.DataFrame(
        # Dispersion falls with the mean by sampling alone, so genes compete within bins of it.
        {"bin": pd.cut(pd.Series(np.log1p(mean)), bins=BINS), "dispersion": dispersion}
    )
    groups = table.groupby("bin", observed=True)["dispersion"]
    centre, spread = groups.transform("mean"), groups.transform("std")
    # A gene alone in its bin gets 1: it is kept, since its bin says nothing about it.
    alone = spread.isna() & table["dispersion"].notna()
    spread, centre = spread.mask(alone, centre), centre.mask(alone, 0.0)
    score = ((table["dispersion"] - centre) / spread).to_numpy()
    # Constant genes have no dispersion and come last.
    order = np.argsort(-np.nan_to_num(score, nan=-np.inf), kind="stable")
    return np.isin(np.arange(len(mean)), order[:number])
