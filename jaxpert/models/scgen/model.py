"""scGen: an autoencoder of cells in whose latent space a perturbation is one vector, the same for
every cell type.

The vector ("delta") of a perturbation is the difference of mean latents between cells with it and
control cells; a prediction decodes a control cell's latent mean plus that vector, so a cell type
that never met the perturbation can be predicted. Deltas are no parameters: `after_training`
computes them once from the training cells, and the state carries them. The default network is that
of 2019 without two of its accidents (the variants "v1" and "v2" are the public versions); in all of
them layers before a normalisation have no bias, which changes no function that can be learned, and
remembered variances are unbiased. Source: Lotfollahi et al., Nature Methods 2019;
docs/models/scgen.md.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxpert.core.parallel import psum
from jaxpert.core.types import Batch, Dataset, Model, PyTree, Request, Spec, Validation
from jaxpert.data.mapped import rows_of
from jaxpert.models.scgen.checks import check, support
from jaxpert.models.scgen.deltas import delta, delta_weights, source_rows, trained_conditions
from jaxpert.models.scgen.network import Noise
from jaxpert.models.scgen.setup import ScGen, make
from jaxpert.nn.transforms import log1p_normalize

BLOCK = 2048
"""Cells that `after_training` encodes at a time."""


def build(spec: Spec, **settings: Any) -> Model:
    """scGen for the data that `spec` describes; predicts mean log-normalised expression of shifted
    control cells.

    A request's row is its control cell (the mean training control where none is given) shifted by
    the delta of its treatment, with `delta_from="others"` that for its stratum. A combination
    without training cells is shifted by the sum of its treatments' deltas; for a treatment that
    training never gave alone the mean delta stands in (`support` and `check` name these). Until
    `Model.after_training` (called by `core.fit.fit`) has seen the training cells, deltas are those
    of the batch that `init` saw.

    Args:
        spec: its strata are the cell types over which deltas are balanced.
        **settings: fields of `settings.Settings`; another one is a TypeError.

    Raises:
        InputError: for a setting out of range.

    Example:
        model = jaxpert.scgen.build(jaxpert.make_spec(cells), latent_dim=50, delta_from="others")
    """
    net = make(spec, **settings)
    return Model(
        name="scgen",
        settings=net.settings,
        details=net,
        init=partial(init, net),
        loss=partial(loss, net),
        predict=partial(predict, net),
        embed=partial(embed, net),
        check=partial(check, net),
        after_training=partial(after_training, net),
        validate=Validation(partial(validation_sums, net), partial(validation_loss, net)),
        support=partial(support, net),
        scale="lognorm",
        stochastic=False,
        needs_control=True,
    )


def expression(batch: Batch) -> Float[Array, "B G"]:
    """Log-normalised expression, finite on padding too."""
    # Padding becomes ones, whose logarithms and gradients are finite where a mask multiplies by 0.
    return log1p_normalize(jnp.where(batch.mask[:, None], batch.x, 1))


def init(net: ScGen, key: PRNGKeyArray, batch: Batch) -> tuple[PyTree, PyTree]:
    """`Model.init`: the network, and deltas of the batch's own latent means as a first value."""
    x = expression(batch)
    # Without noise: shapes of parameters do not depend on it.
    variables = net.network.init(key, x, None)
    state = {"batch_stats": variables["batch_stats"]}
    mean = latent_means(net, variables["params"], state, x)
    count = len(net.spec.conditions)
    # Means by condition, with padding left out.
    sums = jax.ops.segment_sum(mean * batch.mask[:, None], batch.condition, count)
    cells = jax.ops.segment_sum(batch.mask.astype(mean.dtype), batch.condition, count)[:, None]
    means = sums / jnp.maximum(cells, 1)
    # A delta needs cells of both sides.
    both = (cells > 0) & (cells[net.spec.control] > 0)
    deltas = jnp.where(both, means - means[net.spec.control], 0)
    return variables["params"], state | {"deltas": jnp.tile(deltas, (_strata(net), 1, 1))}


def _strata(net: ScGen) -> int:
    """Rows of the table of deltas: one for all strata, or one each."""
    if net.settings.delta_from == "others":
        return len(net.spec.strata)
    return 1


