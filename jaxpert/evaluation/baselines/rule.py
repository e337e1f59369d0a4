"""What a baseline predicts for any set of treatments, as a few arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

ALIKE = 1e-5
"""Share by which two likenesses may differ and still be a tie: rounding of 32 bits."""


SPARSE = 250_000
"""Entries of a table of sets from which its zeros are left out of products."""


class Rule(NamedTuple):
    """The arrays behind a baseline, of NumPy or JAX.

    A set of n treatments with the multi-hot row t gets control + shared_n + factor_n t treatment,
    where the mean profile of its nearest keys, if there are any, takes the place of `shared`.
    """

    control: Float[Any, "G"]
    shared: Float[Any, "S G"]
    """Effect that every set of n treatments has, in row n; the last row is for larger sets too."""
    treatment: Float[Any, "T G"]
    """Effect that each treatment adds."""
    factor: Float[Any, "F"]
    """Of their sum in a set of n treatments; the last one is for larger sets too."""
    keys: Float[Any, "K T"]
    """`t keys^T` is how much a set is like each trained perturbation; no rows without any."""
    profiles: Float[Any, "K G"]
    """Effects of these trained perturbations."""


def rule_of(
    control: Float[np.ndarray, "G"],
    treatments: int,
    *,
    shared: Float[np.ndarray, "S G"] | None = None,
    treatment: Float[np.ndarray, "T G"] | None = None,
    factor: Float[np.ndarray, "F"] | None = None,
) -> Rule:
    """A rule without keys; what is left out adds nothing."""
    genes = len(control)
    return Rule(
        control=control,
        shared=np.zeros((1, genes)) if shared is None else shared,
        treatment=np.zeros((treatments, genes)) if treatment is None else treatment,
        factor=np.ones(1) if factor is None else factor,
        keys=np.zeros((0, treatments)),
        profiles=np.zeros((0, genes)),
    )


def for_all(effect: Float[np.ndarray, "G"]) -> Float[np.ndarray, "2 G"]:
    """`Rule.shared` of one effect for every perturbation; the control has none."""
    return np.stack([np.zeros_like(effect), effect])


def summed(sets: Float[Any, "R T"], table: Float[Any, "T N"]) -> Float[Any, "R N"]:
    """Sums of the rows of a table over the treatments of each set, on arrays of NumPy and of JAX
    alike."""
    if not isinstance(sets, np.ndarray) or sets.size < SPARSE:
        return sets @ table
    from scipy import sparse

    # A product of thousands of rows with one entry each is mostly one of zeros.
    return sparse.csr_matrix(sets) @ np.asarray(table)


def predicted(rule: Rule, treatments: Float[Any, "R T"]) -> Float[Any, "R G"]:
    """Mean of each row of multi-hot treatments; works on arrays of NumPy and of JAX alike."""
    # Whole numbers in 32 bits index arrays of both libraries.
    size = treatments.sum(1).astype("int32")
    effect = rule.shared[size.clip(0, len(rule.shared) - 1)]
    if len(rule.keys):
        likeness = summed(treatments, rule.keys.T)
        best = likeness.max(1)[:, None]
        # Of equally near perturbations all count, so that their order never matters.
        nearest = (likeness >= (1 - ALIKE) * best) & (best > 0)
        weights = nearest / nearest.sum(1)[:, None].clip(1)
        near = (best > 0).astype(effect.dtype)
        effect = near * summed(weights, rule.profiles) + (1 - near) * effect
    factor = rule.factor[size.clip(0, len(rule.factor) - 1)]
    return rule.control + (effect + factor[:, None] * summed(treatments, rule.treatment))
