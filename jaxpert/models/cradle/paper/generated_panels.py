"""Generated cells behind Figures 3 and 4 of the CRADLE-VAE paper: their quality, and how artifact
and pathway part them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from jaxpert import data
from jaxpert.core import files
from jaxpert.core.family import Finished, Run
from jaxpert.core.streams import Stream
from jaxpert.core.types import Dataset, Request
from jaxpert.data import doublets, genesets
from jaxpert.data.mapped import totals
from jaxpert.evaluation import generate, mixing, pseudobulk
from jaxpert.models.cradle.paper import plots
from jaxpert.models.cradle.paper.plots import Group, score_note
from jaxpert.tasks.screen.predict import make_request

CELLS_PER_PERTURBATION = 10
"""Cells of each perturbation that Figure 4 shows at least; of more perturbations than that allows
some are left out."""
COMPONENTS = 50
PAPER_LIBRARY, NO_PATHWAY = 1e4, "none"
GENERATED = ("fixed", "resampled")
"""Of `plots.SOURCES`, those of generated cells."""
SPACE = f"first {COMPONENTS} principal components of ln(1 + 1e4 x / sum x)"


class Generated(NamedTuple):
    """Generated cells of Figure 4."""

    space: Float[np.ndarray, "n k"]
    failed: Bool[np.ndarray, "n"]
    pathways: Shaped[np.ndarray, "n"] | None
    """NO_PATHWAY where the perturbed gene has none; None where pathways are unknown."""


def draw_quality(folder: Path, name: str, runs: Sequence[Run], cells: int, seed: int) -> None:
    """Figure 3 of one data set, and its pass rates; `cells` are generated for each group."""
    dataset = runs[0].finished.problem.dataset
    assert dataset.quality is not None
    multiplier = dataset.quality.multiplier
    bounds = data.modelled_thresholds(dataset)[multiplier]
    # Real cells first, which the generated ones of every model are compared with.
    groups = _real_groups(dataset, bounds)
    for run in runs:
        groups += generated_groups(run, bounds, cells, seed)
    plots.quality_distributions(groups, bounds, folder / f"figure3_{name}.png", multiplier)
    rows = []
    for group in groups:
        counts = group.metrics["umi_count"]
        row = {"group": group.label, "cells": len(counts), "pass_rate": group.pass_rate}
        row["doublets"] = float(group.metrics["doublet"].mean())
        row["without_counts"] = int((counts == 0).sum())
        called = runs[0].finished.config.quality.doublets != "none"
        # Real cells come with their calls, however few of them a group has.
        if called and group.source in GENERATED and len(counts) < doublets.FEWEST_FOR_RATES:
            row["note"] = doublets.too_few(len(counts), "the doublet caller")
        rows.append(row)
    numbers = {
        "data": dataset.name,
        "multiplier": multiplier,
        "thresholds": bounds,
        "seed": seed,
        "groups": rows,
    }
    files.write_json(folder / f"figure3_{name}.json", numbers)


def generated_groups(run: Run, bounds: Mapping[str, float], cells: int, seed: int) -> list[Group]:
    """Artifact-free cells of one library size, and with libraries drawn from passed control cells:
    the first is the paper's, but hardly any cell of a fixed size can fail the count criteria."""
    dataset, config = run.finished.problem.dataset, run.finished.config
    fixed = float(config.evaluation.library)
    control = pseudobulk.passed_rows(dataset)
    control = control[dataset.condition[control] == dataset.control]
    libraries = totals(dataset.counts, control).astype(np.float32)
    # Every condition has as many cells, and at least one each.
    shown = np.arange(len(dataset.conditions))
    if len(shown) > cells:
        shown = np.sort(np.random.default_rng(seed).choice(shown, cells, replace=False))
    request = make_request(dataset.condition_treatments[shown], library=fixed)
    groups = []
    for words, source, pool in (
        (f"library {fixed:,.0f}", "fixed", None),
        ("libraries of controls", "resampled", libraries[libraries > 0]),
    ):
        counts = generated_cells(run.finished, request, cells // len(shown), seed, pool)
        called = _doublets(counts, len(shown), config.quality.doublets, seed)
        metrics = data.quality_metrics(counts, data.gene_classes(dataset), called)
        # QCPR: the share of generated cells that pass the data's thresholds (10 Evaluation).
        rate = 1 - data.failed(metrics, bounds).mean()
        groups.append(Group(f"{run.label}, {words}", source, metrics, float(rate)))
    return groups


def generated_cells(
    finished: Finished,
    request: Request,
    per_row: int,
    seed: int,
    libraries: np.ndarray | None = None,
) -> Any:
    """Generated counts (CSR), the cells of each row of the request together."""
    fitted = finished.fitted
    counts = generate.generated_counts(
        fitted.model,
        fitted.params,
        fitted.state,
        jax.random.fold_in(jax.random.key(seed), Stream.EVALUATE),
        request,
        cells_per_row=per_row,
        libraries=libraries,
    )
    # They come as the first cell of every row, then the second, and so on.
    return counts[np.arange(counts.shape[0]).reshape(per_row, -1).T.ravel()]


def draw_artifacts(
    folder: Path,
    name: str,
    run: Run,
    sets: Mapping[str, frozenset[str]] | None,
    cells: int,
    seed: int,
) -> None:
    """Figure 4 of one run: cells generated with and without artifact, and how far artifact and
    pathway part them."""
    dataset = run.finished.problem.dataset
    pathway = pathways(run.finished, sets)
    # Perturbations of known pathways come first, so that the second panel has cells to show.
    shown = shown_perturbations(dataset, pathway or {}, cells)
    generated = _with_and_without(run.finished, shown, pathway, cells, seed)
    scores = artifact_scores(generated, seed)
    apart = "same pathway among neighbours, artifact-free cells"
    notes = (
        score_note("same flag among neighbours", scores["artifact"]),
        score_note(apart, scores["pathway_without_artifact"]),
    )
    picture = plots.tsne_embedding(generated.space, seed)
    path = folder / f"figure4_{name}.png"
    plots.generated_tsne(picture, generated.failed, generated.pathways, path, notes)
    numbers = {
        "run": str(run.workdir),
        "data": dataset.name,
        "seed": seed,
        "library": PAPER_LIBRARY,
        "cells": len(generated.space),
        "perturbations": len(shown),
        **_members([dataset.treatments[t] for t in shown], pathway),
        "space": SPACE,
    }
    files.write_json(folder / f"figure4_{name}.json", numbers | scores)


def artifact_scores(cells: Generated, seed: int) -> dict[str, Any]:
    """How far the artifact sets generated cells apart, and pathways without and with it (null where
    unknown)."""
    scores: dict[str, Any] = {"artifact": mixing.separation(cells.space, cells.failed, seed=seed)}
    for name, flag in (("pathway_without_artifact", False), ("pathway_with_artifact", True)):
        scores[name] = None
        # Null where pathways are unknown, so that the file always has the same keys.
        if cells.pathways is not None:
            rows = (cells.failed == flag) & (cells.pathways != NO_PATHWAY)
            scores[name] = mixing.separation(cells.space[rows], cells.pathways[rows], seed=seed)
    return scores


def pathways(
    finished: Finished, sets: Mapping[str, frozenset[str]] | None
) -> dict[str, str] | None:
    """The pathway of each perturbed gene that has one: from gene sets, else planted ones; None
    where neither are there."""
    if sets is not None:
        return genesets.pathways_of(finished.problem.dataset.treatments, sets)
    truth = finished.problem.truth
    if truth is None or not (truth.pathway >= 0).any():
        return None
    planted = {}
    for name, number in zip(truth.treatments, truth.pathway, strict=True):
        # A negative number stands for a target of no pathway.
        if number >= 0:
            planted[str(name)] = f"planted pathway {number + 1}"
    return planted


def shown_perturbations(
    dataset: Dataset, pathway: Mapping[str, str], cells: int
) -> Int[np.ndarray, "n"]:
    """Columns of the perturbations measured alone (all where none is), those with a pathway and
    many cells first, as many as leave each its cells."""
    single = dataset.condition_treatments.sum(1) == 1
    in_condition = np.bincount(dataset.condition, minlength=len(single))
    # Cells that received each treatment alone.
    measured = in_condition * single @ dataset.condition_treatments
    columns = np.flatnonzero(measured) if single.any() else np.arange(len(dataset.treatments))
    # Twice, since every perturbation is shown with and without the artifact.
    most = max(1, cells // (2 * CELLS_PER_PERTURBATION))
    ranked = sorted(columns, key=lambda t: (dataset.treatments[t] not in pathway, -measured[t]))
    return np.sort(np.array(ranked[:most], np.int64))


def principal_components(counts: Any, seed: int) -> Float[np.ndarray, "n k"]:
    """Cells in the first principal components of ln(1 + 1e4 x / sum x); a cell without counts is
    all zero."""
    from sklearn.decomposition import PCA

    # In place, since a dense matrix of cells by genes is the largest thing here.
    x = counts.toarray().astype(np.float32)
    x *= 1e4 / np.maximum(x.sum(1, keepdims=True), 1)
    np.log1p(x, out=x)
    pca = PCA(min(COMPONENTS, *x.shape), svd_solver="randomized", random_state=seed)
    return np.asarray(pca.fit_transform(x), np.float64)


def _with_and_without(
    finished: Finished,
    shown: Int[np.ndarray, "n"],
    pathway: Mapping[str, str] | None,
    cells: int,
    seed: int,
) -> Generated:
    """Cells of some perturbations, half of them generated with the artifact."""
    treatments = finished.problem.dataset.treatments
    # Each perturbation twice: a = 0 and a = 1, with nothing else between the two rows.
    treatment = np.repeat(np.eye(len(treatments), dtype=np.float32)[shown], 2, axis=0)
    flags = np.tile([0.0, 1.0], len(shown))
    request = make_request(treatment)._replace(failed=jnp.asarray(flags, jnp.float32))
    per_row = cells // len(flags)
    space = principal_components(generated_cells(finished, request, per_row, seed), seed)
    names = None
    if pathway is not None:
        of_shown = np.array([pathway.get(treatments[t], NO_PATHWAY) for t in shown])
        names = np.repeat(of_shown, 2 * per_row)
    return Generated(space, np.repeat(flags > 0, per_row), names)


def _real_groups(dataset: Dataset, bounds: Mapping[str, float]) -> list[Group]:
    """Real cells by their label, measured on the modelled genes."""
    quality = dataset.quality
    assert quality is not None
    classes = data.gene_classes(dataset)
    measured = data.quality_metrics(dataset.counts, classes, quality.metrics["doublet"])
    # Labels were made on all genes of the file, so a label may differ from what is measured here.
    passes = ~data.failed(measured, bounds)
    groups = []
    for which, rows in (("passed", ~quality.failed), ("failed", quality.failed)):
        if rows.any():
            metrics = {metric: values[rows] for metric, values in measured.items()}
            label = f"real, {which} ({rows.sum():,} cells)"
            groups.append(Group(label, which, metrics, float(passes[rows].mean())))
    return groups


def _doublets(counts: Any, rows: int, method: str, seed: int) -> Bool[np.ndarray, "n"]:
    """Doublets called among generated cells alone, in parts that hold cells of every condition;
    none where there are too few cells for it."""
    # A column of calls says nothing of generated cells.
    method = method if method in doublets.METHODS else "scrublet"
    parts = doublets.parts_of(rows, counts.shape[0] // rows)
    called = np.zeros(counts.shape[0], bool)
    for part in range(parts):
        called[part::parts], _ = doublets.call_doublets(counts[part::parts], method, seed)
    return called


def _members(shown: Sequence[str], pathway: Mapping[str, str] | None) -> dict[str, Any]:
    """The perturbations shown of each pathway; null where pathways are unknown."""
    if pathway is None:
        return {"perturbations_with_pathway": None, "pathways": None}
    members: dict[str, list[str]] = {}
    for name in shown:
        if name in pathway:
            members.setdefault(pathway[name], []).append(name)
    return {
        "perturbations_with_pathway": sum(map(len, members.values())),
        "pathways": dict(sorted(members.items())),
    }
