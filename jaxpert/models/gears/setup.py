"""From settings and graphs to a GEARS network and what its functions close over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.types import InputError, Spec
from jaxpert.models.gears.network import Network
from jaxpert.nn import graphs

CHOICES: dict[str, tuple] = {
    "graph": tuple(graphs.OPERATORS),
    "loss": ("autofocus", "mse"),
    "genes": ("expressed", "all"),
    "direction": ("sign", "tanh"),
    "uncertainty": (None, "shipped", "gaussian"),
    "uncertainty_head": ("shared", "gene"),
    "absent": ("refuse", "isolated", "average"),
    "compat": (None, "reference"),
}


@dataclass(frozen=True)
class Settings:
    """Hyperparameters; the defaults are the published code's (spec section 12)."""

    hidden_dim: int = 64
    gene_layers: int = 1
    perturbation_layers: int = 1
    graph: str = "sgconv"
    """Operator on both kinds of graphs: "sgconv" (weighted), "gcn" or "gat" (unweighted)."""
    coexpression_graph: str | None = "coexpression"
    """Name in `spec.graphs` of the graph between measured genes; None (or "none") for none."""
    perturbation_graphs: Sequence[str] = ("ontology",)
    """Names in `spec.graphs` of the graphs between perturbed genes (or joined by commas in one
    text), each with its own layers; empty (or "none") for none."""
    position_weight: float = 0.2
    cross_gene: bool = True
    shared_decoder: bool = False
    loss: str = "autofocus"
    """"autofocus" (spec 5) or "mse", the plain mean over cells and genes."""
    genes: str = "expressed"
    """Genes of a perturbed condition that the loss sees: "expressed" (`Batch.extras["expressed"]
    [C, G]`) or "all"."""
    gamma: float = 2.0
    direction: str = "sign"
    direction_weight: float = 0.1
    uncertainty: str | None = None
    uncertainty_weight: float = 1.0
    uncertainty_head: str = "shared"
    """"shared" by all genes, as published, or a linear form of each "gene", as in the paper."""
    signs: Mapping[str, int | float] | None = None
    """+1 (activated) or -1 (repressed) for each treatment, by name; None for +1 throughout, as
    published."""
    absent: str = "refuse"
    """A treatment that no perturbation graph holds: "refuse", a node of its own ("isolated"), or
    the "average" embedding of the trained treatments."""
    compat: str | None = None
    """"reference" for the published behaviour within a batch."""
    control_draws: int = 300
    """With `compat="reference"`: control cells over which a prediction is the mean, one of which
    sees the graph."""


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


def make(spec: Spec, **settings: Any) -> Gears:
    """The network for the data and graphs that `spec` describes; settings as in `build`."""
    s = _plain(Settings(**settings))
    _check(s)
    nodes, merged = _perturbation_graphs(spec, s)
    place = {name: i for i, name in enumerate(nodes)}
    node = np.array([place.get(name, -1) for name in spec.treatments], int)
    wanted = np.where(node < 0, 0, node)
    operator = graphs.OPERATORS[s.graph]
    operators = {name: operator(graph.graph) for name, graph in merged.items()}
    network = Network(
        genes=len(spec.genes),
        nodes=len(nodes),
        width=s.hidden_dim,
        gene_layers=s.gene_layers,
        perturbation_layers=s.perturbation_layers,
        perturbation_graphs=tuple(merged),
        attention=s.graph == "gat",
        position_weight=s.position_weight,
        cross_gene=s.cross_gene,
        shared_decoder=s.shared_decoder,
        head=s.uncertainty and s.uncertainty_head,
        published=s.compat == "reference",
    )
    return Gears(
        spec=spec,
        settings=s,
        network=network,
        nodes=nodes,
        node=node,
        sign=_signs(spec, s),
        average=_averages(spec, node),
        gene_hops=_gene_hops(spec, s),
        hops={
            name: graphs.hops(one, s.perturbation_layers, wanted) for name, one in operators.items()
        },
        every={name: graphs.hops(one, s.perturbation_layers) for name, one in operators.items()},
        neighbours=_neighbours(merged),
    )


def _plain(s: Settings) -> Settings:
    """Settings as a command line gives them: "none" for None, names joined by commas."""
    optional = ("coexpression_graph", "uncertainty", "compat")
    given = {name: None for name in optional if getattr(s, name) in ("none", "default", "")}
    names = s.perturbation_graphs
    if isinstance(names, str):
        names = tuple(name.strip() for name in names.split(",") if name.strip() not in ("", "none"))
    return replace(s, **given, perturbation_graphs=tuple(names))


