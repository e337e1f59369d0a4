"""From sets of genes to rows of the GEARS perturbation embedding, and what stands behind each
set."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxpert.core.types import InputError
from jaxpert.models.gears.layers import GraphConvolution
from jaxpert.models.gears.settings import ABSENT
from jaxpert.models.gears.setup import Gears, Over
from jaxpert.nn import graphs


class Members(NamedTuple):
    """Sets as `changes.changes` takes them."""

    nodes: Int[np.ndarray, "R M"]
    """Row of the embedding for each gene, padded with -1; the two rows past the nodes are the
    stand-ins."""
    signs: Float[np.ndarray, "R M"]
    support: tuple[str, ...]
    """What stands behind each set, as in `Model.support`."""


def members_of(
    net: Gears,
    sets: Sequence[Collection[str]],
    absent: str = "refuse",
    signs: Mapping[str, int | float] | None = None,
) -> Members:
    """Sets of any genes, with or without cells in the data, for `changes.changes`.

    A gene without cells that a perturbation graph holds is reached through its neighbours there.
    For one that is in no graph `absent` decides: "refuse"; "average", the mean embedding of the
    trained genes; or "isolated", a node of its own with the embedding 0, the mean of what it would
    be before training. A treatment that training itself let the average stand in for keeps it.

    Args:
        net: of `setup.make`, or of a model by `model.details_of`.
        sets: names of genes; the order within a set means nothing, an empty set is control.
        absent: see above.
        signs: +1 or -1 for genes that are no treatment of the data; those of treatments are the
            model's. +1 where not given.

    Raises:
        InputError: for an unknown policy, genes refused by it (all of them are named), and a gene
            twice in a set.
    """
    if absent not in ABSENT:
        raise InputError(f"absent is {absent!r}, expected one of {', '.join(ABSENT)}: correct it")
    rows, sign = _rows(net, absent), _signs(net, signs or {})
    _check_members(net, sets, rows, absent)
    # The average stands in the first row behind the nodes, the isolated one in the second.
    stand_in = len(net.nodes) + (absent == "isolated")
    # Sets are padded to the largest one, so that one array holds them all.
    width = max([1, *map(len, sets)])
    nodes, signed = np.full((len(sets), width), -1, np.int32), np.ones((len(sets), width))
    for i, genes in enumerate(sets):
        for m, name in enumerate(genes):
            nodes[i, m] = rows.get(name, stand_in)
            signed[i, m] = sign.get(name, 1.0)
    return Members(nodes, signed, support_of(net, sets, absent))


def _check_members(
    net: Gears, sets: Sequence[Collection[str]], rows: Mapping[str, int], absent: str
) -> None:
    """Refuse a gene that is twice in a set, and genes of no graph where nothing stands in."""
    for genes in sets:
        # Twice a gene would be twice its embedding, which nothing was trained for.
        twice = sorted(name for name in set(genes) if list(genes).count(name) > 1)
        if twice:
            raise InputError(
                f"the set {'+'.join(genes)} holds {', '.join(twice)} twice, expected each gene "
                "once: correct it"
            )
    if net.base is not None:
        _check_known_to_base(net, net.base, sets)
    # All strangers are named at once, not one at each try.
    strangers = sorted(set(chain.from_iterable(sets)) - set(rows))
    if strangers and absent == "refuse":
        raise InputError(
            f"{len(strangers)} genes are in no perturbation graph ({', '.join(strangers)}), "
            f"expected some of its {len(net.nodes)} such as {', '.join(net.nodes[:4])}: correct "
            "their names, or choose what stands in with absent='average' or absent='isolated'"
        )


def _check_known_to_base(net: Gears, over: Over, sets: Sequence[Collection[str]]) -> None:
    """Refuse genes of which the base says nothing: those that are no treatment of the data."""
    unknown = sorted(set(chain.from_iterable(sets)) - set(net.spec.treatments))
    if unknown:
        raise InputError(
            f"{len(unknown)} genes ({', '.join(unknown[:6])}) are perturbed in no cell of the "
            f"data, so that the base {over.base.name!r} knows nothing of them, expected perturbed "
            "genes: train with model.kwargs.base=none to ask for others"
        )


def _rows(net: Gears, absent: str) -> dict[str, int]:
    """Row of every gene that has one; "average" must find something to average."""
    if absent == "average" and not len(trained_nodes(net)):
        raise InputError(
            "absent='average' finds no gene that is both in a graph and in training, expected at "
            "least one: give a graph with the perturbed genes"
        )
    rows = {name: i for i, name in enumerate(net.nodes)}
    for name, node in zip(net.spec.treatments, net.node.tolist(), strict=True):
        # A treatment without node was trained as the average, the first row past the nodes.
        rows[name] = node if node >= 0 else len(net.nodes)
    return rows


def _signs(net: Gears, given: Mapping[str, int | float]) -> dict[str, float]:
    """Sign of the model's treatments, and of the further genes that it was given for."""
    signs = dict(zip(net.spec.treatments, net.sign.tolist(), strict=True))
    wrong = {}
    for name, sign in given.items():
        # A treatment's sign was used in training, so another one would contradict it.
        if sign not in (-1, 1) or signs.get(name, sign) != sign:
            wrong[name] = sign
    if wrong:
        raise InputError(
            f"signs are {wrong}, expected +1 or -1, and for treatments of the data those that the "
            "model was built with: correct it"
        )
    return signs | {name: float(sign) for name, sign in given.items()}


