"""GEARS: a graph network that predicts the effect of perturbing genes, alone or together, never
perturbed before.

Expression enters only as the profile to which the predicted change is added: x + delta(perturbation
set), so one pass per set replaces one per cell. Differs from the published code
(`compat="reference"` restores it): every cell, not only the first of a batch, sees the
co-expression graph; a lone perturbed cell is normalised by remembered moments, not by its own. As
published, and unlike the paper, the direction loss is a hard sign without gradient
(`direction="tanh"`). Source: Roohani et al., Nature Biotechnology 2023; spec sections 4, 5 and 12.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxpert.core.parallel import psum
from jaxpert.core.types import Batch, Dataset, InputError, Model, PyTree, Request, Spec, Validation
from jaxpert.models.gears import losses
from jaxpert.models.gears.layers import project
from jaxpert.models.gears.network import Change, Rows
from jaxpert.models.gears.sets import Members, members_of, stand_ins, support_of
from jaxpert.models.gears.setup import Gears, Settings, make
from jaxpert.nn.transforms import log1p_normalize

__all__ = [
    "Gears",
    "Members",
    "Settings",
    "build",
    "cap",
    "changes",
    "embeddings",
    "evaluate",
    "make",
    "members_of",
    "of",
    "support_of",
]

TABLES = ("gene_embedding", "position_embedding", "perturbation_embedding")
"""Parameters whose rows are capped at norm 1."""
BLOCK_NUMBERS = 2**23
"""Hidden values that a prediction holds at a time."""
Reader = Callable[[Batch], tuple[Float[Array, "B G"], Float[Array, "B G"]]]
"""batch -> the profiles to be shifted, and the cells to be met, on one scale."""


def build(spec: Spec, **settings: Any) -> Model:
    """GEARS for the data that `spec` describes; predicts mean log-normalised expression.

    Args:
        spec: its `graphs` are `graphs.NamedGraph`s by name (`data.add_graphs`), by default
            "coexpression" (between measured genes) and "ontology" (between perturbed genes; may
            hold genes without cells, for `changes`).
        **settings: fields of `Settings`; another one is a TypeError.

    Batches need `extras["expressed"] [C, G]` (True where the mean expression of a condition is not
    zero) unless `genes="all"`, and for validation `extras["ranked"] [C, 20]` (genes that differ
    most from control, -1 for none).

    Raises:
        InputError: for a setting out of range, a graph that `spec` lacks, a treatment that no graph
            holds.
    """
    gears = make(spec, **settings)
    return Model(
        init=partial(init, gears),
        loss=partial(loss, gears),
        predict=partial(predict, gears),
        check=partial(check, gears),
        validate=Validation(partial(validation_sums, gears), validation_score),
        constrain=cap,
        uncertainty=None if gears.settings.uncertainty is None else partial(uncertainty, gears),
        support=partial(support, gears),
        scale="lognorm",
        stochastic=False,
    )


def init(gears: Gears, key: PRNGKeyArray, batch: Batch) -> tuple[PyTree, PyTree]:
    """`Model.init`: initial values of spec 4.8, embeddings within their cap."""
    variables = gears.network.init(key, gears.gene_hops, gears.hops)
    return cap(variables["params"]), variables["batch_stats"]


def cap(params: PyTree) -> PyTree:
    """Project the embedding tables (`Model.constrain`).

    The published code overwrites the stored rows before each look-up, outside the gradient, so that
    the next step and the weight decay start from capped rows; to project after the step before is
    the same. The loss caps once more (which changes nothing then) and passes gradients through
    unchanged.
    """
    return {name: project(part) if name in TABLES else part for name, part in params.items()}


def apply(
    gears: Gears, params: PyTree, state: PyTree, method: str, *args: Any, train: bool = False
) -> Any:
    """Call a method of the network: (value, state after it) in training, the value alone
    otherwise."""
    variables = {"params": params, "batch_stats": state}
    if not train:
        return gears.network.apply(variables, *args, method=method)
    value, changed = gears.network.apply(variables, *args, method=method, mutable=["batch_stats"])
    return value, {**state, **changed["batch_stats"]}


def embeddings(gears: Gears, params: PyTree, state: PyTree) -> Float[Array, "T H"]:
    """Embedding of every treatment, after the graphs and its sign."""
    table = apply(gears, params, state, "perturbations", gears.hops)
    if gears.average is not None:
        table = jnp.asarray(gears.average, table.dtype) @ table
    return table * jnp.asarray(gears.sign, table.dtype)[:, None]


class Pooled(NamedTuple):
    """The distinct perturbation sets of a batch, with the cells that have each."""

    treatment: Float[Array, "R T"]
    cells: Float[Array, "R"]
    variant: Int[Array, "R"]
    row: Int[Array, "B"]
    """Which of them each cell has."""


def pool(gears: Gears, batch: Batch) -> Pooled:
    """One row per condition in the batch, first those with cells: `recover` skips the others.

    Published behaviour needs a row per cell: the cell of slot 0 has a gene base of its own.
    """
    spec, mask = gears.spec, batch.mask.astype(batch.treatment.dtype)
    if len(gears.gene_hops) > 1:
        return Pooled(batch.treatment, mask, (batch.slot != 0).astype(int), jnp.arange(len(mask)))
    cells = jax.ops.segment_sum(mask, batch.condition, len(spec.conditions))
    order = jnp.argsort(cells == 0)
    held = order[: len(mask)]
    table = jnp.asarray(spec.condition_treatments, batch.treatment.dtype)[held]
    row = jnp.argsort(order)[batch.condition]
    return Pooled(table, cells[held], jnp.zeros(len(held), int), jnp.minimum(row, len(held) - 1))


def changes_in_training(
    gears: Gears, params: PyTree, state: PyTree, pooled: Pooled
) -> tuple[Change, PyTree]:
    """Predicted change of each row, normalised by the moments of the batch, and the moments to
    remember."""
    variants = jax.ops.segment_sum(pooled.cells, pooled.variant, len(gears.gene_hops))
    base, state = apply(gears, params, state, "base", gears.gene_hops, variants, train=True)
    return apply(
        gears,
        params,
        state,
        "decode",
        base,
        rows_of(gears, params, state, pooled),
        pooled.cells,
        train=True,
    )


def changes_in_evaluation(gears: Gears, params: PyTree, state: PyTree, pooled: Pooled) -> Change:
    """Predicted change of each row, normalised by the remembered moments."""
    base = apply(gears, params, state, "base", gears.gene_hops, None)
    return apply(gears, params, state, "decode", base, rows_of(gears, params, state, pooled), None)


def rows_of(gears: Gears, params: PyTree, state: PyTree, pooled: Pooled) -> Rows:
    """What the decoder reads of the sets of a batch."""
    composed = pooled.treatment @ embeddings(gears, params, state)
    perturbed = (pooled.treatment != 0).any(1).astype(composed.dtype)
    return Rows(composed, perturbed, pooled.variant)


def compare(
    gears: Gears, pooled: Pooled, change: Change, batch: Batch, x: Array, y: Array
) -> losses.Cells:
    """Put the change of its row to each cell's profile x, beside the cell y."""
    spread = None if change.log_variance is None else change.log_variance[pooled.row]
    return losses.Cells(y, x + change.mean[pooled.row], spread, batch.condition, batch.mask)


