"""Cells without their artifact as an AnnData, and in words what was removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.types import SPLITS, Dataset, InputError
from jaxpert.nn.transforms import log2p_normalize

if TYPE_CHECKING:
    from anndata import AnnData

WHAT = (
    "X: posterior mean of expected counts at this library, basal state and perturbation kept, "
    "artifact set to zero; layers: sd over posterior draws; with_artifact: the same with the "
    "artifact kept; corrected: observed counts times X / with_artifact, scaled to the library"
)


def removal_table(
    dataset: Dataset, rows: Int[np.ndarray, "n"], removal: Any, draws: int, library: float
) -> AnnData:
    """The AnnData of `remove_artifacts`, from its numbers in the order of `rows`."""
    import anndata
    import pandas

    quality = dataset.quality
    assert quality is not None
    if not np.isfinite(removal.mean).all() or not np.isfinite(removal.kept).all():
        raise InputError(
            "the model decodes to numbers that are not finite, expected finite ones: its training "
            "has diverged, train it again with a lower train.learning_rate"
        )
    split = ["none"] * len(rows)
    if dataset.split is not None:
        split = np.asarray(SPLITS, object)[dataset.split[rows]]
    columns = {
        "condition": np.asarray(dataset.conditions, object)[dataset.condition[rows]],
        "split": split,
        "failed": quality.failed[rows],
        "observed_umi_count": np.asarray(dataset.counts[rows].sum(1), np.int64).ravel(),
    }
    about = {"draws": draws, "library": library, "data": dataset.name, "what": WHAT}
    return anndata.AnnData(
        X=removal.mean,
        obs=pandas.DataFrame(columns, index=pandas.Index(dataset.cells[rows])),
        var=pandas.DataFrame(index=pandas.Index(dataset.genes)),
        layers={
            "sd": np.sqrt(removal.m2 / (draws - 1)),
            "with_artifact": removal.kept,
            "corrected": corrected_cells(dataset.counts[rows], removal.mean, removal.kept, library),
        },
        uns={"artifact_removal": about},
    )


def corrected_cells(
    counts: Any, clean: Float[np.ndarray, "n G"], kept: Float[np.ndarray, "n G"], library: float
) -> Any:
    """Observed counts (CSR) times `clean / kept`, each cell scaled to `library`; cells without
    counts stay empty."""
    # Only the stored counts are touched, so that a gene without reads stays so.
    counts = counts.astype(np.float32).tocoo()
    at = counts.row, counts.col
    counts.data *= clean[at] / np.maximum(kept[at], np.finfo(np.float32).tiny)
    counts = counts.tocsr()
    # Removal changes a cell's total, which is then set to the library; empty cells stay empty.
    total = np.asarray(counts.sum(1)).ravel()
    scale = library / np.where(total > 0, total, 1)
    return counts.multiply(scale[:, None]).tocsr().astype(np.float32)


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
    # The genes that the artifact moves most, in either direction.
    order = np.argsort(-np.abs(mean))[:genes]
    moved = ", ".join(f"{removed.var_names[g]} {mean[g]:+.2f}" for g in order)
    size = np.abs(shift).mean()
    # Of all genes together, since most single ones have next to no reads.
    unsure = np.asarray(failed.layers["sd"]).mean() / np.asarray(failed.X).mean()
    return (
        f"{removed.n_obs} cells written, {failed.n_obs} of them had failed quality. The artifact "
        f"had moved a gene of these by {size:.3f} on average (absolute, on the log2(1 + 1e4 p) "
        f"scale), most of all {moved}. Over posterior draws the cleaned expression of a gene "
        f"varies by {100 * unsure:.0f} % (standard deviation beside the mean)."
    )