def trained_nodes(net: Gears) -> Int[np.ndarray, "n"]:
    """Nodes of the treatments that have one and training cells."""
    return net.node[(net.node >= 0) & (np.asarray(net.spec.treatment_cells) > 0)]


def stand_ins(net: Gears, params: Any, table: Float[Array, "P H"]) -> Float[Array, "2 H"]:
    """What stands in for genes of no graph: the average trained embedding, and an isolated node at
    0."""
    known = trained_nodes(net)
    # At least 1, so that no trained node gives 0 and not a division by 0.
    average = table[known].sum(0) / max(len(known), 1)
    settings, none = net.settings, np.zeros(0, int)
    # A graph of one node, which has a self edge alone: the layers of every graph turn the
    # embedding 0 into what such a node would have.
    alone = graphs.named_graph(("alone",), none, none, np.zeros(0)).graph
    hops = graphs.hops(graphs.OPERATORS[settings.graph](alone), settings.perturbation_layers)
    layers = GraphConvolution(
        settings.hidden_dim, settings.perturbation_layers, settings.graph == "gat"
    )
    isolated = jnp.zeros((1, settings.hidden_dim), table.dtype)
    zero = isolated
    # Every graph has layers of its own, and their results are summed.
    for name in net.network.perturbation_graphs:
        part: Any = {"params": params[f"perturbation_conv_{name}"]}
        embedded: Any = layers.apply(part, zero, hops)
        isolated = isolated + embedded
    return jnp.concatenate([average[None], isolated])


def support_of(
    net: Gears, sets: Sequence[Collection[str]], absent: str = "refuse"
) -> tuple[str, ...]:
    """Whether each set was trained on, combines trained genes, or how near its untrained genes are
    to trained ones."""
    spec, names = net.spec, np.asarray(net.spec.treatments, object)
    known = set(names[np.asarray(spec.treatment_cells) > 0].tolist())
    used = np.asarray(spec.condition_treatments)[np.asarray(spec.condition_cells) > 0] != 0
    # Sets, since the order of genes within a condition means nothing.
    trained = {frozenset(names[row].tolist()) for row in used}

    def words(genes: Collection[str]) -> str:
        if frozenset(genes) in trained:
            return "trained"
        near = []
        for name in genes:
            # Genes without training cells rest on their neighbours in the graphs.
            if name not in known:
                near.append(f"{name} ({_nearness(net, name, known, absent)})")
        if not near:
            return "new combination of trained genes"
        return f"no training cells: {', '.join(near)}"

    return tuple(map(words, sets))


def _nearness(net: Gears, name: str, known: set[str], absent: str) -> str:
    """How a gene without training cells is reached: by how many trained neighbours in the
    perturbation graphs."""
    if name in net.nodes:
        count = len(net.neighbours.get(name, frozenset()) & known)
        if not count:
            return "no trained graph neighbour"
        return f"{count} trained graph neighbours"
    # A treatment of no graph was refused or averaged in training already.
    if absent == "refuse" or name in net.spec.treatments:
        return "in no graph"
    return f"in no graph, {absent} stands in"
