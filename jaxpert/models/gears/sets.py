"""From sets of genes to rows of the GEARS perturbation embedding, and what stands behind each
set."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxpert.core.types import InputError
from jaxpert.models.gears.layers import GraphConvolution
from jaxpert.models.gears.setup import CHOICES, Gears
from jaxpert.nn import graphs


class Members(NamedTuple):
    """Sets as `gears.changes` takes them."""

    nodes: Int[np.ndarray, "R M"]
    """Row of the embedding for each gene, padded with -1; the two rows past the nodes are the
    stand-ins."""
    signs: Float[np.ndarray, "R M"]
    support: tuple[str, ...]
    """What stands behind each set, as in `Model.support`."""


def members_of(
    gears: Gears,
    sets: Sequence[Collection[str]],
    absent: str = "refuse",
    signs: Mapping[str, int | float] | None = None,
) -> Members:
    """Sets of any genes, with or without cells in the data, for `gears.changes`.

    A gene without cells that a perturbation graph holds is reached through its neighbours there.
    For one that is in no graph `absent` decides: "refuse"; "average", the mean embedding of the
    trained genes; or "isolated", a node of its own with the embedding 0, the mean of what it would
    be before training. A treatment that training itself let the average stand in for keeps it.

    Args:
        gears: of `gears.make`, or of a model by `gears.of`.
        sets: names of genes; the order within a set means nothing, an empty set is control.
        absent: see above.
        signs: +1 or -1 for genes that are no treatment of the data; those of treatments are the
            model's. +1 where not given.

    Raises:
        InputError: for an unknown policy, genes refused by it (all of them are named), and a gene
            twice in a set.
    """
    if absent not in CHOICES["absent"]:
        raise InputError(f"absent is {absent!r}, expected one of {', '.join(CHOICES['absent'])}")
    for one in sets:
        twice = sorted(name for name in set(one) if list(one).count(name) > 1)
        if twice:
            raise InputError(
                f"the set {'+'.join(one)} holds {', '.join(twice)} twice, expected each gene once"
            )
    row, sign = _rows(gears, absent), _signs(gears, signs or {})
    strangers = sorted({name for one in sets for name in one} - set(row))
    if strangers and absent == "refuse":
        raise InputError(
            f"{len(strangers)} genes are in no perturbation graph ({', '.join(strangers)}), "
            "expected some of its "
            f"{len(gears.nodes)} such as {', '.join(gears.nodes[:4])}: correct their names, or "
            "choose what stands in "
            "with absent='average' or absent='isolated'"
        )
    stand_in = len(gears.nodes) + (absent == "isolated")
    width = max([1, *map(len, sets)])
    nodes, signed = np.full((len(sets), width), -1, np.int32), np.ones((len(sets), width))
    for i, one in enumerate(sets):
        nodes[i, : len(one)] = [row.get(name, stand_in) for name in one]
        signed[i, : len(one)] = [sign.get(name, 1.0) for name in one]
    return Members(nodes, signed, support_of(gears, sets, absent))


def _rows(gears: Gears, absent: str) -> dict[str, int]:
    """Row of every gene that has one; "average" must find something to average."""
    if absent == "average" and not len(trained_nodes(gears)):
        raise InputError(
            "absent='average' finds no gene that is both in a graph and in training, expected at "
            "least one: give a "
            "graph with the perturbed genes"
        )
    at = zip(gears.spec.treatments, gears.node.tolist(), strict=True)
    own = {name: node if node >= 0 else len(gears.nodes) for name, node in at}
    return {name: i for i, name in enumerate(gears.nodes)} | own


def _signs(gears: Gears, given: Mapping[str, int | float]) -> dict[str, float]:
    own = dict(zip(gears.spec.treatments, gears.sign.tolist(), strict=True))
    wrong = {
        name: sign
        for name, sign in given.items()
        if sign not in (-1, 1) or own.get(name, sign) != sign
    }
    if wrong:
        raise InputError(
            f"signs are {wrong}, expected +1 or -1, and for treatments of the data those that the "
            "model was built with"
        )
    return own | {name: float(sign) for name, sign in given.items()}


def trained_nodes(gears: Gears) -> Int[np.ndarray, "n"]:
    """Nodes of the treatments that have one and training cells."""
    return gears.node[(gears.node >= 0) & (np.asarray(gears.spec.treatment_cells) > 0)]


def stand_ins(gears: Gears, params: Any, table: Float[Array, "P H"]) -> Float[Array, "2 H"]:
    """What stands in for genes of no graph: the average trained embedding, and an isolated node at
    0."""
    known = trained_nodes(gears)
    average = table[known].sum(0) / max(len(known), 1)
    settings, none = gears.settings, np.zeros(0, int)
    own = graphs.OPERATORS[settings.graph](
        graphs.named_graph(("own",), none, none, np.zeros(0)).graph
    )
    hops = graphs.hops(own, settings.perturbation_layers)
    layers = GraphConvolution(
        settings.hidden_dim, settings.perturbation_layers, settings.graph == "gat"
    )
    zero = jnp.zeros((1, settings.hidden_dim), table.dtype)
    parts: list[Any] = [
        params[f"perturbation_conv_{name}"] for name in gears.network.perturbation_graphs
    ]
    each: list[Any] = [layers.apply({"params": part}, zero, hops) for part in parts]
    return jnp.concatenate([average[None], sum(each, zero)])


def support_of(
    gears: Gears, sets: Sequence[Collection[str]], absent: str = "refuse"
) -> tuple[str, ...]:
    """Whether each set was trained on, combines trained genes, or how near its untrained genes are
    to trained ones."""
    spec = gears.spec
    known = {
        name for name, cells in zip(spec.treatments, spec.treatment_cells, strict=True) if cells > 0
    }
    rows = np.asarray(spec.condition_treatments)[np.asarray(spec.condition_cells) > 0] != 0
    trained = {
        frozenset(name for name, used in zip(spec.treatments, row, strict=True) if used)
        for row in rows
    }

    def words(genes: Collection[str]) -> str:
        if frozenset(genes) in trained:
            return "trained"
        new = [name for name in genes if name not in known]
        if not new:
            return "new combination of trained genes"
        return "no training cells: " + ", ".join(
            f"{name} ({_nearness(gears, name, known, absent)})" for name in new
        )

    return tuple(map(words, sets))


def _nearness(gears: Gears, name: str, known: set[str], absent: str) -> str:
    """How a gene without training cells is reached: by how many trained neighbours in the
    perturbation graphs."""
    if name not in gears.nodes:
        return "in no graph" + (
            "" if absent == "refuse" or name in gears.spec.treatments else f", {absent} stands in"
        )
    count = len(gears.neighbours.get(name, frozenset()) & known)
    return f"{count} trained graph neighbours" if count else "no trained graph neighbour"
