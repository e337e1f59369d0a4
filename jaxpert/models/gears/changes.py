"""Predicted changes of expression: of the perturbation sets of a batch, and of any other sets.

The change does not depend on the cell (docs/models/gears.md, One pass per set), so that a batch
needs one row for each of its distinct sets, weighted by the cells that have it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxpert.core.types import Batch, PyTree
from jaxpert.models.gears.network import Change, Rows
from jaxpert.models.gears.sets import stand_ins
from jaxpert.models.gears.setup import Gears
from jaxpert.tasks.screen.residual import changes_of

BLOCK_NUMBERS = 2**23
"""Hidden values that a prediction holds at a time."""


class Pooled(NamedTuple):
    """The distinct perturbation sets of a batch, with the cells that have each."""

    treatment: Float[Array, "R T"]
    cells: Float[Array, "R"]
    variant: Int[Array, "R"]
    row: Int[Array, "B"]
    """Which of them each cell has."""


class Tables(NamedTuple):
    """What the predictions of all sets of a trained model have in common."""

    nodes: Float[Array, "n H"]
    """Embedding of every node after the graphs, the stand-ins behind the last."""
    base: Float[Array, "V G H"]
    """Gene vectors before the composition."""


def apply(
    net: Gears, params: PyTree, state: PyTree, method: str, *args: Any, train: bool = False
) -> Any:
    """Call a method of the network: (value, state after it) in training, the value alone
    otherwise."""
    variables = {"params": params, "batch_stats": state}
    if not train:
        return net.network.apply(variables, *args, method=method)
    value, changed = net.network.apply(variables, *args, method=method, mutable=["batch_stats"])
    return value, {**state, **changed["batch_stats"]}


def embeddings(net: Gears, params: PyTree, state: PyTree) -> Float[Array, "T H"]:
    """Embedding of every treatment, after the graphs and its sign."""
    # Treatments of no graph take the average of the trained ones (setting `absent`).
    table = apply(net, params, state, "perturbations", net.hops)
    if net.average is not None:
        table = jnp.asarray(net.average, table.dtype) @ table
    return table * jnp.asarray(net.sign, table.dtype)[:, None]


def pool(net: Gears, batch: Batch) -> Pooled:
    """One row per condition in the batch, first those with cells: `recover` skips the others.

    Published behaviour needs a row per cell: the cell of slot 0 has a gene base of its own.
    """
    # Padding has weight 0 and so counts in no condition.
    spec, mask = net.spec, batch.mask.astype(batch.treatment.dtype)
    if len(net.gene_hops) > 1:
        return Pooled(batch.treatment, mask, (batch.slot != 0).astype(int), jnp.arange(len(mask)))
    # Cells of each condition in this batch, many of which have none.
    cells = jax.ops.segment_sum(mask, batch.condition, len(spec.conditions))
    # A batch of B cells has B conditions at most, so that B rows hold all that have cells.
    # False sorts before True, so that conditions with cells come first.
    order = jnp.argsort(cells == 0)
    held = order[: len(mask)]
    table = jnp.asarray(spec.condition_treatments, batch.treatment.dtype)[held]
    # The inverse of the permutation says where each condition went. Only padding can be of a
    # condition beyond the rows; it gets the last one.
    row = jnp.argsort(order)[batch.condition]
    return Pooled(table, cells[held], jnp.zeros(len(held), int), jnp.minimum(row, len(held) - 1))


def changes_in_training(
    net: Gears, params: PyTree, state: PyTree, pooled: Pooled
) -> tuple[Change, PyTree]:
    """Predicted change of each row, normalised by the moments of the batch, and the moments to
    remember."""
    # The base is normalised by all cells, and each variant by its own.
    variants = jax.ops.segment_sum(pooled.cells, pooled.variant, len(net.gene_hops))
    base, state = apply(net, params, state, "base", net.gene_hops, variants, train=True)
    rows = rows_of(net, params, state, pooled)
    return apply(net, params, state, "decode", base, rows, pooled.cells, train=True)


def changes_in_evaluation(net: Gears, params: PyTree, state: PyTree, pooled: Pooled) -> Change:
    """Predicted change of each row, normalised by the remembered moments."""
    base = apply(net, params, state, "base", net.gene_hops, None)
    return apply(net, params, state, "decode", base, rows_of(net, params, state, pooled), None)


def rows_of(net: Gears, params: PyTree, state: PyTree, pooled: Pooled) -> Rows:
    """What the decoder reads of the sets of a batch."""
    # c_S = sum of +-W_j over the set, for all sets at once (5.5 Composition).
    composed = pooled.treatment @ embeddings(net, params, state)
    # Control has no member and keeps its U of 0 (docs/models/gears.md, Composition).
    perturbed = (pooled.treatment != 0).any(1).astype(composed.dtype)
    return Rows(composed, perturbed, pooled.variant)


def changes_of_treatments(
    net: Gears, params: PyTree, state: PyTree, treatment: Float[Array, "R T"]
) -> Change:
    """Change of expression for rows of treatments of the data."""
    composed = treatment @ embeddings(net, params, state)
    base = apply(net, params, state, "base", net.gene_hops, None)
    change = _decoded(net, params, state, base, composed, (treatment != 0).any(1))
    return _over_base(net, change, treatment)


def tables(net: Gears, params: PyTree, state: PyTree) -> Tables:
    """Both graphs and the gene branch, which know nothing of a set: to be computed once for many
    calls of `changes`."""
    nodes = apply(net, params, state, "perturbations", net.every)
    # The stand-ins follow the last node, where `members_of` points.
    nodes = jnp.concatenate([nodes, stand_ins(net, params, nodes)])
    return Tables(nodes, apply(net, params, state, "base", net.gene_hops, None))


def changes(
    net: Gears,
    params: PyTree,
    state: PyTree,
    members: Int[Array, "R M"],
    signs: Float[Array, "R M"] | None = None,
    known: Tables | None = None,
) -> Change:
    """Change of expression for sets of any nodes of the perturbation graphs, with or without cells
    in the data.

    Args:
        members: node numbers (`net.nodes` has their names), padded with -1; any number of genes,
            in any order. `members_of` makes them from names, where the two numbers past the last
            node stand for genes in no graph.
        signs: +1 (activated) or -1 (repressed) for each member; None for +1.
        known: `tables` of the same parameters, where they were computed before.
    """
    table, base = tables(net, params, state) if known is None else known
    used = (members >= 0).astype(table.dtype)
    # Padding reads the last row of the table, times 0.
    weight = used if signs is None else used * signs
    # c_S = sum of +-W_j over the members j (docs/models/gears.md, 5.5 Composition).
    composed = jnp.einsum("rmh,rm->rh", table[members], weight)
    change = _decoded(net, params, state, base, composed, used.any(1))
    if net.base is None:
        return change
    # `members_of` has refused genes that are no treatment, so that every node has one.
    column = jnp.asarray(net.base.treatment)[members]
    rows = jnp.arange(len(members))[:, None]
    treatment = jnp.zeros((len(members), len(net.spec.treatments)), used.dtype)
    return _over_base(net, change, treatment.at[rows, column].add(used))


def _over_base(net: Gears, change: Change, treatment: Float[Array, "R T"]) -> Change:
    """The network's change and that of the base; the empty set has none of either."""
    if net.base is None:
        return change
    return change._replace(mean=change.mean + changes_of(net.base.base, net.spec, treatment))