def profiles(batch: Batch) -> tuple[Float[Array, "B G"], Float[Array, "B G"]]:
    """(x, y), log-normalised: the profile to be shifted and the cell itself; a control cell is
    shifted from itself."""
    real = batch.mask[:, None]
    perturbed = (batch.treatment != 0).any(1)[:, None]
    y = log1p_normalize(jnp.where(real, batch.x, 1))
    return jnp.where(
        perturbed, log1p_normalize(jnp.where(real & perturbed, batch.control, 1)), y
    ), y


def total(gears: Gears, cells: losses.Cells, batch: Batch) -> tuple[Array, dict[str, Array]]:
    """The loss of the settings, and its terms."""
    s, spec, dtype = gears.settings, gears.spec, cells.predicted.dtype
    kept = batch.extras["expressed"] if s.genes == "expressed" else None
    share = losses.cell_shares(cells.condition, cells.mask, len(spec.conditions), dtype)
    weights = losses.Weights(
        s.gamma, s.direction, s.direction_weight, s.uncertainty, s.uncertainty_weight
    )
    if s.loss == "mse":
        share = losses.cell_shares(jnp.zeros_like(cells.condition), cells.mask, 1, dtype)
        kept, weights = None, weights._replace(gamma=0.0, direction_weight=0.0)
    genes = losses.gene_shares(kept, cells.condition, spec.control, len(spec.genes), dtype)
    return losses.objective(cells, share, genes, jnp.asarray(spec.control_mean, dtype), weights)


