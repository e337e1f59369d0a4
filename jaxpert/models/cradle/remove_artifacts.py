"""Artifact removal: failed cells without their artifact, and artifact-free cells of any
perturbation."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxpert.core.types import SPLITS, Batch, Dataset, InputError, Latent, Model, PyTree
from jaxpert.data.files import shown
from jaxpert.models.cradle import artifact_recovery
from jaxpert.nn.transforms import log2p_normalize
from jaxpert.simulate.truth import ARTIFACTS, cell_proportions
from jaxpert.tasks.screen.predict import Fitted, make_batch

if TYPE_CHECKING:
    from anndata import AnnData

REMOVE = 3
"""Stream folded into the seed's key."""
BLOCK_VALUES = 2**21
"""Expected counts (cells x genes) of one block of cells; about six arrays of that size are
alive."""


class Moments(NamedTuple):
    """Over posterior draws of the expected counts of a block of cells."""

    mean: Float[Array, "B G"]
    m2: Float[Array, "B G"]
    """Sum of squared deviations from the mean."""
    kept: Float[Array, "B G"]
    """Mean with the artifact kept."""


def remove_artifacts(
    fitted: Fitted,
    dataset: Dataset,
    *,
    cells: str | Int[np.ndarray, "n"] = "failed",
    draws: int = 50,
    library: float = 1e4,
    seed: int = 0,
) -> AnnData:
    """What failed cells would look like without their artifact (the paper's counterfactual
    question).

    Of every cell the posterior of its basal state and of its perturbation's latents is kept, its
    artifact latent is set to zero, and the decoder is asked again.

    Args:
        fitted: a model with an artifact latent (CRADLE-VAE), one seed.
        dataset: with quality labels; its genes and treatments are those that the model was trained
            on (`data.transfer` makes another file so).
        cells: "failed", "all" (the others come back as the model sees them, unchanged by the
            removal), or row numbers.
        draws: from the posterior, with the latents that all cells share drawn once per draw.
        library: total of each returned cell.
        seed: of the draws; the result does not depend on how the cells are cut into blocks.

    Returns an AnnData of those cells. `X [cells, genes]` is the posterior mean of the expected
    counts at `library` without the artifact: denoised, as it has none of the cell's sampling noise.
    Layers: `sd`, the standard deviation of that expectation over the draws; `with_artifact`, the
        mean of the same draws with the artifact kept, so that
    `with_artifact - X` is the artifact's part; `corrected`, the observed cell with every count
    multiplied by `X / with_artifact` and scaled to `library`, which keeps the cell's own noise (a
    gene without reads stays so), for what is done with counts. `obs` has condition, split and
    failed; `uns["artifact_removal"]` says how it was made.
    """
    latent = artifact_latent(fitted.model)
    rows = chosen_rows(dataset, cells)
    if draws < 2:
        raise InputError(
            f"draws is {draws}, expected at least 2 for a spread over posterior draws: use 50"
        )
    check_library(library)
    key = jax.random.fold_in(jax.random.key(seed), REMOVE)
    keys = jax.random.split(key, draws)
    size = max(1, min(len(rows), BLOCK_VALUES // len(dataset.genes)))
    found = []
    for start in range(0, len(rows), size):
        batch = make_batch(dataset, np.resize(rows[start : start + size], size))
        batch = batch._replace(slot=batch.slot + start)  # noise goes by the cell's place among all
        if start == 0:
            _require_artifact(latent, fitted, batch)
        moments = _moments(latent, fitted.params, keys, batch, jnp.full(size, library, jnp.float32))
        found.append(jax.tree.map(lambda a: np.asarray(a)[: len(rows) - start], moments))  # noqa: B023
    moments = jax.tree.map(lambda *parts: np.concatenate(parts), *found)
    return _removed(dataset, rows, moments, draws, library)


def artifact_latent(model: Model) -> Latent:
    """The model's latent space; InputError where it has none."""
    if model.latent is None:
        raise _no_artifact("this model has no latent space")
    return model.latent


def _require_artifact(latent: Latent, fitted: Fitted, batch: Batch) -> None:
    blocks = jax.eval_shape(latent.cells, fitted.params, jax.random.key(0), batch)
    if "artifact" not in blocks:
        raise _no_artifact(f"this model has no artifact latent (its latents are {shown(blocks)})")


def _no_artifact(found: str) -> InputError:
    return InputError(
        f"{found}, expected one that tells artifacts from perturbations: train CRADLE-VAE "
        "(model.name=cradle_vae)"
    )


def chosen_rows(dataset: Dataset, cells: str | Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Row numbers of the cells that were asked for."""
    if dataset.quality is None:
        raise InputError(
            f"data set {dataset.name!r} has no quality labels: call data.add_quality first"
        )
    if not isinstance(cells, str):
        return np.asarray(cells, np.int64)
    if cells not in ("failed", "all"):
        raise InputError(f"cells is {cells!r}, expected failed or all")
    rows = (
        np.arange(len(dataset.cells)) if cells == "all" else np.flatnonzero(dataset.quality.failed)
    )
    if not len(rows):
        raise InputError(
            f"none of the {len(dataset.cells)} cells of {dataset.name!r} fails quality at "
            f"{dataset.quality.multiplier} "
            "MAD, expected some to remove artifacts from: there is nothing to do (or choose "
            "cells=all)"
        )
    return rows


def check_library(library: float) -> None:
    """Refuse a library that no cell can have."""
    if not 0 < library < float("inf"):
        raise InputError(
            f"library is {library!r}, expected a positive number of counts, such as 10000"
        )


@partial(jax.jit, static_argnums=0)
def _moments(
    latent: Latent, params: PyTree, keys: Any, batch: Batch, library: Float[Array, "B"]
) -> Moments:
    """Moments over the draws, merged one by one so that never more than two are held."""

    def step(found: Moments, at: tuple[Array, PRNGKeyArray]) -> tuple[Moments, None]:
        number, key = at
        blocks = latent.cells(params, key, batch)
        kept = latent.decode(params, blocks, library)
        clean = latent.decode(
            params, blocks | {"artifact": jnp.zeros_like(blocks["artifact"])}, library
        )
        delta = clean - found.mean
        mean = found.mean + delta / number
        m2 = found.m2 + delta**2 * (number - 1) / number  # never below zero, whatever the rounding
        merged = Moments(mean, m2, found.kept + (kept - found.kept) / number)
        return merged, None

    zero = jnp.zeros_like(batch.x)
    numbers = jnp.arange(1, len(keys) + 1, dtype=batch.x.dtype)
    return jax.lax.scan(step, Moments(zero, zero, zero), (numbers, keys))[0]


def _removed(
    dataset: Dataset, rows: Int[np.ndarray, "n"], moments: Any, draws: int, library: float
) -> AnnData:
    import anndata
    import pandas

    assert dataset.quality is not None
    if not np.isfinite(moments.mean).all() or not np.isfinite(moments.kept).all():
        raise InputError(
            "the model decodes to numbers that are not finite: its training has diverged, train "
            "it again with a lower "
            "train.learning_rate"
        )
    obs = pandas.DataFrame(
        {
            "condition": [dataset.conditions[c] for c in dataset.condition[rows]],
            "split": ["none"] * len(rows)
            if dataset.split is None
            else [SPLITS[s] for s in dataset.split[rows]],
            "failed": dataset.quality.failed[rows],
            "observed_umi_count": np.asarray(dataset.counts[rows].sum(1), np.int64).ravel(),
        },
        index=pandas.Index(dataset.cells[rows]),
    )
    layers = {"sd": np.sqrt(moments.m2 / (draws - 1)), "with_artifact": moments.kept}
    layers["corrected"] = corrected_cells(dataset.counts[rows], moments.mean, moments.kept, library)
    return anndata.AnnData(
        X=moments.mean,
        obs=obs,
        var=pandas.DataFrame(index=pandas.Index(dataset.genes)),
        layers=layers,
        uns={
            "artifact_removal": {
                "draws": draws,
                "library": library,
                "data": dataset.name,
                "what": WHAT,
            }
        },
    )


WHAT = (
    "X: posterior mean of expected counts at this library, basal state and perturbation kept, "
    "artifact set to zero; "
    "layers: sd over posterior draws; with_artifact: the same with the artifact kept; corrected: "
    "observed counts times "
    "X / with_artifact, scaled to the library"
)


def corrected_cells(
    counts: Any, clean: Float[np.ndarray, "n G"], kept: Float[np.ndarray, "n G"], library: float
) -> Any:
    """Observed counts (CSR) times `clean / kept`, each cell scaled to `library`; cells without
    counts stay empty."""
    counts = counts.astype(np.float32).tocoo()
    at = counts.row, counts.col
    counts.data *= clean[at] / np.maximum(kept[at], np.finfo(np.float32).tiny)
    counts = counts.tocsr()
    total = np.asarray(counts.sum(1)).ravel()
    return (
        counts.multiply((library / np.where(total > 0, total, 1))[:, None])
        .tocsr()
        .astype(np.float32)
    )


def artifact_shift(removed: AnnData) -> Float[np.ndarray, "n G"]:
    """How far the artifact had moved each gene of each cell: log2(1 + 1e4 p) with it minus
    without."""
    kept, clean = jnp.asarray(removed.layers["with_artifact"]), jnp.asarray(removed.X)
    return np.asarray(log2p_normalize(kept) - log2p_normalize(clean))


def describe_removal(removed: AnnData, genes: int = 8) -> str:
    """What was removed, in plain words."""
    failed = removed[np.asarray(removed.obs["failed"], bool)]
    if not failed.n_obs:
        return f"{removed.n_obs} cells, none of which failed quality: no artifact was removed"
    shift = artifact_shift(failed)
    mean = shift.mean(0)
    order = np.argsort(-np.abs(mean))[:genes]
    moved = ", ".join(f"{removed.var_names[g]} {mean[g]:+.2f}" for g in order)
    size, unsure = (
        np.abs(shift).mean(),
        np.asarray(failed.layers["sd"]).mean() / np.asarray(failed.X).mean(),
    )
    return (
        f"{removed.n_obs} cells written, {failed.n_obs} of them had failed quality. The artifact "
        "had moved a gene of "
        f"these by {size:.3f} on average (absolute, on the log2(1 + 1e4 p) scale), most of all "
        f"{moved}. Over "
        f"posterior draws the cleaned expression of a gene varies by {100 * unsure:.0f} % "
        "(standard deviation beside "
        "the mean)."
    )


def removal_recovery(removed: AnnData, dataset: Dataset, truth: Any) -> dict[str, dict[str, Any]]:
    """Distances of failed cells to their true artifact-free expression
    (`evaluation.artifact_recovery.recovery`), for a simulated screen: cells as measured, as
    reconstructed with the artifact, without it, corrected, and the mean of the passed cells of
    their condition in their place. Cells without counts are left out."""
    if dataset.quality is None or len(truth.condition) != len(dataset.cells):
        raise InputError(
            "the truth is of another screen than the cells, expected that of the run's simulated "
            "screen"
        )
    place = {name: i for i, name in enumerate(dataset.cells)}
    failed = removed[
        np.asarray(removed.obs["failed"], bool)
        & (np.asarray(removed.obs["observed_umi_count"]) > 0)
    ]
    rows = np.array([place[name] for name in failed.obs_names])
    gene = {str(name): i for i, name in enumerate(truth.genes)}
    means = artifact_recovery.passed_means(
        dataset.counts, dataset.condition, ~dataset.quality.failed, len(dataset.conditions)
    )
    estimates = {
        artifact_recovery.OBSERVED: dataset.counts[rows].toarray().astype(np.float32),
        artifact_recovery.KEPT: np.asarray(failed.layers["with_artifact"]),
        artifact_recovery.REMOVED: np.asarray(failed.X),
        artifact_recovery.CORRECTED: failed.layers["corrected"].toarray(),  # pyright: ignore
        artifact_recovery.CONDITION: means[dataset.condition[rows]],
    }
    clean = cell_proportions(truth, rows)[:, [gene[name] for name in dataset.genes]]
    return artifact_recovery.recovery(
        clean, estimates, truth.artifact[rows], dataset.condition[rows], ARTIFACTS
    )


def describe_recovery(found: dict[str, dict[str, Any]]) -> str:
    """The simulated screen's verdict on the removal, one line per kind of artifact."""
    lines = [
        "Distance of failed cells to their true artifact-free expression (root mean square, log2 "
        "scale):"
    ]
    for kind, group in found.items():
        far = ", ".join(
            f"{name.replace('_', ' ')} {d:.3f}" for name, d in group["cell_distance"].items()
        )
        gain = group["cell_gain"][f"{artifact_recovery.KEPT} - {artifact_recovery.REMOVED}"]
        interval = (
            "" if gain["low"] is None else f" (95 % {gain['low']:+.3f} to {gain['high']:+.3f})"
        )
        lines.append(
            f"  {kind}, {group['cells']} cells: {far}; removal gains {gain['mean']:+.3f}{interval}"
        )
    return "\n".join(lines)
