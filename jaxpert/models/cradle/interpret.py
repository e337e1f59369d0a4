"""What a fitted model's latent space says: which factors each perturbation moves, and which genes
each factor moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxpert.core.types import Dataset, InputError, Latent, PyTree
from jaxpert.models.cradle import mask_recovery as masks
from jaxpert.tasks.screen import predict as workflow
from jaxpert.tasks.screen.predict import Fitted

if TYPE_CHECKING:
    import pandas

INTERPRET = 3
"""Stream folded into the seed's key, apart from training's, prediction's and evaluation's."""
LIBRARY = 1e4
PSEUDOCOUNT = 0.1
"""Per 10,000, so that genes without reads do not move."""
INCLUDED = 0.5
"""A perturbation uses a factor from this inclusion probability on."""
DEVIATIONS = 2.0
"""Without masks, a perturbation uses a factor where its mean is so many posterior standard
deviations from 0."""


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

        names, rows = np.asarray(self.gene_change.columns), []
        for factor, change in zip(self.gene_change.index, self.gene_change.to_numpy(), strict=True):
            for direction, sign in (("up", 1), ("down", -1)):
                order = np.argsort(-sign * change, kind="stable")[:k]
                moved = order[sign * change[order] > 0]
                rows += [
                    (factor, direction, i + 1, str(names[g]), float(change[g]))
                    for i, g in enumerate(moved)
                ]
        return pandas.DataFrame(
            rows, columns=pandas.Index(["factor", "direction", "rank", "gene", "log2_change"])
        )


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
    """
    import pandas

    if draws < 2 or basal_states < 1:
        raise InputError(
            f"draws is {draws} and basal_states {basal_states}, expected at least 2 and 1"
        )
    latent = _latent(fitted.model.latent)
    key_shared, key_basal = jax.random.split(jax.random.fold_in(jax.random.key(seed), INTERPRET))
    inclusion, mean, sd = _posterior(latent, fitted.params, jax.random.split(key_shared, draws))
    cells = _training_cells(dataset)
    used = np.abs(mean) > DEVIATIONS * sd if inclusion is None else inclusion >= INCLUDED
    learned = _learned(fitted, cells)
    used &= learned[:, None]
    factors = np.argsort(-used.sum(0), kind="stable")[: used.any(0).sum()]
    shift = _typical_shift(mean[:, factors], used[:, factors])
    blocks = _blocks(latent, fitted, dataset, key_basal, basal_states)
    change = _gene_change(latent, fitted.params, blocks, factors, shift)

    treatments, names = list(dataset.treatments), [f"z{z}" for z in range(mean.shape[1])]

    def frame(values: np.ndarray, columns: Any) -> pandas.DataFrame:
        return pandas.DataFrame(
            values, pandas.Index(treatments, name="perturbation"), pandas.Index(columns)
        )

    own = pandas.Index([names[z] for z in factors], name="factor")
    return Interpretation(
        inclusion=None if inclusion is None else frame(inclusion, names),
        embedding=frame(mean, names),
        embedding_sd=frame(sd, names),
        similarity=frame(cosine(mean), treatments),
        overlap=None if inclusion is None else frame(mask_overlap(inclusion), treatments),
        perturbations=pandas.DataFrame(
            {
                "training_cells": cells,
                "learned": learned,
                "factors": used.sum(1),
                "length": np.linalg.norm(mean, axis=1),
            },
            index=pandas.Index(treatments, name="perturbation"),
        ),
        factors=pandas.DataFrame(
            {"perturbations": used.sum(0)[factors], "shift": shift}, index=own
        ),
        gene_change=pandas.DataFrame(change, own, pandas.Index(dataset.genes, name="gene")),
        notes=_notes(dataset, learned, inclusion is None, used),
    )


def _latent(latent: Latent | None) -> Latent:
    if latent is None:
        raise InputError(
            "this model has no latent space to interpret: expected one such as CRADLE-VAE or "
            "SAMS-VAE"
        )
    return latent


