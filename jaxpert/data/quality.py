"""Quality criteria, their thresholds by median absolute deviation (MAD), and the artifact label
they give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool

from jaxpert.core.types import Dataset, InputError, Quality
from jaxpert.data.counts import row_blocks
from jaxpert.data.doublets import METHODS, call_doublets
from jaxpert.data.files import column, shown
from jaxpert.data.gene_classes import Classes, by_names, of_dataset, unrecognised
from jaxpert.data.mapped import is_mapped

MULTIPLIERS = (3, 4, 5)
LOW = ("umi_count", "n_genes")
"""Criteria that fail below their threshold."""
HIGH = ("pct_mt", "pct_ribo", "pct_hb")
"""Criteria that fail above their threshold: percent of a cell's counts in a class of genes."""
UNFILTERED = "unfiltered_"
"""Start of the cell columns that keep what was measured before genes or cells were left out."""
GROUP_ON_DISK = 20_000
"""Cells of which doublets are called together where the counts are not in memory."""
NORMAL_CONSISTENT = 1.4826
"""MAD times this estimates the standard deviation of normal data."""


def quality_metrics(
    counts: Any, genes: Sequence[str] | Classes, doublet: Bool[np.ndarray, "N"]
) -> dict[str, np.ndarray]:
    """Return the six criteria per cell: `umi_count, n_genes, pct_mt, pct_ribo, pct_hb` and
    `doublet`.

    `counts [N, G]` is CSR or dense, raw; a cell without counts has NaN percentages. `genes` are
    symbols, or the classes of the genes (`gene_classes(dataset)`). Computed as scanpy's
    `calculate_qc_metrics` does, in float64.
    """
    from scipy import sparse

    counts = counts if sparse.issparse(counts) else sparse.csr_matrix(np.asarray(counts))
    classes = genes if isinstance(genes, Mapping) else by_names(genes)
    # One product per block gives the counts in each class of genes and, last, in all genes.
    columns = [classes[name] for name in HIGH] + [np.ones(counts.shape[1], bool)]
    weights = np.stack(columns, axis=1).astype(np.float64)
    sums, seen = np.zeros((counts.shape[0], 4)), np.zeros(counts.shape[0])
    for rows, block in row_blocks(counts):
        values = block.astype(np.float64)
        # A stored zero is no seen gene.
        values.eliminate_zeros()
        sums[rows], seen[rows] = values @ weights, np.diff(values.indptr)
    total = sums[:, 3]
    # 0 / 0 of a cell without counts is the NaN that is wanted.
    with np.errstate(invalid="ignore"):
        percent = {name: 100 * sums[:, i] / total for i, name in enumerate(HIGH)}
    return {"umi_count": total, "n_genes": seen, **percent, "doublet": np.asarray(doublet, bool)}


def thresholds(
    metrics: Mapping[str, np.ndarray], scaled: bool = False
) -> dict[int, dict[str, float]]:
    """Return {k: {criterion: median -+ k MAD}} for k = 3, 4, 5 on the raw scale.

    MAD is the raw median absolute deviation, as in the published labels; `scaled` multiplies it by
    1.4826.
    """
    unit = NORMAL_CONSISTENT if scaled else 1.0
    bounds: dict[int, dict[str, float]] = {k: {} for k in MULTIPLIERS}
    for name in LOW + HIGH:
        # Cells without counts have no percentages, and so no say in the median.
        centre = float(np.nanmedian(metrics[name]))
        # MAD = median |m - median m| (docs/models/cradle.md, "Quality labels").
        spread = float(np.nanmedian(np.abs(metrics[name] - centre)))
        sign = -1 if name in LOW else 1
        for k in MULTIPLIERS:
            bounds[k][name] = centre + sign * k * unit * spread
    return bounds


