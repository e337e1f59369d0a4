"""What Figures 3 to 9 of the CRADLE-VAE paper show, computed from finished runs and drawn into a
folder."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from jaxpert import data
from jaxpert.app.reopen import Finished
from jaxpert.core import workdir as folder
from jaxpert.core.types import Dataset, InputError, Request
from jaxpert.data import doublets, genesets
from jaxpert.evaluation import compare as benchmark
from jaxpert.evaluation import generate, mixing, pseudobulk
from jaxpert.models.cradle.paper.plots import Group, View, score_note
from jaxpert.report import plots
from jaxpert.tasks.screen import evaluate as assess
from jaxpert.tasks.screen import predict as workflow

CELLS_PER_PERTURBATION = 10
"""Cells of each perturbation that Figure 4 shows at least; of more perturbations than that allows
some are left out."""
COMPONENTS = 50
PAPER_LIBRARY, NO_PATHWAY = 1e4, "none"
DOUBLET_CELLS = 10
"""Generated cells of each condition that the doublet caller sees at a time, as in the paper."""
SPACE = f"first {COMPONENTS} principal components of ln(1 + 1e4 x / sum x)"


class Run(NamedTuple):
    """A finished run and what the figures call it."""

    name: str
    """Of its files."""
    label: str
    """In panels; no two runs of one data set share it."""
    folder: Path
    finished: Finished


class Generated(NamedTuple):
    """Generated cells of Figure 4."""

    space: Float[np.ndarray, "n k"]
    failed: Bool[np.ndarray, "n"]
    pathways: Shaped[np.ndarray, "n"] | None
    """NO_PATHWAY where the perturbed gene has none; None where pathways are unknown."""


class Options(NamedTuple):
    """What the user chose for all figures."""

    cells: int
    seed: int
    sets: Mapping[str, frozenset[str]] | None
    """Gene sets that may name pathways."""


def has_artifact(finished: Finished) -> bool:
    """Whether the model tells artifacts apart in its latent space."""
    latent = finished.fitted.model.latent
    if latent is None:
        return False
    return "artifact" in jax.eval_shape(latent.shared, finished.fitted.params, jax.random.key(0))


def draw_quality(into: Path, name: str, runs: Sequence[Run], options: Options) -> None:
    """Figure 3 of one data set, and its pass rates."""
    dataset = runs[0].finished.dataset
    assert dataset.quality is not None
    multiplier = dataset.quality.multiplier
    bounds = data.modelled_thresholds(dataset)[multiplier]
    groups = _real_groups(dataset, bounds)
    for run in runs:
        groups += _generated_groups(run, bounds, options)
    plots.quality_distributions(groups, bounds, into / f"figure3_{name}.png", multiplier)
    rows = [
        {
            "group": group.label,
            "cells": len(group.metrics["umi_count"]),
            "pass_rate": group.pass_rate,
            "doublets": float(group.metrics["doublet"].mean()),
            "without_counts": int((group.metrics["umi_count"] == 0).sum()),
        }
        for group in groups
    ]
    numbers = {
        "data": dataset.name,
        "multiplier": multiplier,
        "thresholds": bounds,
        "seed": options.seed,
    }
    folder.write_json(into / f"figure3_{name}.json", numbers | {"groups": rows})


def _real_groups(dataset: Dataset, bounds: Mapping[str, float]) -> list[Group]:
    """Real cells by their label, measured on the modelled genes."""
    quality = dataset.quality
    assert quality is not None
    measured = data.quality_metrics(dataset.counts, dataset.genes, quality.metrics["doublet"])
    passes = ~data.failed(measured, bounds)

    def group(which: str, rows: np.ndarray) -> Group:
        metrics = {metric: values[rows] for metric, values in measured.items()}
        return Group(
            f"real, {which} ({rows.sum():,} cells)", which, metrics, float(passes[rows].mean())
        )

    parts = {"passed": ~quality.failed, "failed": quality.failed}
    return [group(which, rows) for which, rows in parts.items() if rows.any()]


def _generated_groups(run: Run, bounds: Mapping[str, float], options: Options) -> list[Group]:
    """Artifact-free cells of one library size, and with libraries drawn from passed control cells:
    the first is the paper's, but hardly any cell of a fixed size can fail the count criteria."""
    dataset, config = run.finished.dataset, run.finished.config
    fixed = float(config["evaluation"]["library"])
    control = pseudobulk.passed_rows(dataset)
    control = control[dataset.condition[control] == dataset.control]
    libraries = np.asarray(dataset.counts[control].sum(1), np.float32).ravel()
    pools = {
        f"library {fixed:,.0f}": ("fixed", None),
        "libraries of controls": ("resampled", libraries[libraries > 0]),
    }
    shown = np.arange(len(dataset.conditions))
    if len(shown) > options.cells:
        shown = np.sort(
            np.random.default_rng(options.seed).choice(shown, options.cells, replace=False)
        )
    request = workflow.make_request(dataset.condition_treatments[shown], library=fixed)
    groups = []
    for words, (source, pool) in pools.items():
        counts = _generated(run, request, options.cells // len(shown), options.seed, pool)
        metrics = data.quality_metrics(
            counts, dataset.genes, _doublets(counts, len(shown), config, options.seed)
        )
        rate = 1 - data.failed(metrics, bounds).mean()
        groups.append(Group(f"{run.label}, {words}", source, metrics, float(rate)))
    return groups


def _generated(
    run: Run, request: Request, per_row: int, seed: int, libraries: np.ndarray | None = None
) -> Any:
    """Generated counts (CSR), the cells of each row of the request together."""
    fitted = run.finished.fitted
    key = jax.random.fold_in(jax.random.key(seed), assess.EVALUATE)
    counts = generate.generated_counts(
        fitted.model,
        fitted.params,
        fitted.state,
        key,
        request,
        cells_per_row=per_row,
        libraries=libraries,
    )
    return counts[np.arange(counts.shape[0]).reshape(per_row, -1).T.ravel()]


def _doublets(
    counts: Any, rows: int, config: Mapping[str, Any], seed: int
) -> Bool[np.ndarray, "n"]:
    """Doublets called among generated cells alone, in parts that hold cells of every condition."""
    method = config["quality"]["doublets"]
    method = method if method in doublets.METHODS else "scrublet"
    parts = max(1, counts.shape[0] // rows // DOUBLET_CELLS)
    called = np.zeros(counts.shape[0], bool)
    for part in range(parts):
        called[part::parts], _ = doublets.call_doublets(counts[part::parts], method, seed)
    return called


def draw_effects(into: Path, name: str, runs: Sequence[Run]) -> None:
    """Measured against predicted effects on the hardest perturbations there are, a panel for each
    model."""
    observed, predicted, names, panels, scores = [], [], [], [], {}
    for run in runs:
        subset, rows, measured = _measured_effects(run.finished.dataset)
        label = f"{run.label}\n{subset}\n"
        observed.append(measured[rows])
        predicted.append(_predicted_effects(run)[rows])
        names += [run.finished.dataset.conditions[c] for c in rows]
        panels += [label] * len(rows)
        scores[label] = run.finished.metrics["model"][subset]
    path = into / f"figure3_{name}_effects.png"
    plots.ate_scatter(
        np.concatenate(observed), np.concatenate(predicted), names, panels, path, scores
    )


def _measured_effects(dataset: Dataset) -> tuple[str, list[int], Float[np.ndarray, "C G"]]:
    """The subset farthest from training that has measured effects, its conditions, and the effects
    of all."""
    measured = pseudobulk.effects(pseudobulk.observed_means(dataset), dataset.control)
    subsets = benchmark.subsets(dataset)
    for subset in ("test", "val", "all"):
        rows = [int(c) for c in subsets.get(subset, ()) if np.isfinite(measured[c]).all()]
        if rows:
            return subset, rows, measured
    raise InputError(
        f"no perturbation of {dataset.name!r} has measured effects, which figure 3 compares with"
    )


def _predicted_effects(run: Run) -> Float[np.ndarray, "C G"]:
    """Effects that the run predicted, in the data set's order of conditions."""
    path, conditions = run.folder / "effects.npz", run.finished.dataset.conditions
    try:
        with np.load(path, allow_pickle=False) as stored:
            where = {str(name): i for i, name in enumerate(stored["conditions"])}
            return stored["effect"][0, [where[name] for name in conditions]].astype(np.float64)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} cannot be read ({error}), expected that of a finished run: run it again"
        ) from error


