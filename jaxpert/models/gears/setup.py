"""From settings and graphs to a GEARS network and what its functions close over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core import settings as core_settings
from jaxpert.core.types import Base, InputError, Spec
from jaxpert.models.gears.network import Network
from jaxpert.models.gears.settings import NONE, REFERENCE, Settings
from jaxpert.nn import graphs
from jaxpert.tasks.screen.residual import base_of, table_of


class Over(NamedTuple):
    """A base, over which the network learns what is left (docs/models/residual.md)."""

    base: Base
    table: Float[np.ndarray, "C G"]
    """Its change of every condition of the data."""
    treatment: Int[np.ndarray, "P"]
    """Treatment of each node; -1 for genes that the data have no cells of."""


class Gears(NamedTuple):
    """What the pure functions close over."""

    spec: Spec
    settings: Settings
    network: Network
    nodes: tuple[str, ...]
    """Genes that can be asked for, in the order of the perturbation embedding."""
    node: Int[np.ndarray, "T"]
    """Node of each treatment; -1 where it has none (then `average` has its row)."""
    sign: Float[np.ndarray, "T"]
    average: Float[np.ndarray, "T T"] | None
    """Embedding rows of treatments without node, as averages of others; None where all have one."""
    gene_hops: tuple[graphs.Hops, ...]
    hops: dict[str, graphs.Hops]
    """To the nodes of the treatments."""
    every: dict[str, graphs.Hops]
    """To all nodes."""
    neighbours: dict[str, frozenset[str]]
    """Genes that each node listens to."""
    base: Over | None
    """What the network's changes are added to; None for nothing."""


def treatments_without_node(net: Gears) -> list[str]:
    """Treatments that no perturbation graph holds."""
    return np.asarray(net.spec.treatments, object)[net.node < 0].tolist()


def make(spec: Spec, **settings: Any) -> Gears:
    """The network for the data and graphs that `spec` describes; settings as in `build`."""
    s = _checked(Settings(**settings))
    nodes, merged = _perturbation_graphs(spec, s)
    place = {name: i for i, name in enumerate(nodes)}
    node = np.array([place.get(name, -1) for name in spec.treatments], int)
    # Any row will do where a treatment has no node: `average` replaces it.
    wanted = np.where(node < 0, 0, node)
    hops, every = {}, {}
    for name, graph in merged.items():
        operator = graphs.OPERATORS[s.graph](graph.graph)
        # In training only nodes within reach of the treatments are computed.
        hops[name] = graphs.hops(operator, s.perturbation_layers, wanted)
        # Predictions may ask for any node.
        every[name] = graphs.hops(operator, s.perturbation_layers)
    return Gears(
        spec=spec,
        settings=s,
        network=_network(spec, s, len(nodes), tuple(merged)),
        nodes=nodes,
        node=node,
        sign=_signs(spec, s),
        average=_averages(spec, node),
        gene_hops=_gene_hops(spec, s),
        hops=hops,
        every=every,
        neighbours=_neighbours(merged),
        base=_over(spec, s.base, node, len(nodes)),
    )


def _over(spec: Spec, name: str, node: Int[np.ndarray, "T"], nodes: int) -> Over | None:
    base = base_of(spec, name)
    if base is None:
        return None
    if (node < 0).any():
        raise InputError(
            f"{int((node < 0).sum())} perturbed genes are in no graph and share an average beside "
            f"model.kwargs.base={name}, which tells them apart, expected a node for each: set "
            "model.kwargs.absent=isolated"
        )
    treatment = np.full(nodes, -1)
    treatment[node] = np.arange(len(node))
    return Over(base, table_of(base, spec), treatment)


def _checked(s: Settings) -> Settings:
    """The settings, if they are in range and agree with one another; "none" is left out of the
    names of graphs."""
    core_settings.check(s, "model.kwargs")
    # "none" on a command line stands for no graph.
    names = tuple(name for name in s.perturbation_graphs if name not in ("", NONE))
    if len(set(names)) < len(names):
        raise InputError(
            f"model.kwargs.perturbation_graphs is {', '.join(names)}, expected different names of "
            "graphs: name each once"
        )
    signs = s.signs
    # A copy, so that a later change of the caller's mapping does not reach the model.
    if signs is not None:
        signs = dict(signs)
    return replace(s, perturbation_graphs=names, signs=signs)


def _network(spec: Spec, s: Settings, nodes: int, names: tuple[str, ...]) -> Network:
    head = None if s.uncertainty == NONE else s.uncertainty_head
    return Network(
        genes=len(spec.genes),
        nodes=nodes,
        width=s.hidden_dim,
        gene_layers=s.gene_layers,
        perturbation_layers=s.perturbation_layers,
        perturbation_graphs=names,
        attention=s.graph == "gat",
        position_weight=s.position_weight,
        cross_gene=s.cross_gene,
        shared_decoder=s.shared_decoder,
        head=head,
        published=s.compat == REFERENCE,
    )