def _decoded(
    net: Gears,
    params: PyTree,
    state: PyTree,
    base: Float[Array, "V G H"],
    composed: Float[Array, "R H"],
    perturbed: Array,
) -> Change:
    """Changes block by block, so that thousands of sets fit; that of the empty set is 0.

    The network gives the empty set a small change, which training draws towards 0: a prediction for
    control cells is the control itself. In published behaviour one of `control_draws` cells sees
    the co-expression graph, and the prediction is the mean over them.
    """
    # One of the published control draws sees the graph, the others do not.
    share = 1 / net.settings.control_draws

    def mean_over_cells(*variants: Array) -> Array:
        """Of one row: the variants are with the co-expression graph and, if there are two,
        without."""
        if len(variants) == 1:
            return variants[0][0]
        return (share * variants[0] + (1 - share) * variants[1])[0]

    def change_of_row(row: tuple[Array, Array]) -> Change:
        rows = Rows(row[0][None], row[1][None], jnp.zeros(1, int))
        variants = [
            apply(net, params, state, "decode", variant[None], rows, None) for variant in base
        ]
        change = jax.tree.map(mean_over_cells, *variants)
        # The empty set moves nothing by rule (docs/models/gears.md, One pass per set).
        return change._replace(mean=change.mean * row[1])

    # A row holds twice the width for each gene, which decides how many fit at once.
    hidden = 2 * net.settings.hidden_dim * len(net.spec.genes)
    rows = composed, perturbed.astype(composed.dtype)
    return jax.lax.map(change_of_row, rows, batch_size=max(1, BLOCK_NUMBERS // hidden))
