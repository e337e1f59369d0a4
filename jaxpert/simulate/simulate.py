"""A simulated screen whose truth is known: `simulate` gives an AnnData that looks like a real file,
and its `Truth`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxpert.core.types import InputError
from jaxpert.simulate import counts, means, screen
from jaxpert.simulate.settings import PRESETS, Settings, genes_seen, resolve
from jaxpert.simulate.truth import (
    LineTruth,
    Truth,
    load_truth,
    pool_truth,
    save_truth,
    write_edges,
    write_gmt,
)

__all__ = [
    "LineTruth",
    "PRESETS",
    "Settings",
    "Truth",
    "load_truth",
    "pool_truth",
    "save_truth",
    "simulate",
    "simulate_chunks",
    "write_edges",
    "write_gmt",
]

MAX_NNZ = 2**31 - 1


def simulate(
    preset: str = "demo", *, seed: int = 0, workers: int | None = None, **overrides: Any
) -> tuple[Any, Truth]:
    """Draw a Perturb-seq screen and return it with the truth behind it.

    The AnnData has raw counts in `X` (CSR, the smallest unsigned integer type that holds them,
    int32 indices), the columns `perturbation` ("A+B", control "ctrl") and `batch` in `obs`, cells
    in random order, and nothing that tells the truth. With several lines (`lines`, `lines_tiny`)
    there is a column `line` too, and the truth is a `LineTruth`; with doses (`doses`, `doses_tiny`)
    the columns are `compound` (control "vehicle"), `dose` (nM, 0 for the vehicle), `line` and
    `batch`, and `uns["targets"]` names the annotated target genes of each compound. `preset` is a
    name of `PRESETS`; `overrides` are fields of `Settings`, e.g. `cells=1000`. `workers` threads
    draw the counts (default: one per core, at most 4); their number changes no count.

    A gene panel (fewer than 19,018 genes) stands for the better-expressed part of a transcriptome:
    its median library is 13,500 (G / 19,018)^(1/3) (so about 5,000 over 1,187 genes, as Replogle
    has) and the share of its genes seen per cell (19,018 / G)^(1/3) times the full one, while the
    mitochondrial (3.4 %) and ribosomal (22 %) shares stay, so that the quality criteria keep their
    meaning. Differs from the screens it copies in that every cell with a guide shows its effect.
    """
    settings = resolve(preset, overrides)
    expected = settings.cells * genes_seen(settings)
    if expected > 0.9 * MAX_NNZ:
        raise InputError(
            f"{settings.cells:,} cells x {settings.genes:,} genes hold about {expected:,.0f} "
            "counts, more than one "
            f"int32-indexed matrix can ({MAX_NNZ:,}): use simulate_chunks, or fewer `cells`"
        )
    truth = draw_truth(settings, seed)
    return _anndata(truth, counts.matrix(truth, workers), slice(None), preset), truth


def simulate_chunks(
    preset: str = "genome",
    *,
    seed: int = 0,
    chunk: int = 16_384,
    workers: int | None = None,
    **overrides: Any,
) -> tuple[Truth, Iterator[Any]]:
    """Like `simulate`, in pieces of `chunk` cells; the cells are those of `simulate` whatever the
    chunk size.

    Meant for what no memory holds at once, such as `genome` (1.8e9 nonzero counts, 11 GB as one
    matrix).
    """
    if chunk < 1:
        raise InputError(f"chunk is {chunk}, expected at least 1 cell")
    truth = draw_truth(resolve(preset, overrides), seed)
    starts = range(0, len(truth.condition), chunk)
    return truth, (
        _anndata(
            truth,
            counts.rows(truth, start, start + chunk, workers),
            slice(start, start + chunk),
            preset,
        )
        for start in starts
    )


def draw_truth(settings: Settings, seed: int) -> Truth:
    """Everything about the screen but its counts."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"the simulator's seed is {seed!r}, expected a whole number, 0 or more")
    return means.add_means(screen.draw(settings, seed), settings.reference_cells)


def _anndata(truth: Truth, matrix: Any, part: slice, preset: str) -> Any:
    import anndata
    import pandas as pd

    names = np.char.add("cell", np.char.zfill(np.arange(len(truth.condition))[part].astype(str), 7))
    obs = pd.DataFrame(_columns(truth, part), index=names.astype(object))
    var = pd.DataFrame(index=truth.genes.astype(object))
    uns: dict[str, Any] = {"source": f"simulated {preset}, seed {int(truth.seed)}"}
    if isinstance(truth, LineTruth) and np.isfinite(truth.dose).any():
        uns["targets"] = dict(
            zip(truth.treatments.tolist(), truth.target_genes.tolist(), strict=True)
        )
    return anndata.AnnData(matrix, obs=obs, var=var, uns=uns)


def _columns(truth: Truth, part: slice) -> dict[str, Any]:
    """What the file says of its cells."""
    import pandas as pd

    condition = truth.condition[part]
    batches = [f"batch{b + 1}" for b in range(len(truth.batch_depth))]
    batch = {"batch": pd.Categorical.from_codes(truth.batch[part], categories=batches)}
    if not isinstance(truth, LineTruth):
        return {
            "perturbation": pd.Categorical.from_codes(condition, categories=list(truth.conditions))
        } | batch
    names = [truth.perturbation[0], *truth.treatments]
    perturbed = pd.Categorical(truth.perturbation[condition], categories=names)
    line = {"line": pd.Categorical.from_codes(truth.line[condition], categories=list(truth.lines))}
    if np.isfinite(truth.dose).any():
        return {"compound": perturbed, "dose": truth.dose[condition]} | line | batch
    return {"perturbation": perturbed} | line | batch