def cell_losses(
    mean: Float[Array, "B Z"],
    variance: Float[Array, "B Z"],
    predicted: Float[Array, "B G"],
    x: Float[Array, "B G"],
) -> tuple[Float[Array, "B"], Float[Array, "B"]]:
    """Half the squared error summed over genes, and the KL divergence from N(0, I), of each cell
    (unweighted)."""
    # 1/2 |x - x^|^2: a unit-variance Gaussian likelihood, but for its constant
    # (docs/models/scgen.md, 4 Loss).
    error = 0.5 * jnp.square(x - predicted).sum(1)
    # KL = 1/2 sum (sigma^2 + m^2 - 1 - ln sigma^2), the latents being independent.
    kl = 0.5 * (variance + jnp.square(mean) - 1 - jnp.log(variance)).sum(1)
    return error, kl


def total(net: ScGen, error: Array, kl: Array) -> tuple[Array, dict[str, Array]]:
    """The loss from the means of its two terms, and these."""
    # alpha, of which the variant "v2" takes half (3.4 Variants).
    weight = net.settings.kl_weight * net.network.form.kl_factor
    return error + weight * kl, {"reconstruction": error, "kl": kl}


def loss(
    net: ScGen, params: PyTree, state: PyTree, key: PRNGKeyArray, batch: Batch
) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
    """`Model.loss`: mean over the batch's cells of half the squared error plus the weighted KL
    term."""
    x, mask = expression(batch), batch.mask.astype(batch.x.dtype)
    # A key for each cell by its slot, so that the number of devices changes nothing.
    noise = Noise(mask, jax.vmap(jax.random.fold_in, (None, 0))(key, batch.slot))
    variables = {"params": params, "batch_stats": state["batch_stats"]}
    (mean, variance, predicted), changed = net.network.apply(
        variables, x, noise, mutable=["batch_stats"]
    )
    # Each real cell's share of the whole batch over all devices.
    share = mask / psum(mask.sum())
    error, kl = cell_losses(mean, variance, predicted, x)
    value, terms = total(net, psum((share * error).sum()), psum((share * kl).sum()))
    return value, (state | changed, terms)


def validation_sums(
    net: ScGen, params: PyTree, state: PyTree, key: PRNGKeyArray, batch: Batch
) -> PyTree:
    """Both terms summed over cells in inference mode (remembered moments, no dropout, z at its
    mean), and the cells."""
    del key
    x = expression(batch)
    mean, variance, predicted = _apply(net, params, state, x, None)
    error, kl = cell_losses(mean, variance, predicted, x)
    mask = batch.mask.astype(x.dtype)
    # Sums and their number, so that blocks of cells and devices add up.
    return psum({"error": (mask * error).sum(), "kl": (mask * kl).sum(), "cells": mask.sum()})


def validation_loss(net: ScGen, sums: PyTree) -> tuple[Array, dict[str, Array]]:
    """The loss and its terms from `validation_sums`."""
    return total(net, sums["error"] / sums["cells"], sums["kl"] / sums["cells"])


def _apply(net: ScGen, params: PyTree, state: PyTree, *args: Any, method: str = "__call__") -> Any:
    return net.network.apply(
        {"params": params, "batch_stats": state["batch_stats"]}, *args, method=method
    )


def latent_means(
    net: ScGen, params: PyTree, state: PyTree, x: Float[Array, "B G"]
) -> Float[Array, "B Z"]:
    """Posterior means of cells, `x` log-normalised, in inference mode."""
    return _apply(net, params, state, x, method="encode")[0]


def predict_cells(
    net: ScGen,
    params: PyTree,
    state: PyTree,
    x: Float[Array, "B G"],
    delta: Float[Array, "*B Z"],
    sign: int = 1,
) -> Float[Array, "B G"]:
    """Cells moved along a delta: decode(m(x) + sign delta).

    Args:
        x: cells to move, log-normalised: control cells, or with `sign=-1` perturbed ones that lose
            their perturbation.
        delta: one for all cells or one for each.
        sign: 1 adds the perturbation, -1 takes it away.
    """
    # x^ = decode(m(x) +- delta) (docs/models/scgen.md, 8 Prediction).
    z = latent_means(net, params, state, x) + sign * delta
    return _apply(net, params, state, z, method="decode")


def predict(
    net: ScGen, params: PyTree, state: PyTree, key: PRNGKeyArray, request: Request
) -> Float[Array, "R G"]:
    """`Model.predict`: each row's control cell shifted by the delta of its treatment."""
    rows, genes = len(request.treatment), len(net.spec.genes)
    # The mean control profile is on the logarithmic scale already.
    if request.control is None:
        x = jnp.broadcast_to(jnp.asarray(net.spec.control_mean, jnp.float32), (rows, genes))
    else:
        x = log1p_normalize(request.control)
    shift = shifts(net, state, request.treatment, request.stratum)
    return predict_cells(net, params, state, x, shift)


