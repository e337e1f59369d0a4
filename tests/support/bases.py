"""Bases that are known by hand, and cells whose effects are a base and something beside it."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy import sparse

from jaxpert.core.types import Base, Dataset, Spec


def added(state, treatment):
    return treatment @ state["effect"]


def base_of(effect: np.ndarray, spec: Spec, library: float = 1e4) -> Base:
    """A base that adds up given changes of treatments, for trained sets and for others alike."""
    trained = np.asarray(spec.condition_cells) > 0
    trained[spec.control] = False
    seen = np.where(trained[:, None], np.asarray(spec.condition_treatments) @ effect, 0)
    effects = {"effect": jnp.asarray(effect, jnp.float32)}
    return Base("additive", effects, added, trained, seen.astype(np.float32), library)


def planted(
    genes: int = 24, perturbed: int = 7, cells: int = 60
) -> tuple[Dataset, np.ndarray, np.ndarray]:
    """Singles and all pairs, which are the sum of their genes and what all pairs share beside it;
    five pairs are held out. Returns the screen, true changes of ln(1 + 1e4 x / sum x) of every
    condition, and the held-out ones."""
    rng = np.random.default_rng(1)
    i, j = np.triu_indices(perturbed, 1)
    eye = np.eye(perturbed)
    table = np.concatenate([np.zeros((1, perturbed)), eye, eye[i] + eye[j]]).astype(np.float32)
    effect = rng.normal(0, 0.5, (perturbed, genes)).astype(np.float32)
    shared = 0.6 * np.where(np.arange(genes) % 3 == 0, 1, -0.5)
    log_rate = 3 + table @ effect + (table.sum(1) > 1)[:, None] * shared
    condition = np.repeat(np.arange(len(table)), cells)
    counts = rng.poisson(np.exp(log_rate[condition]))
    names = tuple(f"P{t}" for t in range(perturbed))
    labels = ["+".join(np.asarray(names)[row != 0]) or "ctrl" for row in table]
    held_out = np.arange(len(table) - 20, len(table), 4)
    screen = Dataset(
        name="planted",
        counts=sparse.csr_matrix(counts.astype(np.uint16)),
        cells=np.array([f"cell{n}" for n in range(len(condition))]),
        genes=tuple(f"g{g}" for g in range(genes)),
        conditions=tuple(labels),
        condition=condition,
        control=0,
        treatments=names,
        condition_treatments=table,
        strata=("all",),
        stratum=np.zeros(len(condition), int),
        obs=pd.DataFrame(index=range(len(condition))),
        split=np.where(np.isin(condition, held_out), 2, 0),
    )
    rate = np.exp(log_rate)
    expected = np.log1p(1e4 * rate / rate.sum(1, keepdims=True))
    return screen, expected - expected[0], held_out
