"""What a fitted model's latent space says: which factors each perturbation moves, and which genes
each factor moves (docs/models/cradle.md, Latent factors)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool

from jaxpert.core.fit import Fitted
from jaxpert.core.streams import Stream
from jaxpert.core.types import Dataset, InputError, Latent
from jaxpert.models.cradle import factors

if TYPE_CHECKING:
    import pandas

NAMED = 8
"""Perturbations that a note names."""


class Interpretation(NamedTuple):
    """Tables about the latent space; T perturbations (single treatments), Z factors z0, z1 ..., F
    of them in use."""

    inclusion: pandas.DataFrame | None
    """[T, Z] posterior probability that the perturbation moves the factor; None for a model without
    masks, NaN where the model has no mask of a perturbation (sVAE+ of one that was given in
    combinations only)."""
    embedding: pandas.DataFrame
    """[T, Z] posterior mean of what the perturbation adds to each factor, masks included."""
    embedding_sd: pandas.DataFrame
    """[T, Z] its posterior standard deviation."""
    similarity: pandas.DataFrame
    """[T, T] cosine between the posterior means; 0 for a perturbation that moves nothing."""
    overlap: pandas.DataFrame | None
    """[T, T] expected number of factors that both use over the expected number that either uses; 1
    on the diagonal."""
    perturbations: pandas.DataFrame
    """[T] `training_cells` (alone or in a combination), `learned`, `factors` (how many it uses) and
    `length` of its mean embedding. A perturbation that is not `learned` (no training cells that the
    model learns it from) keeps its row in every table, but the row is where training began: it
    counts for no factor."""
    factors: pandas.DataFrame
    """[F], most used first: `perturbations` (how many use the factor) and `shift`, the typical move
    along it: the root mean square over those perturbations, with the sign of their sum."""
    gene_change: pandas.DataFrame
    """[F, G] log2 change of each gene's mean expression per 10,000 counts when cells move by
    `shift`."""
    notes: tuple[str, ...]

    def top_genes(self, k: int = 20) -> pandas.DataFrame:
        """The `k` genes that each factor raises and lowers most: factor, direction, rank, gene,
        log2_change."""
        import pandas

        rows = []
        for factor, change in self.gene_change.iterrows():
            # With the sign turned the genes that fall most come first.
            for direction, sign in (("up", 1), ("down", -1)):
                order = np.argsort(-sign * change.to_numpy(), kind="stable")[:k]
                # A factor that raises fewer than k genes has a shorter list.
                moved = change.iloc[order][sign * change.iloc[order] > 0]
                for rank, (gene, value) in enumerate(moved.items(), 1):
                    rows.append((factor, direction, rank, str(gene), float(value)))
        columns = ["factor", "direction", "rank", "gene", "log2_change"]
        return pandas.DataFrame(rows, columns=pandas.Index(columns))


def interpret(
    fitted: Fitted, dataset: Dataset, *, draws: int = 100, basal_states: int = 200, seed: int = 0
) -> Interpretation:
    """Read a fitted model's latent space: inclusion, embeddings, similarity of perturbations, genes
    of factors.

    Args:
        fitted: a model with a latent embedding of perturbations (CRADLE-VAE, SAMS-VAE, CPA-VAE,
            sVAE+), one seed.
        dataset: that it was trained on.
        draws: of the posterior of masks and embeddings; at least 2.
        basal_states: cells z_b ~ N(0, I) of 10,000 counts, without perturbation and artifact, whose
            mean expression is compared with that of the same cells moved along a factor.
        seed: of both.

    A perturbation uses a factor where the inclusion probability is at least 0.5, or, in a model
    without masks, where the mean is more than 2 posterior standard deviations from 0. Factors have
    no order, sign or meaning beyond this fit: another seed finds others.

    Raises InputError for a model without such an embedding.

    Example:
        latent = jaxpert.interpret(fitted, cells)
        latent.factors, latent.top_genes(5)
    """
    if draws < 2 or basal_states < 1:
        raise InputError(
            f"draws is {draws} and basal_states {basal_states}, expected at least 2 and 1: correct "
            "it"
        )
    latent = _latent(fitted.model.latent)
    key = jax.random.fold_in(jax.random.key(seed), Stream.INTERPRET)
    key_shared, key_basal = jax.random.split(key)
    effects = factors.posterior_effects(latent, fitted.params, jax.random.split(key_shared, draws))
    cells = factors.training_cells(dataset)
    learned = factors.learned_treatments(fitted, cells)
    # A perturbation without training cells still has the embedding that training began with.
    used = effects.used() & learned[:, None]
    # Most used first, and stable, so that factors of equal use keep their order.
    order = np.argsort(-used.sum(0), kind="stable")[: used.any(0).sum()]
    shift = factors.typical_shift(effects.mean[:, order], used[:, order])
    blocks = factors.basal_cells(latent, fitted, dataset, key_basal, basal_states)
    change = factors.gene_change(latent, fitted.params, blocks, order, shift)
    return _tables(dataset, effects, _Use(cells, learned, used, order, shift), change)


class _Use(NamedTuple):
    """Which factors are used by which perturbations."""

    cells: np.ndarray
    learned: np.ndarray
    used: np.ndarray
    order: np.ndarray
    """Factors in use, most used first."""
    shift: np.ndarray


def _tables(
    dataset: Dataset, effects: factors.Effects, use: _Use, change: np.ndarray
) -> Interpretation:
    """The numbers under their names."""
    import pandas

    treatments = pandas.Index(list(dataset.treatments), name="perturbation")
    names = list(map("z{}".format, range(effects.mean.shape[1])))

    def frame(values: np.ndarray, columns: Any) -> pandas.DataFrame:
        return pandas.DataFrame(values, treatments, pandas.Index(columns))

    inclusion = overlap = None
    # Models without masks have neither.
    if effects.inclusion is not None:
        inclusion = frame(effects.inclusion, names)
        overlap = frame(factors.mask_overlap(effects.inclusion), list(dataset.treatments))
    perturbations = {
        "training_cells": use.cells,
        "learned": use.learned,
        "factors": use.used.sum(1),
        "length": np.linalg.norm(effects.mean, axis=1),
    }
    in_use = pandas.Index(np.asarray(names, object)[use.order], name="factor")
    moved_by = {"perturbations": use.used.sum(0)[use.order], "shift": use.shift}
    return Interpretation(
        inclusion=inclusion,
        embedding=frame(effects.mean, names),
        embedding_sd=frame(effects.sd, names),
        similarity=frame(factors.cosine(effects.mean), list(dataset.treatments)),
        overlap=overlap,
        perturbations=pandas.DataFrame(perturbations, index=treatments),
        factors=pandas.DataFrame(moved_by, index=in_use),
        gene_change=pandas.DataFrame(change, in_use, pandas.Index(dataset.genes, name="gene")),
        notes=_notes(dataset, use.learned, inclusion is None, use.used),
    )


def _latent(latent: Latent | None) -> Latent:
    if latent is None:
        raise InputError(
            "this model has no latent space to interpret, expected one such as CRADLE-VAE or "
            "SAMS-VAE: train one of these"
        )
    return latent


def _notes(
    dataset: Dataset, learned: Bool[np.ndarray, "T"], unmasked: bool, used: Bool[np.ndarray, "T Z"]
) -> tuple[str, ...]:
    notes = []
    absent = np.asarray(dataset.treatments, object)[~learned].tolist()
    if absent:
        named = ", ".join(absent[:NAMED])
        if len(absent) > NAMED:
            named += f" and {len(absent) - NAMED} more"
        notes.append(
            f"nothing was learned about perturbations without training cells ({len(absent)}): "
            f"{named}"
        )
    if unmasked:
        notes.append(
            "this model has no masks: every perturbation moves every factor, and one counts as "
            f"used where the mean is more than {factors.DEVIATIONS:g} posterior standard "
            "deviations from 0"
        )
    if not used.any():
        notes.append("no perturbation uses any factor, so there are no factors to describe")
    return tuple(notes)
