"""GEARS: a graph network that predicts the effect of perturbing genes, alone or together, never
perturbed before.

Expression enters only as the profile to which the predicted change is added: x + delta(perturbation
set), so one pass per set replaces one per cell. Differs from the published code
(`compat="reference"` restores it): every cell, not only the first of a batch, sees the
co-expression graph; a lone perturbed cell is normalised by remembered moments, not by its own. As
published, and unlike the paper, the direction loss is a hard sign without gradient
(`direction="tanh"` has one).

Source: Roohani et al., Nature Biotechnology 2024; docs/models/gears.md has the equations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpert.core.parallel import psum
from jaxpert.core.types import Batch, InputError, Model, PyTree, Request, Spec, Validation
from jaxpert.models.gears import losses
from jaxpert.models.gears.changes import (
    Pooled,
    changes,
    changes_in_evaluation,
    changes_in_training,
    changes_of_treatments,
    embeddings,
    pool,
)
from jaxpert.models.gears.checks import check, support
from jaxpert.models.gears.head import effect_deviation_of
from jaxpert.models.gears.layers import project
from jaxpert.models.gears.nearest import rests_on
from jaxpert.models.gears.network import Change
from jaxpert.models.gears.sets import Members, members_of, support_of
from jaxpert.models.gears.settings import NAME, NONE, Settings
from jaxpert.models.gears.setup import Gears, make
from jaxpert.nn.transforms import log1p_normalize

__all__ = [
    "Gears",
    "Members",
    "Settings",
    "build",
    "cap",
    "changes",
    "details_of",
    "embeddings",
    "evaluate",
    "make",
    "members_of",
    "support_of",
]

CAPPED = ("gene_embedding", "position_embedding", "perturbation_embedding")
"""Parameters whose rows are capped at norm 1."""
EXPRESSED, RANKED = "expressed", "ranked"
"""Tables of a batch: genes that the loss sees in each condition, and those that validation looks
at."""
Reader = Callable[[Batch], tuple[Float[Array, "B G"], Float[Array, "B G"]]]
"""batch -> the profiles to be shifted, and the cells to be met, on one scale."""


def build(spec: Spec, **settings: Any) -> Model:
    """GEARS for the data that `spec` describes; predicts mean log-normalised expression.

    Args:
        spec: its `graphs` are those of `jaxpert.add_graphs` by name, by default "coexpression"
            (between measured genes) and "ontology" (between perturbed genes; it may hold genes
            without cells, for `jaxpert.predict_sets`).
        **settings: fields of `Settings`; another one is a TypeError.

    Batches need `extras["expressed"] [C, G]` (True where the mean expression of a condition is not
    zero) unless `genes="all"`, and for validation `extras["ranked"] [C, 20]` (genes that differ
    most from control, -1 for none).

    Raises:
        InputError: for a setting out of range, a graph that `spec` lacks, a treatment that no graph
            holds. For the last, `jaxpert.drop_unannotated(cells, terms)` leaves its cells out, and
            `absent="average"` or `absent="isolated"` keeps them.

    Example:
        terms = jaxpert.read_terms("annotations.gmt.gz")
        cells = jaxpert.drop_unannotated(jaxpert.read("screen.h5ad"), terms)
        cells = jaxpert.add_split(cells, kind="simulation", seed=1)
        cells = jaxpert.add_graphs(cells, terms=terms)
        model = jaxpert.gears.build(jaxpert.make_spec(cells), hidden_dim=64)
        fitted = jaxpert.fit(model, cells, epochs=20)
    """
    net = make(spec, **settings)
    return Model(
        init=partial(init, net),
        loss=partial(loss, net),
        predict=partial(predict, net),
        check=partial(check, net),
        validate=Validation(partial(validation_sums, net), validation_score),
        constrain=cap,
        uncertainty=_head_of(net),
        effect_deviation=effect_deviation_of(net),
        support=partial(support, net),
        rests_on=partial(rests_on, net),
        scale="lognorm",
        stochastic=False,
        tables=_tables_of(net.settings),
        name=NAME,
        settings=net.settings,
        details=net,
        base=spec.base,
    )


def _head_of(net: Gears) -> Callable | None:
    """What gives the uncertainty of a prediction; None without a head for it."""
    if net.settings.uncertainty == NONE:
        return None
    return partial(uncertainty, net)


def _tables_of(settings: Settings) -> tuple[str, ...]:
    # The loss over all genes needs no table of those that a condition expresses.
    if settings.genes == "all":
        return (RANKED,)
    return (EXPRESSED, RANKED)


def details_of(model: Model) -> Gears:
    """What is behind a model that `build` made; InputError for another model."""
    if not isinstance(model.details, Gears):
        raise InputError(
            "the model is no GEARS, expected one of jaxpert.gears.build: train one, as sets of "
            "genes are its own"
        )
    return model.details


def init(net: Gears, key: PRNGKeyArray, batch: Batch) -> tuple[PyTree, PyTree]:
    """`Model.init`: docs/models/gears.md, Initial values; embeddings within their cap."""
    variables = net.network.init(key, net.gene_hops, net.hops)
    params = variables["params"]
    # Over a base the first prediction is the base itself.
    if net.base is not None:
        params = silent(params)
    # Capped from the start, so that the first step already sees capped rows.
    return cap(params), variables["batch_stats"]


def silent(params: PyTree) -> PyTree:
    """The same parameters with a last read-out of zeros, so that every change is 0."""
    decoder = dict(params["decoder"])
    last = "second" if "second_kernel" in decoder else "first"
    for name in (f"{last}_kernel", f"{last}_bias"):
        decoder[name] = jnp.zeros_like(decoder[name])
    return {**params, "decoder": decoder}


def cap(params: PyTree) -> PyTree:
    """Project the embedding tables (`Model.constrain`).

    The published code overwrites the stored rows before each look-up, outside the gradient, so that
    the next step and the weight decay start from capped rows; to project after the step before is
    the same. The loss caps once more (which changes nothing then) and passes gradients through
    unchanged.
    """
    projected = dict(params)
    for name in CAPPED:
        # Benchmarks and tests cap the tables alone.
        if name in params:
            projected[name] = project(params[name])
    return projected


def profiles(batch: Batch) -> tuple[Float[Array, "B G"], Float[Array, "B G"]]:
    """(x, y), log-normalised: the profile to be shifted and the cell itself; a control cell is
    shifted from itself."""
    real = batch.mask[:, None]
    perturbed = (batch.treatment != 0).any(1)[:, None]
    # Padding, and control cells that are read from nowhere, become ones: their logarithms and
    # totals stay finite, and so do the gradients that a mask multiplies by 0.
    y = log1p_normalize(jnp.where(real, batch.x, 1))
    shifted = log1p_normalize(jnp.where(real & perturbed, batch.control, 1))
    return jnp.where(perturbed, shifted, y), y


def loss(
    net: Gears,
    params: PyTree,
    state: PyTree,
    key: PRNGKeyArray,
    batch: Batch,
    read: Reader = profiles,
) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
    """`Model.loss`: the whole batch's, normalised by its own moments."""
    del key
    # One row for each set, since the change does not depend on the cell.
    pooled = pool(net, batch)
    change, state = changes_in_training(net, params, state, pooled)
    x, y = read(batch)
    value, terms = total(net, compare(pooled, change, batch, over_base(net, batch, x), y), batch)
    return value, (state, terms)