def loss(
    gears: Gears,
    params: PyTree,
    state: PyTree,
    key: PRNGKeyArray,
    batch: Batch,
    read: Reader = profiles,
) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
    """`Model.loss`: the whole batch's, normalised by its own moments."""
    pooled = pool(gears, batch)
    change, state = changes_in_training(gears, params, state, pooled)
    value, terms = total(gears, compare(gears, pooled, change, batch, *read(batch)), batch)
    return value, (state, terms)


def evaluate(
    gears: Gears, params: PyTree, state: PyTree, batch: Batch
) -> tuple[Array, dict[str, Array]]:
    """The loss and its terms normalised by the remembered moments, as published code validates."""
    pooled = pool(gears, batch)
    change = changes_in_evaluation(gears, params, state, pooled)
    return total(gears, compare(gears, pooled, change, batch, *profiles(batch)), batch)


def validation_sums(
    gears: Gears,
    params: PyTree,
    state: PyTree,
    key: PRNGKeyArray,
    batch: Batch,
    read: Reader = profiles,
) -> PyTree:
    """Predicted minus measured expression, normalised by the remembered moments, summed by
    condition: of all genes, and of the ranked ones, with the cells behind each."""
    del key
    pooled = pool(gears, batch)
    x, y = read(batch)
    cells = compare(gears, pooled, changes_in_evaluation(gears, params, state, pooled), batch, x, y)
    mask, count = batch.mask.astype(y.dtype), len(gears.spec.conditions)
    error = jax.ops.segment_sum((cells.predicted - y) * mask[:, None], batch.condition, count)
    ranked = jnp.asarray(batch.extras["ranked"])
    top = jnp.where(ranked >= 0, jnp.take_along_axis(error, jnp.maximum(ranked, 0), axis=1), 0)
    held = jax.ops.segment_sum(
        mask * (batch.condition != gears.spec.control), batch.condition, count
    )
    return psum(
        {"error": error, "top": top, "cells": held, "ranked": held[:, None] * (ranked >= 0)}
    )