def draw_latents(into: Path, name: str, runs: Sequence[Run], options: Options) -> None:
    """Figure 9 of one data set: the same real cells in the basal latent of each model, and how well
    they are mixed."""
    dataset = runs[0].finished.dataset
    assert dataset.quality is not None
    rng = np.random.default_rng(options.seed)
    rows = np.sort(rng.permutation(len(dataset.cells))[: options.cells])
    failed, labels = (
        dataset.quality.failed[rows],
        np.array(dataset.conditions)[dataset.condition[rows]],
    )
    views, models = {}, {}
    for run in runs:
        latents = workflow.embed_cells(
            run.finished.fitted, run.finished.dataset, rows, seed=options.seed
        )
        basal = np.asarray(latents["z_basal"], np.float64)
        scores = {
            "artifact": mixing.separation(basal, failed, seed=options.seed),
            "perturbation": mixing.separation(basal, labels, seed=options.seed),
        }
        notes = (
            score_note("same flag among neighbours", scores["artifact"]),
            score_note("same perturbation among neighbours", scores["perturbation"]),
        )
        views[run.label] = View(plots.umap_embedding(basal, options.seed), *notes)
        models[run.label] = {"run": str(run.folder), **scores}
    plots.latent_comparison(views, failed, labels, into / f"figure9_{name}.png")
    numbers = {
        "data": dataset.name,
        "cells": len(rows),
        "seed": options.seed,
        "space": "z_b, posterior means",
    }
    folder.write_json(into / f"figure9_{name}.json", numbers | {"models": models})


