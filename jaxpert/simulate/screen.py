"""A simulated screen whose truth is known: `simulate` gives an AnnData that looks like a real file,
and its `Truth`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard

import numpy as np

from jaxpert.core.errors import InputError
from jaxpert.simulate.cells import draw_cells
from jaxpert.simulate.counts import matrix, rows
from jaxpert.simulate.effects import draw_conditions, draw_targets
from jaxpert.simulate.genes import classify, draw_genes, draw_programs
from jaxpert.simulate.lines import draw_lines
from jaxpert.simulate.means import add_means
from jaxpert.simulate.settings import Settings, genes_seen, resolve
from jaxpert.simulate.truth import ARTIFACTS, GI_SCORES, LineTruth, Truth

# Wider indices than int32 would take twice the room.
MAX_NNZ = 2**31 - 1
"""Of one matrix with int32 indices."""
STREAMS = ("genes", "programs", "targets", "combinations", "cells", "lines")
"""Each part has a random stream of its own, so that a change in one leaves the others alone."""


def simulate(
    preset: str = "demo", *, seed: int = 0, workers: int | None = None, **overrides: Any
) -> tuple[Any, Truth]:
    """Draw a Perturb-seq screen and return it with the truth behind it.

    The AnnData has raw counts in `X` (CSR, the smallest unsigned integer type that holds them,
    int32 indices), the columns `perturbation` ("A+B", control "ctrl") and `batch` in `obs`, cells
    in random order, and nothing that tells the truth. With several lines (`lines`, `lines_tiny`)
    there is a column `line` too, and the truth is a `LineTruth`; with doses (`doses`, `doses_tiny`)
    the columns are `compound` (control "vehicle"), `dose` (nM, 0 for the vehicle), `line` and
    `batch`, and `uns["targets"]` names the annotated target genes of each compound.

    A gene panel (fewer than 19,018 genes) stands for the better-expressed part of a transcriptome:
    its median library is 13,500 (G / 19,018)^(1/3) (so about 5,000 over 1,187 genes, as Replogle
    has) and the share of its genes seen per cell (19,018 / G)^(1/3) times the full one, while the
    mitochondrial (3.4 %) and ribosomal (22 %) shares stay, so that the quality criteria keep their
    meaning. Differs from the screens it copies in that every cell with a guide shows its effect.

    Args:
        preset: a name of `PRESETS`.
        seed: the same seed gives the same bytes.
        workers: threads that draw the counts (default: one per core, at most 4); their number
            changes no count.
        overrides: fields of `Settings`, e.g. `cells=1000`.

    Raises:
        InputError: for settings that make no screen, or one with more counts than one matrix holds.

    Example:
        adata, truth = jaxpert.simulate("tiny", cells=1000)
        jaxpert.simulate.save_truth(truth, "truth.npz")
    """
    settings = resolve(preset, overrides)
    # The expected number is checked, so that a hopeless request fails before anything is drawn.
    expected = settings.cells * genes_seen(settings)
    # The tenth that is kept free covers the spread of the true number around its expectation.
    if expected > 0.9 * MAX_NNZ:
        raise InputError(
            f"{settings.cells:,} cells x {settings.genes:,} genes hold about {expected:,.0f} "
            f"counts, expected at most the {MAX_NNZ:,} of one int32-indexed matrix: use "
            "simulate_chunks, or fewer `cells`"
        )
    truth = draw_truth(settings, seed)
    return to_anndata(truth, matrix(truth, workers), slice(None), preset), truth


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
        raise InputError(f"chunk is {chunk}, expected at least 1 cell: correct it")
    truth = draw_truth(resolve(preset, overrides), seed)

    # The pieces come from a generator of their own, so that wrong settings fail at the call.
    def pieces() -> Iterator[Any]:
        for start in range(0, len(truth.condition), chunk):
            counts = rows(truth, start, start + chunk, workers)
            yield to_anndata(truth, counts, slice(start, start + chunk), preset)

    return truth, pieces()


def draw_truth(settings: Settings, seed: int) -> Truth:
    """Everything about the screen but its counts."""
    check_seed(seed)
    return add_means(draw_generators(settings, seed), settings.reference_cells)


def check_seed(seed: Any) -> None:
    """Refuse what is no seed."""
    # A truth value is an int to Python, so `seed=True` would pass for seed 1.
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(
            f"the simulator's seed is {seed!r}, expected a whole number, 0 or more: correct it"
        )


def draw_generators(s: Settings, seed: int) -> Truth:
    """All that generates a screen: a truth whose expected means are still 0 (`add_means` fills
    them)."""
    streams = streams_of(seed)
    genes = draw_genes(streams["genes"], s)
    programs = draw_programs(streams["programs"], s, classify(genes["genes"]), genes["base"])
    targets = draw_targets(streams["targets"], s, genes["genes"])
    if s.lines > 1 or s.doses > 0:
        kind: type[Truth] = LineTruth
        conditions = draw_lines(streams["lines"], s, targets, genes["base"])
        # A dose poisons by the share of the full effect that it has.
        toxicity = conditions["condition_treatments"] @ targets["toxicity"] * conditions["scale"]
    else:
        kind = Truth
        conditions = draw_conditions(streams["combinations"], s, targets)
        toxicity = conditions["condition_treatments"] @ targets["toxicity"]
    cells = draw_cells(streams["cells"], s, genes, toxicity)
    parts = genes | programs | targets | conditions | cells
    # The means are filled in last, since they follow from everything that is drawn here.
    return kind(seed=np.array(seed), **parts, **no_means(s, len(conditions["conditions"])))


def streams_of(seed: int) -> dict[str, np.random.Generator]:
    """The random stream of every part."""
    # The place in STREAMS is part of what a seed means, so new parts go to its end.
    streams: dict[str, np.random.Generator] = {}
    for i, name in enumerate(STREAMS):
        streams[name] = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, i)))
    return streams


def no_means(s: Settings, n_conditions: int) -> dict[str, np.ndarray]:
    """The fields that only `add_means` can fill."""
    # NaN stands for scores that only pairs have; means of 0 are overwritten for every condition.
    n_artifacts = len(ARTIFACTS)
    return {
        "mean_proportion": np.zeros((n_conditions, s.genes), np.float32),
        "mean_log2": np.zeros((n_conditions, s.genes), np.float32),
        "gi": np.full((n_conditions, len(GI_SCORES)), np.nan),
        "ambient": np.zeros(s.genes, np.float32),
        "artifact_log_fold": np.zeros((n_artifacts, s.genes), np.float32),
        "artifact_log2_shift": np.zeros((n_artifacts, s.genes), np.float32),
    }


def cell_names(truth: Truth) -> np.ndarray:
    """Names of the cells [N]."""
    # Numbers of equal width keep the names in the order of the cells when they are sorted.
    numbers = np.arange(len(truth.condition)).astype(str)
    return np.char.add("cell", np.char.zfill(numbers, 7))


def to_anndata(truth: Truth, counts: Any, part: slice, preset: str) -> Any:
    """Counts of some cells with what the file says of them."""
    import anndata
    import pandas as pd

    obs = pd.DataFrame(_columns(truth, part), index=cell_names(truth)[part].astype(object))
    var = pd.DataFrame(index=truth.genes.astype(object))
    uns: dict[str, Any] = {"source": f"simulated {preset}, seed {int(truth.seed)}"}
    # A real file says what its compounds bind, so this is told; the rest of the truth is not.
    if _has_doses(truth):
        targets = zip(truth.treatments.tolist(), truth.target_genes.tolist(), strict=True)
        uns["targets"] = dict(targets)
    return anndata.AnnData(counts, obs=obs, var=var, uns=uns)


def _has_doses(truth: Truth) -> TypeGuard[LineTruth]:
    return isinstance(truth, LineTruth) and bool(np.isfinite(truth.dose).any())


def _columns(truth: Truth, part: slice) -> dict[str, Any]:
    """What the file says of its cells."""
    import pandas as pd

    condition = truth.condition[part]
    batches = [f"batch{b + 1}" for b in range(len(truth.batch_depth))]
    batch = {"batch": pd.Categorical.from_codes(truth.batch[part], categories=batches)}
    if not isinstance(truth, LineTruth):
        # Categories name every condition, so that chunks of one screen have the same columns.
        perturbation = pd.Categorical.from_codes(condition, categories=list(truth.conditions))
        return {"perturbation": perturbation} | batch
    # A condition of these screens is a perturbation in a line, at a dose: the file has columns.
    names = [truth.perturbation[0], *truth.treatments]
    perturbed = pd.Categorical(truth.perturbation[condition], categories=names)
    line = {"line": pd.Categorical.from_codes(truth.line[condition], categories=list(truth.lines))}
    if _has_doses(truth):
        return {"compound": perturbed, "dose": truth.dose[condition]} | line | batch
    return {"perturbation": perturbed} | line | batch
