"""GEARS as one would first write it in JAX: the yardstick of `make bench`.

The same network and objective as `jaxpert.models.gears` (defaults), laid out as the published one:
all gene nodes once for every cell of the batch, with the co-expression edges repeated for each (so
that every cell sees the graph), all nodes of the perturbation graph, batch normalisation over batch
x genes rows, a set embedding for every cell, and batch x genes x (hidden + 1) tensors in the
decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpert.core.types import Batch, Spec
from jaxpert.nn import graphs

TABLES = ("gene_embedding", "position_embedding", "perturbation_embedding")


REMEMBERED = "remembered"
"""In place of weights: normalise by the moments of training."""


def projected(params):
    """Rows of the embedding tables with a norm above 1, divided by it: what each step begins
    with."""

    def cap(table):
        norm = jnp.linalg.norm(table, axis=1, keepdims=True)
        return jnp.where(norm > 1, table / (norm + 1e-7), table)

    return {name: cap(part) if name in TABLES else part for name, part in params.items()}


def _batch_norm(x, params, stats, weight=None):
    """(normalised, statistics after it); rows of weight 0 are left out."""
    if weight is REMEMBERED:
        centred = (x - stats["mean"]) / jnp.sqrt(stats["variance"] + 1e-5)
        return centred * params["scale"] + params["bias"], stats
    weight = jnp.ones(len(x), x.dtype) if weight is None else weight
    count = weight.sum()
    mean = (weight[:, None] * x).sum(0) / count
    variance = (weight[:, None] * (x - mean) ** 2).sum(0) / count
    after = {
        "mean": 0.9 * stats["mean"] + 0.1 * mean,
        "variance": 0.9 * stats["variance"] + 0.1 * variance * count / (count - 1),
    }
    return (x - mean) / jnp.sqrt(variance + 1e-5) * params["scale"] + params["bias"], after


def _mlp(x, params, stats, weight=None):
    """Linear, batch normalisation, ReLU, ..., linear, batch normalisation."""
    after, layers = {}, len(stats)
    for i in range(layers):
        x = x @ params[f"linear{i}"]["kernel"] + params[f"linear{i}"]["bias"]
        x, after[f"norm{i}"] = _batch_norm(x, params[f"norm{i}"], stats[f"norm{i}"], weight)
        x = jax.nn.relu(x) if i < layers - 1 else x
    return x, after


def _edges(graph: graphs.NamedGraph) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return graphs.edges_of(graphs.sgconv(graph.graph))[:3]


def _convolve(x, edges, params):
    senders, receivers, weights = edges
    messages = x[senders] * jnp.asarray(weights, x.dtype)[:, None]
    summed = jax.ops.segment_sum(messages, receivers, len(x))
    return summed @ params["kernel"] + params["bias"]


def _repeated(edges, nodes: int, copies: int):
    """The edges of that many separate copies of the graph."""
    senders, receivers, weights = edges
    offset = (nodes * jnp.arange(copies))[:, None]
    senders, receivers = ((jnp.asarray(one) + offset).reshape(-1) for one in (senders, receivers))
    return senders, receivers, jnp.asarray(np.tile(weights, copies))


def _network(
    params, state, treatment, genes, nodes_of_treatments, gene_edges, perturbation_edges, every=None
):
    """Predicted change of every cell `[B, G]`, and the statistics after the batch; `every` is the
    weight of all rows, or REMEMBERED."""
    cells = len(treatment)
    after = {}
    embedded, position = (jnp.tile(params[name], (cells, 1)) for name in TABLES[:2])
    embedded, after["gene_norm"] = _batch_norm(
        embedded, params["gene_norm"], state["gene_norm"], every
    )
    position = _convolve(
        position, _repeated(gene_edges, genes, cells), params["gene_conv"]["layer0"]
    )
    base = jax.nn.relu(embedded) + 0.2 * position
    base, after["gene_mlp"] = _mlp(base, params["gene_mlp"], state["gene_mlp"], every)

    conv = params["perturbation_conv_ontology"]["layer0"]
    table = _convolve(params["perturbation_embedding"], perturbation_edges, conv)
    perturbed = (treatment != 0).any(1).astype(base.dtype)
    fused, after["fusion_mlp"] = _mlp(
        treatment @ table[nodes_of_treatments],
        params["fusion_mlp"],
        state["fusion_mlp"],
        perturbed if every is None else every,
    )
    base = base.reshape(cells, genes, -1) + (fused * perturbed[:, None])[:, None]

    h = base.reshape(cells * genes, -1)
    h, after["base_norm"] = _batch_norm(h, params["base_norm"], state["base_norm"], every)
    h, after["recovery_mlp"] = _mlp(
        jax.nn.relu(h), params["recovery_mlp"], state["recovery_mlp"], every
    )
    decoder = params["decoder"]
    z = (h.reshape(cells, genes, -1) * decoder["first_kernel"]).sum(-1) + decoder["first_bias"]
    across, after["cross_gene_mlp"] = _mlp(
        z, params["cross_gene_mlp"], state["cross_gene_mlp"], every
    )
    across = jnp.broadcast_to(across[:, None], (cells, genes, across.shape[1]))
    joined = jnp.concatenate([z[..., None], across], -1)
    return (joined * decoder["second_kernel"]).sum(-1) + decoder["second_bias"], after


def _log_normalized(counts):
    return jnp.log1p(1e4 * counts / counts.sum(1, keepdims=True))


def _objective(predicted, y, batch, spec):
    """Error^4 and direction, balanced over the conditions of the batch and the expressed genes of
    each."""
    kept = batch.extras["expressed"] | (jnp.arange(len(spec.conditions)) == spec.control)[:, None]
    kept = kept[batch.condition].astype(y.dtype)
    cells_alike = (batch.condition[:, None] == batch.condition).sum(1)
    conditions = (1 / cells_alike).sum()
    control = jnp.asarray(spec.control_mean, y.dtype)
    direction = (jnp.sign(y - control) - jnp.sign(predicted - control)) ** 2
    per_cell = (kept * ((predicted - y) ** 4 + 0.1 * direction)).sum(1) / kept.sum(1)
    return (per_cell / cells_alike).sum() / conditions


def loss_of(spec: Spec, node: np.ndarray) -> Callable[[Any, Any, Batch], tuple[jax.Array, Any]]:
    """`(params, state, batch) -> (loss, state)`; parameters and state under jaxpert's names."""
    gene_edges, perturbation_edges = (
        _edges(spec.graphs[name]) for name in ("coexpression", "ontology")
    )

    def loss(params, state, batch):
        y = _log_normalized(batch.x)
        x = jnp.where((batch.treatment != 0).any(1)[:, None], _log_normalized(batch.control), y)
        change, after = _network(
            params, state, batch.treatment, len(spec.genes), node, gene_edges, perturbation_edges
        )
        return _objective(x + change, y, batch, spec), after

    return loss


def prediction_of(spec: Spec, node: np.ndarray) -> Callable[[Any, Any, Any, Any], jax.Array]:
    """`(params, state, profiles [B, G], treatment [B, T]) -> expression [B, G]` after training."""
    gene_edges, perturbation_edges = (
        _edges(spec.graphs[name]) for name in ("coexpression", "ontology")
    )

    def predict(params, state, profiles, treatment):
        known = len(spec.genes), node, gene_edges, perturbation_edges
        change, _ = _network(params, state, treatment, *known, REMEMBERED)
        return profiles + change

    return predict