def _graph(spec: Spec, name: str, setting: str) -> graphs.NamedGraph:
    if name not in spec.graphs:
        raise InputError(
            f"model.kwargs.{setting} names the graph {name!r}, expected one of those of the data "
            f"({', '.join(spec.graphs) or 'there are none'}): make it with jaxpert.add_graphs (in "
            "a config: graphs.ontology, graphs.edges)"
        )
    return spec.graphs[name]


def _gene_hops(spec: Spec, s: Settings) -> tuple[graphs.Hops, ...]:
    """Along the co-expression graph, and in published behaviour also along none, for all cells but
    the first (docs/models/gears.md, Known faults of the published code)."""
    operator = graphs.OPERATORS[s.graph]
    # A graph without edges: every gene listens to itself alone.
    alone = graphs.hops(operator(_unlinked(spec.genes).graph), s.gene_layers)
    if s.coexpression_graph == NONE:
        return (alone,)
    graph = _graph(spec, s.coexpression_graph, "coexpression_graph")
    strangers = sorted(set(graph.names) - set(spec.genes))
    if strangers:
        raise InputError(
            f"the graph {s.coexpression_graph!r} has {len(strangers)} nodes that are no measured "
            f"gene ({', '.join(strangers[:4])} ...), expected measured genes: make it from the "
            "same data set"
        )
    linked = graphs.hops(operator(graphs.over(graph, spec.genes).graph), s.gene_layers)
    # Published batches give the graph to the first cell alone, so both are needed.
    if s.compat == REFERENCE:
        return (linked, alone)
    return (linked,)


def _perturbation_graphs(
    spec: Spec, s: Settings
) -> tuple[tuple[str, ...], dict[str, graphs.NamedGraph]]:
    """Nodes of all the graphs together, and each graph over them; without a graph the treatments,
    each by itself."""
    named, held = {}, {}
    for name in s.perturbation_graphs:
        named[name] = _graph(spec, name, "perturbation_graphs")
        # A dict keeps the first of equal names, in order.
        held |= dict.fromkeys(named[name].names)
    if not named:
        return spec.treatments, {NONE: _unlinked(spec.treatments)}
    nodes = tuple(held)
    missing = [name for name in spec.treatments if name not in set(nodes)]
    if missing and s.absent == "refuse":
        raise _unheld(missing, named, spec.naming)
    # Isolated genes become nodes, so that they have an embedding of their own.
    if s.absent == "isolated":
        nodes += tuple(missing)
    # All graphs over the same nodes, so that their results can be summed.
    return nodes, {name: graphs.over(graph, nodes) for name, graph in named.items()}


def _unlinked(names: tuple[str, ...]) -> graphs.NamedGraph:
    none = np.zeros(0, int)
    return graphs.named_graph(names, none, none, np.zeros(0))


def _unheld(missing: list[str], named: Mapping[str, Any], naming: str) -> InputError:
    some = ", ".join(missing[:6])
    if len(missing) > 6:
        some += " ..."
    # The wrong names of genes are the usual cause, so they come before what else may help.
    renaming = f"{naming}, or " if naming else ""
    return InputError(
        f"{len(missing)} perturbed genes are in none of the graphs {', '.join(named)} ({some}), "
        f"expected all: {renaming}leave their cells out as configs do, by "
        "jaxpert.drop_unannotated(cells, terms) before the split, or choose what stands in with "
        "model.kwargs.absent (isolated or average)"
    )


def _signs(spec: Spec, s: Settings) -> Float[np.ndarray, "T"]:
    given = dict(s.signs or {})
    wrong = {}
    for name, sign in given.items():
        if name not in spec.treatments or sign not in (-1, 1):
            wrong[name] = sign
    # Signs for some treatments only would leave the others unclear.
    if wrong or (given and len(given) < len(spec.treatments)):
        raise InputError(
            f"model.kwargs.signs has {len(given)} entries ({len(wrong)} of them wrong: {wrong}), "
            f"expected +1 or -1 for each of the {len(spec.treatments)} treatments by name: correct "
            "it"
        )
    return np.array([given.get(name, 1.0) for name in spec.treatments], float)


def _averages(spec: Spec, node: Int[np.ndarray, "T"]) -> Float[np.ndarray, "T T"] | None:
    """Identity rows for treatments with a node; for the others the mean over those of them that are
    trained."""
    if (node >= 0).all():
        return None
    # An untrained node has learned nothing that could stand in.
    trained = (node >= 0) & (spec.treatment_cells > 0)
    if not trained.any():
        raise InputError(
            "model.kwargs.absent='average' finds no treatment that is both in a graph and in "
            "training, expected at least one: give a graph with the perturbed genes"
        )
    return np.where((node >= 0)[:, None], np.eye(len(node)), trained / trained.sum())


def _neighbours(merged: Mapping[str, graphs.NamedGraph]) -> dict[str, frozenset[str]]:
    heard: dict[str, set[str]] = {}
    for names, graph in merged.values():
        edges = graphs.edges_of(graph)
        for sender, receiver in zip(edges.senders, edges.receivers, strict=True):
            heard.setdefault(names[receiver], set()).add(names[sender])
    # A self edge is no neighbour.
    return {name: frozenset(others - {name}) for name, others in heard.items()}
