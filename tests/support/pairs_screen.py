"""A small screen with singles and pairs, and a GEARS for it with random parameters."""

from __future__ import annotations

import functools
from dataclasses import replace

import jax
import numpy as np
import pandas as pd
from scipy import sparse

from jaxpert import data
from jaxpert.core.fit import Fitted
from jaxpert.core.types import Dataset, Spec
from jaxpert.models.gears import model as gears
from jaxpert.nn import graphs

GENES, CELLS = 30, 12
PERTURBED = ("g0", "g1", "g2", "X")
CONDITIONS = ("ctrl", "g0+ctrl", "g1+ctrl", "g2+ctrl", "X+ctrl", "g0+g1", "g0+g2", "g1+g2", "X+g0")
"""X is no measured gene; two of its pairs are missing."""


def dataset() -> Dataset:
    """`CELLS` cells of each condition, four times as many controls; all but the last two pairs
    train."""
    rng = np.random.default_rng(0)
    table = np.array(
        [[name in condition.split("+") for name in PERTURBED] for condition in CONDITIONS],
        np.float32,
    )
    condition = np.concatenate(
        [np.zeros(3 * CELLS, int), np.repeat(np.arange(len(CONDITIONS)), CELLS)]
    )
    effect = rng.normal(0, 0.7, (len(PERTURBED), GENES)) * (
        rng.random((len(PERTURBED), GENES)) < 0.5
    )
    counts = rng.poisson(np.exp(rng.normal(1, 0.8, GENES) + table[condition] @ effect))
    counts[:, 0] += 1
    return Dataset(
        name="pairs",
        counts=sparse.csr_matrix(counts.astype(np.uint16)),
        cells=np.array([f"cell{i}" for i in range(len(condition))]),
        genes=tuple(f"g{i}" for i in range(GENES)),
        conditions=CONDITIONS,
        condition=condition,
        control=0,
        treatments=PERTURBED,
        condition_treatments=table,
        strata=("all",),
        stratum=np.zeros(len(condition), int),
        obs=pd.DataFrame(index=range(len(condition))),
        split=np.where(condition >= 7, 2, 0),
    )


def linked(screen: Dataset) -> Spec:
    """Its spec, with a graph that holds two genes without cells: `far` next to trained ones, `lone`
    by itself."""
    edges = [
        ("g0", "g1", 0.4),
        ("g1", "g0", 0.4),
        ("X", "g2", 0.2),
        ("g0", "far", 0.3),
        ("g1", "far", 0.2),
    ]
    names = (*PERTURBED, "far", "lone")
    linked = {
        "coexpression": graphs.from_edges([("g3", "g4", 0.7), ("g5", "g3", 0.5)]),
        "ontology": graphs.from_edges(edges, names),
    }
    return replace(data.make_spec(screen), graphs=linked)


@functools.cache
def fitted(**settings) -> Fitted:
    """Random parameters, with remembered moments that are not the first ones."""
    model = gears.build(linked(dataset()), **{"hidden_dim": 8, "genes": "all"} | settings)

    @jax.jit
    def start(key, batch):
        params, state = model.init(key, batch)
        return params, model.loss(params, state, key, batch)[1][0]

    params, state = start(jax.random.key(0), data.make_batch(dataset(), np.arange(0, 132, 3)))
    return Fitted(model, params, state)