def flags(metrics: Mapping[str, np.ndarray], bounds: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Return {criterion: True where the cell fails it}, strictly beyond the thresholds of one
    multiplier."""
    # Strictly, as published: at MAD 0 the median cell passes. NaN compares false and passes too.
    low = {name: metrics[name] < bounds[name] for name in LOW}
    high = {name: metrics[name] > bounds[name] for name in HIGH}
    return low | high | {"doublet": np.asarray(metrics["doublet"], bool)}


def failed(metrics: Mapping[str, np.ndarray], bounds: Mapping[str, float]) -> Bool[np.ndarray, "N"]:
    """True for cells that fail at least one criterion: the artifact label."""
    return np.any(list(flags(metrics, bounds).values()), axis=0)


def add_quality(
    dataset: Dataset,
    *,
    multiplier: int = 5,
    doublets: str = "scrublet",
    columns: Mapping[str, str] | None = None,
    scaled: bool = False,
    seed: int = 0,
    doublet_group: int | None = None,
) -> Dataset:
    """Label the cells that fail a quality criterion (`dataset.quality`), with the thresholds of 3,
    4 and 5 MAD.

    Thresholds come from all cells of the file, as in the published labels; test cells thus have a
    say in them.

    Args:
      multiplier: the one of 3, 4, 5 behind `quality.failed`.
      doublets: "scrublet" (the package), "scanpy" (its own version; other calls), "none", or a
          column of 0/1 calls.
      columns: {criterion: column} for whole-transcriptome values, where the file holds only some of
          the genes.
      scaled: take 1.4826 MAD for MAD.
      seed: of the doublet simulation.
      doublet_group: call doublets in random groups of at most so many cells, to bound memory; None
          is all at once, and groups of 20,000 for counts that are kept on disk.

    Example:
        cells = jaxpert.add_quality(cells, multiplier=3, doublets="none")
    """
    if multiplier not in MULTIPLIERS:
        raise InputError(
            f"the MAD multiplier is {multiplier!r}, expected one of {MULTIPLIERS}: change "
            "quality.multiplier"
        )
    doublet, notes = _doublets(dataset, doublets, seed, doublet_group)
    measured, sources = _measured(dataset, doublet, dict(columns or {}))
    bounds = thresholds(measured, scaled)
    quality = Quality(measured, bounds, multiplier, failed(measured, bounds[multiplier]), scaled)
    counted = [name for name in HIGH if not np.nanmax(measured[name], initial=0)]
    missing = unrecognised(dataset, [name for name in counted if name not in (columns or {})])
    remarks = notes + sources + ((missing,) if missing else ()) + _remarks(quality)
    return replace(dataset, quality=quality, notes=(*dataset.notes, *remarks))


def at_multiplier(dataset: Dataset, multiplier: int) -> Dataset:
    """The same criteria and split with the artifact label of another MAD multiplier."""
    quality = dataset.quality
    if quality is None or multiplier not in quality.thresholds:
        there = sorted(quality.thresholds) if quality is not None else "no quality labels"
        raise InputError(
            f"labels at {multiplier!r} MAD are asked for, expected one of {there}: change "
            "evaluation.multipliers"
        )
    label = failed(quality.metrics, quality.thresholds[multiplier])
    return replace(dataset, quality=replace(quality, multiplier=multiplier, failed=label))


def keep_unfiltered(dataset: Dataset) -> Dataset:
    """Store the criteria of the present genes in `obs` as `unfiltered_*`, before genes or cells are
    left out."""
    metrics = _without_doublets(dataset)
    # Kept in `obs`, which every later filter cuts along with the cells.
    columns = {UNFILTERED + name: metrics[name] for name in LOW + HIGH}
    return replace(dataset, obs=dataset.obs.assign(**columns))


def modelled_thresholds(dataset: Dataset) -> dict[int, dict[str, float]]:
    """Thresholds measured on the genes of `dataset.counts` alone: what generated cells have to be
    held against.

    They equal `dataset.quality.thresholds` unless those come from whole-transcriptome columns or
    from before a filter.
    """
    scaled = dataset.quality is not None and dataset.quality.scaled
    return thresholds(_without_doublets(dataset), scaled)


def _without_doublets(dataset: Dataset) -> dict[str, np.ndarray]:
    none = np.zeros(len(dataset.cells), bool)
    return quality_metrics(dataset.counts, of_dataset(dataset), none)


def label_generated(
    counts: Any,
    genes: Sequence[str] | Classes,
    bounds: Mapping[str, float],
    *,
    doublets: str = "scrublet",
    chunks: int = 10,
    seed: int = 0,
) -> Bool[np.ndarray, "N"]:
    """Return which generated cells fail the data's thresholds of one multiplier; 1 - its mean is
    the QC pass rate.

    `counts [N, G]` is CSR or dense, `genes` as in `quality_metrics`. Doublets are called on
    generated cells alone, in `chunks` interleaved parts (row i goes to part i mod `chunks`, so that
    with equally many rows per perturbation every part holds all of them). A part in which no
    doublet threshold is found has no doublets. `doublets` is a method or "none".
    """
    from scipy import sparse

    counts = counts.tocsr() if sparse.issparse(counts) else sparse.csr_matrix(np.asarray(counts))
    if doublets not in METHODS:
        raise InputError(
            f"doublets of generated cells are to be called by {doublets!r}, expected one of "
            f"{METHODS}: change quality.doublets"
        )
    doublet = np.zeros(counts.shape[0], bool)
    for part in range(chunks):
        # Strides and not runs: rows of one draw hold all perturbations in turn.
        doublet[part::chunks], _ = call_doublets(counts[part::chunks], doublets, seed)
    return failed(quality_metrics(counts, genes, doublet), bounds)


def _doublets(
    dataset: Dataset, method: str, seed: int, group: int | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    if method in METHODS:
        # Calls made before the filters saw all cells and genes, so they go first.
        stored = f"{UNFILTERED}doublet_{method}"
        if stored in dataset.obs.columns:
            note = f"doublets are those called by {method} before the filters"
            return np.asarray(dataset.obs[stored], bool), (note,)
        if group is None and is_mapped(dataset.counts):
            group = GROUP_ON_DISK
        return call_doublets(dataset.counts, method, seed, group)
    if method not in dataset.obs.columns:
        raise InputError(
            f"doublets are to be called by {method!r}, expected one of {METHODS} or a column of "
            f"0/1 calls ({shown(dataset.obs.columns, 20)}): change quality.doublets"
        )
    values = dataset.obs[method]
    if not values.isin([0, 1]).all():
        raise InputError(
            f"column {method!r} of doublet calls holds other values too, expected 0 and 1 alone: "
            "choose another with quality.doublets"
        )
    return np.asarray(values, bool), ()


def _measured(
    dataset: Dataset, doublet: np.ndarray, columns: dict[str, str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Criteria from the named columns, else from before the filters, else from the counts."""
    unknown = sorted(set(columns) - set(LOW + HIGH))
    if unknown:
        raise InputError(
            f"quality.columns has the criteria {shown(unknown)}, expected some of "
            f"{shown(LOW + HIGH)}: correct it"
        )
    metrics: dict[str, Any] = quality_metrics(dataset.counts, of_dataset(dataset), doublet)
    sources = []
    for name in LOW + HIGH:
        source = columns.get(name, UNFILTERED + name)
        if name in columns or source in dataset.obs.columns:
            metrics[name] = _numbers(dataset.obs, source, name)
            sources.append(f"{name} from {source!r}")
    if not sources:
        return metrics, ()
    taken = ", ".join(sources)
    return metrics, (f"quality criteria taken from cell columns instead of the counts: {taken}",)


def _numbers(obs: Any, source: str, criterion: str) -> np.ndarray:
    values = column(obs, source, f"quality.columns.{criterion}")
    # Cells without counts have no percentages, so a criterion of our own may miss some.
    lacking = values.isna().any() and not source.startswith(UNFILTERED)
    if values.dtype.kind not in "buif" or lacking:
        raise InputError(
            f"column {source!r} for the quality criterion {criterion} is not a number for every "
            f"cell, expected one: choose another one with quality.columns.{criterion}"
        )
    return np.asarray(values, np.float64)


def _remarks(quality: Quality) -> tuple[str, ...]:
    remarks = []
    bounds = quality.thresholds[quality.multiplier]
    failing = {name: int(flag.sum()) for name, flag in flags(quality.metrics, bounds).items()}
    for name in HIGH:
        if np.nanmax(quality.metrics[name], initial=0) == 0:
            remarks.append(f"{name} never fails: no count of the file is in such genes")
        # Usual for haemoglobin (docs/models/cradle.md, "Quality labels").
        elif bounds[name] == 0:
            remarks.append(
                f"{name} has median and MAD 0, so any such count fails a cell: {failing[name]} "
                "cells fail by it"
            )
    for name in LOW:
        if bounds[name] < 0:
            remarks.append(
                f"{name} never fails: its threshold at {quality.multiplier} MAD is negative "
                f"({bounds[name]:.4g})"
            )
    detail = ", ".join(f"{name} {number}" for name, number in failing.items())
    share = f"{int(quality.failed.sum())} of {len(quality.failed)} cells"
    remarks.append(f"{share} fail quality at {quality.multiplier} MAD ({detail})")
    return tuple(remarks)