def _posterior(
    latent: Latent, params: PyTree, keys: Array
) -> tuple[Float[np.ndarray, "T Z"] | None, Float[np.ndarray, "T Z"], Float[np.ndarray, "T Z"]]:
    """Inclusion probabilities (None without masks), and mean and standard deviation of the effects
    over draws."""

    @jax.jit
    def drawn(params: PyTree, keys: Array) -> tuple[dict[str, Array], Array]:
        first = latent.shared(params, keys[0])
        return first, jax.lax.map(
            lambda key: latent.shared(params, key)["effect"], keys, batch_size=10
        )

    first, effects = drawn(params, keys)
    effect = np.asarray(effects, float)
    if "inclusion" not in first and np.array_equal(effect[0], np.eye(*effect.shape[1:])):
        raise InputError(
            "this model has no embedding of perturbations to interpret (each is an input of its "
            "own): expected one "
            "such as CRADLE-VAE or SAMS-VAE"
        )
    inclusion = np.asarray(first["inclusion"], float) if "inclusion" in first else None
    return inclusion, effect.mean(0), effect.std(0, ddof=1)


def _training_cells(dataset: Dataset) -> Int[np.ndarray, "T"]:
    """Training cells that received each treatment, alone or in a combination."""
    return (dataset.condition_treatments[dataset.condition[dataset.rows("train")]] != 0).sum(0)


def _learned(fitted: Fitted, cells: Int[np.ndarray, "T"]) -> Bool[np.ndarray, "T"]:
    """Whether training cells told the model of each single treatment, in its own words where it has
    any."""
    support = fitted.model.support
    if support is None:
        return cells > 0
    found = []
    for row in np.eye(len(cells), dtype=np.float32):
        try:
            found += support(row[None])
        except InputError:  # a model that knows the conditions of its screen only
            found.append("no latents")
    return np.array([word == "trained" for word in found])


def _typical_shift(
    mean: Float[np.ndarray, "T F"], used: Bool[np.ndarray, "T F"]
) -> Float[np.ndarray, "F"]:
    """Root mean square over the treatments that use each factor, with the sign of their sum."""
    size = np.sqrt((mean**2 * used).sum(0) / np.maximum(used.sum(0), 1))
    return np.where((mean * used).sum(0) < 0, -size, size)


def _blocks(
    latent: Latent, fitted: Fitted, dataset: Dataset, key: Array, states: int
) -> dict[str, Array]:
    """Latents of cells with drawn basal states, neither perturbed nor failed."""
    batch = workflow.make_batch(dataset, dataset.rows("all")[:1])
    found = jax.eval_shape(latent.cells, fitted.params, key, batch)
    blocks = {name: jnp.zeros((states, *block.shape[1:])) for name, block in found.items()}
    return blocks | {"basal": jax.random.normal(key, blocks["basal"].shape)}


def _gene_change(
    latent: Latent,
    params: PyTree,
    blocks: dict[str, Array],
    factors: Int[np.ndarray, "F"],
    shift: Float[np.ndarray, "F"],
) -> Float[np.ndarray, "F G"]:
    """Log2 change of mean expression of the cells in `blocks` when they are moved along each
    factor."""
    states, width = blocks["perturbation"].shape

    @jax.jit
    def log_mean(params: PyTree, blocks: dict[str, Array], move: Array) -> Array:
        cells = blocks | {"perturbation": blocks["perturbation"] + move}
        return jnp.log2(
            latent.decode(params, cells, jnp.full(states, LIBRARY)).mean(0) + PSEUDOCOUNT
        )

    before = np.asarray(log_mean(params, blocks, jnp.zeros(width)), float)
    moves = jnp.zeros((len(factors), width)).at[np.arange(len(factors)), factors].set(shift)
    after = np.array([log_mean(params, blocks, move) for move in moves], float)
    return after.reshape(len(factors), len(before)) - before


def cosine(rows: Float[np.ndarray, "T Z"]) -> Float[np.ndarray, "T T"]:
    """Cosine between rows; 0 where one of them is 0."""
    from sklearn.metrics.pairwise import cosine_similarity

    return cosine_similarity(rows)


def mask_overlap(inclusion: Float[np.ndarray, "T Z"]) -> Float[np.ndarray, "T T"]:
    """Expected number of factors in both masks over the expected number in either, masks being
    independent; 0 where neither has any, 1 on the diagonal."""
    both = inclusion @ inclusion.T
    size = inclusion.sum(1)
    either = size[:, None] + size - both
    overlap = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    np.fill_diagonal(overlap, 1)
    return overlap


