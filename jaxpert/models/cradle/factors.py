"""Numbers behind an interpretation: which factors perturbations move, how alike they are, and which
genes factors move (docs/models/cradle.md, Latent factors)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxpert import data
from jaxpert.core.fit import Fitted
from jaxpert.core.types import Dataset, InputError, Latent, PyTree

LIBRARY = 1e4
PSEUDOCOUNT = 0.1
"""Per 10,000, so that genes without reads do not move."""
INCLUDED = 0.5
"""A perturbation uses a factor from this inclusion probability on."""
DEVIATIONS = 2.0
"""Without masks, a perturbation uses a factor where its mean is so many posterior standard
deviations from 0."""


class Effects(NamedTuple):
    """Posterior of what each perturbation adds to each factor."""

    inclusion: Float[np.ndarray, "T Z"] | None
    """None for a model without masks."""
    mean: Float[np.ndarray, "T Z"]
    sd: Float[np.ndarray, "T Z"]

    def used(self) -> Bool[np.ndarray, "T Z"]:
        """Which factors each perturbation uses."""
        if self.inclusion is None:
            return np.abs(self.mean) > DEVIATIONS * self.sd
        return self.inclusion >= INCLUDED


def posterior_effects(latent: Latent, params: PyTree, keys: Array) -> Effects:
    """Inclusion probabilities, and mean and standard deviation of the effects over draws."""

    @jax.jit
    def drawn(params: PyTree, keys: Array) -> tuple[dict[str, Array], Array]:
        def effect(key: PRNGKeyArray) -> Array:
            return latent.shared(params, key)["effect"]

        # Ten draws at a time: all at once would hold draws x treatments x latents many times over.
        return latent.shared(params, keys[0]), jax.lax.map(effect, keys, batch_size=10)

    first, effects = drawn(params, keys)
    effect = np.asarray(effects, float)
    # The conditional VAE gives its inputs as effects, which are the identity in every draw.
    if "inclusion" not in first and np.array_equal(effect[0], np.eye(*effect.shape[1:])):
        raise InputError(
            "this model has no embedding of perturbations to interpret (each is an input of its "
            "own), expected one such as CRADLE-VAE or SAMS-VAE: train one of these"
        )
    inclusion = None
    if "inclusion" in first:
        # sigmoid(logit), a parameter and no draw, so that the first draw has it (9.3).
        inclusion = np.asarray(first["inclusion"], float)
    return Effects(inclusion, effect.mean(0), effect.std(0, ddof=1))


def training_cells(dataset: Dataset) -> Int[np.ndarray, "T"]:
    """Training cells that received each treatment, alone or in a combination."""
    condition = dataset.condition[dataset.rows("train")]
    return (dataset.condition_treatments[condition] != 0).sum(0)


def learned_treatments(fitted: Fitted, cells: Int[np.ndarray, "T"]) -> Bool[np.ndarray, "T"]:
    """Whether training cells told the model of each single treatment, in its own words where it has
    any."""
    support = fitted.model.support
    if support is None:
        return cells > 0
    words: list[str] = []
    # Each treatment alone, asked one by one, as one refusal must not hide the others.
    for row in np.eye(len(cells), dtype=np.float32):
        try:
            words += support(row[None])
        except InputError:  # a model that knows the conditions of its screen only
            words.append("no latents")
    return np.array(words, object) == "trained"


def typical_shift(
    mean: Float[np.ndarray, "T F"], used: Bool[np.ndarray, "T F"]
) -> Float[np.ndarray, "F"]:
    """Root mean square over the treatments that use each factor, with the sign of their sum."""
    # The mean itself would vanish where perturbations move a factor both ways.
    size = np.sqrt((mean**2 * used).sum(0) / np.maximum(used.sum(0), 1))
    return np.where((mean * used).sum(0) < 0, -size, size)


def basal_cells(
    latent: Latent, fitted: Fitted, dataset: Dataset, key: Array, states: int
) -> dict[str, Array]:
    """Latents of cells with drawn basal states, neither perturbed nor failed."""
    batch = data.make_batch(dataset, dataset.rows("all")[:1])
    # Shapes alone tell which blocks the model has, without a pass of the network.
    shapes = jax.eval_shape(latent.cells, fitted.params, key, batch)
    # z_p and z_a are 0, and z_b ~ N(0, I), the prior (docs/models/cradle.md, 4.1).
    blocks = {name: jnp.zeros((states, *block.shape[1:])) for name, block in shapes.items()}
    return blocks | {"basal": jax.random.normal(key, blocks["basal"].shape)}


def gene_change(
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
        counts = latent.decode(params, cells, jnp.full(states, LIBRARY))
        return jnp.log2(counts.mean(0) + PSEUDOCOUNT)

    # The same basal states before and after, so that only the move changes expression.
    before = np.asarray(log_mean(params, blocks, jnp.zeros(width)), float)
    # Row f moves factor f alone, by its typical shift.
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
    # Expected sizes of intersection and union, as for sets: |A and B| = sum p q, |A or B| the rest.
    both = inclusion @ inclusion.T
    size = inclusion.sum(1)
    either = size[:, None] + size - both
    overlap = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    np.fill_diagonal(overlap, 1)
    return overlap