def _check(s: Settings) -> None:
    for name, allowed in CHOICES.items():
        if getattr(s, name) not in allowed:
            shown = ", ".join(map(str, allowed))
            raise InputError(
                f"model.kwargs.{name} is {getattr(s, name)!r}, expected one of {shown}"
            )
    for field in fields(s):
        value = getattr(s, field.name)
        if field.type == "int" and (
            isinstance(value, bool) or not isinstance(value, int) or value < 1
        ):
            raise InputError(
                f"model.kwargs.{field.name} is {value!r}, expected a whole number, at least 1"
            )
    if len(set(s.perturbation_graphs)) < len(s.perturbation_graphs):
        raise InputError(
            f"model.kwargs.perturbation_graphs is {', '.join(s.perturbation_graphs)}, expected "
            "different names of "
            "graphs: name each once"
        )
    if s.gamma < 0:
        raise InputError(f"model.kwargs.gamma is {s.gamma}, expected 0 or more")


def _graph(spec: Spec, name: str, setting: str) -> graphs.NamedGraph:
    if name not in spec.graphs:
        raise InputError(
            f"model.kwargs.{setting} names the graph {name!r}, expected one of those of the data "
            f"({', '.join(spec.graphs) or 'there are none'}): make it with "
            "data.add_graphs (in a config: graphs.ontology, graphs.edges)"
        )
    return spec.graphs[name]


def _gene_hops(spec: Spec, s: Settings) -> tuple[graphs.Hops, ...]:
    """Along the co-expression graph, and in published behaviour also along none, for all cells but
    the first."""
    operator = graphs.OPERATORS[s.graph]
    none = np.zeros(0, int)
    alone = graphs.hops(
        operator(graphs.named_graph(spec.genes, none, none, np.zeros(0)).graph), s.gene_layers
    )
    if s.coexpression_graph is None:
        return (alone,)
    graph = _graph(spec, s.coexpression_graph, "coexpression_graph")
    strangers = sorted(set(graph.names) - set(spec.genes))
    if strangers:
        raise InputError(
            f"the graph {s.coexpression_graph!r} has {len(strangers)} nodes that are no measured "
            "gene "
            f"({', '.join(strangers[:4])} ...), expected measured genes: make it from the same "
            "data set"
        )
    linked = graphs.hops(operator(graphs.over(graph, spec.genes).graph), s.gene_layers)
    return (linked,) if s.compat is None else (linked, alone)


def _perturbation_graphs(
    spec: Spec, s: Settings
) -> tuple[tuple[str, ...], dict[str, graphs.NamedGraph]]:
    """Nodes of all the graphs together, and each graph over them; without a graph the treatments,
    each by itself."""
    found = {name: _graph(spec, name, "perturbation_graphs") for name in s.perturbation_graphs}
    nodes = tuple(dict.fromkeys(name for graph in found.values() for name in graph.names))
    missing = [name for name in spec.treatments if name not in set(nodes)]
    if not found:
        none = np.zeros(0, int)
        return spec.treatments, {
            "none": graphs.named_graph(spec.treatments, none, none, np.zeros(0))
        }
    if missing and s.absent == "refuse":
        raise InputError(
            f"{len(missing)} perturbed genes are in none of the graphs {', '.join(found)} "
            f"({', '.join(missing[:6])}{' ...' if len(missing) > 6 else ''}), expected all: leave "
            "their cells out, or "
            "choose what stands in with model.kwargs.absent (isolated or average)"
        )
    if s.absent == "isolated":
        nodes += tuple(missing)
    return nodes, {name: graphs.over(graph, nodes) for name, graph in found.items()}


def _signs(spec: Spec, s: Settings) -> Float[np.ndarray, "T"]:
    given = dict(s.signs or {})
    wrong = {
        name: sign
        for name, sign in given.items()
        if name not in spec.treatments or sign not in (-1, 1)
    }
    if wrong or (given and len(given) < len(spec.treatments)):
        raise InputError(
            f"model.kwargs.signs has {len(given)} entries ({len(wrong)} of them wrong: {wrong}), "
            "expected +1 or -1 for "
            f"each of the {len(spec.treatments)} treatments by name"
        )
    return np.array([given.get(name, 1.0) for name in spec.treatments], float)


def _averages(spec: Spec, node: Int[np.ndarray, "T"]) -> Float[np.ndarray, "T T"] | None:
    """Identity rows for treatments with a node; for the others the mean over those of them that are
    trained."""
    if (node >= 0).all():
        return None
    trained = (node >= 0) & (spec.treatment_cells > 0)
    if not trained.any():
        raise InputError(
            "model.kwargs.absent='average' finds no treatment that is both in a graph and in "
            "training, expected at "
            "least one: give a graph with the perturbed genes"
        )
    return np.where((node >= 0)[:, None], np.eye(len(node)), trained / trained.sum())


def _neighbours(merged: Mapping[str, graphs.NamedGraph]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for names, graph in merged.values():
        edges = graphs.edges_of(graph)
        for sender, receiver in zip(edges.senders, edges.receivers, strict=True):
            found.setdefault(names[receiver], set()).add(names[sender])
    return {name: frozenset(others - {name}) for name, others in found.items()}