def evaluate(
    net: Gears, params: PyTree, state: PyTree, batch: Batch
) -> tuple[Array, dict[str, Array]]:
    """The loss and its terms normalised by the remembered moments, as published code validates."""
    pooled = pool(net, batch)
    change = changes_in_evaluation(net, params, state, pooled)
    x, y = profiles(batch)
    return total(net, compare(pooled, change, batch, over_base(net, batch, x), y), batch)


def over_base(net: Gears, batch: Batch, x: Float[Array, "B G"]) -> Float[Array, "B G"]:
    """Profiles to be shifted, with the base's change of each cell's condition where there is a
    base."""
    if net.base is None:
        return x
    return x + jnp.asarray(net.base.table, x.dtype)[batch.condition]


def compare(pooled: Pooled, change: Change, batch: Batch, x: Array, y: Array) -> losses.Cells:
    """Put the change of its row to each cell's profile x, beside the cell y."""
    # Each cell takes the change of the set that it has.
    spread = None if change.log_variance is None else change.log_variance[pooled.row]
    return losses.Cells(y, x + change.mean[pooled.row], spread, batch.condition, batch.mask)


def total(net: Gears, cells: losses.Cells, batch: Batch) -> tuple[Array, dict[str, Array]]:
    """The loss of the settings, and its terms."""
    s, spec, dtype = net.settings, net.spec, cells.predicted.dtype
    # Without a table of expressed genes all genes count.
    kept = None
    weights = losses.Weights(
        s.gamma, s.direction, s.direction_weight, s.uncertainty, s.uncertainty_weight
    )
    if s.loss == "mse":
        # One group of cells, all genes, the plain square (docs/models/gears.md, Plain squared
        # error).
        share = losses.cell_shares(jnp.zeros_like(cells.condition), cells.mask, 1, dtype)
        weights = weights._replace(gamma=0.0, direction_weight=0.0)
    else:
        share = losses.cell_shares(cells.condition, cells.mask, len(spec.conditions), dtype)
        if s.genes == "expressed":
            kept = batch.extras[EXPRESSED]
    # Shares of genes and cells together balance the loss (docs/models/gears.md, Autofocus loss).
    genes = losses.gene_shares(kept, cells.condition, spec.control, len(spec.genes), dtype)
    return losses.objective(cells, share, genes, jnp.asarray(spec.control_mean, dtype), weights)