def validation_score(sums: PyTree) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Squared error of predicted means over the 20 genes that differ most, averaged over perturbed
    conditions (all genes, where no condition has ranked ones): what the published code chooses its
        epoch by."""
    cells = sums["cells"]
    scored, per_cell = cells > 0, 1 / jnp.maximum(cells, 1)[:, None]
    every = jnp.square(sums["error"] * per_cell).mean(1)
    kept = sums["ranked"] > 0
    top = (jnp.square(sums["top"] * per_cell) * kept).sum(1) / jnp.maximum(kept.sum(1), 1)

    def mean(values: Array, of: Array) -> Array:
        return (values * of).sum() / jnp.maximum(of.sum(), 1)

    ranked = scored & kept.any(1)
    mse = mean(every, scored)
    return jnp.where(ranked.any(), mean(top, ranked), mse), {"mse": mse}


def uncertainty(gears: Gears, params: PyTree, state: PyTree, request: Request) -> Float[Array, "R"]:
    """`Model.uncertainty`: mean log variance over genes, higher for less sure (the published code
    reports exp(-mean), whose sign users read wrongly; spec 5)."""
    composed = request.treatment @ embeddings(gears, params, state)
    spread = _changes(gears, params, state, composed, (request.treatment != 0).any(1)).log_variance
    assert spread is not None
    return spread.mean(1)


def predict(
    gears: Gears, params: PyTree, state: PyTree, key: PRNGKeyArray, request: Request
) -> Float[Array, "R G"]:
    """`Model.predict`: each row's control profile (the mean training control where none is given)
    plus its change."""
    composed = request.treatment @ embeddings(gears, params, state)
    change = _changes(gears, params, state, composed, (request.treatment != 0).any(1)).mean
    if request.control is not None:
        return log1p_normalize(request.control) + change
    return jnp.asarray(gears.spec.control_mean, change.dtype) + change


def changes(
    gears: Gears,
    params: PyTree,
    state: PyTree,
    members: Int[Array, "R M"],
    signs: Float[Array, "R M"] | None = None,
) -> Change:
    """Change of expression for sets of any nodes of the perturbation graphs, with or without cells
    in the data.

    Args:
        members: node numbers (`gears.nodes` has their names), padded with -1; any number of genes,
            in any order. `members_of` makes them from names, where the two numbers past the last
            node stand for genes in no graph.
        signs: +1 (activated) or -1 (repressed) for each member; None for +1.
    """
    table = apply(gears, params, state, "perturbations", gears.every)
    table = jnp.concatenate([table, stand_ins(gears, params, table)])
    used = (members >= 0).astype(table.dtype)
    composed = jnp.einsum("rmh,rm->rh", table[members], used if signs is None else used * signs)
    return _changes(gears, params, state, composed, used.any(1))


def _changes(
    gears: Gears, params: PyTree, state: PyTree, composed: Float[Array, "R H"], perturbed: Array
) -> Change:
    """Changes block by block, so that thousands of sets fit; that of the empty set is 0.

    The network gives the empty set a small change, which training draws towards 0: a prediction for
    control cells is the control itself. In published behaviour one of `control_draws` cells sees
    the co-expression graph, and the prediction is the mean over them.
    """
    base = apply(gears, params, state, "base", gears.gene_hops, None)

    def one(row: tuple[Array, Array]) -> Change:
        rows = Rows(row[0][None], row[1][None], jnp.zeros(1, int))
        each = [
            apply(gears, params, state, "decode", variant[None], rows, None) for variant in base
        ]
        share = 1 / gears.settings.control_draws
        found = jax.tree.map(
            lambda *of: (of[0] if len(of) == 1 else share * of[0] + (1 - share) * of[1])[0], *each
        )
        return found._replace(mean=found.mean * row[1])

    hidden = 2 * gears.settings.hidden_dim * len(gears.spec.genes)
    return jax.lax.map(
        one,
        (composed, perturbed.astype(composed.dtype)),
        batch_size=max(1, BLOCK_NUMBERS // hidden),
    )


def support(gears: Gears, treatment: Float[np.ndarray, "R T"]) -> tuple[str, ...]:
    """`Model.support`: whether a row's genes, and the row itself, were trained on, or else how near
    they are."""
    names = np.asarray(gears.spec.treatments, object)
    return support_of(gears, [names[row].tolist() for row in np.asarray(treatment) != 0])


def of(model: Model) -> Gears:
    """What is behind a model that `build` made; InputError for another model."""
    held = getattr(model.predict, "args", ())
    if not held or not isinstance(held[0], Gears):
        raise InputError(
            "the model is no GEARS, expected one of jaxpert.models.gears: sets of genes are its own"
        )
    return held[0]


def check(gears: Gears, dataset: Dataset) -> tuple[str, ...]:
    """`Model.check`: refuse cells without counts, which have no log-normalised profile; note what
    stands in."""
    empty = np.diff(dataset.counts.indptr) == 0
    used = np.concatenate([dataset.rows(split) for split in ("train", "val", "test")])
    if empty[used].any():
        raise InputError(
            f"{int(empty[used].sum())} cells of {dataset.name!r} have no counts in the chosen "
            "genes, expected at "
            "least one in each: leave these cells out, or choose more genes"
        )
    absent = [
        name for name, node in zip(gears.spec.treatments, gears.node, strict=True) if node < 0
    ]
    alone = [
        name
        for name in gears.spec.treatments
        if name in gears.nodes and not gears.neighbours.get(name)
    ]
    notes = []
    if absent:
        notes.append(
            f"{len(absent)} perturbed genes are in no graph; the average stands in: "
            f"{', '.join(absent)}"
        )
    if alone and gears.settings.perturbation_graphs:
        notes.append(
            f"{len(alone)} perturbed genes have no neighbour in a graph: {', '.join(alone)}"
        )
    return tuple(notes)
