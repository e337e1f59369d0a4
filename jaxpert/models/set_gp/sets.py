"""Which sets of perturbations training holds, and what any other set is to them
(docs/models/set_gp.md, "Blend")."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

GROUPS = (
    "single of an unseen gene",
    "combination of seen genes",
    "combination with one unseen gene",
    "combination with several unseen genes",
)
TRAINED = len(GROUPS)
"""The group of sets that training holds."""


class Known(NamedTuple):
    """The sets of training; arrays of NumPy or JAX."""

    alone: Float[Any, "T"]
    """1 for genes perturbed alone."""
    seen: Float[Any, "T"]
    """1 for genes perturbed at all."""
    combinations: Float[Any, "Q T"]
    """Multi-hot."""


def known_of(sets: Float[np.ndarray, "C T"]) -> Known:
    """The sets of training conditions, given as multi-hot rows."""
    single = sets.sum(1) == 1
    alone = sets[single].any(0) if single.any() else np.zeros(sets.shape[1])
    return Known(alone.astype(float), sets.any(0).astype(float), sets[~single].astype(float))


def same(sets: Float[Any, "R T"], others: Float[Any, "Q T"]) -> Float[Any, "R Q"]:
    """1 where two sets are equal."""
    shared = sets @ others.T
    return ((shared == sets.sum(1)[:, None]) & (shared == others.sum(1))) * 1.0


def groups_of(sets: Float[Any, "R T"], known: Known) -> Int[Array, "R"]:
    """What each set is to training: numbers of GROUPS, or TRAINED; the empty set is trained."""
    size, unseen = sets.sum(1), (sets * (1 - known.seen)).sum(1)
    group = 1 + jnp.clip(unseen, 0, 2).astype(jnp.int32)
    # A single of a gene that training has in combinations alone is like a set of seen genes.
    group = jnp.where((size == 1) & (unseen > 0), 0, group)
    trained = (size == 1) & (sets @ known.alone > 0) | (size == 0)
    if len(known.combinations):
        trained |= same(sets, known.combinations).any(1)
    return jnp.where(trained, TRAINED, group)