def draw_artifacts(into: Path, run: Run, options: Options) -> None:
    """Figure 4 of one run: cells generated with and without artifact, and how far artifact and
    pathway part them."""
    dataset = run.finished.dataset
    pathway = pathways(run.finished, options.sets)
    shown = _shown_perturbations(dataset, pathway or {}, options.cells)
    treatment = np.repeat(np.eye(len(dataset.treatments), dtype=np.float32)[shown], 2, axis=0)
    flags = np.tile([0.0, 1.0], len(shown))
    request = workflow.make_request(treatment)._replace(failed=jnp.asarray(flags, jnp.float32))
    per_row = options.cells // len(flags)
    space = principal_components(_generated(run, request, per_row, options.seed), options.seed)
    cells = Generated(
        space, np.repeat(flags > 0, per_row), _repeated(dataset, shown, pathway, 2 * per_row)
    )
    scores = artifact_scores(cells, options.seed)
    picture = plots.tsne_embedding(space, options.seed)
    notes = (
        score_note("same flag among neighbours", scores["artifact"]),
        score_note(
            "same pathway among neighbours, artifact-free cells", scores["pathway_without_artifact"]
        ),
    )
    plots.generated_tsne(
        picture, cells.failed, cells.pathways, into / f"figure4_{run.name}.png", notes
    )
    numbers = {
        "run": str(run.folder),
        "data": dataset.name,
        "seed": options.seed,
        "library": PAPER_LIBRARY,
        "cells": len(space),
        "perturbations": len(shown),
        **_members([dataset.treatments[t] for t in shown], pathway),
        "space": SPACE,
    }
    folder.write_json(into / f"figure4_{run.name}.json", numbers | scores)


def _members(shown: Sequence[str], pathway: Mapping[str, str] | None) -> dict[str, Any]:
    """The perturbations shown of each pathway; null where pathways are unknown."""
    if pathway is None:
        return {"perturbations_with_pathway": None, "pathways": None}
    found: dict[str, list[str]] = {}
    for name in shown:
        if name in pathway:
            found.setdefault(pathway[name], []).append(name)
    return {
        "perturbations_with_pathway": sum(map(len, found.values())),
        "pathways": dict(sorted(found.items())),
    }


def artifact_scores(cells: Generated, seed: int) -> dict[str, Any]:
    """How far the artifact sets generated cells apart, and pathways without and with it (null where
    unknown)."""
    scores: dict[str, Any] = {"artifact": mixing.separation(cells.space, cells.failed, seed=seed)}
    for name, flag in (("pathway_without_artifact", False), ("pathway_with_artifact", True)):
        scores[name] = None
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
        return genesets.pathways_of(finished.dataset.treatments, sets)
    truth = finished.truth
    if truth is None:
        return None
    planted = zip(truth.treatments, truth.pathway, strict=True)
    return {str(name): f"planted pathway {number + 1}" for name, number in planted if number >= 0}


def _shown_perturbations(
    dataset: Dataset, pathway: Mapping[str, str], cells: int
) -> Int[np.ndarray, "n"]:
    """Columns of the perturbations measured alone (all where none is), those with a pathway and
    many cells first, as many as leave each its cells."""
    single = dataset.condition_treatments.sum(1) == 1
    measured = (
        np.bincount(dataset.condition, minlength=len(single))
        * single
        @ dataset.condition_treatments
    )
    columns = np.flatnonzero(measured) if single.any() else np.arange(len(dataset.treatments))
    most = max(1, cells // (2 * CELLS_PER_PERTURBATION))
    ranked = sorted(columns, key=lambda t: (dataset.treatments[t] not in pathway, -measured[t]))
    return np.sort(np.array(ranked[:most], np.int64))


def _repeated(
    dataset: Dataset, shown: np.ndarray, pathway: Mapping[str, str] | None, times: int
) -> np.ndarray | None:
    """The pathway of every generated cell."""
    if pathway is None:
        return None
    return np.repeat(
        np.array([pathway.get(dataset.treatments[t], NO_PATHWAY) for t in shown]), times
    )


def principal_components(counts: Any, seed: int) -> Float[np.ndarray, "n k"]:
    """Cells in the first principal components of ln(1 + 1e4 x / sum x); a cell without counts is
    all zero."""
    from sklearn.decomposition import PCA

    x = counts.toarray().astype(np.float32)
    x *= 1e4 / np.maximum(x.sum(1, keepdims=True), 1)
    np.log1p(x, out=x)
    pca = PCA(min(COMPONENTS, *x.shape), svd_solver="randomized", random_state=seed)
    return np.asarray(pca.fit_transform(x), np.float64)
