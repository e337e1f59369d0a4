"""Which trained perturbations a prediction rests on (docs/models/gears.md, "What a prediction rests
on")."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxpert.data.annotation_similarity import graph_weights
from jaxpert.models.gears.setup import Gears

NEAREST = 3
"""Trained neighbours that are named of a gene without training cells of its own."""


def rests_on(
    net: Gears, params: Any, state: Any, treatment: Float[np.ndarray, "R T"]
) -> tuple[str, ...]:
    """`Model.rests_on`: of each gene its own perturbation where training has it, else the trained
    ones that are nearest to it in the graphs."""
    del params, state
    names = np.asarray(net.spec.treatments, object)
    return rests_on_sets(net, [names[row].tolist() for row in np.asarray(treatment) != 0])


def rests_on_sets(net: Gears, sets: Sequence[Collection[str]]) -> tuple[str, ...]:
    """The same of sets by name, whose genes may have no cells in the data."""
    alone, whole = _trained(net)
    unseen = sorted({gene for genes in sets for gene in genes} - set(alone))
    near = _neighbours(net, unseen, alone)
    said = []
    for genes in sets:
        parts = [whole[frozenset(genes)]] if len(genes) > 1 and frozenset(genes) in whole else []
        for gene in sorted(genes):
            if gene in alone:
                parts.append(alone[gene])
            else:
                parts.append(near[gene] or f"nothing near {gene}")
        said.append(", ".join(parts))
    return tuple(said)


def _trained(net: Gears) -> tuple[dict[str, str], dict[frozenset[str], str]]:
    """Trained conditions by their gene alone, and by their set."""
    spec = net.spec
    treatments = np.asarray(spec.treatments, object)
    alone, whole = {}, {}
    for c in np.flatnonzero(np.asarray(spec.condition_cells) > 0):
        genes = treatments[np.asarray(spec.condition_treatments[c]) != 0].tolist()
        whole[frozenset(genes)] = spec.conditions[c]
        if len(genes) == 1:
            alone[genes[0]] = spec.conditions[c]
    return alone, whole


def _neighbours(net: Gears, unseen: Sequence[str], alone: Mapping[str, str]) -> dict[str, str]:
    """Of each unseen gene the trained perturbations of largest weight in any graph."""
    names = (*unseen, *alone)
    weights = np.zeros((len(names), len(names)))
    for graph in net.settings.perturbation_graphs:
        weights = np.maximum(weights, graph_weights(net.spec.graphs[graph], names))
    conditions = list(alone.values())
    near = {}
    for row, gene in enumerate(unseen):
        to_trained = weights[row, len(unseen) :]
        # A stable sort, so that ties always come in the order of the data.
        order = np.argsort(-to_trained, kind="stable")[:NEAREST]
        found = [f"{conditions[t]} ({gene}: {to_trained[t]:.2f})" for t in order if to_trained[t]]
        near[gene] = ", ".join(found)
    return near
