"""Artifact removal: failed cells as they would look without their artifact (docs/models/cradle.md,
Artifact removal)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxpert import data
from jaxpert.core.fit import Fitted
from jaxpert.core.streams import Stream
from jaxpert.core.types import Batch, Dataset, InputError, Latent, Model, PyTree
from jaxpert.data.files import shown
from jaxpert.models.cradle.removal_table import removal_table

if TYPE_CHECKING:
    from anndata import AnnData

BLOCK_VALUES = 2**21
"""Expected counts (cells x genes) of one block of cells; about six arrays of that size are
alive."""


class Removal(NamedTuple):
    """Over posterior draws, the expected counts of cells."""

    mean: Float[Array, "B G"]
    """Without the artifact."""
    m2: Float[Array, "B G"]
    """Sum of squared deviations from `mean`."""
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
    """What failed cells would look like without their artifact, the paper's counterfactual
    question.

    The posterior of the cell's basal state and of its perturbation's latents is kept, its artifact
    latent is set to zero, and the decoder is asked again.

    Args:
        fitted: a model with an artifact latent (CRADLE-VAE), one seed.
        dataset: with quality labels; its genes and treatments are those that the model was trained
            on (`data.transfer` makes another file so).
        cells: "failed", "all" (the others come back as the model sees them, unchanged by the
            removal), or row numbers.
        draws: from the posterior, with the latents that all cells share drawn once per draw.
        library: total of each returned cell.
        seed: of the draws; the result does not depend on how the cells are cut into blocks.

    Returns:
        An AnnData of those cells. `X [cells, genes]` is the posterior mean of the expected counts
        at `library` without the artifact: denoised, as it has none of the cell's sampling noise.
        Layers: `sd`, the standard deviation of that expectation over the draws; `with_artifact`,
        the mean of the same draws with the artifact kept, so that `with_artifact - X` is the
        artifact's part; `corrected`, the observed cell with every count multiplied by
        `X / with_artifact` and scaled to `library`, which keeps the cell's own noise (a gene
        without reads stays so), for what is done with counts. `obs` has condition, split and
        failed; `uns["artifact_removal"]` says how it was made.

    Raises InputError for a model without an artifact latent, data without quality labels or failed
    cells, and for options out of their range.

    Example:
        clean = jaxpert.remove_artifacts(fitted, cells)
        clean.to_df(layer="corrected")
    """
    latent = artifact_latent(fitted.model)
    rows = chosen_rows(dataset, cells)
    if draws < 2:
        raise InputError(
            f"draws is {draws}, expected at least 2 for a spread over posterior draws: use 50"
        )
    check_library(library)
    _require_artifact(latent, fitted, data.make_batch(dataset, rows[:1]))
    # The latents that all cells share are drawn once for each of these keys.
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), Stream.REMOVE), draws)
    removal = _in_blocks(latent, fitted, dataset, rows, keys, library)
    return removal_table(dataset, rows, removal, draws, library)


def artifact_latent(model: Model) -> Latent:
    """The model's latent space; InputError where it has none."""
    if model.latent is None:
        raise _no_artifact("this model has no latent space")
    return model.latent


def chosen_rows(dataset: Dataset, cells: str | Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Row numbers of the cells that were asked for."""
    quality = dataset.quality
    if quality is None:
        raise InputError(
            f"data set {dataset.name!r} has no quality labels, expected some: call "
            "data.add_quality first"
        )
    if not isinstance(cells, str):
        return np.asarray(cells, np.int64)
    if cells not in ("failed", "all"):
        raise InputError(f"cells is {cells!r}, expected failed or all: correct it")
    rows = np.arange(len(dataset.cells))
    if cells == "failed":
        rows = np.flatnonzero(quality.failed)
    if not len(rows):
        raise InputError(
            f"none of the {len(dataset.cells)} cells of {dataset.name!r} fails quality at "
            f"{quality.multiplier} MAD, expected some to remove artifacts from: there is nothing "
            "to do (or choose cells=all)"
        )
    return rows


def check_library(library: float) -> None:
    """Refuse a library that no cell can have."""
    if not 0 < library < float("inf"):
        raise InputError(
            f"library is {library!r}, expected a positive number of counts, such as 10000: correct "
            "it"
        )


@partial(jax.jit, static_argnums=0)
def removal_over_draws(
    latent: Latent, params: PyTree, keys: Any, batch: Batch, library: Float[Array, "B"]
) -> Removal:
    """Moments over the draws, merged one by one so that never more than two are held."""

    def step(before: Removal, at: tuple[Array, PRNGKeyArray]) -> tuple[Removal, None]:
        number, key = at
        blocks = latent.cells(params, key, batch)
        kept = latent.decode(params, blocks, library)
        # The counterfactual: z_b and z_p stay, z_a is 0 (docs/models/cradle.md, 9.2).
        without = blocks | {"artifact": jnp.zeros_like(blocks["artifact"])}
        clean = latent.decode(params, without, library)
        # Welford (1962), with the form of m2 that is never below zero, whatever the rounding.
        delta = clean - before.mean
        mean = before.mean + delta / number
        m2 = before.m2 + delta**2 * (number - 1) / number
        return Removal(mean, m2, before.kept + (kept - before.kept) / number), None

    zero = jnp.zeros_like(batch.x)
    numbers = jnp.arange(1, len(keys) + 1, dtype=batch.x.dtype)
    return jax.lax.scan(step, Removal(zero, zero, zero), (numbers, keys))[0]


def _in_blocks(
    latent: Latent,
    fitted: Fitted,
    dataset: Dataset,
    rows: Int[np.ndarray, "n"],
    keys: Any,
    library: float,
) -> Removal:
    """`removal_over_draws` of all rows, as many at a time as memory is meant to hold."""
    # At least one cell, however many genes there are.
    size = max(1, min(len(rows), BLOCK_VALUES // len(dataset.genes)))
    libraries = jnp.full(size, library, jnp.float32)

    def block(number: int, batch: Batch) -> Removal:
        # Noise goes by the cell's place among all, so that blocks change nothing.
        batch = batch._replace(slot=batch.slot + number * size)
        return removal_over_draws(latent, fitted.params, keys, batch, libraries)

    return data.in_blocks(dataset, rows, size, block)


def _require_artifact(latent: Latent, fitted: Fitted, batch: Batch) -> None:
    # Shapes alone tell which latents the model has; nothing is computed.
    blocks = jax.eval_shape(latent.cells, fitted.params, jax.random.key(0), batch)
    if "artifact" not in blocks:
        raise _no_artifact(f"this model has no artifact latent (its latents are {shown(blocks)})")


def _no_artifact(what: str) -> InputError:
    return InputError(
        f"{what}, expected one that tells artifacts from perturbations: train CRADLE-VAE "
        "(model.name=cradle_vae)"
    )