def validation_sums(
    net: Gears,
    params: PyTree,
    state: PyTree,
    key: PRNGKeyArray,
    batch: Batch,
    read: Reader = profiles,
) -> PyTree:
    """Predicted minus measured expression, normalised by the remembered moments, summed by
    condition: of all genes, and of the ranked ones, with the cells behind each."""
    del key
    pooled = pool(net, batch)
    x, y = read(batch)
    x = over_base(net, batch, x)
    cells = compare(pooled, changes_in_evaluation(net, params, state, pooled), batch, x, y)
    mask, count = batch.mask.astype(y.dtype), len(net.spec.conditions)
    # Signed errors are summed before they are squared: the error is that of the mean.
    error = jax.ops.segment_sum((cells.predicted - y) * mask[:, None], batch.condition, count)
    ranked = jnp.asarray(batch.extras[RANKED])
    # A -1 stands for no gene; it reads the first one and counts as 0.
    top = jnp.where(ranked >= 0, jnp.take_along_axis(error, jnp.maximum(ranked, 0), axis=1), 0)
    # Control chooses no epoch (docs/models/gears.md, Choice of the epoch).
    held = jax.ops.segment_sum(mask * (batch.condition != net.spec.control), batch.condition, count)
    return psum(
        {"error": error, "top": top, "cells": held, "ranked": held[:, None] * (ranked >= 0)}
    )


def validation_score(sums: PyTree) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Squared error of predicted means over the 20 genes that differ most, averaged over perturbed
    conditions (all genes, where no condition has ranked ones): what the published code chooses its
    epoch by."""
    cells = sums["cells"]
    # Sums over conditions without cells are 0 and stay so.
    scored, per_cell = cells > 0, 1 / jnp.maximum(cells, 1)[:, None]
    every = jnp.square(sums["error"] * per_cell).mean(1)
    kept = sums["ranked"] > 0
    top = (jnp.square(sums["top"] * per_cell) * kept).sum(1) / jnp.maximum(kept.sum(1), 1)

    def mean(values: Array, of: Array) -> Array:
        return (values * of).sum() / jnp.maximum(of.sum(), 1)

    ranked = scored & kept.any(1)
    mse = mean(every, scored)
    # Without any ranked genes all genes stand in.
    return jnp.where(ranked.any(), mean(top, ranked), mse), {"mse": mse}


def predict(
    net: Gears, params: PyTree, state: PyTree, key: PRNGKeyArray, request: Request
) -> Float[Array, "R G"]:
    """`Model.predict`: each row's control profile (the mean training control where none is given)
    plus its change."""
    del key
    change = changes_of_treatments(net, params, state, request.treatment).mean
    # A control profile is shifted on the scale that the model was trained on.
    if request.control is not None:
        return log1p_normalize(request.control) + change
    return jnp.asarray(net.spec.control_mean, change.dtype) + change


def uncertainty(net: Gears, params: PyTree, state: PyTree, request: Request) -> Float[Array, "R"]:
    """`Model.uncertainty`: mean log variance over genes, higher for less sure.

    The published code reports exp(-mean), whose sign users read wrongly (docs/models/gears.md,
    Uncertainty).
    """
    spread = changes_of_treatments(net, params, state, request.treatment).log_variance
    assert spread is not None
    return spread.mean(1)