def shifts(
    net: ScGen, state: PyTree, treatment: Float[Array, "R T"], stratum: Int[Array, "R"]
) -> Float[Array, "R Z"]:
    """Delta of each row: that of its condition where training had it, else the sum over its
    treatments."""
    spec, deltas = net.spec, state["deltas"]
    # Rows of conditions without training cells are zeroed, so that they match no request.
    trained = np.zeros((len(spec.conditions), 1))
    trained[trained_conditions(spec)] = 1
    table = jnp.asarray(spec.condition_treatments * trained, deltas.dtype)
    # A row's own condition has all of its treatments and no other one.
    shared = treatment @ table.T
    own = (shared == table.sum(1)) & (shared == treatment.sum(1, keepdims=True)) & (shared > 0)
    # Else the sum of the deltas of its treatments given alone.
    summed = treatment @ jnp.asarray(delta_weights(spec), deltas.dtype)
    weights = jnp.where(own.any(1, keepdims=True), own.astype(deltas.dtype), summed)
    by_stratum = jnp.einsum("rc,scz->rsz", weights, deltas)
    # One table serves all strata, unless each has its own.
    place = stratum if len(deltas) > 1 else jnp.zeros_like(stratum)
    return jnp.take_along_axis(by_stratum, place[:, None, None], axis=1)[:, 0]


def embed(
    net: ScGen, params: PyTree, state: PyTree, key: PRNGKeyArray, batch: Batch
) -> dict[str, Array]:
    """`Model.embed`: posterior means, perturbation included."""
    return {"z": latent_means(net, params, state, expression(batch))}


def after_training(
    net: ScGen, params: PyTree, state: PyTree, key: PRNGKeyArray, dataset: Dataset
) -> PyTree:
    """`Model.after_training`: the state with the deltas of all trained conditions, from the
    training cells of `dataset`.

    The source of a delta are the strata with training cells of both the perturbation and control
    (all cells, where no stratum has both), with `delta_from="others"` other ones than the stratum
    to be predicted where there are any.
    """
    rows = dataset.rows("train")
    latent = latents_of(net, params, state, key, dataset, rows)
    condition, stratum = dataset.condition[rows], dataset.stratum[rows]
    # Draws of a delta depend on the run, the stratum and the condition alone.
    seed = np.asarray(jax.random.key_data(key)).ravel().tolist()
    deltas = np.zeros(state["deltas"].shape, np.float32)
    for c in trained_conditions(net.spec):
        for s in range(len(deltas)):
            # None is no stratum, so that none is left out of the sources.
            own = s if net.settings.delta_from == "others" else None
            used = source_rows(condition, stratum, int(c), net.spec.control, own)
            rng = np.random.default_rng([*seed, s, int(c)])
            deltas[s, c] = delta(latent[used], condition[used] == c, stratum[used], rng)
    return state | {"deltas": jnp.asarray(deltas)}


def latents_of(
    net: ScGen,
    params: PyTree,
    state: PyTree,
    key: PRNGKeyArray,
    dataset: Dataset,
    rows: Int[np.ndarray, "n"],
) -> Float[np.ndarray, "n Z"]:
    """Latents of cells of a data set: posterior means; drawn ones in the variant "v1"."""

    @jax.jit
    def encode(params: PyTree, state: PyTree, key: PRNGKeyArray, counts: Array) -> Array:
        mean, variance = _apply(net, params, state, log1p_normalize(counts), method="encode")
        # The version of 2019 takes deltas of drawn latents (3.4 Variants).
        if net.settings.variant != "v1":
            return mean
        return mean + jnp.sqrt(variance) * jax.random.normal(key, mean.shape, mean.dtype)

    latents = []
    for number, start in enumerate(range(0, len(rows), BLOCK)):
        block = rows[start : start + BLOCK]
        # Filled up, so that all blocks run one compiled program.
        filled = np.resize(block, min(BLOCK, len(rows)))
        counts = jnp.asarray(rows_of(dataset.counts, filled).toarray(), jnp.float32)
        latent = encode(params, state, jax.random.fold_in(key, number), counts)
        latents.append(np.asarray(latent)[: len(block)])
    return np.concatenate(latents)
