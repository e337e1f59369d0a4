"""GEARS of the published size on made-up data: graphs, and a batch with Norman's conditions."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jaxpert.core.types import Batch, Spec
from jaxpert.nn import graphs

CONTROL_SHARE, EXPRESSED_SHARE, MEAN_COUNT = 0.107, 0.9, 1.0


class Sizes(NamedTuple):
    """Norman's numbers and the published settings."""

    cells: int = 32
    genes: int = 5_000
    nodes: int = 9_853
    neighbours: int = 20
    singles: int = 105
    pairs: int = 131
    hidden: int = 64

    def __str__(self) -> str:
        return (
            f"batch {self.cells}, {self.genes:,} genes, hidden {self.hidden}, graphs of "
            f"{self.genes:,} and {self.nodes:,} nodes x {self.neighbours}, "
            f"{1 + self.singles + self.pairs} conditions"
        )


def random_graph(
    rng: np.random.Generator, names: tuple[str, ...], neighbours: int
) -> graphs.NamedGraph:
    """Every node listens to `neighbours` random others and to itself."""
    receivers = np.repeat(np.arange(len(names)), neighbours)
    senders = rng.integers(len(names), size=len(receivers))
    pairs = np.unique(np.stack([senders, receivers]), axis=1)
    senders, receivers = pairs[:, pairs[0] != pairs[1]]
    weights = rng.uniform(0.1, 1, len(senders))
    self_edges = np.arange(len(names))
    senders, receivers = (np.concatenate([one, self_edges]) for one in (senders, receivers))
    return graphs.named_graph(
        names, senders, receivers, np.concatenate([weights, np.ones(len(names))])
    )


def spec_of(sizes: Sizes) -> Spec:
    """What a model must know of a screen of those sizes."""
    rng = np.random.default_rng(0)
    names = tuple(f"G{i}" for i in range(max(sizes.genes, sizes.nodes)))
    treated = np.sort(rng.choice(sizes.nodes, sizes.singles, replace=False))
    singles = np.eye(sizes.singles)
    pairs = np.stack(np.triu_indices(sizes.singles, 1), axis=1)
    pairs = pairs[rng.choice(len(pairs), sizes.pairs, replace=False)]
    table = np.concatenate(
        [np.zeros((1, sizes.singles)), singles, singles[pairs[:, 0]] + singles[pairs[:, 1]]]
    )
    treatments = tuple(names[i] for i in treated)
    conditions = ("ctrl", *("+".join(np.array(treatments)[row > 0]) for row in table[1:]))
    return Spec(
        genes=names[: sizes.genes],
        treatments=treatments,
        conditions=conditions,
        strata=("all",),
        control=0,
        condition_treatments=table,
        log_mean=np.zeros(sizes.genes),
        log_std=np.ones(sizes.genes),
        control_mean=rng.uniform(0, 2, sizes.genes),
        treatment_cells=np.full(sizes.singles, 800),
        condition_cells=np.full(len(table), 400),
        graphs={
            "coexpression": random_graph(rng, names[: sizes.genes], sizes.neighbours),
            "ontology": random_graph(rng, names[: sizes.nodes], sizes.neighbours),
        },
    )


def batch_of(spec: Spec, sizes: Sizes) -> Batch:
    """Cells of a shuffled epoch: about a tenth are controls, the others of any condition."""
    rng = np.random.default_rng(1)
    condition = rng.integers(1, len(spec.conditions), sizes.cells)
    condition[rng.permutation(sizes.cells)[: round(CONTROL_SHARE * sizes.cells)]] = 0
    level = rng.gamma(1.0, MEAN_COUNT, sizes.genes)
    x, control = rng.poisson(level, (2, sizes.cells, sizes.genes)).astype(np.float32) + np.eye(
        1, sizes.genes
    )
    expressed = rng.random((len(spec.conditions), sizes.genes)) < EXPRESSED_SHARE
    fields: dict[str, Any] = {
        "x": np.float32(x),
        "control": np.float32(control),
        "treatment": spec.condition_treatments[condition].astype(np.float32),
        "condition": condition.astype(np.int32),
        "stratum": np.zeros(sizes.cells, np.int32),
        "mask": np.ones(sizes.cells, bool),
        "slot": np.arange(sizes.cells, dtype=np.int32),
        "extras": {"expressed": expressed},
    }
    return Batch(**fields)