def _notes(
    dataset: Dataset, learned: Bool[np.ndarray, "T"], unmasked: bool, used: Bool[np.ndarray, "T Z"]
) -> tuple[str, ...]:
    notes = []
    absent = [dataset.treatments[t] for t in np.flatnonzero(~learned)]
    if absent:
        shown = ", ".join(absent[:8]) + (f" and {len(absent) - 8} more" if len(absent) > 8 else "")
        notes.append(
            f"nothing was learned about perturbations without training cells ({len(absent)}): "
            f"{shown}"
        )
    if unmasked:
        notes.append(
            "this model has no masks: every perturbation moves every factor, and one counts as "
            "used where the mean is "
            f"more than {DEVIATIONS:g} posterior standard deviations from 0"
        )
    if not used.any():
        notes.append("no perturbation uses any factor, so there are no factors to describe")
    return tuple(notes)


class Recovery(NamedTuple):
    """How well the latent space recovers the planted masks of a simulated screen
    (`evaluation.masks`)."""

    entries: dict[str, masks.Score]
    """Which perturbation moves which program: by `inclusion` (where the model has masks) and by
    `embedding` (absolute)."""
    pairs: dict[str, masks.Score]
    """Which perturbations share a program: by mask `overlap` (where there are masks) and by
    `cosine` (absolute)."""
    programs: pandas.DataFrame
    """Every planted program: matched `factor` ("" for none), `correlation` of their genes,
    `planted` (how many perturbations move it) and the area under the ROC curve within it, by
    inclusion or else by embedding."""


def recover_masks(found: Interpretation, truth: Any, *, seed: int = 0) -> Recovery:
    """Score an interpretation against the planted masks of the simulated screen, over the
    perturbations that are `learned`.

    Factors in use are matched to programs by their genes alone. Chance is measured by shuffling
    perturbations.

    Args:
        found: from `interpret`.
        truth: the `Truth` of the screen.
        seed: of the shuffles.
    """
    import pandas

    trained = np.flatnonzero(found.perturbations["learned"])
    rows = _positions(truth.treatments, found.perturbations.index[trained], "perturbation")
    genes = _positions(truth.genes, found.gene_change.columns, "gene")
    planted, loadings = truth.masks[rows], truth.loadings[: truth.masks.shape[1], genes]
    matching = masks.match_factors(found.gene_change.to_numpy(), np.asarray(loadings, float))
    own = found.gene_change.index
    tables = {"embedding": found.embedding.abs()} | (
        {} if found.inclusion is None else {"inclusion": found.inclusion}
    )
    scores = {
        name: masks.matched_scores(table[own].to_numpy()[trained], matching, planted.shape[1])
        for name, table in sorted(tables.items(), reverse=True)
    }
    square = np.ix_(trained, trained)
    alike = {} if found.overlap is None else {"overlap": found.overlap.to_numpy()[square]}
    alike["cosine"] = np.abs(found.similarity.to_numpy()[square])
    factor, correlation = np.full(planted.shape[1], "", object), np.zeros(planted.shape[1])
    factor[matching.program], correlation[matching.program] = (
        own[matching.factor],
        matching.correlation,
    )
    columns = {"factor": factor, "correlation": correlation, "planted": planted.sum(0)}
    auroc = masks.program_scores(next(iter(scores.values())), planted)
    return Recovery(
        entries={
            name: masks.entry_score(score, planted, seed=seed) for name, score in scores.items()
        },
        pairs={name: masks.pair_score(score, planted, seed=seed) for name, score in alike.items()},
        programs=pandas.DataFrame(
            columns | {"auroc": auroc}, index=pandas.RangeIndex(len(factor), name="program")
        ),
    )


def _positions(names: np.ndarray, wanted: Any, what: str) -> Int[np.ndarray, "n"]:
    where = {str(name): i for i, name in enumerate(names)}
    missing = [name for name in wanted if name not in where]
    if missing:
        raise InputError(
            f"the truth has no {what} {missing[0]!r}: expected that of the screen the model was "
            "trained on"
        )
    return np.array([where[name] for name in wanted], int)
